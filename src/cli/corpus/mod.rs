//! `noso corpus`: what an annotated corpus is worth.

mod agreement;
mod audit;

use std::process::ExitCode;

use clap::Subcommand;

/// Examine annotated corpora
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure how far annotators of the same records agree, and merge what most of them say
    Agreement(agreement::Args),
    /// Say what the labels of an annotated corpus are worth: contradictions, leaks, what the catalogue lacks
    Audit(audit::Args),
}

/// Runs one of them.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Agreement(args) => agreement::run(args),
        Action::Audit(args) => audit::run(args),
    }
}
