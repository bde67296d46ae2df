//! `noso experiment`: pipelines compared on a corpus.

mod compare;
mod paper;
mod progress;
mod report;
mod run;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

/// Run grids of pipelines over a corpus, and find out what made a difference
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say how cells differ from a baseline, by how much, and how sure that is
    Compare(compare::Args),
    /// Set figures of runs beside published ones
    Paper(paper::Args),
    /// Write one page that shows results, figures and every document
    Report(report::Args),
    /// Run every cell of a grid; what was done before is not done again
    Run(run::Args),
    /// Check that results are what they say: count again, code a sample again
    Verify(verify::Args),
}

/// Runs one of them.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Compare(args) => compare::run(args),
        Action::Paper(args) => paper::run(args),
        Action::Report(args) => report::run(args),
        Action::Run(args) => run::run(args),
        Action::Verify(args) => verify::run(args),
    }
}
