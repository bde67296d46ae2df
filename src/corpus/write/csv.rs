//! CSV: a row a mention; a document without mentions has one row with its id alone.
//!
//! The last two columns number a document's mentions and count them, so a document that was cut off shows.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use csv::{ByteRecord, ReaderBuilder, WriterBuilder};

use super::{
    Lookup, WriteOptions, Writer, name_of, rounded, setting,
    sink::{Done, Sink},
    title_of,
};
use crate::{
    corpus::{ids::IdSet, offsets::Offsets},
    data::{Coded, Coding, Document, Span},
    error::{Error, Result},
};

const COLUMNS: [&str; 13] = [
    "id",
    "start_char",
    "end_char",
    "start_byte",
    "end_byte",
    "mention",
    "code",
    "title",
    "confidence",
    "group_confidence",
    "decided_by",
    "number",
    "of",
];
/// Further column with `explain`: candidates and their scores, best first. Stands before the last two.
const CANDIDATES: &str = "candidates";

/// Writes CSV.
pub(super) struct Csv {
    sink: Sink,
    done: IdSet,
    explain: bool,
    lookup: Lookup,
    buffer: Vec<u8>,
}

impl Csv {
    pub(super) fn open(path: Option<&Path>, options: WriteOptions) -> Result<Self> {
        let (mut sink, done) = Sink::open(path, options.resume.then_some(scan))?;
        let mut buffer = Vec::new();
        let mut header = COLUMNS.map(String::from).to_vec();
        if options.explain {
            header.insert(COLUMNS.len() - 2, CANDIDATES.into());
        }
        if done.columns.is_some_and(|columns| columns != header.len()) {
            return Err(setting("explain", "the same choice as in the run that is continued", "the other one"));
        }
        if sink.is_empty() {
            append_row(&mut buffer, &header)?;
            sink.append(&buffer)?;
        }
        Ok(Self { sink, done: done.ids, explain: options.explain, lookup: options.lookup, buffer })
    }

    fn row(&self, id: &str, offsets: &Offsets<'_>, coding: &Coding) -> Vec<String> {
        let place = |number: fn(&Span, &Offsets<'_>) -> usize| {
            coding.span.map_or_else(String::new, |span| number(&span, offsets).to_string())
        };
        let mut row = vec![
            id.to_owned(),
            place(|span, offsets| offsets.char(span.start_byte())),
            place(|span, offsets| offsets.char(span.end_byte())),
            place(|span, _| span.start_byte()),
            place(|span, _| span.end_byte()),
            coding.mention.span.slice(offsets.text()).to_owned(),
            coding.code.as_ref().map(ToString::to_string).unwrap_or_default(),
            title_of(coding, &self.lookup).to_string(),
            rounded(coding.confidence).to_string(),
            rounded(coding.group_confidence).to_string(),
            name_of(&coding.decided_by),
        ];
        if self.explain {
            let listed = coding.candidates.iter().map(|it| format!("{} {}", it.code, rounded(it.score)));
            row.push(listed.collect::<Vec<_>>().join("; "));
        }
        row
    }
}

impl Writer for Csv {
    fn is_done(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    fn write(&mut self, document: &Document, coded: &Coded) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let offsets = Offsets::new(&document.text);
        let codings = &coded.codings;
        for (index, coding) in codings.iter().enumerate() {
            let mut row = self.row(&document.id, &offsets, coding);
            row.extend([(index + 1).to_string(), codings.len().to_string()]);
            append_row(&mut buffer, &row)?;
        }
        if codings.is_empty() {
            let mut row = vec![String::new(); COLUMNS.len() + usize::from(self.explain)];
            row[0].clone_from(&document.id);
            for last in row.iter_mut().rev().take(2) {
                *last = "0".into();
            }
            append_row(&mut buffer, &row)?;
        }
        let written = self.sink.append(&buffer);
        self.buffer = buffer;
        written
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.sink.finish()
    }
}

fn append_row(buffer: &mut Vec<u8>, row: &[String]) -> Result<()> {
    let mut writer = WriterBuilder::new().from_writer(buffer);
    writer.write_record(row).and_then(|()| Ok(writer.flush()?)).map_err(|e| Error::write("CSV", e.into()))
}

/// Reads an interrupted output up to its first document that is not whole.
fn scan(mut file: BufReader<File>) -> io::Result<Done> {
    let mut done = Done::default();
    let length = file.get_ref().metadata()?.len();
    if length == 0 {
        return Ok(done);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    file.rewind()?;
    // A row counts if something follows it, or if its line feed ends the file: a number may be torn too.
    let is_whole = |end: u64| end < length || last == *b"\n";
    let mut reader = ReaderBuilder::new().from_reader(file);
    let Ok(width) = reader.byte_headers().map(ByteRecord::len) else { return Ok(done) };
    if width < COLUMNS.len() || !is_whole(reader.position().byte()) {
        return Ok(done);
    }
    (done.columns, done.length) = (Some(width), reader.position().byte());
    let mut row = ByteRecord::new();
    while let Ok(true) = reader.read_byte_record(&mut row) {
        let end = reader.position().byte();
        if !is_whole(end) {
            break;
        }
        if row[width - 2] == row[width - 1] {
            let Ok(id) = std::str::from_utf8(&row[0]) else { break };
            done.ids.insert(id);
            done.length = end;
        }
    }
    Ok(done)
}
