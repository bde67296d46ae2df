//! Readers: a source comes in, its documents leave one by one; memory does not grow with their number.
//!
//! Texts stay as they are in the file: `\r`, NUL bytes and combining marks too, so that offsets are those of the file. Only
//! what ends a record is not part of it: `\n` or `\r\n` after a line. A byte order mark stays where the whole file is one
//! document, and is left out before the first record of others.

mod csv;
mod jsonl;
mod lines;
mod texts;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    folder::is_not_utf8,
    format::InputFormat,
    ids::IdSet,
    report::{Fault, RepairReport},
};
use crate::{
    data::Document,
    error::{Error, Result},
};

const BUFFER_BYTES: usize = 1 << 18;
/// What messages call standard input.
const STDIN: &str = "(standard input)";

/// Where documents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Texts at hand, each a document; ids count from 1.
    Texts(Vec<String>),
    /// Standard input.
    Stdin,
    /// A file or folder.
    Path(PathBuf),
}

/// How to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Format; guessed by default.
    pub format: InputFormat,
    /// Column of a table that holds the text. Default `text`.
    pub text_column: String,
    /// Column of a table that holds the id. By default `id` where there is one, else records count from 1.
    pub id_column: Option<String>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { format: InputFormat::Auto, text_column: "text".into(), id_column: None }
    }
}

/// A document before its id is checked.
struct Record {
    /// Number in the source, from 1: of the line, or of the row of a table.
    number: u64,
    id: Option<String>,
    text: String,
}

/// A format's reader. After an error that ends the source it returns `None`.
trait Records: Send {
    /// Returns the next document, or why there is none in its place. Counts what it passes over or puts right.
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>>;
}

/// The documents of a source, in its order.
///
/// An item is an error if one document or record cannot be read; its message names file and line, the reader goes on with
/// the next. Only a source that breaks off ends with an error. Ids are unique: the second `7`, in record 12, is `7#12`.
pub struct Documents {
    records: Box<dyn Records>,
    seen: IdSet,
    report: RepairReport,
}

impl Documents {
    /// Opens a source.
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be opened, or is a folder without documents.
    /// - [`Error::Parse`] if a table lacks a column that `options` names; lists those it has.
    pub fn open(source: Source, options: &ReadOptions) -> Result<Self> {
        let records: Box<dyn Records> = match source {
            Source::Texts(texts) => Box::new(texts::Texts::new(texts)),
            Source::Stdin => {
                let mut input = BufReader::with_capacity(BUFFER_BYTES, io::stdin());
                let format = options.format.of_stream(input.fill_buf().map_err(|e| Error::read(STDIN, e))?);
                stream(Box::new(input), Path::new(STDIN), format, options)?
            }
            Source::Path(path) => match options.format.of_path(&path)? {
                format @ (InputFormat::Txt | InputFormat::Brat) => {
                    Box::new(texts::Folder::open(&path, format == InputFormat::Brat)?)
                }
                format => {
                    let file = File::open(&path).map_err(|e| Error::read(&path, e))?;
                    stream(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)), &path, format, options)?
                }
            },
        };
        Ok(Self { records, seen: IdSet::default(), report: RepairReport::default() })
    }

    /// Returns what was read, repaired and rejected so far.
    pub fn report(&self) -> &RepairReport {
        &self.report
    }
}

type Input = Box<dyn BufRead + Send>;

fn stream(input: Input, path: &Path, format: InputFormat, options: &ReadOptions) -> Result<Box<dyn Records>> {
    Ok(match format {
        InputFormat::Lines => Box::new(lines::DocumentLines::new(input, path)),
        InputFormat::Jsonl => Box::new(jsonl::Jsonl::new(input, path)),
        InputFormat::Csv => Box::new(csv::Csv::open(input, path, options)?),
        InputFormat::Txt | InputFormat::Brat => {
            return Err(Error::read(path, io::Error::new(io::ErrorKind::NotADirectory, "this format is a folder")));
        }
        InputFormat::Text | InputFormat::Auto => Box::new(texts::Whole::new(input, path)),
    })
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next_record(&mut self.report)? {
            Ok(record) => record,
            Err(error) => {
                self.report.add(match &error {
                    error if is_not_utf8(error) => Fault::InvalidUtf8,
                    Error::Parse { .. } => Fault::BrokenRecord,
                    Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Fault::MissingText,
                    _ => Fault::Unreadable,
                });
                return Some(Err(error));
            }
        };
        let number = record.number;
        let mut id = record.id.unwrap_or_else(|| number.to_string());
        if !self.seen.insert(&id) {
            self.report.add(Fault::DuplicateId);
            while !self.seen.insert(&id) {
                id = format!("{id}#{number}");
            }
        }
        if !record.text.contains(char::is_alphanumeric) {
            self.report.add(Fault::EmptyText);
        }
        if record.text.as_bytes().contains(&0) {
            self.report.add(Fault::NulByte);
        }
        self.report.documents += 1;
        Some(Ok(Document { id, text: record.text }))
    }
}
