//! A grid from its file to a comparison.

use std::{fs, sync::Arc};

use noso::experiment::{
    cache::Cache,
    cells::cells as cells_of,
    folder::RunManifest,
    gold::Gold,
    run::{Run, RunWatch},
    settings::ExperimentSettings,
};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::Value;

use super::{cells, file, noso, notes};
use crate::annotated::record;

const GRID: &str = "[corpus]\ngold = 'notes'\nsplit = { modulo = 2, remainder = 1 }\n\
                    [axes]\n'decision.min_confidence' = [0.0, 0.9]\n'rerank.candidates' = [15, 1]\n";

#[test]
fn a_grid_is_run_once_and_its_figures_are_those_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 12);
    file(folder.path(), "grid.toml", GRID);
    noso(folder.path(), &["run", "grid.toml", "--dry-run"]).assert().success().stdout(contains("in all 0 questions"));
    assert!(!at("runs").exists());
    noso(folder.path(), &["run", "grid.toml"]).assert().success().stderr(contains("4 cells computed, 0 there before"));
    noso(folder.path(), &["run", "grid.toml"]).assert().success().stderr(contains("0 cells computed, 4 there before"));

    let cells = cells(&at("runs/grid"));
    assert!(cells[0].file_name().unwrap().to_str().unwrap().starts_with("min_confidence=0.0-candidates=15-"));
    let metrics: Value = serde_json::from_slice(&fs::read(cells[1].join("metrics.json")).unwrap()).unwrap();
    // The odd half is coded, and it is that half which is scored.
    assert_eq!(metrics["documents"], 6);
    let gold = at("gold");
    for id in (1..12).step_by(2) {
        for ending in ["txt", "ann"] {
            fs::create_dir_all(&gold).unwrap();
            fs::copy(at("notes").join(format!("{id}.{ending}")), gold.join(format!("{id}.{ending}"))).unwrap();
        }
    }
    let mut eval = assert_cmd::Command::cargo_bin("noso").unwrap();
    let eval =
        eval.args(["eval", "--format", "json", "--gold"]).arg(&gold).arg("--predicted").arg(cells[1].join("brat"));
    let eval: Value = serde_json::from_slice(&eval.assert().success().get_output().stdout).unwrap();
    for task in ["ner", "ner_linking", "code_assignment"] {
        for key in ["tp", "fp", "fn", "f1"] {
            assert_eq!(metrics["strict"][task][key], eval[task][key], "{task} {key}");
        }
    }

    let compared =
        noso(folder.path(), &["compare", "runs/grid", "--resamples", "500", "--format", "json"]).assert().success();
    let compared: Value = serde_json::from_slice(&compared.get_output().stdout).unwrap();
    assert_eq!(compared["cells"].as_array().unwrap().len(), 4);
    let f1 = &compared["cells"][2]["strict"]["code_assignment"]["f1"];
    let metrics: Value = serde_json::from_slice(&fs::read(cells[2].join("metrics.json")).unwrap()).unwrap();
    assert_eq!(f1["value"], metrics["strict"]["code_assignment"]["f1"]);
    let [p_value, p_holm] = ["p_value", "p_holm"].map(|key| f1[key].as_f64().unwrap());
    assert!(0.0 < p_value && p_value <= p_holm && p_holm <= 1.0, "{f1}");
    let losses = &compared["cells"][0]["losses"];
    let all: u64 = losses.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    let tp_fn = ["tp", "fn"].map(|key| metrics["strict"]["code_assignment"][key].as_u64().unwrap());
    assert_eq!(all, tp_fn.iter().sum::<u64>());
    let kinds: Vec<&str> =
        compared["breakdowns"].as_array().unwrap().iter().map(|kind| kind["by"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["codes seen in training", "entities of the code in training", "chapter"]);
    assert_eq!(compared["stability"][0]["axis"], "min_confidence");
    noso(folder.path(), &["compare", "runs/grid", "--baseline", "0.9, candidates=1"])
        .assert()
        .code(1)
        .stderr(contains("words that one alone of these has"));
    let told = noso(folder.path(), &["compare", "runs/grid", "--baseline", "0.9, candidates=15"]).assert().success();
    told.stdout(contains("baseline: min_confidence=0.9, candidates=15").and(contains("difference")));
}

