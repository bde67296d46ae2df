//! The command: one file a subcommand.

mod code;
mod doctor;
mod eval;
mod index;
mod output;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything ran, nothing failed.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
/// The run could not start.
pub(crate) const CANNOT_START: u8 = 1;
/// The run finished, but some inputs failed.
pub(crate) const FINISHED_WITH_FAILURES: u8 = 2;

/// Assigns ICD-10 codes to Russian free-text diagnoses, offline.
#[derive(Debug, Parser)]
#[command(name = "noso", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Code texts: find the diagnoses in them and give each an ICD-10 code
    Code(code::Args),
    /// Compare predicted annotation with gold annotation
    Eval(eval::Args),
    /// Build, describe or search an index of coded texts
    Index(index::Args),
    /// Train the models of the shipped engine from an annotated corpus
    Train(train::Args),
    /// Say what is installed, which engines can run, and what is missing
    Doctor(doctor::Args),
}

/// Runs the command that was typed.
///
/// # Errors
/// Whatever kept it from starting; failures of single inputs are reported and end in the exit code.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Code(args) => code::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Index(args) => index::run(args),
        Command::Train(args) => train::run(args),
        Command::Doctor(args) => doctor::run(args),
    }
}
