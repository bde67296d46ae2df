//! Runs that are killed at some moment, again and again, and go on.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{file, noso, notes};

/// Reads all files of a folder but timings, and manifests as far as they hold no name of the folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("timings.json") => {}
                false => drop(files.insert(path.display().to_string(), fs::read(&path).unwrap())),
            }
        }
    }
    let prefix = folder.display().to_string();
    files.into_iter().map(|(name, bytes)| (name.replacen(&prefix, "", 1), bytes)).collect()
}

#[test]
fn ten_kills_change_no_byte_of_the_result() {
    let folder = tempfile::tempdir().unwrap();
    notes(&folder.path().join("notes"), 20);
    // The shipped model where there is one, else the shipped engine.
    let pipeline = if cfg!(feature = "llm") { "llm" } else { "default" };
    let text = format!("pipeline = '{pipeline}'\n[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidates' = [5, 15]\n");
    file(folder.path(), "grid.toml", &text);
    let started = Instant::now();
    noso(folder.path(), &["run", "grid.toml", "--output", "whole", "--cache", "first"]).assert().success();
    let whole = started.elapsed();
    for kill in 1..=10u32 {
        let mut run = Command::new(assert_cmd::cargo::cargo_bin("noso"))
            .current_dir(folder.path())
            .env("NOSO_HOME", folder.path().join("home"))
            .args(["experiment", "run", "grid.toml", "--output", "killed", "--cache", "second"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the run, not in order.
        thread::sleep(whole.mul_f64(f64::from(kill * 7 % 11) / 20.0).min(Duration::from_secs(10)));
        run.kill().unwrap();
        run.wait().unwrap();
    }
    noso(folder.path(), &["run", "grid.toml", "--output", "killed", "--cache", "second"]).assert().success();
    let [whole, killed] = ["whole", "killed"].map(|name| contents(&folder.path().join(name)));
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    for (name, bytes) in whole {
        assert!(bytes == killed[&name], "{name} differs");
    }
}
