//! `noso diagnosis`: histories of patients, their labels, and what they teach.

mod build;
mod simulate;
#[cfg(feature = "neural")]
mod study;

use std::process::ExitCode;

use clap::Subcommand;

/// Make up, label and study histories of patients
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Turn a table of appointments into histories, labelled by doctors and by the coder
    Build(build::Args),
    /// Make up a table of appointments, with the codes that were true beside it
    Simulate(simulate::Args),
    /// Train one model on doctors' codes and one on the coder's, and compare them on manual ones
    #[cfg(feature = "neural")]
    Study(study::Args),
}

/// Runs one of them.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Build(args) => build::run(args),
        Action::Simulate(args) => simulate::run(args),
        #[cfg(feature = "neural")]
        Action::Study(args) => study::run(args),
    }
}
