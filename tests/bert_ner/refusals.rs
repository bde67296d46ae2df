//! What cannot be used says why.

use std::{fs, path::Path};

use noso::{
    Error,
    config::NerConfig,
    data::Document,
    ner::{Ner, bert::BertNer},
    nn::fit::ModelFolder,
    train::ner::{Kind, NerSettings, Training},
};

use super::{
    made::{NOTES, annotated, encoder},
    notes, settings,
};

fn refused(folder: &Path, config: &NerConfig) -> Error {
    BertNer::load(folder.to_str().unwrap(), config).err().expect("a refusal")
}

#[test]
fn folders_that_hold_no_recogniser() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(refused(&folder.path().join("none"), &NerConfig::default()), Error::EncoderLoad { .. }));
    encoder(24).save(folder.path()).unwrap();
    let told = refused(folder.path(), &NerConfig::default());
    assert!(told.to_string().contains("classifier.weight") && told.hint().is_some(), "{told}");

    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen('{', "{\"binder\": {\"types\": []},", 1)).unwrap();
    let told = refused(folder.path(), &NerConfig::default()).to_string();
    assert!(told.contains("binder"), "{told}");
}

#[test]
fn labels_and_types_that_do_not_fit() {
    let folder = super::trained(Kind::Tagger);
    let config = NerConfig { types: vec!["CHEM".into()], ..NerConfig::default() };
    let told = refused(folder.path(), &config).to_string();
    assert!(told.contains("diagnosis") && told.contains("CHEM"), "{told}");

    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, says) in [
        ("\"0\": \"O\"", "\"0\": \"LABEL_0\"", "LABEL_0"),
        ("\"0\": \"O\"", "\"7\": \"O\"", "number 0"),
        ("\"2\": \"I-diagnosis\"", "\"2\": \"I-diagnosis\", \"3\": \"B-x\"", "classifier.weight"),
        ("id2label", "id2lable", "id2label"),
    ] {
        assert!(text.contains(from));
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        let told = refused(folder.path(), &NerConfig::default()).to_string();
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn corpora_that_teach_nothing() {
    let told = |corpus: &[_], settings: &NerSettings| {
        Training::new(encoder(24), corpus, &[], settings).err().expect("a refusal").to_string()
    };
    let mut bare = notes();
    bare.iter_mut().for_each(|note| note.entities.clear());
    assert!(told(&bare, &settings(Kind::Tagger)).contains("6 documents, without a mention"));
    assert!(told(&[], &settings(Kind::Binder)).contains("0 documents"));
    assert!(told(&[annotated(0, "[ ]")], &settings(Kind::Tagger)).contains("without a mention"));
    let narrow = NerSettings { max_tokens: 4, ..settings(Kind::Tagger) };
    assert!(told(&[annotated(0, NOTES[0])], &narrow).contains("max_tokens"));
    let mut wild = settings(Kind::Tagger);
    wild.fit.learning_rate = -1.0;
    let folder = tempfile::tempdir().unwrap();
    let claimed = ModelFolder::claim(folder.path(), false).unwrap();
    let told = Training::new(encoder(24), &notes(), &[], &wild).unwrap().run(&claimed, &mut ()).unwrap_err();
    assert!(told.to_string().contains("learning_rate"), "{told}");
}

#[test]
fn weights_that_are_no_numbers_fail_documents_rather_than_tag_them() {
    for kind in [Kind::Tagger, Kind::Binder] {
        let folder = super::trained(kind);
        let file = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].fill(0xff);
        fs::write(&file, bytes).unwrap();
        let document = Document { id: "1".into(), text: "Грипп".into() };
        let outcome = super::load(&folder, &NerConfig::default()).recognise(&[document]).remove(0);
        assert!(matches!(outcome, Err(Error::NotFinite { .. })), "{outcome:?}");
    }
}
