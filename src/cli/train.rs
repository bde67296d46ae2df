//! `noso train`: from an annotated corpus to a model file.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::{DONE, corpus::load_annotated};
use crate::{
    artifact,
    train::crf::{self, CrfSettings},
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

/// Trains the model that was asked for.
///
/// # Errors
/// If the corpus cannot be read or teaches nothing, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.job {
        Job::Crf(args) => {
            let documents = load_annotated(&args.corpus)?;
            let bytes = crf::train(&documents, &CrfSettings::default())?;
            artifact::write_atomic(&args.output, &bytes)?;
            eprintln!("{}: {} bytes", args.output.display(), bytes.len());
        }
    }
    Ok(DONE)
}
