//! Corpora in and out.

mod brat_folders;
mod examined;
mod reading;
mod resuming;
mod writing;

use std::{path::Path, sync::Arc};

use noso::{
    corpus::{Documents, Entry, InputFormat, OutputFormat, ReadOptions, Source, WriteOptions},
    data::{Candidate, Coded, Coding, DecidedBy, Document, Match, Mention, Origin, Span, Support},
};

fn document(id: &str, text: &str) -> Document {
    Document { id: id.into(), text: text.into() }
}

/// A coding of the first place where `words` stand.
fn coding(text: &str, words: &str, code: Option<&str>) -> Coding {
    let start = text.find(words).expect("the words stand in the text");
    at(text, start, start + words.len(), code)
}

fn at(text: &str, start_byte: usize, end_byte: usize, code: Option<&str>) -> Coding {
    let span = Span::new(text, start_byte, end_byte).unwrap();
    let support = Support { similarity: 0.75, origin: Origin::Title, count: 3, exact: false };
    let candidate = |code: &str, title: &str| Candidate {
        code: code.parse().unwrap(),
        title: title.into(),
        text: title.into(),
        score: 0.623_456,
        support: vec![support],
    };
    Coding {
        span: Some(span),
        mention: Mention { span, text: span.slice(text).into(), matched: Match::Exact, probability: 0.9 },
        code: code.map(|code| code.parse().unwrap()),
        confidence: 0.812_345,
        group_confidence: 0.9,
        candidates: vec![candidate("J30.0", "Вазомоторный ринит"), candidate("H66.9", "")],
        decided_by: if code.is_some() { DecidedBy::Nearest } else { DecidedBy::Abstained },
    }
}

fn coded(codings: impl Into<Vec<Coding>>) -> Coded {
    Coded { codings: codings.into(), ..Coded::default() }
}

fn options(format: OutputFormat) -> WriteOptions {
    let lookup = |code: &noso::icd::IcdCode| {
        (code.as_str() == "H66.9")
            .then(|| Entry { row: 41, title: "Средний отит, \"неуточнённый\"".into() })
    };
    WriteOptions { format, explain: false, resume: false, lookup: Arc::new(lookup) }
}

fn read(path: &Path, format: InputFormat) -> Documents {
    Documents::open(Source::Path(path.into()), &ReadOptions { format, ..ReadOptions::default() }).unwrap()
}
