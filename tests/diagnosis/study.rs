//! The study of what labels are worth, from one file of settings to its page.

use std::{fs, path::Path};

use noso::{
    experiment::study::{StudySettings, StudyWatch, run},
    nn::fit::Watch,
};
use serde_json::Value;

use super::{lines, noso, simulate};

const SMALL: &str = "
[model.new]
vocabulary = 500
layers = 1
hidden = 16
heads = 2
intermediate = 32
[training]
max_tokens = 64
window = 16
validation_records = 50
[training.fit]
epochs = 1
batch = 8
learning_rate = 1e-2
evaluate_steps = 30
";

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), format!("resamples = 50\n{text}{SMALL}")).unwrap();
}

fn outcome(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("outcome.json")).unwrap()).unwrap()
}

#[test]
fn a_study_of_simulated_records_leaves_its_page_and_what_is_done_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "study.toml", "[simulate]\npatients = 50\n[split]\nvalidation = 0.2\ntest = 0.2\n");
    let study =
        |more: &[&str]| noso(folder.path(), &[&["study", "--config", "study.toml", "--output", "out"], more].concat());
    let run = study(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("weighted F1") && run.stdout.contains("95 % interval"), "{}", run.stdout);
    let out = folder.path().join("out");
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.matches("<svg").count() >= 3, "{page}");
    // Nothing is loaded from anywhere.
    assert!(["src=", "href=", "<script", "@import"].iter().all(|loads| !page.contains(loads)), "{page}");
    let found = outcome(&out);
    assert_eq!(found["measures"].as_array().unwrap().len(), 10);
    assert!(found["courses"]["linked"].as_array().unwrap().len() > 1);
    // Tested are made-up patients of the test's part, whose codes neither model has seen.
    let tested: u64 = found["codes"].as_array().unwrap().iter().map(|code| code["tested"].as_u64().unwrap()).sum();
    assert!(tested > 20, "{tested}");
    let records = |set: &str| found["statistics"][set]["records"].as_u64().unwrap();
    assert_eq!(records("original"), records("linked"));
    assert!(records("manual") > 10 && records("original") > records("manual"));

    // Cut off before the second model was trained: only that is done again.
    let (before, weights) = (fs::metadata(out.join("original/model.safetensors")).unwrap(), "linked/model.safetensors");
    let linked = fs::read(out.join(weights)).unwrap();
    fs::remove_dir_all(out.join("linked")).unwrap();
    let run = study(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read(out.join(weights)).unwrap() == linked);
    let after = fs::metadata(out.join("original/model.safetensors")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(outcome(&out)["measures"], found["measures"]);
    // Another pair of models beside the first, by another seed.
    write(folder.path(), "study.toml", "runs = 2\n[simulate]\npatients = 50\n[split]\nvalidation = 0.2\ntest = 0.2\n");
    let run = study(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read(out.join(weights)).unwrap() == linked);
    assert!(fs::read(out.join("linked-2/model.safetensors")).unwrap() != linked);
    let (one, two) = (found["measures"][0]["linked"].as_f64().unwrap(), outcome(&out));
    let by_run: Vec<f64> = two["runs"].as_array().unwrap().iter().map(|run| run[1].as_f64().unwrap()).collect();
    let mean = two["measures"][0]["linked"].as_f64().unwrap();
    assert!(by_run.len() == 2 && by_run[0] == one && (mean - (by_run[0] + by_run[1]) / 2.0).abs() < 1e-9, "{by_run:?}");
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("means of 2 models of each label set"));
    write(folder.path(), "study.toml", "[simulate]\npatients = 51\n[split]\nvalidation = 0.2\ntest = 0.2\n");
    let other = study(&[]);
    assert!(
        other.code == Some(1) && other.stderr.contains("settings, table, manual codes and encoder of the study"),
        "{}",
        other.stderr
    );
}

