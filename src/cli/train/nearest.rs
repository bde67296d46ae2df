//! `noso train nearest`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use crate::{
    artifact,
    cli::{DONE, annotated::load_annotated, load_catalog},
    config::RetrievalConfig,
    pipeline::load_encoder,
    train::nearest::{self, NearestSettings},
};

/// Train the re-ranker: score, classifier and calibrators
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso index build --mentions ruccod/train --output my-index
  noso train nearest --corpus ruccod/train --index my-index --output nearest.bin
  noso code --index my-index --set rerank.model=nearest.bin 'Хронический гастрит'")]
pub struct Args {
    /// Annotated brat folder
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Index folder whose encoder the model is to be used with [default: the shipped one]
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Catalogue the index was built with [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Records that one annotator coded, counted by numeric id
    #[arg(long, value_name = "N", default_value_t = 1000)]
    annotator_block: u32,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Trains the re-ranker and writes its file.
///
/// # Errors
/// If the corpus or index cannot be read, the corpus teaches nothing, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let encoder = load_encoder(&RetrievalConfig { index: args.index.clone(), ..RetrievalConfig::default() })?;
    let catalog = Arc::new(load_catalog(args.catalog.as_deref())?);
    let settings = NearestSettings { annotator_block: args.annotator_block, ..NearestSettings::default() };
    let (model, reached) = nearest::train(&load_annotated(&args.corpus)?, &catalog, &encoder, settings)?;
    eprintln!("{} mentions, each held out of its own training:\n{}", reached.mentions, reached.accuracy);
    eprintln!("expected calibration error {:.4}", reached.calibration_error);
    let bytes = model.to_bytes()?;
    artifact::write_atomic(&args.output, &bytes)?;
    eprintln!("{}: {} bytes", args.output.display(), bytes.len());
    Ok(DONE)
}
