//! Table for people: a row a mention, in tables of a few hundred rows, so that memory stays bounded.

use std::path::Path;

use comfy_table::{ContentArrangement, presets::UTF8_FULL_CONDENSED};

use super::{Lookup, WriteOptions, Writer, name_of, sink::Sink, title_of};
use crate::{
    data::{Candidate, Coded, Document, Origin, Support},
    error::Result,
};

/// Rows after which a table is printed and the next begins.
const TABLE_ROWS: usize = 250;
/// Rows of the index named for a candidate.
const SUPPORT_SHOWN: usize = 3;
const NOTHING: &str = "—";

/// Writes tables.
pub(super) struct Table {
    sink: Sink,
    explain: bool,
    lookup: Lookup,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn open(path: Option<&Path>, options: WriteOptions) -> Result<Self> {
        let (sink, _) = Sink::open(path, None)?;
        Ok(Self { sink, explain: options.explain, lookup: options.lookup, rows: Vec::new() })
    }

    fn print(&mut self) -> Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        let mut header = vec!["document", "mention", "code", "title", "confidence"];
        if self.explain {
            header.push("why");
        }
        table.set_header(header).add_rows(self.rows.drain(..));
        self.sink.append(format!("{table}\n").as_bytes())
    }

    fn add(&mut self, mut row: Vec<String>) {
        if !self.explain {
            row.truncate(5);
        }
        self.rows.push(row.iter().map(|cell| shown(cell)).collect());
    }
}

impl Writer for Table {
    fn is_done(&self, _: &str) -> bool {
        false
    }

    fn write(&mut self, document: &Document, coded: &Coded) -> Result<()> {
        let codings = &coded.codings;
        if codings.is_empty() {
            self.add([&*document.id, NOTHING, NOTHING, NOTHING, "", ""].map(str::to_owned).to_vec());
        }
        for (index, coding) in codings.iter().enumerate() {
            let row = vec![
                if index == 0 { document.id.clone() } else { String::new() },
                coding.mention.span.slice(&document.text).to_owned(),
                coding.code.as_ref().map_or_else(|| NOTHING.to_owned(), ToString::to_string),
                title_of(coding, &self.lookup).to_string(),
                format!("{:.2}", coding.confidence),
                name_of(&coding.decided_by),
            ];
            self.add(row);
            for candidate in coding.candidates.iter().filter(|_| self.explain) {
                self.rows.push(candidate_row(candidate).iter().map(|cell| shown(cell)).collect());
            }
        }
        if self.rows.len() >= TABLE_ROWS { self.print() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.rows.is_empty() {
            self.print()?;
        }
        self.sink.finish()
    }
}

fn candidate_row(candidate: &Candidate) -> Vec<String> {
    let speaks = candidate.support.iter().take(SUPPORT_SHOWN).map(support).collect::<Vec<_>>().join(", ");
    let more = candidate.support.len().saturating_sub(SUPPORT_SHOWN);
    let speaks = if more > 0 { format!("{speaks}, {more} more") } else { speaks };
    let code = format!("  {}", candidate.code);
    vec![
        String::new(),
        String::new(),
        code,
        candidate.title.to_string(),
        format!("score {:.3}", candidate.score),
        speaks,
    ]
}

fn support(support: &Support) -> String {
    let origin = match support.origin {
        Origin::Title => "title".to_owned(),
        Origin::Synonym => "synonym".to_owned(),
        Origin::Mention { annotator } => format!("annotator {annotator}"),
        Origin::Vocabulary => "vocabulary".to_owned(),
    };
    let nearness = if support.exact { "same words".to_owned() } else { format!("{:.2}", support.similarity) };
    if support.count > 1 { format!("{origin} {nearness} ×{}", support.count) } else { format!("{origin} {nearness}") }
}

/// Keeps what a terminal would take for a command, or for the end of a row, out of a cell.
fn shown(cell: &str) -> String {
    cell.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