#[test]
fn a_hospital_points_it_at_its_own_table_and_its_manual_codes() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), "hospital", &["--patients", "50", "--format", "csv"]);
    // Codes of some patients are known; those are measured on and not learnt from.
    let truth: Vec<Value> = lines(&folder.path().join("hospital/truth.jsonl"));
    let known: Vec<String> = truth.iter().take(60).map(Value::to_string).collect();
    fs::write(folder.path().join("hospital/manual.jsonl"), known.join("\n")).unwrap();
    let records = "[records]\ntable = \"hospital/appointments.csv\"\nmanual = \"hospital/manual.jsonl\"\n";
    let pretraining = "[pretraining.fit]\nepochs = 1\n";
    write(folder.path(), "study.toml", &format!("{records}{pretraining}"));
    let run = noso(folder.path(), &["study", "--config", "study.toml", "--output", "out"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("hidden words") && folder.path().join("out/encoder/model.safetensors").exists());
    let found = outcome(&folder.path().join("out"));
    let manual = &found["statistics"]["manual"];
    // Those none of whose codes both label sets have cannot be measured on.
    let measured = manual["records"].as_u64().unwrap();
    assert!((40..=60).contains(&measured), "{measured}");
    assert!(manual["patients"].as_u64().unwrap() <= measured / 2);
    // With more manual codes the models would be measured on patients that they learnt from.
    let more: Vec<String> = truth.iter().take(90).map(Value::to_string).collect();
    fs::write(folder.path().join("hospital/manual.jsonl"), more.join("\n")).unwrap();
    let again = noso(folder.path(), &["study", "--config", "./study.toml", "--output", "out"]);
    assert!(
        again.code == Some(1) && again.stderr.contains("manual codes and encoder of the study"),
        "{}",
        again.stderr
    );
    // What is coded serves another study, of the same records.
    fs::create_dir_all(folder.path().join("more/data")).unwrap();
    for name in ["histories.jsonl", "linked.jsonl", "faults.json", "coder.json", "origin.json"] {
        fs::copy(folder.path().join("out/data").join(name), folder.path().join("more/data").join(name)).unwrap();
    }
    let more = || noso(folder.path(), &["study", "--config", "study.toml", "--output", "more"]);
    let of_copy = more();
    assert_eq!(of_copy.code, Some(0), "{}", of_copy.stderr);
    assert!(!of_copy.stderr.contains("coding the conclusions"), "{}", of_copy.stderr);
    fs::remove_file(folder.path().join("more/study.toml")).unwrap();
    fs::read_dir(folder.path().join("more")).unwrap().flatten().filter(|one| one.file_name() != "data").for_each(
        |one| {
            let _ = fs::remove_dir_all(one.path()).or_else(|_| fs::remove_file(one.path()));
        },
    );
    write(folder.path(), "study.toml", &format!("{records}{pretraining}[split]\nseed = 7\n"));
    let other = more();
    assert!(other.code == Some(1) && other.stderr.contains("origin.json"), "{}", other.stderr);
    fs::write(folder.path().join("hospital/manual.jsonl"), "{\"id\": 1}").unwrap();
    let broken = noso(folder.path(), &["study", "--config", "study.toml", "--output", "new"]);
    assert!(broken.code == Some(1) && broken.stderr.contains("manual.jsonl:1:"), "{}", broken.stderr);
    assert!(!folder.path().join("new").exists());
}

#[test]
fn what_could_not_be_read_is_on_the_page_and_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), "hospital", &["--patients", "40", "--format", "csv"]);
    let table = folder.path().join("hospital/appointments.csv");
    let text = fs::read_to_string(&table).unwrap();
    let header = text.lines().next().unwrap();
    let row = |id: &str, date: &str, complaints: &str| {
        let of = |column: &str| match column {
            "id" | "patient" => id.to_owned(),
            "date" => date.to_owned(),
            "complaints" => format!("просит открыть больничный, {complaints}, кашель"),
            "conclusion" => "Острая инфекция верхних дыхательных путей неуточненная".to_owned(),
            "codes" => "Z00.0".to_owned(),
            _ => String::new(),
        };
        let cells: Vec<String> = header.split(',').map(|column| format!("\"{}\"", of(column))).collect();
        cells.join(",")
    };
    // Complaints that give away what the coder finds and the doctor did not type, or what neither did but people vouch for; and a row
    // without a date that can be read.
    let rows = [row("new1", "2024-01-01", "J00"), row("new2", "2024-01-01", "и А01.0"), row("new3", "nie", "")];
    fs::write(&table, format!("{text}{}\n", rows.join("\n"))).unwrap();
    let records = "[records]\ntable = \"hospital/appointments.csv\"\nmanual = \"hospital/manual.jsonl\"\n";
    let truth = fs::read_to_string(folder.path().join("hospital/truth.jsonl")).unwrap();
    let known: Vec<&str> = truth.lines().take(60).collect();
    let gold = "{\"id\":\"new2\",\"codes\":[\"A01.0\"]}";
    fs::write(folder.path().join("hospital/manual.jsonl"), [&known[..], &[gold]].concat().join("\n")).unwrap();
    write(folder.path(), "study.toml", records);
    let study = || noso(folder.path(), &["study", "--config", "study.toml", "--output", "out"]);
    for run in [study(), study()] {
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
        for told in
            ["<li>1 rows that could not be read: left out", "<li>2 appointments held codes that the coder found"]
        {
            assert!(page.contains(told), "{told}\n{page}");
        }
        let sources = &outcome(&folder.path().join("out"))["sources"];
        assert!(["table", "manual codes", "catalogue", "coder: ner"].iter().all(|name| sources[name].is_string()));
    }
    // An id that two patients have says nothing by itself, however many others are not found.
    let first: Value = serde_json::from_str(known[0]).unwrap();
    let other = row(first["id"].as_str().unwrap(), "2024-01-01", "");
    fs::write(&table, format!("{text}{other}\n")).unwrap();
    let unknown = (0..90).map(|n| format!("{{\"id\":\"unknown{n}\",\"codes\":[\"I10\"]}}"));
    let manual: Vec<String> = known.iter().map(|line| line.to_string()).chain(unknown).collect();
    fs::write(folder.path().join("hospital/manual.jsonl"), manual.join("\n")).unwrap();
    let twice = noso(folder.path(), &["study", "--config", "study.toml", "--output", "twice"]);
    assert!(twice.code == Some(1) && twice.stderr.contains("expected the patient of each id"), "{}", twice.stderr);
    // Ids of another table are told before the coding, a file without a code that can be read at once.
    for (text, told) in [
        (manual[60..].join("\n"), "expected appointments of the table"),
        (gold.replace("A01.0", "тиф"), "expected codes"),
    ] {
        fs::write(folder.path().join("hospital/manual.jsonl"), text).unwrap();
        let none = noso(folder.path(), &["study", "--config", "study.toml", "--output", "none"]);
        assert!(none.code == Some(1) && none.stderr.contains(told), "{}", none.stderr);
        assert!(!none.stderr.contains("coding the conclusions"), "{}", none.stderr);
        let _ = fs::remove_dir_all(folder.path().join("none"));
    }
    fs::write(folder.path().join("hospital/manual.jsonl"), gold).unwrap();
    fs::write(&table, header).unwrap();
    let empty = noso(folder.path(), &["study", "--config", "study.toml", "--output", "empty"]);
    assert!(empty.code == Some(1) && empty.stderr.contains("expected appointments, got none"), "{}", empty.stderr);
    let empty = noso(folder.path(), &["build", "--table", "hospital/appointments.csv", "--output", "data"]);
    assert!(empty.code == Some(1) && empty.stderr.contains("expected appointments, got none"), "{}", empty.stderr);
}

