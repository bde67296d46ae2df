//! The command: one file a subcommand.

mod corpus;
mod eval;
mod index;
mod train;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{catalog::Catalog, data::Origin, error::Result};

/// Everything ran, nothing failed.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
/// Problems of a catalogue that are told one by one.
const SHOWN_PROBLEMS: usize = 20;
/// The run could not start.
pub(crate) const CANNOT_START: u8 = 1;

/// Assigns ICD-10 codes to Russian free-text diagnoses, offline.
#[derive(Debug, Parser)]
#[command(name = "noso", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare predicted annotation with gold annotation
    Eval(eval::Args),
    /// Build, describe or search an index of coded texts
    Index(index::Args),
    /// Train the models of the shipped engine from an annotated corpus
    Train(train::Args),
}

/// Runs the command that was typed.
///
/// # Errors
/// Whatever kept it from starting; failures of single inputs are reported and end in the exit code.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Eval(args) => eval::run(args),
        Command::Index(args) => index::run(args),
        Command::Train(args) => train::run(args),
    }
}

/// Prints an error with its causes and, where there is one, the hint; returns the exit code of a run that could not start.
///
/// A reader that closed the pipe (`noso code … | head`) is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return DONE;
    }
    eprintln!("error: {error}");
    if let Some(hint) = error.chain().find_map(|cause| cause.downcast_ref::<crate::Error>()?.hint()) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(CANNOT_START)
}

/// Loads a user's catalogue and tells what is wrong in it on stderr, or returns the shipped one.
fn load_catalog(path: Option<&Path>) -> Result<Catalog> {
    let Some(path) = path else { return Catalog::shipped() };
    let catalog = Catalog::load(path)?;
    let problems = catalog.problems();
    for problem in problems.iter().take(SHOWN_PROBLEMS) {
        eprintln!("warning: {}: {problem}", path.display());
    }
    if problems.len() > SHOWN_PROBLEMS {
        eprintln!("warning: {}: {} more lines like these", path.display(), problems.len() - SHOWN_PROBLEMS);
    }
    Ok(catalog)
}

/// Says where a row came from, for tables.
fn origin_name(origin: Origin) -> String {
    match origin {
        Origin::Title => "title".into(),
        Origin::Synonym => "synonym".into(),
        Origin::Mention { annotator } => format!("annotator {annotator}"),
    }
}
