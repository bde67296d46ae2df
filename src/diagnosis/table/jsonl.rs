//! JSON lines: an object a row.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{Cell, Columns, Row, Rows};
use crate::error::{Error, Result};

pub(super) struct Jsonl {
    input: Box<dyn BufRead + Send>,
    path: PathBuf,
    columns: Columns,
    line: usize,
    ended: bool,
}

impl Jsonl {
    pub fn new(input: Box<dyn BufRead + Send>, path: &Path, columns: &Columns) -> Self {
        Self { input, path: path.to_owned(), columns: columns.clone(), line: 0, ended: false }
    }

    fn parse(&self, line: &[u8]) -> Result<Row> {
        // serde's own message may quote a text, which belongs in no log.
        let object: Map<String, Value> = serde_json::from_slice(line).map_err(|e| Error::Parse {
            what: "table",
            path: self.path.clone(),
            line: self.line,
            expected: "an object".into(),
            got: if e.is_eof() { "a line that breaks off".into() } else { "something else".into() },
        })?;
        Ok(std::array::from_fn(|field| {
            Cell::joined(self.columns.0[field].iter().map(|name| cell(object.get(name))).collect())
        }))
    }
}

fn cell(value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::Missing,
        Some(Value::String(text)) => Cell::Text(text.clone()),
        Some(Value::Number(number)) => match number.as_i128() {
            Some(whole) => Cell::Whole(whole),
            None => number.as_f64().map_or(Cell::Missing, Cell::Number),
        },
        Some(Value::Array(values)) => Cell::List(values.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Some(other) => Cell::Text(other.to_string()),
    }
}

impl Rows for Jsonl {
    fn next_row(&mut self) -> Option<Result<Row>> {
        let mut line = Vec::new();
        while !self.ended {
            line.clear();
            self.line += 1;
            match self.input.read_until(b'\n', &mut line) {
                Ok(0) => self.ended = true,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(self.parse(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line))),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Error::read(&self.path, error)));
                }
            }
        }
        None
    }

    fn line(&self) -> usize {
        self.line
    }
}
