//! `noso train crf`.

use std::{path::PathBuf, process::ExitCode};

use crate::{
    artifact,
    cli::{DONE, annotated::load_annotated},
    train::crf::{self, CrfSettings},
};

/// Train the recogniser of mentions
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso train crf --corpus ruccod/train --output ner.bin
  noso code --set ner.model=ner.bin 'Хронический гастрит'")]
pub struct Args {
    /// Annotated brat folder
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Trains the recogniser and writes its file.
///
/// # Errors
/// If the corpus cannot be read or teaches nothing, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = crf::train(&load_annotated(&args.corpus)?, &CrfSettings::default())?;
    artifact::write_atomic(&args.output, &bytes)?;
    eprintln!("{}: {} bytes", args.output.display(), bytes.len());
    Ok(DONE)
}
