//! `noso index`: build, describe and search indexes of coded texts.

mod bench;
mod build;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use super::{DONE, origin_name, show};
use crate::{
    config::RetrievalConfig,
    data::{Match, Mention, Origin, Span},
    index::{Index, IndexSource, SourceKind},
    pipeline::{load_encoder, load_retriever},
};

/// Build, describe or search an index of coded texts
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build an index over catalogue titles and coded mentions
    Build(Box<build::BuildArgs>),
    /// Describe an index: encoder, size, sources, codes
    Info(InfoArgs),
    /// Find the codes whose texts are nearest to a query
    Search(SearchArgs),
    /// Measure a factory on made-up vectors (`scripts/bench_index.sh`)
    #[command(hide = true)]
    Bench(bench::BenchArgs),
}

#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// Index folder [default: the shipped one]
    index: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso index search --top-k 5 'хр. гастрит'")]
struct SearchArgs {
    /// Texts to look up
    #[arg(required = true)]
    text: Vec<String>,
    /// Index folder [default: the shipped one]
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Catalogue for titles; only its codes are proposed [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Distinct codes to show for each text
    #[arg(long, value_name = "K", default_value_t = 15)]
    top_k: usize,
}

/// Runs what was asked for.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Build(args) => build::run(args),
        Action::Info(args) => info(args),
        Action::Search(args) => search(args),
        Action::Bench(args) => bench::run(args),
    }
}

fn info(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let index = match &args.index {
        Some(folder) => Index::load(folder)?,
        None => Index::shipped()?,
    };
    let manifest = index.manifest();
    let rows = || index.entries().iter().flat_map(|entry| &entry.rows);
    let count = |wanted: fn(Origin) -> bool| rows().filter(|row| wanted(row.origin)).count().to_string();
    let mut codes: Vec<_> = rows().map(|row| &row.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    table.add_row(["index", &name_of(args.index.as_ref())]);
    table.add_row(["encoder", &format!("{}, {}", manifest.encoder.kind, manifest.encoder.fingerprint)]);
    if let Some(model) = &manifest.encoder.model {
        table.add_row(["encoder's folder", model]);
    }
    table.add_row(["vectors", &format!("{} of {} dimensions", manifest.entries, manifest.dim)]);
    table.add_row(["FAISS factory", &manifest.factory]);
    table.add_row(["metric", &format!("{:?}", manifest.metric).to_lowercase()]);
    table.add_row(["codes", &codes.len().to_string()]);
    table.add_row(["rows of titles", &count(|origin| origin == Origin::Title)]);
    table.add_row(["rows of synonyms", &count(|origin| origin == Origin::Synonym)]);
    table.add_row(["rows of mentions", &count(|origin| matches!(origin, Origin::Mention { .. }))]);
    table.add_row(["rows of vocabulary", &count(|origin| origin == Origin::Vocabulary)]);
    table.add_row(["sources", &manifest.sources.iter().map(source_name).collect::<Vec<_>>().join("\n")]);
    show(&table)?;
    Ok(DONE)
}

fn search(args: &SearchArgs) -> anyhow::Result<ExitCode> {
    let config =
        RetrievalConfig { index: args.index.clone(), catalog: args.catalog.clone(), ..RetrievalConfig::default() };
    let retriever = load_retriever(&config, &load_encoder(&config)?)?;
    let mut mentions = Vec::new();
    for text in &args.text {
        let span = Span::new(text, 0, text.len()).context("a text to look up is empty")?;
        mentions.push(Mention { span, text: text.clone(), matched: Match::Exact, probability: 1.0 });
    }
    for (mention, candidates) in mentions.iter().zip(retriever.retrieve(&mentions)?) {
        show(&mention.text)?;
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY).set_header(["", "code", "title", "score", "nearest", "from"]);
        for (rank, candidate) in candidates.iter().take(args.top_k).enumerate() {
            let nearest = candidate.support.first();
            table.add_row([
                (rank + 1).to_string(),
                candidate.code.to_string(),
                candidate.title.to_string(),
                format!("{:.3}", candidate.score),
                nearest.map_or_else(String::new, |row| format!("{:.3}", row.similarity)),
                nearest.map_or_else(String::new, |row| origin_name(row.origin)),
            ]);
        }
        show(&table)?;
    }
    Ok(DONE)
}

fn source_name(source: &IndexSource) -> String {
    let kind = match source.kind {
        SourceKind::Catalogue => "catalogue",
        SourceKind::Mentions => "mentions",
        SourceKind::Vocabulary => "vocabulary",
    };
    format!("{kind} {}, {} texts ({})", source.name, source.rows, source.fingerprint)
}

fn name_of(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "shipped".into(), |path| path.display().to_string())
}
