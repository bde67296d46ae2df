//! Tables with named columns, separated by commas, semicolons or tabs, whichever splits the header so that it names the
//! text's column.

use std::{
    io::{self, BufRead, Cursor, Read},
    path::{Path, PathBuf},
};

use csv::{ByteRecord, ReaderBuilder};

use super::{Input, ReadOptions, Record, Records};
use crate::{
    corpus::{
        folder::text_of,
        format::BYTE_ORDER_MARK,
        report::{Fault, RepairReport},
    },
    error::{Error, Result},
};

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
const DEFAULT_ID_COLUMN: &str = "id";

pub(super) struct Csv {
    reader: csv::Reader<Input>,
    path: PathBuf,
    text: usize,
    id: Option<usize>,
    /// Columns of the header; every row has as many.
    width: usize,
    rows: u64,
    mark: bool,
    ended: bool,
    record: ByteRecord,
}

impl Csv {
    pub(super) fn open(mut input: Input, path: &Path, options: &ReadOptions) -> Result<Self> {
        let mut head = Vec::new();
        input.read_until(b'\n', &mut head).map_err(|e| Error::read(path, e))?;
        let mark = head.starts_with(BYTE_ORDER_MARK);
        if mark {
            head.drain(..BYTE_ORDER_MARK.len());
        }
        let separator = separator(&head, &options.text_column);
        let input: Input = Box::new(Cursor::new(head).chain(input));
        let mut reader = ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(input);
        let header = reader.byte_headers().map_err(|e| read_error(path, e))?.clone();
        let text = column(&header, path, &options.text_column)?;
        let id = match &options.id_column {
            Some(name) => Some(column(&header, path, name)?),
            None => find(&header, DEFAULT_ID_COLUMN),
        };
        let (path, width) = (path.to_owned(), header.len());
        Ok(Self { reader, path, text, id, width, rows: 0, mark, ended: false, record: ByteRecord::new() })
    }

    fn parse(&self) -> Result<Record> {
        let (line, start) = self.record.position().map_or((0, 0), |place| (place.line(), place.byte()));
        if self.record.len() != self.width {
            return Err(Error::Parse {
                what: "CSV",
                path: self.path.clone(),
                line: line as usize,
                expected: format!("{} columns as in the header", self.width),
                got: self.record.len().to_string(),
            });
        }
        let start = start + if self.mark { BYTE_ORDER_MARK.len() as u64 } else { 0 };
        let field = |index: usize| {
            let bytes = self.record.get(index).unwrap_or_default().to_vec();
            text_of(bytes, &self.path, Some((line, start)))
        };
        let id = self.id.map(field).transpose()?.filter(|id| !id.is_empty());
        Ok(Record { number: self.rows, id, text: field(self.text)? })
    }
}

impl Records for Csv {
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>> {
        if std::mem::take(&mut self.mark) {
            report.add(Fault::ByteOrderMark);
        }
        if self.ended {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {
                self.rows += 1;
                Some(self.parse())
            }
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(read_error(&self.path, error)))
            }
        }
    }
}

/// Chooses the separator with which the header names the wanted column; a comma if none does.
fn separator(head: &[u8], wanted: &str) -> u8 {
    let names_it = |separator: &u8| {
        let mut reader = ReaderBuilder::new().delimiter(*separator).from_reader(head);
        reader.byte_headers().is_ok_and(|header| find(header, wanted).is_some())
    };
    let most = || SEPARATORS.into_iter().rev().max_by_key(|separator| head.iter().filter(|b| *b == separator).count());
    SEPARATORS.into_iter().find(names_it).or_else(most).unwrap_or(b',')
}

/// Finds a column by its name, as written or else without regard to case and blanks around it.
fn find(header: &ByteRecord, wanted: &str) -> Option<usize> {
    let name = |field: &[u8]| String::from_utf8_lossy(field).trim().to_lowercase();
    let wanted_name = wanted.trim().to_lowercase();
    let exact = header.iter().position(|field| field == wanted.as_bytes());
    exact.or_else(|| header.iter().position(|field| name(field) == wanted_name))
}

fn column(header: &ByteRecord, path: &Path, wanted: &str) -> Result<usize> {
    find(header, wanted).ok_or_else(|| {
        let names: Vec<String> = header.iter().map(|field| format!("`{}`", String::from_utf8_lossy(field))).collect();
        let got = if names.is_empty() { "an empty file".into() } else { format!("the columns {}", names.join(", ")) };
        Error::Parse { what: "CSV", path: path.to_owned(), line: 1, expected: format!("a column `{wanted}`"), got }
    })
}

fn read_error(path: &Path, error: csv::Error) -> Error {
    let source = match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        _ => io::Error::other("the table cannot be read"),
    };
    Error::read(path, source)
}