#[test]
fn wrong_files_and_huge_grids_are_refused_and_a_missing_model_stops_only_its_cell() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    let refused = |text: &str, told: &str| {
        file(folder.path(), "wrong.toml", text);
        noso(folder.path(), &["run", "wrong.toml"]).assert().code(1).stderr(contains(told));
    };
    refused("[corpus]\ngold = 'notes'\n[axis]\n'rerank.candidates' = [1]", "`axis`, nearest is `axes`");
    refused("[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidate' = [1]", "`candidate`, nearest is `candidates`");
    refused("[corpus]\ngold = 'nowhere'", "nowhere");
    file(folder.path(), "none.toml", "[corpus]\ngold = 'notes'");
    noso(folder.path(), &["run", "none.toml", "--limit", "0"]).assert().code(1).stderr(contains("`corpus.limit`"));
    let numbers = |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let huge = format!(
        "[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidates' = [{0}]\n'retrieval.neighbours' = [{0}]",
        numbers(100)
    );
    refused(&huge, "10000 cells");
    assert!(!folder.path().join("runs").exists());

    let rows = "[corpus]\ngold = 'notes'\n[[rows]]\nname = 'missing'\nset = ['ner.model=nowhere.bin']\n[[rows]]\nname = 'there'\n\
                [[rows]]\nname = 'untold'\npipeline = 'llm'\nset = ['ner.llm.prompt=nowhere.toml']\n";
    file(folder.path(), "rows.toml", rows);
    let run = noso(folder.path(), &["run", "rows.toml"]).assert().code(2);
    run.stderr(
        contains("missing: failed to read nowhere.bin")
            .and(contains("untold:").and(contains("nowhere.toml")))
            .and(contains("1 cells computed, 0 there before, 2 could not be run")),
    );
    noso(folder.path(), &["run", "rows.toml", "--dry-run"]).assert().code(2).stdout(contains("missing: cannot be run"));
    noso(folder.path(), &["verify", "runs/rows"])
        .assert()
        .success()
        .stdout(contains("missing: not run: failed to read"));
    noso(folder.path(), &["report", "runs/rows"]).assert().success();
    let page = fs::read_to_string(folder.path().join("runs/rows/report.html")).unwrap();
    assert!(page.contains("missing was not run: failed to read nowhere.bin"));
    let told = noso(folder.path(), &["compare", "runs/rows"]).assert().code(1);
    told.stderr(contains("nothing to compare: one cell").and(contains("missing was not run")));
}

#[test]
fn dev_documents_are_counted_when_they_are_chosen_on() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    let dev = |value: usize| {
        file(
            folder.path(),
            "dev.toml",
            &format!("set = ['rerank.candidates={value}']\n[corpus]\ngold = 'notes'\nrole = 'dev'"),
        );
        noso(folder.path(), &["run", "dev.toml", "--output", &format!("runs/{value}")]).assert().success()
    };
    dev(5).stderr(contains("different pipelines").not());
    dev(7).stderr(contains("2 different pipelines were scored on these documents"));
    dev(7).stderr(contains("2 different pipelines"));
    // Fewer of the same documents are no others.
    noso(folder.path(), &["run", "dev.toml", "--limit", "3", "--output", "runs/few"])
        .assert()
        .stderr(contains("2 different pipelines"));
    let told = noso(folder.path(), &["compare", "runs/5", "runs/7", "--resamples", "200"]).assert().success();
    told.stderr(contains("2 different pipelines"));
}

#[test]
fn runs_on_other_documents_are_neither_mixed_nor_compared() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    file(folder.path(), "one.toml", "[corpus]\ngold = 'notes'");
    noso(folder.path(), &["run", "one.toml"]).assert().success();
    record(&folder.path().join("notes"), "7", "Грипп", &[("Грипп", "J11.1")]);
    noso(folder.path(), &["run", "one.toml"]).assert().code(1).stderr(contains("run on the same documents"));
    noso(folder.path(), &["run", "one.toml", "--output", "runs/more"]).assert().success();
    // A folder with other files is left alone.
    fs::create_dir(folder.path().join("other")).unwrap();
    file(folder.path(), "other/documents.jsonl", "mine");
    noso(folder.path(), &["run", "one.toml", "--output", "other"])
        .assert()
        .code(1)
        .stderr(contains("with other files"));
    assert_eq!(fs::read_to_string(folder.path().join("other/documents.jsonl")).unwrap(), "mine");
    // What was cut off is made again.
    let predictions = cells(&folder.path().join("runs/more"))[0].join("predictions.jsonl");
    let whole = fs::read_to_string(&predictions).unwrap();
    fs::write(&predictions, &whole[..whole.len() / 2]).unwrap();
    fs::remove_file(folder.path().join("runs/more/documents.jsonl")).unwrap();
    let again = noso(folder.path(), &["run", "one.toml", "--output", "runs/more"]).assert().success();
    again.stderr(contains("1 cells computed, 0 there before"));
    assert_eq!(fs::read_to_string(&predictions).unwrap(), whole);
    let twice = noso(folder.path(), &["run", "one.toml", "notes/../one.toml"]).assert().code(1);
    twice.stderr(contains("two experiments have one name"));
    let compare = noso(folder.path(), &["compare", "runs/one", "runs/more"]).assert().code(1);
    compare.stderr(contains("runs on the same documents"));
    noso(folder.path(), &["compare", "runs/one"]).assert().code(1).stderr(contains("nothing to compare"));
}

