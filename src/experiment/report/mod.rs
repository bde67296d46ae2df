//! The page of a run: results come in, one HTML file that needs nothing else leaves.
//!
//! What it says of all documents stands in it; documents lie in packed blocks, which a browser opens as they are paged through.

mod chunks;
mod curves;
mod seen;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::json;

use self::{
    chunks::{CHUNK, Chunks, block},
    curves::{COLORS, Figure, figures},
    seen::{CodeTable, Seen},
};
use super::{
    compare::{Found, TaskFigures, tested},
    folder::{CellFolder, CellManifest, RunManifest},
    gold::Gold,
    html::html,
    scored::{Prediction, Scored, predictions},
    settings::Mentions,
};
use crate::{
    artifact,
    error::{Error, Result},
    eval::{
        bootstrap::{Bootstrap, Interval},
        loss::Losses,
        metrics::DocumentCounts,
    },
};

/// Pairs of codes in the table of confusions.
const CONFUSIONS: usize = 20;
/// How the names of files begin that a page is made from.
const STAGED_PAGE: &str = ".page";
/// Resamples of the intervals.
const RESAMPLES: usize = 10_000;
/// What a document may be looked for by: a bit each in the flags that the browser is given.
const FLAGS: [Flag; 8] = [
    ("a gold code is missed", |of| of.counts.code_assignment.false_negatives > 0),
    ("a code is given that gold lacks", |of| of.counts.code_assignment.false_positives > 0),
    ("a span is missed or extra", |of| of.counts.ner.false_negatives + of.counts.ner.false_positives > 0),
    ("a code was lost at NER", |of| of.losses.ner > 0),
    ("a code was lost at retrieval", |of| of.losses.retrieval > 0),
    ("a code was lost at re-ranking", |of| of.losses.reranking > 0),
    ("an answer was repaired or rejected", |of| of.is_faulty),
    ("not in the catalogue", |of| of.losses.not_in_catalogue > 0),
];

/// What a flag is called, and whether a document has it.
type Flag = (&'static str, fn(&Flagged<'_>) -> bool);

/// What is known of a document under a cell.
struct Flagged<'a> {
    counts: &'a DocumentCounts,
    losses: &'a Losses,
    is_faulty: bool,
}

/// Everything that a page tells of a cell.
struct Told {
    name: String,
    cell: CellFolder,
    scored: Scored,
    seen: Seen,
}

