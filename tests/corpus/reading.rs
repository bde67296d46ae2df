//! Readers: every format, and input of every bad kind.

use std::fs;

use noso::corpus::{Documents, Fault, InputFormat, ReadOptions, Source};
use proptest::prelude::*;

use super::read;

/// Reads a file of these bytes to the end: documents as (id, text), messages of the rejects, and the reader.
fn all(name: &str, bytes: &[u8], format: InputFormat) -> (Vec<(String, String)>, Vec<String>, Documents) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut documents = read(&path, format);
    let (mut found, mut rejected) = (Vec::new(), Vec::new());
    for document in documents.by_ref() {
        match document {
            Ok(document) => found.push((document.id, document.text)),
            Err(error) => rejected.push(error.to_string().replace(&folder.path().display().to_string(), "")),
        }
    }
    (found, rejected, documents)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, text)| (id.to_string(), text.to_string())).collect()
}

#[test]
fn arguments_are_documents() {
    let source = Source::Texts(vec!["Ринит".into(), "".into(), " \n".into()]);
    let documents: Vec<_> = Documents::open(source, &ReadOptions::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(documents.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(documents[2].text, " \n");
}

#[test]
fn a_text_stays_as_it_is() {
    let text = "\u{feff}Ринит\r\n\rОтит\0 e\u{301} 👩‍⚕️\n\n";
    let (found, rejected, documents) = all("note 7.txt", text.as_bytes(), InputFormat::Auto);
    assert_eq!((found, rejected.len()), (pairs(&[("note 7", text)]), 0));
    assert_eq!(documents.report().count(Fault::ByteOrderMark), 1);
    assert_eq!(documents.report().count(Fault::NulByte), 1);
    assert_eq!(all("a.txt", b"", InputFormat::Text).0, pairs(&[("a", "")]));
}

#[test]
fn lines_end_with_either_break_and_a_broken_one_is_left_out() {
    let bytes = b"\xEF\xBB\xBF\xD0\x90\r\n\n b\rc \n\xFFd\nlast";
    let (found, rejected, documents) = all("a.txt", bytes, InputFormat::Lines);
    assert_eq!(found, pairs(&[("1", "А"), ("2", ""), ("3", " b\rc "), ("5", "last")]));
    assert_eq!(rejected, ["failed to read /a.txt: line 4 is not UTF-8 (byte 0xFF at offset 14)"]);
    assert_eq!((documents.report().documents, documents.report().count(Fault::InvalidUtf8)), (4, 1));
}

#[test]
fn json_lines_survive_a_broken_one_among_thousands() {
    let mut file = String::from("\u{feff}");
    for number in 1..=5000 {
        match number {
            17 => file.push_str("{\"id\": 17, \"text\": \"тайна паци\n"),
            18 => file.push_str("\r\n"),
            19 => file.push_str("{\"id\": \"16\", \"text\": \"дважды\"}\n"),
            20 => file.push_str("{\"text\": 5, \"id\": 20}\n"),
            21 => file.push_str("{\"text\": \"без номера\\r\\n\\u0000\", \"more\": [1]}\r\n"),
            number => file.push_str(&format!("{{\"id\": {number}, \"text\": \"Ринит {number}\"}}\n")),
        }
    }
    let (found, rejected, documents) = all("a.jsonl", file.as_bytes(), InputFormat::Auto);
    assert_eq!(found.len(), 4997);
    assert_eq!(found[16], ("16#19".into(), "дважды".into()));
    assert_eq!(found[17], ("21".into(), "без номера\r\n\0".into()));
    assert_eq!(rejected.len(), 2);
    assert!(rejected[0].starts_with("failed to parse JSONL: /a.jsonl:17: expected an object"), "{}", rejected[0]);
    assert!(rejected[0].ends_with("a line that breaks off (byte 39)") && !rejected[0].contains("тайна"));
    let counts: Vec<_> = documents.report().occurred().collect();
    let wanted = [Fault::BrokenRecord, Fault::DuplicateId, Fault::ByteOrderMark, Fault::NulByte, Fault::BlankLine];
    assert_eq!(counts, [(wanted[0], 2), (wanted[1], 1), (wanted[2], 1), (wanted[3], 1), (wanted[4], 1)]);
}

#[test]
fn tables_with_any_separator_name_their_columns() {
    let comma = "id,Text\n7,\"Ринит,\r\n\"\"отит\"\"\"\n8\n,Ангина\n7,Гастрит\n";
    let (found, rejected, _) = all("a.csv", comma.as_bytes(), InputFormat::Auto);
    assert_eq!(found, pairs(&[("7", "Ринит,\r\n\"отит\""), ("3", "Ангина"), ("7#4", "Гастрит")]));
    assert_eq!(rejected, ["failed to parse CSV: /a.csv:4: expected 2 columns as in the header, got 1"]);
    let semicolon = "\u{feff}text;дата\r\nРинит, отит;1\r\n";
    assert_eq!(all("a.csv", semicolon.as_bytes(), InputFormat::Auto).0, pairs(&[("1", "Ринит, отит")]));
    let tab = b"text\tid\n\xFF\t1\n\"\"\t2\n";
    let (found, rejected, _) = all("a.tsv", tab, InputFormat::Auto);
    assert_eq!(found, pairs(&[("2", "")]));
    assert!(rejected[0].contains("line 2 is not UTF-8"), "{}", rejected[0]);
}

#[test]
fn a_missing_column_names_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, "номер;диагноз\n1;Ринит\n").unwrap();
    let open = |text: &str, id: Option<&str>| {
        let options = ReadOptions { text_column: text.into(), id_column: id.map(Into::into), ..ReadOptions::default() };
        Documents::open(Source::Path(path.clone()), &options)
    };
    let error = open("text", None).err().unwrap().to_string();
    assert!(error.ends_with("a.csv:1: expected a column `text`, got the columns `номер`, `диагноз`"), "{error}");
    assert!(open("диагноз", Some("id")).is_err());
    let document = open("диагноз", Some("номер")).unwrap().next().unwrap().unwrap();
    assert_eq!((&*document.id, &*document.text), ("1", "Ринит"));
}