#[test]
fn verify_finds_what_was_changed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    file(folder.path(), "grid.toml", "[corpus]\ngold = 'notes'");
    noso(folder.path(), &["run", "grid.toml"]).assert().success();
    let cell = cells(&folder.path().join("runs/grid")).remove(0);
    let verify = || noso(folder.path(), &["verify", "runs/grid", "--sample", "3"]).assert();
    verify().success().stdout(contains("default: good; 0 of 3 documents coded otherwise"));
    let changed = |name: &str, from: &str, to: &str, told: &str| {
        let before = fs::read_to_string(cell.join(name)).unwrap();
        assert!(before.contains(from), "{name} has no {from}");
        fs::write(cell.join(name), before.replacen(from, to, 1)).unwrap();
        verify().code(2).stdout(contains(told));
        fs::write(cell.join(name), before).unwrap();
    };
    changed("predictions.jsonl", "\"code\":\"I25", "\"code\":\"I26", "predictions.jsonl was changed");
    changed("predictions.jsonl", "\"code\":\"I25", "\"code\":\"I26", "coded otherwise");
    changed("brat/1.ann", "I25", "I26", "brat was changed");
    changed("metrics.json", "\"mentions\": ", "\"mentions\": 1", "says otherwise than the predictions: mentions");
    changed("manifest.json", "\"candidates\": 15", "\"candidates\": 14", "its manifest was changed");
    changed("manifest.json", "\"name\": \"default\"", "\"name\": \"other\"", "its manifest was changed");
    let run_manifest = folder.path().join("runs/grid/manifest.json");
    let before = fs::read_to_string(&run_manifest).unwrap();
    fs::write(&run_manifest, before.replacen("\"role\": \"tune\"", "\"role\": \"dev\"", 1)).unwrap();
    verify().code(2).stdout(contains("the run's manifest was changed"));
    fs::write(&run_manifest, before).unwrap();
    verify().success();
    // What is not as it was written is no result: it is made again.
    let remade = |name: &str, from: &str, to: &str| {
        let before = fs::read_to_string(cell.join(name)).unwrap();
        fs::write(cell.join(name), before.replacen(from, to, 1)).unwrap();
        noso(folder.path(), &["run", "grid.toml"]).assert().success().stderr(contains("1 cells computed"));
        assert!(fs::read_to_string(cell.join(name)).unwrap() == before, "{name}");
        verify().success();
    };
    remade("metrics.json", "\"mentions\": ", "\"mentions\": 1");
    remade("brat/1.ann", "I25", "I26");
    remade("manifest.json", "\"name\": \"default\"", "\"name\": \"other\"");
    file(folder.path(), "grid.toml", "resamples = 300\n[corpus]\ngold = 'notes'");
    noso(folder.path(), &["run", "grid.toml"]).assert().success().stderr(contains("1 cells computed"));
    verify().success();
    // A file that has changed since is named.
    fs::write(folder.path().join("list.tsv"), "ИБС\tишемическая болезнь сердца\n").unwrap();
    file(folder.path(), "named.toml", "set = ['retrieval.abbreviations=list.tsv']\n[corpus]\ngold = 'notes'");
    noso(folder.path(), &["run", "named.toml"]).assert().success();
    fs::write(folder.path().join("list.tsv"), "ИБС\tболезнь сердца\n").unwrap();
    let told = noso(folder.path(), &["verify", "runs/named", "--sample", "0"]).assert();
    told.stdout(contains("note: retrieval.abbreviations has changed since"));
    let documents = folder.path().join("runs/grid/documents.jsonl");
    fs::write(&documents, fs::read_to_string(&documents).unwrap().replacen("I25.9", "I25.8", 1)).unwrap();
    verify().code(2).stdout(contains("documents.jsonl is not that of the run"));
}