/// Writes the page of runs and single cells on the same documents to `path`.
///
/// # Errors
/// - [`Error::Read`], [`Error::Parse`] if a run is not whole; [`Error::Setting`] if there is none, or they are on different documents;
///   [`Error::Write`]; [`Error::Page`] if a figure cannot be drawn.
pub fn report<P: AsRef<Path>>(paths: &[P], path: &Path) -> Result<()> {
    let Found { run, cells, warnings } = Found::of(paths)?;
    let gold = Gold::load(&run)?;
    let failed = |e| Error::write(path, e);
    // The head needs all that the documents say: these go into a file of their own first.
    let mut blocks = BufWriter::new(artifact::stage_as(STAGED_PAGE, path)?);
    let mut table = CodeTable::default();
    write_documents(&gold, &mut table, &mut blocks).map_err(failed)?;
    let mut told = Vec::new();
    for (number, (name, cell)) in cells.into_iter().enumerate() {
        let (scored, seen) = write_cell(number, &cell, &gold, &mut table, &mut blocks, path)?;
        told.push(Told { name, cell, scored, seen });
    }
    let head = head(&run, &gold, &told, &table, &warnings)?;
    let mut blocks = blocks.into_inner().map_err(|e| failed(e.into_error()))?;
    let mut page = artifact::stage_as(STAGED_PAGE, path)?;
    let mut write = || -> io::Result<()> {
        page.write_all(head.as_bytes())?;
        blocks.as_file_mut().rewind()?;
        io::copy(blocks.as_file_mut(), page.as_file_mut())?;
        page.write_all(b"</body>\n</html>\n")?;
        page.as_file().sync_all()
    };
    write().map_err(failed)?;
    page.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn write_documents(gold: &Gold, table: &mut CodeTable, blocks: &mut impl Write) -> io::Result<()> {
    let mut chunks = Chunks::new(blocks, "d".into());
    for document in &gold.documents {
        let entities: Vec<_> = document
            .gold
            .iter()
            .map(|entity| (entity.start_char, entity.end_char, table.number(&entity.code, "")))
            .collect();
        chunks.push(&(&document.id, &document.text, entities))?;
    }
    chunks.finish()
}

/// Writes the predictions of a cell, and counts them.
fn write_cell(
    number: usize,
    cell: &CellFolder,
    gold: &Gold,
    table: &mut CodeTable,
    blocks: &mut BufWriter<tempfile::NamedTempFile>,
    path: &Path,
) -> Result<(Scored, Seen)> {
    let failed = |e| Error::write(path, e);
    let mut seen = Seen::default();
    let mut chunks = Chunks::new(blocks, format!("p{number}-"));
    let mut left = gold.documents.iter();
    let mut trouble = None;
    let by = predictions(&cell.path)?.map(|prediction| {
        let prediction: Prediction = prediction?;
        // They stand in the documents' order; a document that is passed over failed.
        for document in left.by_ref() {
            let own = Some(&prediction).filter(|prediction| prediction.id == document.id);
            if let Err(error) = seen.add(gold, document, own, table, &mut chunks) {
                trouble.get_or_insert(error);
            }
            if own.is_some() {
                break;
            }
        }
        Ok(prediction)
    });
    let scored = Scored::of(gold, by, &cell.manifest.unknown_codes)?;
    for document in left {
        seen.add(gold, document, None, table, &mut chunks).map_err(failed)?;
    }
    if let Some(error) = trouble {
        return Err(failed(error));
    }
    chunks.finish().map_err(failed)?;
    let codes = serde_json::to_vec(&seen.codes).unwrap_or_default();
    block(blocks, &format!("c{number}"), &codes).map_err(failed)?;
    Ok((scored, seen))
}

/// A row of the leaderboard.
#[derive(Serialize)]
struct Row {
    name: String,
    ner: f64,
    ner_linking: f64,
    codes: f64,
    interval: Option<Interval>,
    relaxed: f64,
    /// Difference of the F1 of codes from the first row's, its interval, and Holm's p-value.
    against: Option<(f64, Interval, f64)>,
    failed: usize,
    /// Gold codes that were found, that no catalogue has, that were lost at NER, at retrieval, at re-ranking.
    losses: [usize; 5],
    /// Linking accuracy at ranks 1, 5 and 15, of whole codes and of groups.
    accuracy: Vec<f64>,
    /// Colour of its lines, where it has any.
    color: Option<usize>,
}

#[derive(Serialize)]
struct Confusion {
    gold: String,
    gold_title: String,
    predicted: String,
    predicted_title: String,
    documents: usize,
}

#[derive(Serialize)]
struct View<'a> {
    run: &'a RunManifest,
    warnings: &'a [String],
    /// Whether gold mentions were linked.
    is_linking: bool,
    title: &'a str,
    documents: usize,
    gold_codes: usize,
    rows: Vec<Row>,
    figures: Vec<Figure>,
    confusions: Vec<Confusion>,
    confused: &'a str,
    filters: Vec<&'static str>,
    cells: Vec<&'a CellManifest>,
    meta: String,
    style: &'static str,
    script: &'static str,
}

/// Lays out all that stands before the documents.
fn head(run: &Path, gold: &Gold, told: &[Told], table: &CodeTable, warnings: &[String]) -> Result<String> {
    let manifest = RunManifest::load(run)?;
    let rows = rows(gold, told);
    let drawn: Vec<&Told> = (0..COLORS.len())
        .filter_map(|color| rows.iter().position(|row| row.color == Some(color)))
        .map(|at| &told[at])
        .collect();
    let best = (0..told.len()).max_by(|&a, &b| rows[a].codes.total_cmp(&rows[b].codes).then(b.cmp(&a))).unwrap_or(0);
    let view = View {
        run: &manifest,
        warnings,
        is_linking: manifest.experiment.corpus.mentions == Mentions::Gold,
        title: &manifest.experiment.title,
        documents: gold.documents.len(),
        gold_codes: told.first().map_or(0, |told| {
            let codes = |counts: &DocumentCounts| {
                counts.code_assignment.true_positives + counts.code_assignment.false_negatives
            };
            told.scored.strict.iter().map(codes).sum()
        }),
        figures: figures(&drawn)?,
        confusions: told.get(best).map(|told| confusions(told, table)).unwrap_or_default(),
        confused: told.get(best).map_or("", |told| &told.name),
        filters: FLAGS.iter().map(|(name, _)| *name).collect(),
        cells: told.iter().map(|told| &told.cell.manifest).collect(),
        meta: meta(gold, told, table, best),
        style: include_str!("page.css"),
        script: include_str!("page.js"),
        rows,
    };
    html(include_str!("page.html"), &view)
}

