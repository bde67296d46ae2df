//! Experiments, as a user runs them: grids, killed runs, comparisons, and folders that were changed by hand.

mod grid;
mod killed;
mod looked_at;
#[cfg(feature = "llm")]
mod model;

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;

use crate::annotated::record;

/// Notes with words that the shipped pipeline knows, and some that are coded otherwise here.
const NOTES: [(&str, &[(&str, &str)]); 6] = [
    ("ИБС. Стенокардия напряжения 2 ФК", &[("ИБС", "I25.9"), ("Стенокардия напряжения", "I20.8")]),
    ("Хронический гастрит вне обострения", &[("Хронический гастрит", "K29.5")]),
    ("ОРВИ, ринофарингит; плоскостопие", &[("ОРВИ", "J06.9"), ("плоскостопие", "M21.4")]),
    ("Сахарный диабет 2 типа. Ожирение 1 ст", &[("Сахарный диабет 2 типа", "E11.9"), ("Ожирение", "E66.0")]),
    ("Остеохондроз поясничного отдела позвоночника", &[("Остеохондроз поясничного отдела позвоночника", "M42.1")]),
    ("Гипертоническая болезнь 2 стадии; миопия", &[("Гипертоническая болезнь 2 стадии", "I11.9"), ("миопия", "H52.1")]),
];

/// Writes so many notes, with ids from 1.
fn notes(folder: &Path, count: usize) {
    for (id, (text, marked)) in (1..=count).zip(NOTES.iter().cycle()) {
        record(folder, &id.to_string(), &format!("{text}. Запись {id}"), marked);
    }
}

/// Makes a command that keeps its cache in `folder`.
fn noso(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("noso").unwrap();
    command.current_dir(folder).env("NOSO_HOME", folder.join("home")).arg("experiment").args(arguments);
    command
}

fn file(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// Returns the folders of a run's cells, in the order of the grid.
fn cells(run: &Path) -> Vec<std::path::PathBuf> {
    let manifest: Value = serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    let listed = manifest["cells"].as_array().unwrap();
    listed.iter().map(|cell| run.join("cells").join(cell["folder"].as_str().unwrap())).collect()
}