/// Asks a study to stop once a stage, named by its first words, has done something.
struct Stopper {
    at: &'static str,
    stage: String,
    done: u64,
}

impl Stopper {
    fn at(at: &'static str) -> Self {
        Self { at, stage: String::new(), done: 0 }
    }
}

impl Watch for Stopper {
    fn stop(&self) -> bool {
        self.stage.starts_with(self.at) && (self.done > 0 || self.at == "training")
    }
}

impl StudyWatch for Stopper {
    fn stage(&mut self, said: &str, _: Option<u64>) {
        (self.stage, self.done) = (said.to_owned(), 0);
    }

    fn advance(&mut self, count: u64) {
        self.done += count;
    }

    fn warn(&mut self, warning: String) {
        panic!("{warning}");
    }
}

#[test]
fn a_study_stops_in_every_long_stage_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "study.toml", "[simulate]\npatients = 120\n[split]\nvalidation = 0.2\ntest = 0.2\n");
    let settings = StudySettings::load(&folder.path().join("study.toml")).unwrap();
    let out = folder.path().join("out");
    let study = |at| run(&settings, &out, "", &mut Stopper::at(at)).unwrap_err().to_string();
    let coded = || fs::read_to_string(out.join("data/linked.jsonl")).map_or(0, |text| text.lines().count());
    let histories = out.join("data/histories.jsonl");
    let told = study("reading the table");
    assert!(told.contains("reading the table") && !histories.exists(), "{told}");
    let told = study("coding");
    let all = fs::read_to_string(histories).unwrap().lines().count();
    assert!(told.contains("coding the conclusions") && (1..all).contains(&coded()), "{told}: {} of {all}", coded());
    let told = study("training");
    assert!(told.contains("stopped after step 1 of") && coded() == all, "{told}");

    let held = fs::File::open(&out).unwrap();
    held.lock().unwrap();
    assert!(study("training").contains("another run"));
}

#[test]
fn settings_that_make_no_study_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    for (text, told) in [
        ("[simulate]\npatients = 9\npatient = 8\n", "study.toml:4: expected"),
        ("", "either [records] or [simulate]"),
        ("[simulate]\npatients = 9\n[split]\ntest = 0.1\n[coder]\npipeline = \"none\"\n", "none"),
        ("[simulate]\npatients = 9\n", "split.test"),
        ("[simulate]\npatients = 9\n[split]\ntest = 0.5\nvalidation = 0.5\n", "split.test"),
    ] {
        write(folder.path(), "study.toml", text);
        let run = noso(folder.path(), &["study", "--config", "study.toml", "--output", "out"]);
        assert!(run.code == Some(1) && run.stderr.contains(told), "{told}\n{}", run.stderr);
        assert!(!folder.path().join("out").exists());
    }
}