#[test]
fn linking_alone_is_measured_on_gold_mentions() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 6);
    file(folder.path(), "linking.toml", "[corpus]\ngold = 'notes'\nmentions = 'gold'");
    noso(folder.path(), &["run", "linking.toml"]).assert().success().stdout(contains("accuracy at 1 / 5 / 15"));
    let cell = cells(&folder.path().join("runs/linking")).remove(0);
    let metrics: Value = serde_json::from_slice(&fs::read(cell.join("metrics.json")).unwrap()).unwrap();
    // Every place is gold's, so all ten entities are found.
    assert_eq!((&metrics["strict"]["ner"]["tp"], &metrics["strict"]["ner"]["fp"]), (&10.into(), &0.into()));
    assert_eq!(metrics["linking"]["mentions"], 10);
    let [at_1, at_15] = ["acc@1", "acc@15"].map(|rank| metrics["linking"]["strict"][rank].as_f64().unwrap());
    assert!(0.0 < at_1 && at_1 <= at_15 && at_15 <= 1.0, "{metrics}");
    noso(folder.path(), &["verify", "runs/linking"]).assert().success();
}

#[test]
fn threads_and_the_order_of_documents_change_no_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 24);
    // The same texts under ids in the other order.
    for id in 1..=24 {
        for ending in ["txt", "ann"] {
            fs::create_dir_all(at("turned")).unwrap();
            fs::copy(at("notes").join(format!("{id}.{ending}")), at("turned").join(format!("{}.{ending}", 25 - id)))
                .unwrap();
        }
    }
    let codings = |corpus: &str, threads: &str| -> Vec<Value> {
        file(folder.path(), "one.toml", &format!("[corpus]\ngold = '{corpus}'"));
        let output = format!("runs/{corpus}-{threads}");
        noso(folder.path(), &["run", "one.toml", "--output", &output])
            .env("RAYON_NUM_THREADS", threads)
            .assert()
            .success();
        let lines = fs::read_to_string(cells(&at(&output))[0].join("predictions.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["mentions"].take()).collect()
    };
    let one = codings("notes", "1");
    assert_eq!(one, codings("notes", "7"));
    let mut turned = codings("turned", "2");
    turned.reverse();
    assert_eq!(one, turned);
}

/// Hears nothing, and stops a run before its next cell if it is to.
struct Stopping(bool);

impl RunWatch for Stopping {
    fn cell(&mut self, _: &str, _: Option<usize>) {}
    fn documents(&mut self, _: usize) {}
    fn warn(&mut self, _: &str) {}
    fn is_stopped(&self) -> bool {
        self.0
    }
}

#[test]
fn a_run_that_is_stopped_lists_what_was_done_before() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    notes(&at("notes"), 6);
    let cache = Arc::new(Cache::open(&at("cache")).unwrap());
    let run = |candidates: &str, stops: bool| {
        let text = format!("[corpus]\ngold = 'notes'\n[axes]\nrerank.candidates = {candidates}");
        file(folder.path(), "grid.toml", &text);
        let settings = ExperimentSettings::load(&at("grid.toml")).unwrap();
        let (cells, (gold, _)) = (cells_of(&settings).unwrap(), Gold::of(&settings.corpus).unwrap());
        let (settings, cells, gold, cache) = (&settings, &cells[..], &gold, cache.clone());
        let run = Run { settings, cells, gold, cache, machine: "any", stand_in: false };
        let outcome = run.into_folder(&at("run"), &mut Stopping(stops)).unwrap();
        let listed = RunManifest::load(&at("run")).unwrap().cells;
        (outcome, listed.into_iter().map(|cell| cell.folder.is_some()).collect::<Vec<_>>())
    };
    assert_eq!(run("[5, 15]", false).1, [true, true]);
    let (outcome, is_there) = run("[1, 5, 15]", true);
    assert!(outcome.interrupted && (outcome.computed, outcome.kept) == (0, 2), "{outcome:?}");
    assert_eq!(is_there, [false, true, true]);
    let verified = noso(folder.path(), &["verify", "run", "--sample", "0"]).assert();
    verified.stdout(contains("candidates=1: not run: not yet"));
    assert_eq!(run("[1, 5, 15]", false).1, [true; 3]);
}
