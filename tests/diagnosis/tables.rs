//! Parquet as others write it.

use std::{fs, path::Path};

use serde_json::json;

use super::{lines, noso};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diagnosis");
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let starts = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
    files.find(starts).unwrap_or_else(|| panic!("{name}")).display().to_string()
}

#[test]
fn tables_of_pandas_and_spark_are_read_with_their_times_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pandas", "spark"] {
        let run = noso(folder.path(), &["build", "--table", &fixture(name), "--output", name]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let mut histories = lines(&folder.path().join(name).join("histories.jsonl"));
        histories.sort_by_key(|history| history["patient"].to_string());
        let of_seven = &histories[0];
        assert_eq!((&of_seven["patient"], &of_seven["sex"]), (&json!("7"), &json!("male")));
        let visits = of_seven["visits"].as_array().unwrap();
        let told = |visit: &serde_json::Value| [visit["time"].clone(), visit["age"].clone(), visit["codes"].clone()];
        assert_eq!(told(&visits[0]), [json!("2020-01-02T00:00:00"), json!(60), json!(["J06.9"])]);
        assert_eq!(told(&visits[1]), [json!("2021-03-05T10:30:00"), json!(61), json!(["I20.8", "I10"])]);
        let other = &histories[1]["visits"][0];
        assert_eq!((&other["complaints"], &other["age"], &other["codes"]), (&json!(""), &json!(null), &json!([])));
    }
}

#[test]
fn a_column_of_a_wrong_type_is_told_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, told) in [
        ("wrong-flags", "column `date` (date) with text, dates or timestamps, got BOOLEAN"),
        ("wrong-numbers", "column `complaints` (complaints) with text, got DOUBLE"),
        ("wrong-structs", "column `patient` (patient) with text or whole numbers, got a group"),
    ] {
        let run = noso(folder.path(), &["build", "--table", &fixture(name), "--output", "data"]);
        assert!(run.code == Some(1) && run.stderr.contains(told), "{}", run.stderr);
        assert!(!folder.path().join("data").exists());
    }
}
