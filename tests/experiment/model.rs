//! Experiments with the model that ships: what is asked, and what is known.

use std::fs;

use predicates::str::contains;
use serde_json::Value;

use super::{cells, file, noso, notes};

/// Returns how many questions the only cell of a run asked, and how many were known.
fn calls(run: &std::path::Path) -> (u64, u64) {
    let timings = fs::read(cells(run)[0].join("timings.json")).unwrap();
    let timings: Value = serde_json::from_slice(&timings).unwrap();
    (timings["asked"].as_u64().unwrap(), timings["reused"].as_u64().unwrap())
}

#[test]
fn a_changed_selection_prompt_asks_only_for_selections() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 6);
    let prompt = noso::prompt::Prompt::load("select-short-ru").unwrap().source().to_owned();
    file(folder.path(), "mine.toml", &prompt);
    let experiment = "pipeline = 'llm'\nset = ['rerank.llm.prompt=mine.toml']\n[corpus]\ngold = 'notes'\n";
    file(folder.path(), "prompts.toml", experiment);
    noso(folder.path(), &["run", "prompts.toml", "--output", "runs/before"]).assert().success();
    let (asked, reused) = calls(&at("runs/before"));
    // One of each note, and a choice among candidates at least once; the same question is asked once.
    assert!(asked > 6, "{asked}, {reused}");

    let changed = prompt.replacen("user = \"\"\"\n", "user = \"\"\"\nВыберите одно.\n", 1);
    assert_ne!(changed, prompt);
    file(folder.path(), "mine.toml", &changed);
    let plan = noso(folder.path(), &["run", "prompts.toml", "--output", "runs/after", "--dry-run"]).assert().success();
    plan.stdout(contains(format!("computed, {} questions", asked - 6)));
    noso(folder.path(), &["run", "prompts.toml", "--output", "runs/after"]).assert().success();
    assert_eq!(calls(&at("runs/after")), (asked - 6, reused + 6));
    noso(folder.path(), &["run", "prompts.toml", "--output", "runs/again"]).assert().success();
    assert_eq!(calls(&at("runs/again")), (0, asked + reused));
    noso(folder.path(), &["verify", "runs/after", "--sample", "2"]).assert().success().stdout(contains("0 of"));

    let predictions = fs::read_to_string(cells(&at("runs/after"))[0].join("predictions.jsonl")).unwrap();
    assert!(predictions.contains("Выберите одно.") && predictions.contains("\"answer\""));
    file(folder.path(), "stand.toml", &experiment.replace("'rerank", "'llm.model=nowhere/at-all', 'rerank"));
    noso(folder.path(), &["run", "stand.toml", "--stand-in"]).assert().success();
    noso(folder.path(), &["run", "stand.toml", "--output", "runs/none"])
        .assert()
        .code(2)
        .stderr(contains("nowhere/at-all"));
}
