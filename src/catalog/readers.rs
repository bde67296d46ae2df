//! The three dictionary formats, each turned into (line, code, title, synonyms).

use std::path::Path;

use saphyr_parser::{Event, Parser};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Code, title and synonyms of one line, or what is wrong with it.
pub(super) type Line = std::result::Result<(String, String, Vec<String>), String>;

/// Names under which a column is found, lower case.
const CODE_COLUMNS: [&str; 6] = ["code", "icd", "icd10", "код", "мкб", "мкб-10"];
const TITLE_COLUMNS: [&str; 6] = ["title", "name", "description", "название", "наименование", "описание"];
const SYNONYM_COLUMNS: [&str; 2] = ["synonyms", "синонимы"];

/// Reads `text` by the ending of `path` and passes each line's fields, or what is wrong with the line, to `take`.
pub(super) fn read(path: &Path, text: &str, take: impl FnMut(usize, Line)) -> Result<()> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    match ending.as_str() {
        "yaml" | "yml" => read_yaml(path, text, take),
        "tsv" => read_table(path, text, b'\t', take),
        "csv" => read_table(path, text, b',', take),
        "jsonl" | "ndjson" => {
            read_jsonl(text, take);
            Ok(())
        }
        other => Err(parse_error(path, 1, "a file ending in .yaml, .tsv, .csv or .jsonl", format!("`{other}`"))),
    }
}

/// Reads a flat mapping of strings. The event parser, unlike a deserialiser, knows lines and sees duplicate keys.
pub(super) fn read_yaml(path: &Path, text: &str, mut take: impl FnMut(usize, Line)) -> Result<()> {
    let mut depth = 0usize;
    let mut key: Option<(usize, String)> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            parse_error(path, e.marker().line(), "a YAML mapping of codes to titles", e.info().to_owned())
        })?;
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                if depth > 1 {
                    if let Some((line, key)) = key.take() {
                        take(line, Err(format!("expected `{key}` to have a text, got a list or mapping")));
                    }
                } else if matches!(event, Event::SequenceStart(..)) {
                    return Err(parse_error(path, 1, "a mapping of codes to titles", "a list".into()));
                }
            }
            Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
            Event::Scalar(value, ..) if depth == 1 => match key.take() {
                None => key = Some((span.start.line(), value.into_owned())),
                Some((line, key)) => take(line, Ok((key, value.into_owned(), Vec::new()))),
            },
            _ => {}
        }
    }
    Ok(())
}

fn read_table(path: &Path, text: &str, delimiter: u8, mut take: impl FnMut(usize, Line)) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .quoting(delimiter == b',')
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| parse_error(path, 1, "a header line", e.to_string()))?.clone();
    let column = |names: &[&str]| header.iter().position(|name| names.contains(&name.trim().to_lowercase().as_str()));
    let columns = header.iter().collect::<Vec<_>>().join(", ");
    let required = |names: &[&str]| {
        column(names)
            .ok_or_else(|| parse_error(path, 1, &format!("a column `{}`", names[0]), format!("columns {columns}")))
    };
    let (code, title, synonyms) = (required(&CODE_COLUMNS)?, required(&TITLE_COLUMNS)?, column(&SYNONYM_COLUMNS));
    for record in reader.records() {
        match record {
            Err(e) => take(e.position().map_or(0, |p| p.line() as usize), Err(e.to_string())),
            Ok(record) => {
                let line = record.position().map_or(0, |p| p.line() as usize);
                let fits = record.len() <= header.len() && record.len() > code.max(title);
                let synonyms = synonyms.and_then(|column| record.get(column)).unwrap_or_default();
                take(
                    line,
                    if fits {
                        Ok((record[code].to_owned(), record[title].to_owned(), split_synonyms(synonyms)))
                    } else {
                        Err(format!("expected {} columns, got {}", header.len(), record.len()))
                    },
                );
            }
        }
    }
    Ok(())
}

fn read_jsonl(text: &str, mut take: impl FnMut(usize, Line)) {
    #[derive(Deserialize)]
    struct Object {
        code: String,
        title: String,
        #[serde(default)]
        synonyms: Vec<String>,
    }
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<Object>(line);
        take(index + 1, read.map(|l| (l.code, l.title, l.synonyms)).map_err(|e| e.to_string()));
    }
}

fn split_synonyms(cell: &str) -> Vec<String> {
    cell.split(';').map(str::trim).filter(|synonym| !synonym.is_empty()).map(str::to_owned).collect()
}

fn parse_error(path: &Path, line: usize, expected: &str, got: String) -> Error {
    Error::Parse { what: "catalogue", path: path.into(), line, expected: expected.into(), got }
}
