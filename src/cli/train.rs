//! `noso train`: from an annotated corpus to a model file.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Subcommand;

use super::{DONE, corpus::load_annotated};
use crate::{
    artifact,
    config::RetrievalConfig,
    pipeline::load_encoder,
    train::{
        crf::{self, CrfSettings},
        nearest::{self, NearestSettings},
    },
};

/// Train the models of the shipped engine from an annotated corpus
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Train the recogniser of mentions
    Crf(CrfArgs),
    /// Train the re-ranker: score, classifier and calibrators
    Nearest(NearestArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso train crf --corpus ruccod/train --output ner.bin
  noso code --set ner.model=ner.bin 'Хронический гастрит'")]
struct CrfArgs {
    /// Annotated brat folder
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso index build --mentions ruccod/train --output my-index
  noso train nearest --corpus ruccod/train --index my-index --output nearest.bin
  noso code --index my-index --set rerank.model=nearest.bin 'Хронический гастрит'")]
struct NearestArgs {
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

/// Trains the model that was asked for.
///
/// # Errors
/// If the corpus cannot be read or teaches nothing, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (output, bytes) = match &args.job {
        Job::Crf(args) => {
            let documents = load_annotated(&args.corpus)?;
            (&args.output, crf::train(&documents, &CrfSettings::default())?)
        }
        Job::Nearest(args) => (&args.output, train_nearest(args)?),
    };
    artifact::write_atomic(output, &bytes)?;
    eprintln!("{}: {} bytes", output.display(), bytes.len());
    Ok(DONE)
}

fn train_nearest(args: &NearestArgs) -> anyhow::Result<Vec<u8>> {
    let encoder = load_encoder(&RetrievalConfig { index: args.index.clone(), ..RetrievalConfig::default() })?;
    let catalog = Arc::new(super::load_catalog(args.catalog.as_deref())?);
    let settings = NearestSettings { annotator_block: args.annotator_block, ..NearestSettings::default() };
    let (model, reached) = nearest::train(&load_annotated(&args.corpus)?, &catalog, &encoder, settings)?;
    eprintln!("{} mentions, each held out of its own training:\n{}", reached.mentions, reached.accuracy);
    eprintln!("expected calibration error {:.4}", reached.calibration_error);
    Ok(model.to_bytes()?)
}
