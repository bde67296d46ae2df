//! Lines as records: numbered, with their place in the file, without what ends them.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use super::{Input, Record, Records};
use crate::{
    corpus::{
        folder::text_of,
        format::BYTE_ORDER_MARK,
        report::{Fault, RepairReport},
    },
    error::{Error, Result},
};

/// Reads lines as bytes, for they need not be UTF-8.
pub(super) struct Lines {
    input: Input,
    pub path: PathBuf,
    /// Number of the line read last, from 1.
    pub number: u64,
    /// Where that line starts in the file.
    pub start_byte: u64,
    next_byte: u64,
    ended: bool,
}

impl Lines {
    pub(super) fn new(input: Input, path: &Path) -> Self {
        Self { input, path: path.to_owned(), number: 0, start_byte: 0, next_byte: 0, ended: false }
    }

    /// Reads the next line. `None` at the end, and after an error.
    pub(super) fn next_line(&mut self, report: &mut RepairReport) -> Option<Result<Vec<u8>>> {
        if self.ended {
            return None;
        }
        let mut line = Vec::new();
        match self.input.read_until(b'\n', &mut line) {
            Ok(0) => {
                self.ended = true;
                return None;
            }
            Ok(length) => {
                self.number += 1;
                self.start_byte = self.next_byte;
                self.next_byte += length as u64;
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(Error::read(&self.path, error)));
            }
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
            self.start_byte = BYTE_ORDER_MARK.len() as u64;
            report.add(Fault::ByteOrderMark);
        }
        Some(Ok(line))
    }

    /// Checks that a line is UTF-8.
    pub(super) fn text(&self, line: Vec<u8>) -> Result<String> {
        text_of(line, &self.path, Some((self.number, self.start_byte)))
    }
}

/// A document a line; its id is the line's number.
pub(super) struct DocumentLines(Lines);

impl DocumentLines {
    pub(super) fn new(input: Input, path: &Path) -> Self {
        Self(Lines::new(input, path))
    }
}

impl Records for DocumentLines {
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>> {
        let line = self.0.next_line(report)?;
        Some(line.and_then(|line| Ok(Record { number: self.0.number, id: None, text: self.0.text(line)? })))
    }
}
