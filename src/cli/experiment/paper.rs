//! `noso experiment paper`.

use std::{path::PathBuf, process::ExitCode};

use crate::{
    cli::{DONE, show},
    experiment::paper::{Published, beside_paper},
};

/// Set figures of runs beside published ones
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A row of an experiment names the published row that it repeats (`paper = \"…\"`). Rows that could not be run say what they need.

Example: every table that scripts/reproduce.sh has runs for

  noso experiment paper --figures experiments/paper.toml runs/*")]
pub struct Args {
    /// Runs
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Published figures
    #[arg(long, value_name = "FILE", default_value = "experiments/paper.toml")]
    figures: PathBuf,
}

/// Prints a table for each published one to stdout.
///
/// # Errors
/// If the figures or a run cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let published = Published::load(&args.figures)?;
    let tables = beside_paper(&published, &args.runs)?;
    for (number, table) in &tables {
        show(format!("Table {number}\n{table}\n"))?;
    }
    if tables.iter().any(|(_, table)| table.to_string().contains('†')) {
        show(
            "† with the small model that ships in place of the one named: shows that the row runs, not what its model can do",
        )?;
    }
    Ok(DONE)
}
