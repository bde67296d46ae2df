//! Indexes: what is saved is found again, and damage, foreign encoders and other versions are told apart.

mod commands;
#[cfg(feature = "neural")]
mod encoders;
mod factories;

use std::path::Path;

use noso::{
    data::Origin,
    embed::{
        Embed,
        ngram::{NgramEncoder, NgramSettings},
    },
    error::Error,
    index::{Index, IndexSettings, SourceRow},
    text,
};

const TEXTS: [(&str, &str); 6] = [
    ("Острый бронхит", "J20"),
    ("Хронический бронхит", "J42"),
    ("Хронический гастрит", "K29.5"),
    ("Сахарный диабет 2 типа", "E11"),
    ("Гипертоническая болезнь", "I11.9"),
    ("Мигрень без ауры", "G43.0"),
];

fn rows() -> Vec<SourceRow> {
    let row = |&(text, code): &(&str, &str)| SourceRow {
        text: text.into(),
        code: code.parse().unwrap(),
        origin: Origin::Mention { annotator: 1 },
    };
    TEXTS.iter().map(row).collect()
}

fn encoder() -> NgramEncoder {
    NgramEncoder::train(TEXTS.iter().map(|(text, _)| *text), NgramSettings::default()).unwrap()
}

fn build(factory: &str) -> Index {
    Index::build(&rows(), &encoder(), IndexSettings { factory: factory.into(), ..Default::default() }).unwrap()
}

fn nearest(index: &Index, query: &str) -> String {
    let hits = index.search(&encoder().embed(&[query]).unwrap(), 3).unwrap();
    index.entries()[hits[0][0].entry].rows[0].code.to_string()
}

#[test]
fn a_saved_index_finds_what_it_found_before() {
    let folder = tempfile::tempdir().unwrap();
    for factory in ["Flat", "SQ8", "HNSW16,SQ8"] {
        let index = build(factory);
        index.save(folder.path()).unwrap();
        let again = Index::load(folder.path()).unwrap();
        for (query, code) in [("бронхит острый", "J20"), ("диабет", "E11"), ("хр. гастрит", "K29.5")]
        {
            assert_eq!(nearest(&index, query), code, "{factory}");
            assert_eq!(nearest(&again, query), code, "{factory}");
        }
        let exact = again.exact(text::normal_hash("МИГРЕНЬ без ауры.")).unwrap();
        assert_eq!(again.entries()[exact].rows[0].code.as_str(), "G43.0");
    }
}

#[test]
fn equal_inputs_give_equal_files() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build("HNSW16,SQ8").save(one.path()).unwrap();
    build("HNSW16,SQ8").save(two.path()).unwrap();
    for file in ["manifest.toml", "vectors.faiss", "rows.bin"] {
        assert!(
            std::fs::read(one.path().join(file)).unwrap() == std::fs::read(two.path().join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn asking_for_more_than_there_is_gives_all() {
    let index = build("SQ8");
    let queries = encoder().embed(&["бронхит", "диабет"]).unwrap();
    let hits = index.search(&queries, 100).unwrap();
    assert_eq!(hits.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
    assert!(index.search(&queries[1..], 1).is_err(), "a torn query must be refused");
    assert!(index.search(&[], 5).unwrap().is_empty());
}

#[test]
fn another_encoder_is_refused() {
    let settings = NgramSettings { longest: 3, ..Default::default() };
    let other = NgramEncoder::train(["грипп"], settings).unwrap();
    let error = build("SQ8").check_encoder(&other).unwrap_err();
    assert!(matches!(error, Error::Encoder { .. }), "{error}");
    assert!(error.to_string().contains(other.fingerprint()));
}

#[test]
fn an_impossible_factory_or_no_text_is_an_error() {
    let settings = IndexSettings { factory: "Nonsense7".into(), ..Default::default() };
    assert!(matches!(Index::build(&rows(), &encoder(), settings), Err(Error::Setting { .. })));
    assert!(Index::build(&[], &encoder(), IndexSettings::default()).is_err());
}

/// Changes a file of a saved index and tells what loading then says.
fn damaged(change: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    build("HNSW16,SQ8").save(folder.path()).unwrap();
    change(folder.path());
    Index::load(folder.path()).err().expect("damage must be noticed").to_string()
}

#[test]
fn damage_is_named() {
    let flip = |file: &'static str| {
        move |folder: &Path| {
            let path = folder.join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    };
    assert!(damaged(flip("vectors.faiss")).contains("checksum of vectors.faiss"));
    assert!(damaged(flip("rows.bin")).contains("checksum of rows.bin"));
    assert!(damaged(|folder| std::fs::remove_file(folder.join("rows.bin")).unwrap()).contains("rows.bin"));
    let other_version = damaged(|folder| {
        let path = folder.join("manifest.toml");
        let manifest = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, manifest.replace("format = 2", "format = 99")).unwrap();
    });
    assert!(other_version.contains("layout version 99"), "{other_version}");
    assert!(damaged(|folder| std::fs::write(folder.join("manifest.toml"), "\0").unwrap()).contains("manifest.toml"));
    let none = damaged(|folder| std::fs::remove_file(folder.join("manifest.toml")).unwrap());
    assert!(none.contains("holds no manifest.toml: it is no index"), "{none}");
}
