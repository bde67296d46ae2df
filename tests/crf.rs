//! The CRF recogniser, from annotated documents to mentions.

use noso::{
    Error,
    data::{AnnotatedDocument, Document, Entity, Span},
    ner::{Ner, crf::CrfNer},
    train::crf::{BoostSettings, CrfSettings, train},
};

const DISEASES: [&str; 8] = ["отит", "гастрит", "ринит", "тонзиллит", "бронхит", "цистит", "артрит", "дерматит"];
const KINDS: [&str; 4] = ["Острый", "Хронический", "Аллергический", "Рецидивирующий"];
const TAILS: [&str; 4] = [", ремиссия. ", ". ", " слева?\n", ", обострение; "];

/// Invented notes in which a kind and a disease are the mention, and what follows is not.
fn notes(count: usize) -> Vec<AnnotatedDocument> {
    (0..count)
        .map(|number| {
            let (mut text, mut places) = (String::from(["", "Диагноз: ", "Осмотр. "][number % 3]), Vec::new());
            for part in 0..1 + number % 3 {
                let start = text.len();
                text.push_str(KINDS[(number + part) % KINDS.len()]);
                text.push(' ');
                text.push_str(DISEASES[(number / 3 + 5 * part) % DISEASES.len()]);
                places.push((start, text.len()));
                text.push_str(TAILS[(number + 2 * part) % TAILS.len()]);
            }
            let entity =
                |(start, end)| Entity { span: Span::new(&text, start, end).unwrap(), code: "J00".parse().ok() };
            let entities = places.into_iter().map(entity).collect();
            AnnotatedDocument { document: Document { id: number.to_string(), text }, entities }
        })
        .collect()
}

fn settings() -> CrfSettings {
    let boost = BoostSettings { trees: 10, least_rows: 5, ..BoostSettings::default() };
    CrfSettings { l2: 0.5, iterations: 30, folds: 2, boost, ..CrfSettings::default() }
}

fn recogniser() -> CrfNer {
    CrfNer::from_bytes("(test)", &train(&notes(60), &settings()).unwrap()).unwrap()
}

fn found(ner: &CrfNer, text: &str) -> Vec<String> {
    let document = Document { id: "1".into(), text: text.into() };
    let mentions = ner.recognise(&[document]).remove(0).unwrap().mentions;
    let mut last_end = 0;
    for mention in &mentions {
        assert_eq!(mention.span.slice(text), mention.text);
        assert!(!mention.text.is_empty() && mention.span.start_byte() >= last_end);
        assert!((0.0..=1.0).contains(&mention.probability));
        last_end = mention.span.end_byte();
    }
    mentions.into_iter().map(|mention| mention.text).collect()
}

#[test]
fn finds_what_it_was_taught_also_in_new_company() {
    let ner = recogniser();
    let expected = ["Хронический бронхит", "Острый дерматит"];
    assert_eq!(found(&ner, "Осмотр. Хронический бронхит, обострение; Острый дерматит слева?\n"), expected);
    assert_eq!(found(&ner, "Осмотр. Хронический бронхит, обострение;\r\nОстрый дерматит слева?\r\n"), expected);
    assert_eq!(found(&ner, "Осмотр. "), Vec::<String>::new());
}

#[test]
fn training_again_gives_the_same_bytes() {
    let (notes, settings) = (notes(40), settings());
    assert!(train(&notes, &settings).unwrap() == train(&notes, &settings).unwrap());
}

#[test]
fn odd_texts_are_no_error() {
    let ner = recogniser();
    let odd =
        ["", " ", "\n\n", "\0\0", "\r", "🫀🦴", "и\u{306}\u{301}", ".", "((((((", "Oтит oстрый", "a\u{202e}b", "Ⅳ ½"];
    for text in odd {
        found(&ner, text);
        found(&ner, &format!("{text}Острый отит{text}. Хронический ринит{text}"));
    }
}

#[test]
fn long_texts_are_labelled_from_end_to_end() {
    let ner = recogniser();
    let note = "Осмотр. Хронический бронхит, обострение; Острый дерматит слева?\n";
    assert_eq!(found(&ner, &note.repeat(3_000)).len(), 6_000);
    found(&ner, &"(".repeat(300_000));
    found(&ner, &"я".repeat(1_000_000));
}

#[test]
fn damaged_models_and_poor_corpora_are_told_apart() {
    let bytes = train(&notes(20), &settings()).unwrap();
    for at in (0..bytes.len()).step_by(101) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        assert!(matches!(CrfNer::from_bytes("m", &damaged), Err(Error::Artifact { .. })), "byte {at}");
    }
    let mut bare = notes(10);
    bare.iter_mut().for_each(|note| note.entities.clear());
    assert!(matches!(train(&bare, &settings()), Err(Error::Training { .. })));
    assert!(matches!(train(&[], &settings()), Err(Error::Training { .. })));
    let wrong = CrfSettings { folds: 1, ..settings() };
    assert!(matches!(train(&notes(10), &wrong), Err(Error::Setting { .. })));
}

/// Entities without a code are not to be found: nothing after this stage could use them.
#[test]
fn uncoded_entities_teach_nothing() {
    let mut mixed = notes(60);
    for note in &mut mixed {
        let text = &note.document.text;
        note.entities.retain(|entity| !entity.span.slice(text).ends_with("отит"));
    }
    let (with_none, mut uncoded) = (train(&mixed, &settings()).unwrap(), notes(60));
    for note in &mut uncoded {
        let text = note.document.text.clone();
        for entity in &mut note.entities {
            if entity.span.slice(&text).ends_with("отит") {
                entity.code = None;
            }
        }
    }
    assert!(with_none == train(&uncoded, &settings()).unwrap());
}
