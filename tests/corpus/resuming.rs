//! Outputs cut off at any byte are continued with nothing lost or doubled.

use std::{fs, path::Path};

use noso::{
    corpus::{OutputFormat, WriteOptions, create},
    data::{Coded, Document},
};

use super::{coded, coding, document, options};

fn corpus() -> Vec<(Document, Coded)> {
    ["Ринит", "Отит, \"справа\"\nи слева", "", "Ринит, отит", "Здоров"]
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let words: Vec<&str> =
                ["Ринит", "Отит, \"справа\"\n", "отит"].into_iter().filter(|it| text.contains(it)).collect();
            let codings: Vec<_> = words.into_iter().map(|words| coding(text, words, Some("J30.0"))).collect();
            (document(&format!("{}", 3 * index + 8), text), coded(codings))
        })
        .collect()
}

/// Writes what is not done, up to `limit` documents; tells how many were written. Stops like a killed process unless
/// `finish`.
fn run(path: &Path, format: OutputFormat, resume: bool, limit: usize, finish: bool) -> usize {
    let mut writer = create(Some(path), WriteOptions { resume, ..options(format) }).unwrap();
    let corpus = corpus();
    let todo: Vec<_> = corpus.iter().filter(|(document, _)| !writer.is_done(&document.id)).take(limit).collect();
    for (document, coded) in &todo {
        writer.write(document, coded).unwrap();
    }
    if finish {
        writer.finish().unwrap();
    }
    todo.len()
}

fn cut_anywhere(format: OutputFormat, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, partial) = (folder.path().join(name), folder.path().join(format!("{name}.partial")));
    run(&path, format, false, usize::MAX, true);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&partial, &whole[..cut]).unwrap();
        run(&path, format, true, usize::MAX, true);
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at byte {cut}");
        assert!(!partial.exists());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn json_lines_cut_at_any_byte_are_continued() {
    cut_anywhere(OutputFormat::Jsonl, "a.jsonl");
}

#[test]
fn tables_cut_at_any_byte_are_continued() {
    cut_anywhere(OutputFormat::Csv, "a.csv");
}

#[test]
fn what_is_done_is_not_done_again() {
    for (format, name) in [(OutputFormat::Jsonl, "a.jsonl"), (OutputFormat::Csv, "a.csv"), (OutputFormat::Brat, "a")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        assert_eq!(run(&path, format, false, 3, false), 3);
        assert!(format == OutputFormat::Brat || !path.exists(), "an unfinished output has not its name");
        assert_eq!(run(&path, format, true, 1, false), 1);
        assert_eq!(run(&path, format, true, usize::MAX, true), 1);
        assert_eq!(run(&path, format, true, usize::MAX, true), 0, "a finished output can be continued");
    }
}

#[test]
fn a_brat_document_without_its_annotation_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), OutputFormat::Brat, false, usize::MAX, true);
    fs::remove_file(folder.path().join("11.ann")).unwrap();
    fs::write(folder.path().join("11.txt"), "half").unwrap();
    fs::write(folder.path().join("11.ann.partial"), "half").unwrap();
    assert_eq!(run(folder.path(), OutputFormat::Brat, true, usize::MAX, true), 1);
    assert_eq!(fs::read_to_string(folder.path().join("11.txt")).unwrap(), corpus()[1].0.text);
    assert!(!folder.path().join("11.ann.partial").exists());
}

#[test]
fn a_new_run_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    run(&path, OutputFormat::Jsonl, false, 2, false);
    run(&path, OutputFormat::Jsonl, false, usize::MAX, true);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5);
}

#[test]
fn a_table_cannot_be_continued_nor_columns_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let resume = |format| WriteOptions { resume: true, ..options(format) };
    assert!(create(Some(&path), resume(OutputFormat::Table)).is_err());
    run(&path, OutputFormat::Csv, false, 2, false);
    assert!(create(Some(&path), WriteOptions { explain: true, ..resume(OutputFormat::Csv) }).is_err());
}

#[test]
fn what_no_run_wrote_is_not_cut() {
    for (format, name, text) in [
        (OutputFormat::Jsonl, "notes.jsonl", "мои заметки\n"),
        (OutputFormat::Jsonl, "notes.jsonl", "мои заметки"),
        (OutputFormat::Csv, "notes.csv", "мои заметки\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let refused = create(Some(&path), WriteOptions { resume: true, ..options(format) });
        let told = refused.err().unwrap().to_string();
        assert!(told.contains("no output of such a run"), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}

#[test]
fn two_runs_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut first = create(Some(&path), options(OutputFormat::Jsonl)).unwrap();
    let (document, coded) = corpus().remove(0);
    first.write(&document, &coded).unwrap();
    for resume in [false, true] {
        let second = create(Some(&path), WriteOptions { resume, ..options(OutputFormat::Jsonl) });
        assert!(second.err().unwrap().to_string().contains("another run"));
    }
    first.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}
