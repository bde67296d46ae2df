//! `noso experiment report`.

use std::{path::PathBuf, process::ExitCode};

use crate::{cli::DONE, experiment::report::report};

/// Write one page that shows results, figures and every document
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
One HTML file that loads nothing: leaderboard, figures (risk and coverage, reliability, accuracy at k, frequency and F1), confusions of sibling
codes, and all documents with gold and predicted spans, candidates, prompts and raw answers, paged and filtered by what went wrong. It holds the
texts of the documents: keep it where these may lie.

Each argument is a run, with all its cells, or the folder of one cell; all must be on the same documents.

Example

  noso experiment report runs/prompts --output prompts.html")]
pub struct Args {
    /// Runs or folders of cells
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write [default: report.html in the first run's folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the page.
///
/// # Errors
/// If a run cannot be read, runs are on different documents, or the page cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.output.clone().unwrap_or_else(|| args.runs[0].join("report.html"));
    report(&args.runs, &path)?;
    eprintln!("{}: written", path.display());
    Ok(DONE)
}
