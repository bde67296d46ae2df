//! Simulated histories, the datasets that are built of them, and what models learn from these.

#[cfg(feature = "neural")]
mod prediction;
#[cfg(feature = "neural")]
mod study;
#[cfg(feature = "parquet")]
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use assert_cmd::cargo::CommandCargoExt;
use serde_json::Value;

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn noso(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::cargo_bin("noso").unwrap();
    let output = command.current_dir(folder).arg("diagnosis").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn simulate(folder: &Path, output: &str, more: &[&str]) {
    let run = noso(folder, &[&["simulate", "--output", output], more].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

/// Codes of each appointment, by its id.
fn codes_by_id(rows: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let set =
        |row: &Value| row["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    rows.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), set(row))).collect()
}

/// F1 over (appointment, code) pairs.
fn f1(predicted: &BTreeMap<String, BTreeSet<String>>, truth: &BTreeMap<String, BTreeSet<String>>) -> f64 {
    let both: usize = predicted.iter().map(|(id, codes)| codes.intersection(&truth[id]).count()).sum();
    let count = |all: &BTreeMap<String, BTreeSet<String>>| all.values().map(BTreeSet::len).sum::<usize>();
    2.0 * both as f64 / (count(predicted) + count(truth)) as f64
}

#[test]
fn the_same_seed_gives_the_same_patients_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), "few", &["--patients", "20"]);
    simulate(folder.path(), "more", &["--patients", "40"]);
    simulate(folder.path(), "others", &["--patients", "20", "--seed", "43"]);
    let table = |name: &str| fs::read_to_string(folder.path().join(name).join("appointments.jsonl")).unwrap();
    assert!(table("more").starts_with(&table("few")) && table("more").len() > table("few").len());
    assert_ne!(table("few"), table("others"));
    let again = noso(folder.path(), &["simulate", "--output", "few"]);
    assert!(again.code == Some(1) && again.stderr.contains("hint: choose another folder"), "{}", again.stderr);
    let wrong = noso(folder.path(), &["simulate", "--output", "wrong", "--omission", "1.5"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("`faults.omission`"), "{}", wrong.stderr);
    assert!(!folder.path().join("wrong").exists());
}

#[test]
fn one_fault_of_the_doctors_changes_their_codes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let none = [
        "--patients",
        "60",
        "--omission",
        "0",
        "--habit",
        "0",
        "--unspecified",
        "0",
        "--sibling",
        "0",
        "--notation",
        "0",
    ];
    simulate(folder.path(), "faultless", &none);
    simulate(folder.path(), "usual", &["--patients", "60"]);
    let read = |name: &str| lines(&folder.path().join(name));
    let (faultless, usual) = (read("faultless/appointments.jsonl"), read("usual/appointments.jsonl"));
    let truth = codes_by_id(&read("usual/truth.jsonl"));
    assert_eq!(codes_by_id(&faultless), truth);
    for (a, b) in faultless.iter().zip(&usual) {
        for key in ["id", "patient", "date", "age", "sex"] {
            assert_eq!(a[key], b[key]);
        }
    }
    let doctors = f1(&codes_by_id(&usual), &truth);
    assert!((0.3..0.55).contains(&doctors), "{doctors}");
}

#[test]
fn conclusions_are_as_hard_to_code_as_real_ones() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), "simulated", &["--patients", "120"]);
    let run = noso(folder.path(), &["build", "--table", "simulated/appointments.jsonl", "--output", "study"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let truth = codes_by_id(&lines(&folder.path().join("simulated/truth.jsonl")));
    let mut found = BTreeMap::new();
    let histories = lines(&folder.path().join("study/histories.jsonl"));
    for (history, linked) in histories.iter().zip(lines(&folder.path().join("study/linked.jsonl"))) {
        assert_eq!(history["patient"], linked["patient"]);
        for (visit, codes) in history["visits"].as_array().unwrap().iter().zip(linked["codes"].as_array().unwrap()) {
            let codes = codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
            found.insert(visit["id"].as_str().unwrap().to_owned(), codes);
        }
    }
    assert_eq!(found.len(), truth.len());
    let score = f1(&found, &truth);
    assert!((0.45..0.65).contains(&score), "{score}");
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.path().join("study/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["histories"]["appointments"], truth.len());
    let table = |set: &str| manifest["statistics"][set]["codes"].as_u64().unwrap();
    assert_eq!(table("original"), table("linked"));
    assert!(run.stdout.contains("codes a patient"), "{}", run.stdout);
}

#[test]
fn a_build_that_was_cut_off_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), "simulated", &["--patients", "30", "--format", "csv"]);
    let build = |output: &str, more: &[&str]| {
        let table = ["build", "--table", "simulated/appointments.csv", "--output", output];
        noso(folder.path(), &[&table, more].concat())
    };
    assert_eq!(build("whole", &[]).code, Some(0));
    let whole = fs::read(folder.path().join("whole/linked.jsonl")).unwrap();
    assert_eq!(build("cut", &[]).code, Some(0));
    let cut = folder.path().join("cut/linked.jsonl");
    // As kill -9 leaves it: in the middle of a line.
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let refused = build("cut", &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--resume"), "{}", refused.stderr);
    let other = build("cut", &["--resume", "--seed", "9"]);
    assert!(other.code == Some(1) && other.stderr.contains("manifest.json"), "{}", other.stderr);
    let resumed = build("cut", &["--resume"]);
    assert!(resumed.code == Some(0) && resumed.stderr.contains("coded before"), "{}", resumed.stderr);
    assert!(fs::read(&cut).unwrap() == whole);
    // The same bytes under another name are the same table; one digit more of one is another.
    let [table, moved] = ["simulated/appointments.csv", "moved.csv"].map(|name| folder.path().join(name));
    fs::rename(&table, &moved).unwrap();
    let resume = || noso(folder.path(), &["build", "--table", "moved.csv", "--output", "cut", "--resume"]);
    assert_eq!(resume().code, Some(0));
    let text = fs::read_to_string(&moved).unwrap();
    fs::write(&moved, text.replacen("1", "2", 1)).unwrap();
    let other = resume();
    assert!(other.code == Some(1) && other.stderr.contains("the table, columns"), "{}", other.stderr);
    fs::write(&table, text).unwrap();
    let held = fs::File::open(folder.path().join("cut")).unwrap();
    held.lock().unwrap();
    let second = build("cut", &["--resume"]);
    assert!(second.code == Some(1) && second.stderr.contains("another run"), "{}", second.stderr);
    drop(held);
    // Cut off before the histories were whole.
    fs::remove_file(folder.path().join("cut/histories.jsonl")).unwrap();
    fs::remove_file(&cut).unwrap();
    assert_eq!(build("cut", &["--resume"]).code, Some(0));
    assert!(fs::read(&cut).unwrap() == whole);
}