fn rows(gold: &Gold, told: &[Told]) -> Vec<Row> {
    let resamples = Bootstrap::affordable(RESAMPLES, gold.documents.len());
    let strict: Vec<&Vec<DocumentCounts>> = told.iter().map(|told| &told.scored.strict).collect();
    let relaxed: Vec<&Vec<DocumentCounts>> = told.iter().map(|told| &told.scored.relaxed).collect();
    let figures: Vec<TaskFigures> = tested(&strict, resamples);
    let f1 = |counts: &Vec<DocumentCounts>| crate::eval::metrics::Metrics::of(counts).figures().code_assignment.f1;
    // The baseline and the best of the others are drawn.
    let mut order: Vec<usize> = (1..told.len()).collect();
    order.sort_by(|&a, &b| figures[b].code_assignment.f1.value.total_cmp(&figures[a].code_assignment.f1.value));
    let mut colors = vec![None; told.len()];
    for (color, at) in [0].into_iter().chain(order).take(COLORS.len()).enumerate() {
        if let Some(place) = colors.get_mut(at) {
            *place = Some(color);
        }
    }
    let rows = told.iter().zip(&figures).zip(colors).enumerate();
    rows.map(|(at, ((told, figures), color))| {
        let intervals = Bootstrap::new(resamples).intervals(strict[at]);
        let against = figures.code_assignment.f1.against;
        let (losses, linking) = (told.scored.all_losses(), told.scored.linking.summary());
        Row {
            name: told.name.clone(),
            ner: figures.ner.f1.value,
            ner_linking: figures.ner_linking.f1.value,
            codes: figures.code_assignment.f1.value,
            interval: intervals.map(|of| of.code_assignment.f1),
            relaxed: f1(relaxed[at]),
            against: against.map(|of| (of.difference.value, of.difference.interval, of.p_holm)),
            failed: told.scored.failed,
            losses: [losses.found, losses.not_in_catalogue, losses.ner, losses.retrieval, losses.reranking],
            accuracy: [linking.strict, linking.relaxed].map(|of| [of.at_1, of.at_5, of.at_15]).concat(),
            color,
        }
    })
    .collect()
}

fn confusions(told: &Told, table: &CodeTable) -> Vec<Confusion> {
    let titles: BTreeMap<&str, &str> =
        table.codes.iter().map(|(code, title)| (code.as_str(), title.as_str())).collect();
    let title = |code: &str| titles.get(code).copied().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = told.seen.confusions.iter().collect();
    pairs.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let pair = |((gold, predicted), &documents): (&(String, String), &usize)| Confusion {
        gold_title: title(gold),
        predicted_title: title(predicted),
        gold: gold.clone(),
        predicted: predicted.clone(),
        documents,
    };
    pairs.into_iter().take(CONFUSIONS).map(pair).collect()
}

/// Returns what `page.js` is given: names, codes, and a byte of flags for each document under each cell.
fn meta(gold: &Gold, told: &[Told], table: &CodeTable, best: usize) -> String {
    let flags = |told: &Told| {
        let flag = |at: usize| {
            let of = Flagged {
                counts: &told.scored.strict[at],
                losses: &told.scored.losses[at],
                is_faulty: told.scored.faulty[at],
            };
            (0..).zip(FLAGS).fold(0u8, |byte, (bit, (_, is))| byte | u8::from(is(&of)) << bit)
        };
        STANDARD.encode((0..gold.documents.len()).map(flag).collect::<Vec<_>>())
    };
    let meta = json!({
        "documents": gold.documents.len(),
        "chunk": CHUNK,
        "cells": told.iter().map(|told| &told.name).collect::<Vec<_>>(),
        "flags": told.iter().map(flags).collect::<Vec<_>>(),
        "codes": table.codes,
        "best": best,
    });
    // Within a script, nothing may look like its end.
    meta.to_string().replace('<', "\\u003c")
}
