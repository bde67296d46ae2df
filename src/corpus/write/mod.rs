//! Writers: codings come in, document by document; a table, JSON lines, CSV or a brat folder leaves.
//!
//! A file grows as `PATH.partial`, one complete document after another, and takes its name when the run is done. A run that
//! was killed is taken up from there: a torn last record is cut off, documents that are done are told by
//! [`Writer::is_done`]. A brat folder needs no such file: a document is done once its `.ann` stands there.

mod brat;
mod csv;
mod jsonl;
mod sink;
mod table;

use std::{borrow::Cow, path::Path, sync::Arc};

#[cfg(feature = "neural")]
pub(crate) use self::sink::{Done, Sink};
use super::format::OutputFormat;
use crate::{
    data::{Coded, Coding, Document},
    error::{Error, Result},
    icd::IcdCode,
};

/// What a catalogue says about a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its row in the catalogue, from 0.
    pub row: usize,
    /// Its title.
    pub title: Arc<str>,
}

/// Looks a code up in the catalogue; `None` if it lacks the code.
pub type Lookup = Arc<dyn Fn(&IcdCode) -> Option<Entry> + Send + Sync>;

/// What to write, and how.
#[derive(Clone)]
pub struct WriteOptions {
    /// Format.
    pub format: OutputFormat,
    /// Whether each mention's candidates are written with their scores and what speaks for them. Not in brat.
    pub explain: bool,
    /// Whether an earlier run is continued.
    pub resume: bool,
    /// Titles and rows of codes.
    pub lookup: Lookup,
}

/// Takes the codings of one document after another.
pub trait Writer: Send {
    /// Tells whether an earlier run, which this one continues, has written the document.
    fn is_done(&self, id: &str) -> bool;

    /// Writes a document's codings as a whole: after a crash they are there all or not at all.
    ///
    /// # Errors
    /// - [`Error::Write`] if they cannot be written; documents written before stay as they are, others may follow.
    fn write(&mut self, document: &Document, coded: &Coded) -> Result<()>;

    /// Completes the output and gives it its name.
    ///
    /// # Errors
    /// - [`Error::Write`] if that fails; the partial output is kept.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Opens an output: a file, a folder for brat, or standard output for `None`.
///
/// # Errors
/// - [`Error::Write`] if it cannot be written, or is a brat folder that holds annotations which are not to be continued.
/// - [`Error::Setting`] if the format needs a path or cannot be continued.
pub fn create(path: Option<&Path>, options: WriteOptions) -> Result<Box<dyn Writer>> {
    Ok(match (options.format, path) {
        (OutputFormat::Brat, Some(path)) => Box::new(brat::Brat::open(path, &options)?),
        (OutputFormat::Brat, None) => return Err(setting("output", "a folder for brat files", "standard output")),
        (OutputFormat::Jsonl, path) => Box::new(jsonl::Jsonl::open(path, options)?),
        (OutputFormat::Csv, path) => Box::new(csv::Csv::open(path, options)?),
        (OutputFormat::Table, _) if options.resume => {
            return Err(setting("resume", "an output format of jsonl, csv or brat", "table"));
        }
        (OutputFormat::Table, path) => Box::new(table::Table::open(path, options)?),
    })
}

fn setting(key: &str, expected: &str, got: &str) -> Error {
    Error::Setting { key: key.into(), expected: expected.into(), got: got.into() }
}

/// Finds the title of a coding's code: its candidate's, or for a group the catalogue's.
fn title_of<'a>(coding: &'a Coding, lookup: &Lookup) -> Cow<'a, str> {
    let Some(code) = &coding.code else { return "".into() };
    let candidate = coding.candidates.iter().find(|candidate| candidate.code == *code && !candidate.title.is_empty());
    match candidate {
        Some(candidate) => Cow::Borrowed(&candidate.title),
        None => lookup(code).map_or_else(|| "".into(), |entry| Cow::Owned(entry.title.to_string())),
    }
}

/// Rounds a score to the four digits that are worth reading.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e4).round() / 1e4
}

/// Returns the name of a decision or origin in output files.
fn name_of<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
