//! `noso index`: build, describe and search indexes of coded texts.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use super::{DONE, corpus::load_annotated};
use crate::{
    artifact,
    config::RetrievalConfig,
    corpus::annotator,
    data::{AnnotatedDocument, Match, Mention, Origin, Span},
    embed::ngram::{NgramEncoder, NgramSettings},
    index::{Index, IndexSettings, Metric, SourceRow},
    pipeline::{ENCODER_FILE, catalog_rows, load_encoder, load_retriever},
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
    Build(BuildArgs),
    /// Describe an index: encoder, size, sources, codes
    Info(InfoArgs),
    /// Find the codes whose texts are nearest to a query
    Search(SearchArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example: the shipped index, from the RuCCoD training folder

  noso index build --corpus ruccod/train --drop-mention-text --output indexes/default")]
struct BuildArgs {
    /// Annotated brat folder whose coded mentions go in (may be given several times)
    #[arg(long, value_name = "DIR")]
    corpus: Vec<PathBuf>,
    /// Catalogue whose titles and synonyms go in [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Encoder file to use instead of training one on these texts
    #[arg(long, value_name = "FILE")]
    encoder: Option<PathBuf>,
    /// Dimensions of the vectors of a trained encoder, a multiple of 64
    #[arg(long, value_name = "N", default_value_t = 384)]
    dim: u16,
    /// FAISS factory string
    #[arg(long, default_value = "HNSW8,SQ8")]
    factory: String,
    /// How near two vectors are
    #[arg(long, value_enum, default_value_t = MetricArg::Ip)]
    metric: MetricArg,
    /// Keep no mention's text, only its hash: for an index that leaves the house
    #[arg(long)]
    drop_mention_text: bool,
    /// Records that one annotator coded, counted by numeric id
    #[arg(long, value_name = "N", default_value_t = 1000)]
    annotator_block: u32,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MetricArg {
    /// Inner product, the cosine for unit vectors
    Ip,
    /// Squared Euclidean distance
    L2,
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

/// Runs one of the three actions.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Build(args) => build(args),
        Action::Info(args) => info(args),
        Action::Search(args) => search(args),
    }
}

fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let catalog = super::load_catalog(args.catalog.as_deref())?;
    let mut rows = catalog_rows(&catalog);
    let mut sources = vec![format!("{} ({} codes)", name_of(args.catalog.as_ref()), catalog.entries().len())];
    for folder in &args.corpus {
        let documents = load_annotated(folder)?;
        let before = rows.len();
        documents.iter().for_each(|document| add_mentions(document, args.annotator_block, &mut rows));
        let folder_name =
            folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        sources.push(format!("{folder_name} ({} documents, {} coded mentions)", documents.len(), rows.len() - before));
    }
    let encoder = match &args.encoder {
        Some(path) => NgramEncoder::load(path)?,
        None => {
            let settings = NgramSettings { dim: args.dim, ..NgramSettings::default() };
            NgramEncoder::train(rows.iter().map(|row| row.text.as_str()), settings)?
        }
    };
    let metric = match args.metric {
        MetricArg::Ip => Metric::Ip,
        MetricArg::L2 => Metric::L2,
    };
    let settings = IndexSettings {
        factory: args.factory.clone(),
        metric,
        keep_mention_text: !args.drop_mention_text,
        sources,
        ..IndexSettings::default()
    };
    let index = Index::build(&rows, &encoder, settings)?;
    artifact::write_atomic(&args.output.join(ENCODER_FILE), &encoder.to_bytes()?)?;
    index.save(&args.output)?;
    let (entries, rows) = (index.manifest().entries, index.manifest().rows);
    eprintln!("{}: {entries} texts, {rows} (text, code, origin) rows", args.output.display());
    Ok(DONE)
}

/// Adds every coded entity of a document, nested ones included.
fn add_mentions(document: &AnnotatedDocument, block: u32, rows: &mut Vec<SourceRow>) {
    let origin = Origin::Mention { annotator: annotator(&document.document.id, block) };
    for entity in &document.entities {
        if let Some(code) = &entity.code {
            let text = entity.span.slice(&document.document.text).to_owned();
            rows.push(SourceRow { text, code: code.clone(), origin });
        }
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
    table.add_row(["encoder", &manifest.encoder]);
    table.add_row(["vectors", &format!("{} of {} dimensions", manifest.entries, manifest.dim)]);
    table.add_row(["FAISS factory", &manifest.factory]);
    table.add_row(["metric", &format!("{:?}", manifest.metric).to_lowercase()]);
    table.add_row(["codes", &codes.len().to_string()]);
    table.add_row(["rows of titles", &count(|origin| origin == Origin::Title)]);
    table.add_row(["rows of synonyms", &count(|origin| origin == Origin::Synonym)]);
    table.add_row(["rows of mentions", &count(|origin| matches!(origin, Origin::Mention { .. }))]);
    table.add_row(["sources", &manifest.sources.join("\n")]);
    super::show(&table)?;
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
        super::show(&mention.text)?;
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
                nearest.map_or_else(String::new, |row| super::origin_name(row.origin)),
            ]);
        }
        super::show(&table)?;
    }
    Ok(DONE)
}

fn name_of(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "shipped".into(), |path| path.display().to_string())
}
