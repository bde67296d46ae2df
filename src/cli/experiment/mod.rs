//! `noso experiment`: pipelines compared on a corpus.

mod progress;
mod run;

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
    /// Run every cell of a grid; what was done before is not done again
    Run(run::Args),
}

/// Runs one of them.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Run(args) => run::run(args),
    }
}
