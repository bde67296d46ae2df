//! A model of diagnoses from its training to what it says of new patients.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use assert_cmd::cargo::CommandCargoExt;
use serde_json::{Value, json};

use super::{Run, lines, noso, simulate};

fn run(folder: &Path, arguments: &[&str]) -> Run {
    let output = Command::cargo_bin("noso").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Sizes at which a training takes seconds, unoptimised.
const SMALL: [&str; 20] = [
    "--layers",
    "1",
    "--hidden",
    "16",
    "--heads",
    "2",
    "--vocabulary",
    "600",
    "--max-tokens",
    "96",
    "--window",
    "16",
    "--learning-rate",
    "1e-2",
    "--batch",
    "8",
    "--epochs",
    "2",
    "--validation-records",
    "50",
];

/// Simulates, builds and trains; returns what the training said.
fn trained(folder: &Path, labels: &str, more: &[&str]) -> Run {
    simulate(folder, "simulated", &["--patients", "40"]);
    let table = "simulated/appointments.jsonl";
    let built = noso(folder, &["build", "--table", table, "--output", "data", "--validation", "0.2"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let train = ["train", "diagnosis", "--dataset", "data", "--output", "model", "--labels", labels];
    run(folder, &[&train[..], &SMALL, more].concat())
}

fn predictions(folder: &Path, more: &[&str]) -> Vec<Value> {
    let table = "simulated/appointments.jsonl";
    let done = run(folder, &[&["diagnose", "--model", "model", "--table", table], more].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_trained_model_predicts_every_appointment_and_says_what_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let training = trained(folder.path(), "linked", &["--thresholds", "per-class", "--class-weights", "balanced"]);
    assert_eq!(training.code, Some(0), "{}", training.stderr);
    assert!(training.stderr.contains("validation: weighted F1"), "{}", training.stderr);
    // Codes that occur once are among the classes.
    assert!(!training.stderr.contains("(0 of them once)"), "{}", training.stderr);

    let rows = lines(&folder.path().join("simulated/appointments.jsonl"));
    let all = predictions(folder.path(), &["--all", "--explain"]);
    assert_eq!(all.len(), rows.len());
    let mut chosen = 0;
    for prediction in &all {
        let codes = prediction["codes"].as_array().unwrap();
        let probabilities: Vec<f64> = codes.iter().map(|code| code["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)) && codes.len() >= 5, "{prediction}");
        assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
        assert!(prediction["tokens"].as_u64().unwrap() <= 96);
        for code in codes {
            assert_eq!(code["evidence"].is_object(), code["chosen"] == json!(true), "{code}");
            let Some(spans) = code["evidence"]["spans"].as_array() else { continue };
            chosen += 1;
            assert!(!spans.is_empty() && spans.len() <= 8);
            for span in spans {
                // What is said of the present appointment comes from its complaints, tests, sex and age alone.
                let is_present = span["id"] == prediction["id"];
                let section = span["section"].as_str().unwrap();
                assert!(!is_present || ["patient", "complaints", "tests"].contains(&section), "{span}");
                let text = span["text"].as_str().unwrap();
                assert!(text.starts_with(char::is_alphanumeric) && text.ends_with(char::is_alphanumeric), "{span}");
                let is_ours = ["Жалобы", "Обследование", "Заключение", "Коды", "возраст"].contains(&text);
                assert!(!is_ours, "{span}");
            }
        }
    }
    assert!(chosen > 0);
    // Computed alone or together, of all appointments or the last.
    let last = predictions(folder.path(), &["--batch-tokens", "1"]);
    let patients: BTreeSet<&str> = all.iter().map(|one| one["patient"].as_str().unwrap()).collect();
    assert_eq!(last.len(), patients.len());
    for one in &last {
        let same = all.iter().find(|other| other["id"] == one["id"]).unwrap();
        for (a, b) in one["codes"].as_array().unwrap().iter().zip(same["codes"].as_array().unwrap()) {
            let difference = a["probability"].as_f64().unwrap() - b["probability"].as_f64().unwrap();
            assert!(a["code"] == b["code"] && difference.abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn doctors_codes_alone_are_enough_and_a_finished_training_stays() {
    let folder = tempfile::tempdir().unwrap();
    let training = trained(folder.path(), "original", &["--alone"]);
    assert_eq!(training.code, Some(0), "{}", training.stderr);
    let weights = fs::read(folder.path().join("model/model.safetensors")).unwrap();
    let again = ["train", "diagnosis", "--dataset", "data", "--output", "model", "--labels", "original", "--alone"];
    let again = run(folder.path(), &[&again[..], &SMALL, &["--resume"]].concat());
    assert!(again.code == Some(0) && again.stderr.contains("it is finished"), "{}", again.stderr);
    assert!(fs::read(folder.path().join("model/model.safetensors")).unwrap() == weights);
    // Without the coder's codes nothing else can be asked for.
    fs::remove_file(folder.path().join("data/linked.jsonl")).unwrap();
    let refused = ["train", "diagnosis", "--dataset", "data", "--output", "other", "--labels", "linked"];
    let refused = run(folder.path(), &[&refused[..], &SMALL].concat());
    assert!(refused.code == Some(1) && refused.stderr.contains("linked.jsonl"), "{}", refused.stderr);
    assert!(!folder.path().join("other").exists());
}

#[test]
fn awkward_patients_are_predicted_and_awkward_models_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(trained(folder.path(), "linked", &[]).code, Some(0));
    let mut rows = vec!["patient,date,complaints,tests,conclusion,codes".to_owned()];
    // One without a past, one of empty texts, one with 500 appointments, out of order.
    rows.push("new,2021-01-01,кашель,,,".into());
    rows.push("mute,2021-01-01,,,,".into());
    rows.extend(
        (0..500)
            .map(|n| format!("old,{}-{:02}-{:02},боль в спине,ЭКГ,ОРВИ,I10", 2019 - n / 300, 1 + n % 12, 1 + n % 28)),
    );
    fs::write(folder.path().join("new.csv"), rows.join("\n")).unwrap();
    let done = run(folder.path(), &["diagnose", "--model", "model", "--table", "new.csv", "--explain"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut said: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    said.sort_by_key(|one| one["patient"].to_string());
    // Three of the 500 were on the last day.
    assert_eq!((said.len(), &said[1]["earlier"], &said[0]["earlier"]), (5, &json!(0), &json!(0)));
    assert!(said[2..].iter().all(|one| one["earlier"] == 497 && one["cut"].as_u64().unwrap() > 1000), "{}", said[2]);
    assert!(done.stderr.contains("1 appointments without complaints and tests"), "{}", done.stderr);

    // Cut off in its second line, and gone on with.
    let to_file = |more: &[&str]| {
        let asked = ["diagnose", "--model", "model", "--table", "new.csv", "--explain", "--output", "said.jsonl"];
        run(folder.path(), &[&asked, more].concat())
    };
    let whole = done.stdout;
    let end = whole.find('\n').unwrap() + 30;
    fs::write(folder.path().join("said.jsonl.partial"), &whole.as_bytes()[..end]).unwrap();
    let rest = to_file(&["--resume"]);
    assert!(rest.code == Some(0) && rest.stderr.contains("4 appointments predicted"), "{}", rest.stderr);
    assert!(fs::read_to_string(folder.path().join("said.jsonl")).unwrap() == whole);
    let again = to_file(&["--resume"]);
    assert!(again.code == Some(0) && again.stderr.contains("0 appointments predicted"), "{}", again.stderr);
    // Another table, other options or what no run wrote is not gone on with.
    let refused = to_file(&["--resume", "--all"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("the same all as in"), "{}", refused.stderr);
    fs::write(folder.path().join("new.csv"), rows[..3].join("\n")).unwrap();
    let refused = to_file(&["--resume"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("the same table as in"), "{}", refused.stderr);
    fs::write(folder.path().join("new.csv"), rows.join("\n")).unwrap();
    assert!(fs::read_to_string(folder.path().join("said.jsonl")).unwrap() == whole);
    fs::write(folder.path().join("empty.csv"), &rows[0]).unwrap();
    let empty = run(folder.path(), &["diagnose", "--model", "model", "--table", "empty.csv"]);
    assert!(empty.code == Some(1) && empty.stderr.contains("expected appointments, got none"), "{}", empty.stderr);

    let told = run(folder.path(), &["diagnose", "--model", "data", "--table", "new.csv"]);
    assert!(told.code == Some(1) && told.stderr.contains("config.json"), "{}", told.stderr);
    let settings = folder.path().join("model/diagnosis.json");
    let text = fs::read_to_string(&settings).unwrap();
    for (before, after, expected) in
        [("\"max_tokens\": 96", "\"max_tokens\": 97", "positions for 96"), ("{", "[", "diagnosis.json")]
    {
        fs::write(&settings, text.replacen(before, after, 1)).unwrap();
        let told = run(folder.path(), &["diagnose", "--model", "model", "--table", "new.csv"]);
        assert!(told.code == Some(1) && told.stderr.contains(expected), "{}", told.stderr);
    }
}
