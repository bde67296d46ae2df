//! Columns with names, separated by commas, semicolons or tabs: whichever splits the header so that it names the patients' column.

use std::{
    io::{BufRead, Cursor, Read},
    path::{Path, PathBuf},
};

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{Cell, Columns, Field, Places, Row, Rows};
use crate::error::{Error, Result};

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

pub(super) struct Csv {
    reader: Reader<Box<dyn BufRead + Send>>,
    path: PathBuf,
    places: Places,
    width: usize,
    record: ByteRecord,
    ended: bool,
}

impl Csv {
    pub fn open(mut input: Box<dyn BufRead + Send>, path: &Path, columns: &Columns) -> Result<Self> {
        let mut head = Vec::new();
        input.read_until(b'\n', &mut head).map_err(|e| Error::read(path, e))?;
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).to_vec();
        let text = std::str::from_utf8(&head)
            .map_err(|e| Error::read(path, std::io::Error::new(std::io::ErrorKind::InvalidData, e)))?;
        let names = |separator: u8| text.split(char::from(separator)).map(|name| name.trim().trim_matches('"'));
        let splits = |separator: &u8| {
            names(*separator).any(|name| columns.0[Field::Patient as usize].iter().any(|patient| patient == name))
        };
        let separator = SEPARATORS.into_iter().find(|separator| splits(separator)).unwrap_or(SEPARATORS[0]);
        let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(head).chain(input));
        let mut reader = ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(input);
        let header = reader.headers().map_err(|e| read_error(path, e))?.clone();
        let places = columns.places(&header.iter().collect::<Vec<_>>(), path)?;
        let (path, width) = (path.to_owned(), header.len());
        Ok(Self { reader, path, places, width, record: ByteRecord::new(), ended: false })
    }

    fn row(&self) -> Result<Row> {
        let wrong = |expected: String, got: String| Error::Parse {
            what: "table",
            path: self.path.clone(),
            line: self.line(),
            expected,
            got,
        };
        if self.record.len() != self.width {
            let expected = format!("{} columns as in the header", self.width);
            return Err(wrong(expected, self.record.len().to_string()));
        }
        let mut row = Row::default();
        for (cell, places) in row.iter_mut().zip(&self.places) {
            let text = |&place: &usize| {
                let bytes = self.record.get(place).unwrap_or_default();
                match std::str::from_utf8(bytes) {
                    Ok("") => Ok(Cell::Missing),
                    Ok(text) => Ok(Cell::Text(text.to_owned())),
                    Err(_) => Err(wrong("UTF-8".into(), "other bytes".into())),
                }
            };
            *cell = Cell::joined(places.iter().map(text).collect::<Result<_>>()?);
        }
        Ok(row)
    }
}

fn read_error(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map_or(1, |place| place.line() as usize);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::read(path, source),
        _ => Error::Parse {
            what: "table",
            path: path.to_owned(),
            line,
            expected: "a row of a table in UTF-8".into(),
            got: "something else".into(),
        },
    }
}

impl Rows for Csv {
    fn next_row(&mut self) -> Option<Result<Row>> {
        if self.ended {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => Some(self.row()),
            Ok(false) => None,
            Err(error) => {
                self.ended = true;
                Some(Err(read_error(&self.path, error)))
            }
        }
    }

    fn line(&self) -> usize {
        self.record.position().map_or(0, |place| place.line() as usize)
    }
}
