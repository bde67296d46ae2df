//! Experiments with the model that ships: what is asked, and what is known.

use std::{fs, path::Path};

use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::Value;

use super::{cells, file, noso, notes};

/// Returns how many questions the only cell of a run asked, and how many were known.
fn calls(run: &Path) -> (u64, u64) {
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
    let plan = noso(folder.path(), &["run", "prompts.toml", "--dry-run"]).assert().success();
    let plan = String::from_utf8(plan.get_output().stdout.clone()).unwrap();
    let numbers: Vec<u64> = plan.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [questions, least, most, ..] = numbers[..] else { panic!("{plan}") };
    assert!(plan.contains("by earlier questions"), "{plan}");
    noso(folder.path(), &["run", "prompts.toml", "--output", "runs/planned"]).assert().success();
    let (asked, _) = calls(&at("runs/planned"));
    assert!((questions + least..=questions + most).contains(&asked), "{asked}: {plan}");
    let afresh = ["run", "prompts.toml", "--output", "runs/before", "--cache", "afresh"];
    noso(folder.path(), &afresh).assert().success();
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
    // The questions are asked again in the words of then.
    let verified = noso(folder.path(), &["verify", "runs/before", "--sample", "2"]).assert().success();
    verified.stdout(contains("good").and(contains("note: rerank.llm.prompt has changed since")));

    let predictions = fs::read_to_string(cells(&at("runs/after"))[0].join("predictions.jsonl")).unwrap();
    assert!(predictions.contains("Выберите одно.") && predictions.contains("\"answer\""));
    file(folder.path(), "stand.toml", &experiment.replace("'rerank", "'llm.model=nowhere/at-all', 'rerank"));
    noso(folder.path(), &["run", "stand.toml", "--stand-in"]).assert().success();
    noso(folder.path(), &["run", "stand.toml", "--output", "runs/none"])
        .assert()
        .code(2)
        .stderr(contains("nowhere/at-all"));
}

#[test]
fn a_model_of_the_hub_is_known_by_its_files_and_not_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 2);
    file(folder.path(), "shipped.toml", "pipeline = 'llm'\n[corpus]\ngold = 'notes'\n");
    noso(folder.path(), &["run", "shipped.toml"]).assert().success();
    let cached = at("hub/models--some--model");
    fs::create_dir_all(cached.join("refs")).unwrap();
    fs::create_dir_all(cached.join("snapshots")).unwrap();
    fs::write(cached.join("refs/main"), "abc").unwrap();
    let shipped = fs::read_dir(at("home/shipped")).unwrap().map(|entry| entry.unwrap().path());
    let model = shipped.map(|path| path.join("models/noso-lm")).find(|path| path.join("config.json").exists()).unwrap();
    copy(&model, &cached.join("snapshots/abc"));

    let set = "set = ['llm.model=some/model', 'ner.llm.prompt=ner-short-ru', 'rerank.llm.prompt=select-short-ru']";
    file(folder.path(), "hub.toml", &format!("pipeline = 'llm'\n{set}\n[corpus]\ngold = 'notes'\n"));
    let run = |expected: &'static str| {
        let mut run = noso(folder.path(), &["run", "hub.toml"]);
        run.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", at("hub")).assert().success().stderr(contains(expected));
    };
    run("1 cells computed");
    run("0 cells computed, 1 there before");
    let settings = cached.join("snapshots/abc/generation_config.json");
    fs::write(&settings, fs::read_to_string(&settings).unwrap_or_else(|_| "{}".into()) + "\n").unwrap();
    run("1 cells computed");
    // A dry run asks no hub.
    let plan = noso(folder.path(), &["run", "hub.toml", "--dry-run"]).env("HF_HUB_CACHE", at("none")).assert().code(2);
    plan.stdout(contains("some/model: there is no such folder").and(contains("a dry run downloads nothing")));
    // Nor does it where a download broke off.
    fs::create_dir_all(at("none/models--some--model/refs")).unwrap();
    fs::create_dir_all(at("none/models--some--model/snapshots/abc")).unwrap();
    fs::write(at("none/models--some--model/refs/main"), "abc").unwrap();
    let plan = noso(folder.path(), &["run", "hub.toml", "--dry-run"]).env("HF_HUB_CACHE", at("none")).assert().code(2);
    plan.stdout(contains("a dry run downloads nothing"));
}

/// Copies a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
