//! Annotated brat folders: the public ones, and one with every fault.

use std::{fs, path::PathBuf};

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

#[test]
fn every_fault_is_put_right_or_reported() {
    let folder = tempfile::tempdir().unwrap();
    let text = "Ринит. Отит  слева.\r\nАнгина, ангина.\nГастрит 😀 хр. Гастрит";
    let annotation = "T1\ticd_code 0 5\tРинит\nN1\tReference T1 ICD_codes:5\tJ31.0\n\n\
        T2\ticd_code 7 18\tОтит слева\nN2\tReference T2 ICD_codes:5\tН66\nN3\tReference T2 ICD_codes:5\tH66.9 \n\
        T3\ticd_code 20 26\t\nАнгина,\nN4\tReference T3 ICD_codes:5\tнет кода\n\
        T3\ticd_code 37 44\tГастрит\n\
        T4\ticd_code 900 907\tхр. Гастрит\nN5\tReference T4 ICD_codes:5\tK29\n\
        T5\ticd_code 0 5;7 11\tРинит Отит\nN6\tReference T5 ICD_codes:5\tJ31\n\
        T6\ticd_code 10 10\tангена.\nN7\tReference T6 ICD_codes:5\tJ03\n\
        T7\ticd_code 1 4\tколит язвенный\nN8\tReference T7 ICD_codes:5\tK51\n\
        T8\ticd_code 0 5\tРинит\nN9\tReference T8 ICD_codes:5\tJ31.0\n\
        T9\tsymptom 0 5\tРинит\nN10\tReference T77 ICD_codes:5\tJ31.0\nR1\tsame Arg1:T1 Arg2:T8\nчто это\n";
    fs::write(folder.path().join("1.txt"), text).unwrap();
    fs::write(folder.path().join("1.ann"), annotation).unwrap();
    fs::write(folder.path().join("2.ann"), "").unwrap();
    fs::write(folder.path().join("3.txt"), "").unwrap();
    fs::write(folder.path().join("4.txt"), b"\xCF\xF0").unwrap();
    fs::write(folder.path().join("4.ann"), "").unwrap();
    let (documents, report) = brat::load(folder.path()).unwrap();
    let [AnnotatedDocument { document, entities }] = &documents[..] else { panic!("{report}") };
    assert_eq!(document.text, text);
    let found: Vec<_> = entities
        .iter()
        .map(|entity| (entity.span.slice(text), entity.code.as_ref().map_or("", |code| code.as_str())))
        .collect();
    let expected = [
        ("Ринит", "J31.0"),
        ("Отит  слева", "H66.9"),
        ("\nАнгина,", ""),
        ("Гастрит", ""),
        ("хр. Гастрит", "K29"),
        ("Ринит. Отит", "J31"),
        ("ангина.", "J03"),
    ];
    assert_eq!(found, expected, "{report}");
    let counts: Vec<_> = report.occurred().collect();
    let wanted = [
        (Fault::InvalidUtf8, 1),
        (Fault::BlankLine, 1),
        (Fault::MissingText, 1),
        (Fault::MissingAnnotation, 1),
        (Fault::MalformedLine, 1),
        (Fault::ContinuedQuote, 1),
        (Fault::OtherAnnotation, 1),
        (Fault::OtherType, 1),
        (Fault::DuplicateEntityId, 1),
        (Fault::OffsetsPastEnd, 1),
        (Fault::EmptySpan, 1),
        (Fault::Discontinuous, 1),
        (Fault::ShiftedSpan, 2),
        (Fault::BlanksDiffer, 1),
        (Fault::EditedQuote, 1),
        (Fault::Unplaceable, 1),
        (Fault::NestedSpan, 1),
        (Fault::OverlappingSpan, 1),
        (Fault::DuplicateEntity, 1),
        (Fault::NoCode, 1),
        (Fault::SeveralCodes, 1),
        (Fault::MisspeltCode, 2),
        (Fault::BrokenCode, 1),
        (Fault::NoteWithoutEntity, 1),
    ];
    assert_eq!(counts, wanted, "{report}");
}