#[test]
fn folders_are_read_in_order_and_a_broken_file_does_not_stop_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("10.txt", &b"ten"[..]), ("9.txt", b"nine"), ("2.txt", b"\xFF"), ("a%2Fb.txt", b"x"), ("read.me", b"no")]
    {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    fs::create_dir(folder.path().join("11.txt")).unwrap();
    let found = |format: InputFormat| -> Vec<_> {
        read(folder.path(), format).map(|it| it.map_or_else(|_| "-".into(), |it| it.id)).collect()
    };
    assert_eq!(found(InputFormat::Auto), ["-", "9", "10", "-", "a/b"]);
    fs::write(folder.path().join("12.ann"), "").unwrap();
    assert_eq!(found(InputFormat::Auto), ["-", "9", "10", "-", "-", "a/b"]);
    assert_eq!(found(InputFormat::Txt), ["-", "9", "10", "-", "a/b"]);
}

#[test]
fn what_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &str, format: InputFormat| {
        Documents::open(Source::Path(folder.path().join(path)), &ReadOptions { format, ..ReadOptions::default() })
    };
    let error = open("missing.jsonl", InputFormat::Auto).err().unwrap();
    assert!(error.hint().unwrap().contains("spelling"));
    assert!(open("", InputFormat::Auto).err().unwrap().to_string().contains("holds no .txt file"));
    fs::write(folder.path().join("empty.csv"), "").unwrap();
    assert!(open("empty.csv", InputFormat::Auto).err().unwrap().to_string().ends_with("got an empty file"));
    fs::write(folder.path().join("a.txt"), "").unwrap();
    assert!(open("a.txt", InputFormat::Brat).is_err());
}

#[test]
fn a_document_of_ten_megabytes_passes() {
    let text = "Жалоб нет. ".repeat(550_000);
    assert!(text.len() > 10_000_000);
    let line = serde_json::json!({ "id": "big", "text": text }).to_string();
    assert!(all("a.jsonl", line.as_bytes(), InputFormat::Auto).0 == pairs(&[("big", &text)]));
    assert!(all("a.txt", text.as_bytes(), InputFormat::Auto).0 == pairs(&[("a", &text)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_in_every_format(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [InputFormat::Text, InputFormat::Lines, InputFormat::Jsonl] {
            let (found, rejected, documents) = all("a", &bytes, format);
            prop_assert_eq!(documents.report().documents, found.len() as u64);
            prop_assert!(format != InputFormat::Text || found.len() + rejected.len() == 1);
        }
        let table = [&b"id,text\n"[..], &bytes].concat();
        all("a.csv", &table, InputFormat::Csv);
    }

    #[test]
    fn json_lines_and_tables_give_any_text_back(texts in proptest::collection::vec("(?s).{0,20}", 1..8)) {
        let lines: String = texts.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect();
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["text", "n"]).unwrap();
        texts.iter().for_each(|text| table.write_record([text, "1"]).unwrap());
        let table = table.into_inner().unwrap();
        for (name, bytes) in [("a.jsonl", lines.as_bytes()), ("a.csv", &table)] {
            let (found, rejected, _) = all(name, bytes, InputFormat::Auto);
            prop_assert!(rejected.is_empty());
            prop_assert_eq!(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), texts.clone());
        }
    }
}
