//! `noso train`: from a corpus to a model. One file a job.

#[cfg(feature = "neural")]
mod card;
mod crf;
#[cfg(feature = "neural")]
mod diagnosis;
#[cfg(feature = "neural")]
mod encoder;
#[cfg(feature = "neural")]
pub(super) mod fit;
#[cfg(feature = "neural")]
mod job;
#[cfg(feature = "neural")]
mod linker;
#[cfg(feature = "neural")]
mod lora;
#[cfg(feature = "neural")]
mod manifest;
mod nearest;
#[cfg(feature = "neural")]
mod ner;
#[cfg(feature = "neural")]
mod sizes;

use std::process::ExitCode;

use clap::Subcommand;

/// Train the models of the engines from a corpus
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Train the recogniser of mentions
    Crf(crf::Args),
    /// Train the re-ranker: score, classifier and calibrators
    Nearest(nearest::Args),
    /// Train an encoder as masked language model, from scratch or from another one
    #[cfg(feature = "neural")]
    #[command(visible_alias = "mlm")]
    Encoder(Box<encoder::Args>),
    /// Train a BERT recogniser of mentions: token classifier or bi-encoder
    #[cfg(feature = "neural")]
    Ner(Box<ner::Args>),
    /// Train an encoder for linking: BioSyn over the names of a catalogue and coded mentions
    #[cfg(feature = "neural")]
    Linker(Box<linker::Args>),
    /// Train a Longformer that predicts the codes of an appointment from what came before it
    #[cfg(feature = "neural")]
    Diagnosis(Box<diagnosis::Args>),
    /// Fine-tune a language model by LoRA, or train a small one from nothing
    #[cfg(feature = "neural")]
    Lora(lora::Args),
}

/// Trains the model that was asked for.
///
/// # Errors
/// If the corpus cannot be read or teaches nothing, or the model cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.job {
        Job::Crf(args) => crf::run(args),
        Job::Nearest(args) => nearest::run(args),
        #[cfg(feature = "neural")]
        Job::Encoder(args) => encoder::run(args),
        #[cfg(feature = "neural")]
        Job::Ner(args) => ner::run(args),
        #[cfg(feature = "neural")]
        Job::Linker(args) => linker::run(args),
        #[cfg(feature = "neural")]
        Job::Diagnosis(args) => diagnosis::run(args),
        #[cfg(feature = "neural")]
        Job::Lora(args) => lora::run(args),
    }
}
