//! Writers: what a reader of their output sees.

use std::{fs, path::Path};

use noso::corpus::{OutputFormat, WriteOptions, brat, create};
use proptest::prelude::*;

use super::{at, coded, coding, document, options};

const TEXT: &str = "😀 Ринит\nвазомоторный, e\u{301}. Отит";

fn write_one(path: &Path, options: WriteOptions) -> String {
    let mut writer = create(Some(path), options).unwrap();
    let codings = [coding(TEXT, "Ринит\nвазомоторный", Some("J30.0")), coding(TEXT, "Отит", None)];
    writer.write(&document("a/7", TEXT), &coded(codings)).unwrap();
    writer.write(&document("8", " "), &coded([])).unwrap();
    writer.finish().unwrap();
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn json_lines_hold_offsets_in_characters_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out/a.jsonl");
    let written = write_one(&path, WriteOptions { explain: true, ..options(OutputFormat::Jsonl) });
    assert!(!folder.path().join("out/a.jsonl.partial").exists());
    let [first, second] = written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(first["id"], "a/7");
    assert_eq!(first["codes"], serde_json::json!(["J30.0"]));
    let mention = &first["mentions"][0];
    assert_eq!((&mention["start_char"], &mention["end_char"]), (&2.into(), &20.into()));
    let bytes = mention["start_byte"].as_u64().unwrap() as usize..mention["end_byte"].as_u64().unwrap() as usize;
    assert_eq!(&TEXT[bytes], "Ринит\nвазомоторный");
    assert_eq!((&mention["title"], &mention["confidence"]), (&"Вазомоторный ринит".into(), &0.8123.into()));
    let support = &mention["candidates"][1]["support"][0];
    assert_eq!((&support["origin"], &support["count"]), (&"title".into(), &3.into()));
    assert!(first["mentions"][1]["code"].is_null());
    assert_eq!(first["mentions"][1]["decided_by"], "abstained");
    assert_eq!(second, r#"{"id":"8","codes":[],"mentions":[]}"#);
}

#[test]
fn tables_have_a_row_a_mention() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    write_one(&path, options(OutputFormat::Csv));
    let rows: Vec<csv::StringRecord> = csv::Reader::from_path(&path).unwrap().records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        &rows[0].iter().take(7).collect::<Vec<_>>()[..],
        ["a/7", "2", "20", "5", "40", "Ринит\nвазомоторный", "J30.0"]
    );
    assert_eq!(rows[2].iter().filter(|field| !field.is_empty()).collect::<Vec<_>>(), ["8", "0", "0"]);
}

#[test]
fn the_table_shows_no_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.out");
    let written = write_one(&path, WriteOptions { explain: true, ..options(OutputFormat::Table) });
    for words in ["Ринит вазомоторный", "J30.0", "0.81", "title 0.75 ×3", "a/7"] {
        assert!(written.contains(words), "{words}\n{written}");
    }
    let text = "Ринит\u{1b}[2J";
    let mut writer = create(Some(&path), options(OutputFormat::Table)).unwrap();
    writer.write(&document("1", text), &coded([coding(text, text, Some("H66.9"))])).unwrap();
    writer.finish().unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(!written.contains('\u{1b}') && written.contains("Средний отит"), "{written}");
}

#[test]
fn brat_files_have_notes_with_rows_and_quotes_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = create(Some(folder.path()), options(OutputFormat::Brat)).unwrap();
    writer.write(&document("../7", TEXT), &coded([coding(TEXT, "Ринит\nвазомоторный", Some("H66.9"))])).unwrap();
    assert!(writer.write(&document("../7", "another"), &coded([])).is_err());
    let error = writer.write(&document(&"ж".repeat(200), ""), &coded([])).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
    writer.finish().unwrap();
    let annotation = fs::read_to_string(folder.path().join("%2E.%2F7.ann")).unwrap();
    assert_eq!(annotation, "T1\ticd_code 2 20\tРинит вазомоторный\nN1\tReference T1 ICD_codes:41\tH66.9\n");
    assert_eq!(fs::read_to_string(folder.path().join("%2E.%2F7.txt")).unwrap(), TEXT);
    let (documents, report) = brat::load(folder.path()).unwrap();
    assert_eq!((&*documents[0].document.id, report.occurred().count()), ("../7", 0));
}

#[test]
fn outputs_that_cannot_be_written_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for format in [OutputFormat::Jsonl, OutputFormat::Csv, OutputFormat::Table, OutputFormat::Brat] {
        let error = create(Some(&file.join("a.out")), options(format)).err().unwrap();
        assert!(error.to_string().starts_with("failed to write"), "{error}");
    }
    assert!(create(Some(folder.path()), options(OutputFormat::Jsonl)).is_err());
    assert!(create(None, options(OutputFormat::Brat)).is_err());
    fs::write(folder.path().join("1.ann"), "gold").unwrap();
    let error = create(Some(folder.path()), options(OutputFormat::Brat)).err().unwrap();
    assert!(error.hint().unwrap().contains("--resume"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_clear_error() {
    let mut writer = create(Some(Path::new("/dev/full")), options(OutputFormat::Jsonl)).unwrap();
    let error = writer.write(&document("1", TEXT), &coded([])).unwrap_err();
    assert!(error.hint().unwrap().contains("disk is full"), "{error}");
    assert!(Path::new("/dev/full").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_span_of_any_text_comes_back_from_brat(
        text in "(?s)([\r\n\t абв\u{feff}\u{85}\u{301}😀]|.){1,40}",
        cuts in proptest::collection::btree_set((0usize..40, 1usize..40), 0..6),
    ) {
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let spans: std::collections::BTreeSet<(usize, usize)> = cuts
            .into_iter()
            .map(|(start, length)| (start.min(boundaries.len() - 1), (start + length).min(boundaries.len() - 1)))
            .filter(|(start, end)| start < end)
            .map(|(start, end)| (boundaries[start], boundaries[end]))
            .filter(|&(start, end)| text[start..end].chars().any(char::is_alphanumeric))
            .collect();
        let codings: Vec<_> = spans.iter().map(|&(start, end)| at(&text, start, end, Some("J30.0"))).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut writer = create(Some(folder.path()), options(OutputFormat::Brat)).unwrap();
        writer.write(&document("1", &text), &coded(codings)).unwrap();
        writer.finish().unwrap();
        let (documents, _) = brat::load(folder.path()).unwrap();
        prop_assert_eq!(&documents[0].document.text, &text);
        let found: Vec<_> =
            documents[0].entities.iter().map(|it| (it.span.start_byte(), it.span.end_byte())).collect();
        prop_assert_eq!(found, spans.into_iter().collect::<Vec<_>>());
    }
}
