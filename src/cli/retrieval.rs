//! `noso retrieval`: how often the right code of a gold mention is among the first that an index finds.

use std::{path::PathBuf, process::ExitCode};

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::{
    DONE, Format,
    annotated::{gold_mentions, load_annotated},
};
use crate::{
    config::{CandidateUnit, Fusion, RetrievalConfig},
    data::{AnnotatedDocument, Mention},
    eval::{
        bootstrap::{Bootstrap, Interval},
        linking::LinkingCounts,
    },
    icd::IcdCode,
    pipeline::{load_encoder, load_retriever},
    retrieval::Retriever,
};

/// Measure how often the right code of a gold mention is among the first that an index finds
///
/// Ranks count distinct codes. `nearest` orders them by their nearest text, as in the paper; `vote` by the sum of
/// similarity^POWER of all near texts, as noso retrieves. Gold spans are repaired as for training.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example: the shipped index against one of your own

  noso retrieval --gold dev/ --index shipped --index indexes/bergamot")]
pub struct Args {
    /// Annotated brat folder
    #[arg(long, value_name = "DIR")]
    gold: PathBuf,
    /// Index folder, or `shipped`; `rrf:DIR` fuses the ranks of a hybrid's two parts (may be given several times)
    #[arg(long, value_name = "DIR", required = true)]
    index: Vec<String>,
    /// Abbreviation list that expands mentions before they are looked up, or `shipped`
    #[arg(long, value_name = "FILE")]
    abbreviations: Option<PathBuf>,
    /// Nearest texts looked at for a mention, 1 to 4096
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u16).range(1..=4096))]
    neighbours: u16,
    /// Power of the similarity in the vote, 1 to 1000: the higher, the more the nearest texts decide (may be given several times)
    #[arg(long, value_name = "POWER", default_value = "8", value_parser = power)]
    vote_power: Vec<f32>,
    /// Resamples of the documents for the 95 % intervals (100 to 100000)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    bootstrap: u32,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What stands before the folder of a hybrid index whose ranks are fused.
const RRF: &str = "rrf:";

/// One line of the table.
#[derive(Serialize)]
struct Row {
    index: String,
    encoder: String,
    order: String,
    mentions: usize,
    /// acc@1, @5, @15, strict, then relaxed.
    accuracy: [f64; 6],
    interval: Option<[Interval; 6]>,
}

fn power(text: &str) -> Result<f32, String> {
    let power = text.parse().ok().filter(|power| (1.0..=1000.0).contains(power));
    power.ok_or_else(|| "expected a number from 1 to 1000".into())
}

/// Measures each index in turn.
///
/// # Errors
/// If the folder, an index or its encoder cannot be loaded.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let gold = load_annotated(&args.gold)?;
    let mut rows = Vec::new();
    for index in &args.index {
        rows.extend(measure(args, &gold, index)?);
    }
    match args.format {
        Format::Json => super::show(serde_json::to_string_pretty(&rows)?)?,
        Format::Table => print(&rows)?,
    }
    Ok(DONE)
}

/// Measures an index in the order of nearness and in that of each vote.
fn measure(args: &Args, gold: &[AnnotatedDocument], index: &str) -> anyhow::Result<Vec<Row>> {
    let (fusion, folder) = match index.strip_prefix(RRF) {
        Some(folder) => (Fusion::Rrf, folder),
        None => (Fusion::Weighted, index),
    };
    let config = RetrievalConfig {
        index: (folder != "shipped").then(|| folder.into()),
        abbreviations: args.abbreviations.clone(),
        neighbours: args.neighbours.into(),
        fusion,
        ..RetrievalConfig::default()
    };
    let encoder = load_encoder(&config)?;
    let in_order = |unit, vote_power, order: String| -> anyhow::Result<Row> {
        let retriever = load_retriever(&RetrievalConfig { unit, vote_power, ..config.clone() }, &encoder)?;
        let documents = count(&retriever, gold)?;
        let reached = LinkingCounts::accuracy(&documents, Bootstrap::new(args.bootstrap as usize));
        let intervals: Option<Vec<Interval>> = reached.iter().map(|(_, interval)| *interval).collect();
        Ok(Row {
            index: index.to_owned(),
            encoder: encoder.fingerprint().to_owned(),
            order,
            mentions: documents.iter().map(LinkingCounts::mentions).sum(),
            accuracy: reached.map(|(share, _)| share),
            interval: intervals.and_then(|intervals| intervals.try_into().ok()),
        })
    };
    let mut rows = vec![in_order(CandidateUnit::Entry, config.vote_power, "nearest".into())?];
    for &power in &args.vote_power {
        rows.push(in_order(CandidateUnit::Code, power, format!("vote ^{power}"))?);
    }
    Ok(rows)
}

/// Counts what is found for the mentions of each document.
fn count(retriever: &Retriever, gold: &[AnnotatedDocument]) -> crate::Result<Vec<LinkingCounts>> {
    let (mentions, codes): (Vec<Vec<Mention>>, Vec<Vec<&IcdCode>>) = gold.iter().map(gold_mentions).unzip();
    let mut found = retriever.retrieve(&mentions.concat())?.into_iter();
    let of_document = |codes: &Vec<&IcdCode>| {
        let mut counts = LinkingCounts::default();
        for (code, candidates) in codes.iter().zip(found.by_ref()) {
            let ranked: Vec<IcdCode> = candidates.into_iter().map(|candidate| candidate.code).collect();
            counts.add(code, &ranked);
        }
        counts
    };
    Ok(codes.iter().map(of_document).collect())
}

fn print(rows: &[Row]) -> crate::Result<()> {
    let mentions = rows.first().map_or(0, |row| row.mentions);
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(["index", "order", "acc@1", "@5", "@15", "relaxed @1", "@5", "@15"]);
    for row in rows {
        // A path's last part tells indexes apart well enough.
        let name = row.index.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&row.index);
        let fused = if row.index.starts_with(RRF) && !name.starts_with(RRF) { RRF } else { "" };
        let mut cells = vec![format!("{fused}{name}"), row.order.clone()];
        for (figure, share) in row.accuracy.iter().enumerate() {
            let interval = row.interval.map(|intervals| intervals[figure]);
            let range = interval.map(|Interval { lower, upper }| format!("\n{lower:.3}–{upper:.3}"));
            cells.push(format!("{share:.4}{}", range.unwrap_or_default()));
        }
        table.add_row(cells);
    }
    super::show(format_args!(
        "{mentions} gold mentions; below each figure its 95 % interval (documents drawn anew)\n{table}"
    ))
}
