//! Corpora in and out.

use std::path::PathBuf;

use noso::{
    corpus::{Fault, Offsets, Outcome, brat},
    data::AnnotatedDocument,
};

/// The public corpora beside the checkout; a test that needs them does nothing without.
fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    path.exists().then_some(path)
}

/// Needs `../shared`.
#[test]
fn ruccod_training_folder_loads_completely() {
    let Some(folder) = shared("data/ruccod/train") else { return };
    let (documents, report) = brat::load(&folder).unwrap();
    assert_eq!(documents.len(), 3000);
    assert!((0..3000).all(|number| documents[number].document.id == number.to_string()));
    assert_eq!((report.entities, report.total(Outcome::Rejected)), (8763, 0), "{report}");
    assert_eq!(report.count(Fault::NoCode), 88);
    let spans = documents.iter().flat_map(|it| it.entities.iter().map(|entity| (&it.document.text, entity.span)));
    assert!(spans.into_iter().all(|(text, span)| !span.slice(text).trim().is_empty()));
}

/// Needs `../shared`. The gold of the paper authors' evaluator, found again by another tool, is what this reader finds.
#[test]
fn repaired_spans_agree_with_the_oracle() {
    let (Some(train), Some(gold), Some(predicted)) =
        (shared("data/ruccod/train"), shared("oracle/eval/ref"), shared("oracle/eval/pred"))
    else {
        return;
    };
    let gold = brat::read_raw(&gold).unwrap();
    let predicted = brat::read_raw(&predicted).unwrap();
    assert_eq!((gold.documents.len(), gold.report.entities), (500, 1400));
    assert_eq!((predicted.documents.len(), predicted.report.entities), (500, 1376));
    let mut found = 0;
    for AnnotatedDocument { document, entities } in brat::load(&train).unwrap().0 {
        let offsets = Offsets::new(&document.text);
        let character = |byte: usize| offsets.char(byte) as i64;
        let wanted = gold.documents.get(&document.id).map_or(&[][..], Vec::as_slice);
        let here = |start: i64, end: i64, code: &str| {
            entities.iter().any(|entity| {
                (character(entity.span.start_byte()), character(entity.span.end_byte())) == (start, end)
                    && entity.code.as_ref().is_some_and(|found| found.as_str() == code)
            })
        };
        found += wanted.iter().filter(|(start, end, code)| here(*start, *end, code)).count();
    }
    assert_eq!(found, 1399); // the other one ends at character -36
}
