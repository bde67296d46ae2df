//! `noso corpus`: agreement of annotators and audits, as a user runs them.

use std::{fs, path::Path};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::Value;

use crate::annotated::record;

fn noso(folder: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("noso").unwrap().current_dir(folder).arg("corpus").args(arguments).assert()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let run = noso(folder, &[arguments, &["--format", "json"]].concat());
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}

#[test]
fn annotators_are_compared_and_what_two_say_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let text = "ИБС. Гастрит. Остеохондроз";
    let of = |name: &str| folder.path().join(name);
    record(&of("a"), "1", text, &[("ИБС", "I25.9"), ("Гастрит", "K29.7")]);
    record(&of("b"), "1", text, &[("ИБС", "I25.9"), ("Гастрит", "K29.5")]);
    record(&of("c"), "1", text, &[("ИБС", "I25.8"), ("Остеохондроз", "M42.1")]);
    record(&of("a"), "2", "ОРВИ", &[("ОРВИ", "J06.9")]);
    record(&of("b"), "2", "ОРВИ", &[("ОРВИ", "j06,9 ")]); // the same, with slips of the pen
    let found = json(folder.path(), &["agreement", "a", "b", "c"]);
    // Record 1: I25.9 of I25.9, I25.8, K29.7, K29.5, M42.1; record 2: 1 of 1. Groups: I25 and K29 of I25, K29, M42; 1 of 1.
    assert_eq!((&found["codes"]["records"], &found["codes"]["codes"]), (&2.into(), &6.into()));
    let near = |value: &Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-9, "{value}");
    near(&found["codes"]["mean"], 0.6);
    near(&found["codes"]["pooled"], 2.0 / 6.0);
    near(&found["groups"]["mean"], (2.0 / 3.0 + 1.0) / 2.0);

    let run = noso(folder.path(), &["agreement", "a", "b", "c", "--merge", "agreed"]);
    run.code(2).stderr(contains("c: 1 records lack, compared among the others: 2")).stdout(contains("Krippendorff"));
    let merged = fs::read_to_string(of("agreed").join("1.ann")).unwrap();
    assert!(
        merged.contains("icd_code 0 3\tИБС") && merged.contains("I25.9") && merged.lines().count() == 2,
        "{merged}"
    );
    assert!(fs::read_to_string(of("agreed").join("2.ann")).unwrap().contains("J06.9"));
    record(&of("c"), "3", "Отит", &[("Отит", "H66.9")]);
    let run = noso(folder.path(), &["agreement", "a", "b", "c", "--merge", "more"]);
    run.code(2).stderr(contains("1 records of one annotator alone, left out"));
    assert!(of("more/1.ann").exists() && !of("more/3.ann").exists());
    noso(folder.path(), &["agreement", "a", "b", "--merge", "agreed"]).code(1).stderr(contains("agreed"));
    record(&of("d"), "9", "ОРВИ", &[("ОРВИ", "J06.9")]);
    noso(folder.path(), &["agreement", "a", "d"]).code(1).stderr(contains("no record that two of them have"));
    noso(folder.path(), &["agreement", "a"]).failure();
    noso(folder.path(), &["agreement", "a", "./a"]).code(1).stderr(contains("one twice"));
    // A record without its text, or with another one, cannot be merged: no vote is lost.
    record(&of("e"), "1", "ИБС. Гастрит", &[("ИБС", "I25.9")]);
    record(&of("e"), "2", "ОРВИ", &[("ОРВИ", "???")]);
    fs::remove_file(of("e").join("2.txt")).unwrap();
    let run = noso(folder.path(), &["agreement", "a", "b", "e", "--merge", "fewer"]).code(2);
    run.stderr(
        contains("record 1: annotators have different texts")
            .and(contains("record 2: a text is missing"))
            .and(contains("1 codes are no codes")),
    );
}

#[test]
fn an_audit_tells_contradictions_leaks_and_what_the_catalogue_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    record(&of("dev"), "1", "Хронический гастрит, обострение", &[("Хронический гастрит", "K29.5")]);
    record(&of("dev"), "2", "хронический гастрит; ОРВИ", &[("хронический гастрит", "K29.3"), ("ОРВИ", "J06.9")]);
    record(&of("dev"), "3", "Болезнь Х", &[("Болезнь Х", "Z99.77")]);
    record(&of("train"), "7", "хронический гастрит, обострение.", &[("гастрит", "K29.5")]);
    record(&of("train"), "8", "ОРВИ", &[("ОРВИ", "J06.9")]);
    let found = json(folder.path(), &["audit", "dev", "--against", "train"]);
    assert_eq!((&found["records"], &found["coded"], &found["codes"]), (&3.into(), &4.into(), &4.into()));
    assert_eq!(found["written"], serde_json::json!({"notes": 4, "codes": 4, "rare_codes": 4}));
    assert_eq!(found["not_in_catalogue"], serde_json::json!([["Z99.77", 1]]));
    assert_eq!(found["contradictions"][0]["text"], "хронический гастрит");
    assert_eq!(found["consistency"]["contradictory"], serde_json::json!([1, 0]));
    assert_eq!(found["consistency"]["agreement"], serde_json::json!([0.0, 1.0]));
    let against = &found["against"];
    assert_eq!((&against["same"], &against["near"], &against["seen_mentions"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(
        (&against["pairs"][0][0], &against["pairs"][0][1], &against["seen_codes"]),
        (&"1".into(), &"7".into(), &2.into())
    );
    noso(folder.path(), &["audit", "dev"]).success().stdout(contains("хронический гастрит: K29.3 × 1, K29.5 × 1"));
    noso(folder.path(), &["audit", "dev", "--similarity", "2"]).code(1).stderr(contains("similarity"));
    noso(folder.path(), &["audit", "nowhere"]).code(1).stderr(contains("nowhere"));
}