#[test]
fn rows_that_cannot_be_read_are_told_and_the_rest_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let head = "patient;date;complaints;tests;conclusion;codes;age;sex\n";
    let rows = "7;2021-03-05;кашель;;ОРВИ;j069;200;м\n7;2020-01-01;;;;;;f\n7;потом;секрет;;ОРВИ;J06.9;;\n;2020-01-01;секрет;;;;;\n8;2021-03-05;одна;;ИБС;И25.2 / ?;50;?\n";
    fs::write(folder.path().join("table.csv"), format!("{head}{rows}")).unwrap();
    let run = noso(folder.path(), &["build", "--table", "table.csv", "--output", "study"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for told in [
        "table.csv:4: expected a date",
        "table.csv:5: expected a name or number as `patient`",
        "2 rows that could not be read",
        "2 codes in another notation",
        "1 codes that could be any or none",
        "1 appointments without complaints and tests",
        "1 appointments without a conclusion",
        "2 ages (0 to 120 years) and sexes that could not be read",
        "1 patients of two sexes",
    ] {
        assert!(run.stderr.contains(told), "{told}\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("секрет"));
    assert_eq!(lines(&folder.path().join("study/histories.jsonl")).len(), 2);

    fs::write(folder.path().join("bad.parquet"), "PAR1 no").unwrap();
    let run = noso(folder.path(), &["build", "--table", "bad.parquet", "--output", "bad"]);
    assert_eq!(run.code, Some(1));
    if cfg!(feature = "parquet") {
        assert!(run.stderr.contains("bad.parquet:1: expected a whole Parquet file"), "{}", run.stderr);
    }
    let run = noso(folder.path(), &["build", "--table", "table.xlsx", "--output", "bad"]);
    assert!(run.code == Some(1) && run.stderr.contains(".parquet, .csv, .tsv or .jsonl"), "{}", run.stderr);
    assert!(!folder.path().join("bad").exists());
}
