//! JSON lines: an object a line with a string `text` and an `id`, string or number; without an id, the line's number is it.

use std::path::Path;

use serde::Deserialize;
use serde_json::error::Category;

use super::{Input, Record, Records, lines::Lines};
use crate::{
    corpus::report::{Fault, RepairReport},
    error::{Error, Result},
};

#[derive(Deserialize)]
struct Object {
    id: Option<Id>,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

pub(super) struct Jsonl(Lines);

impl Jsonl {
    pub(super) fn new(input: Input, path: &Path) -> Self {
        Self(Lines::new(input, path))
    }

    fn parse(&self, line: Vec<u8>) -> Result<Record> {
        let line = self.0.text(line)?;
        // serde's own message may quote the text, which belongs in no log.
        let object: Object = serde_json::from_str(&line).map_err(|e| {
            let what = match e.classify() {
                Category::Eof => "a line that breaks off",
                Category::Data => "other fields or types",
                Category::Syntax | Category::Io => "broken JSON",
            };
            Error::Parse {
                what: "JSONL",
                path: self.0.path.clone(),
                line: self.0.number as usize,
                expected: "an object with a string `text` and an `id` that is a string or a number".into(),
                got: format!("{what} (byte {})", e.column()),
            }
        })?;
        let id = object.id.map(|id| match id {
            Id::Text(id) => id,
            Id::Number(number) => number.to_string(),
        });
        Ok(Record { number: self.0.number, id, text: object.text })
    }
}

impl Records for Jsonl {
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>> {
        loop {
            match self.0.next_line(report)? {
                Ok(line) if line.trim_ascii().is_empty() => report.add(Fault::BlankLine),
                Ok(line) => return Some(self.parse(line)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
