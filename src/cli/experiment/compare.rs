//! `noso experiment compare`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    cli::{DONE, Format, show, warn},
    experiment::compare::{Comparison, Keep, Sides},
};

/// Say how cells differ from a baseline, by how much, and how sure that is
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each argument is a run, with all its cells, or the folder of one cell (RUN/cells/NAME). The first cell is the baseline, unless --baseline
names another. All must be on the same documents.

Example

  noso experiment compare runs/prompts
  noso experiment compare runs/old/cells/* runs/new/cells/* --format json")]
pub struct Args {
    /// Runs or folders of cells
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Cell to compare with: its name, or the only one that contains these words
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Resamples of the bootstrap and rounds of the permutation test
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
    resamples: u32,
    /// How to print; json has all figures, also those of precision, recall and accuracy
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints the comparison to stdout, and to stderr what is to be told beside it.
///
/// # Errors
/// If a run cannot be read, or they are on different documents.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut sides = Sides::load(&args.runs, Keep::Codes)?;
    if let Some(name) = &args.baseline {
        sides.put_first(name)?;
    }
    warn(&sides.warnings);
    if sides.sides.len() < 2 {
        bail!("nothing to compare: one cell (name a run of several, or several runs)");
    }
    let comparison = Comparison::of(&sides, args.resamples as usize);
    match args.format {
        Format::Table => show(&comparison)?,
        Format::Json => show(serde_json::to_string_pretty(&comparison)?)?,
    }
    Ok(DONE)
}
