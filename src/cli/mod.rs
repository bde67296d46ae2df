//! The command: one file a subcommand.

#[cfg(feature = "llm")]
mod adapter;
mod annotated;
mod code;
mod corpus;
#[cfg(feature = "neural")]
mod diagnose;
mod diagnosis;
mod doctor;
#[cfg(feature = "neural")]
mod embed;
mod encoder;
mod eval;
mod experiment;
mod index;
mod llm;
mod manifest;
mod pipeline;
mod prompt;
mod retrieval;
mod stages;
mod stop;
mod table;
mod train;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    catalog::Catalog,
    data::Origin,
    error::{Error, Result},
};

/// Everything ran, nothing failed.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
/// The run finished, but some inputs failed.
pub(crate) const FINISHED_WITH_FAILURES: u8 = 2;
/// Problems of a catalogue that are told one by one.
const SHOWN_PROBLEMS: usize = 20;
/// The run could not start.
pub const CANNOT_START: u8 = 1;

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
    /// Examine annotated corpora
    Corpus(corpus::Args),
    /// Build, describe or search an index of coded texts
    Index(index::Args),
    /// Turn texts into vectors with an encoder
    #[cfg(feature = "neural")]
    Embed(embed::Args),
    /// Train the models of the engines from a corpus
    Train(train::Args),
    /// List, render, check, try out or compare the prompts of language models
    Prompt(prompt::Args),
    /// Describe a LoRA adapter, or merge it into a model
    #[cfg(feature = "llm")]
    Adapter(adapter::Args),
    /// Measure each stage of a pipeline on annotated texts
    Stages(stages::Args),
    /// Run grids of pipelines over a corpus, and find out what made a difference
    Experiment(experiment::Args),
    /// Measure how often the right code of a gold mention is among the first that an index finds
    Retrieval(retrieval::Args),
    /// Predict the codes of appointments from what came before them
    #[cfg(feature = "neural")]
    Diagnose(diagnose::Args),
    /// Make up, label and study histories of patients
    Diagnosis(diagnosis::Args),
    /// Say what is installed, which engines can run, and what is missing
    Doctor(doctor::Args),
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object, figures in full precision
    Json,
}

/// Runs the command that was typed.
///
/// # Errors
/// Whatever kept it from starting; failures of single inputs are reported and end in the exit code.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Code(args) => code::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Corpus(args) => corpus::run(args),
        Command::Index(args) => index::run(args),
        #[cfg(feature = "neural")]
        Command::Embed(args) => embed::run(args),
        Command::Train(args) => train::run(args),
        Command::Prompt(args) => prompt::run(args),
        #[cfg(feature = "llm")]
        Command::Adapter(args) => adapter::run(args),
        Command::Stages(args) => stages::run(args),
        Command::Experiment(args) => experiment::run(args),
        Command::Retrieval(args) => retrieval::run(args),
        #[cfg(feature = "neural")]
        Command::Diagnose(args) => diagnose::run(args),
        Command::Diagnosis(args) => diagnosis::run(args),
        Command::Doctor(args) => doctor::run(args),
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

/// Prints results on standard output with a newline.
///
/// # Errors
/// - [`Error::Write`] on a full disk or closed pipe, where `println!` would panic.
fn show(text: impl std::fmt::Display) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{text}").map_err(|e| Error::write("standard output", e))
}

/// Tells on stderr what is to be known beside a result.
fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
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
        Origin::Vocabulary => "vocabulary".into(),
    }
}
