//! JSON lines: an object a document, with its distinct codes and its mentions.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    Lookup, WriteOptions, Writer, rounded,
    sink::{Done, Sink},
    title_of,
};
use crate::{
    corpus::{ids::IdSet, offsets::Offsets},
    data::{Candidate, Coded, Coding, DecidedBy, Document, Support, Trace},
    error::{Error, Result},
    icd::IcdCode,
};

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    codes: BTreeSet<&'a IcdCode>,
    mentions: Vec<Mention<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a Trace>,
}

#[derive(Serialize)]
struct Mention<'a> {
    /// Place that is reported; none where the chosen entry's words do not stand in the document.
    start_char: Option<usize>,
    end_char: Option<usize>,
    start_byte: Option<usize>,
    end_byte: Option<usize>,
    text: &'a str,
    code: Option<&'a IcdCode>,
    title: Cow<'a, str>,
    confidence: f64,
    group_confidence: f64,
    decided_by: DecidedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<CandidateLine<'a>>>,
}

#[derive(Serialize)]
struct CandidateLine<'a> {
    code: &'a IcdCode,
    title: &'a str,
    score: f64,
    support: &'a [Support],
}

/// Writes JSON lines.
pub(super) struct Jsonl {
    sink: Sink,
    done: IdSet,
    explain: bool,
    lookup: Lookup,
    buffer: Vec<u8>,
}

impl Jsonl {
    pub(super) fn open(path: Option<&Path>, options: WriteOptions) -> Result<Self> {
        let (sink, done) = Sink::open(path, options.resume.then_some(scan))?;
        Ok(Self { sink, done: done.ids, explain: options.explain, lookup: options.lookup, buffer: Vec::new() })
    }
}

impl Writer for Jsonl {
    fn is_done(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    fn write(&mut self, document: &Document, coded: &Coded) -> Result<()> {
        let offsets = Offsets::new(&document.text);
        let line = Line {
            id: &document.id,
            codes: coded.codings.iter().filter_map(|coding| coding.code.as_ref()).collect(),
            trace: Some(&coded.trace).filter(|trace| self.explain && !trace.is_empty()),
            mentions: coded
                .codings
                .iter()
                .map(|coding| mention(coding, &offsets, self.explain, &self.lookup))
                .collect(),
        };
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &line).map_err(|e| Error::write(&document.id, e.into()))?;
        self.buffer.push(b'\n');
        self.sink.append(&self.buffer)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.sink.finish()
    }
}

fn mention<'a>(coding: &'a Coding, offsets: &Offsets<'a>, explain: bool, lookup: &Lookup) -> Mention<'a> {
    let (start_byte, end_byte) = (coding.span.map(|span| span.start_byte()), coding.span.map(|span| span.end_byte()));
    Mention {
        start_char: start_byte.map(|byte| offsets.char(byte)),
        end_char: end_byte.map(|byte| offsets.char(byte)),
        start_byte,
        end_byte,
        text: coding.mention.span.slice(offsets.text()),
        code: coding.code.as_ref(),
        title: title_of(coding, lookup),
        confidence: rounded(coding.confidence),
        group_confidence: rounded(coding.group_confidence),
        decided_by: coding.decided_by,
        candidates: explain.then(|| coding.candidates.iter().map(candidate).collect()),
    }
}

fn candidate(candidate: &Candidate) -> CandidateLine<'_> {
    CandidateLine {
        code: &candidate.code,
        title: &candidate.title,
        score: rounded(candidate.score),
        support: &candidate.support,
    }
}

/// Reads an interrupted output up to its first line that is not whole.
fn scan(mut file: BufReader<File>) -> io::Result<Done> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let mut done = Done::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        let whole = line.ends_with(b"\n").then(|| serde_json::from_slice::<Id>(&line).ok()).flatten();
        let Some(Id { id }) = whole else { return Ok(done) };
        done.ids.insert(&id);
        done.length += line.len() as u64;
    }
}
