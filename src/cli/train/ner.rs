//! `noso train ner`.

use std::{path::PathBuf, process::ExitCode};

use candle_core::Device;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::DONE,
    data::AnnotatedDocument,
    nn::{
        fit::{EvaluationRecord, Group, Place, StepRecord, WarmUp, Watch},
        pretrained::Pretrained,
    },
    train::ner::{Kind, NerSettings, Source, Training, load},
};

/// Train a BERT recogniser of mentions: token classifier or bi-encoder
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The defaults are the paper's for a pretrained encoder; a small one trained from scratch learns with --learning-rate 2e-4 or so.

Example: train on two corpora, keep the best checkpoint by F1 on a third folder, then code with it

  noso train ner --encoder rubiobert --corpus ruccod/train --corpus nerel-bio/train=DISO --dev ruccod/dev --output ner
  noso code --set ner.engine=bert --set ner.model=ner 'Хронический гастрит'")]
pub struct Args {
    /// Annotated brat folder, with its sub-folders, and the entity types that are mentions (may be given several times; without types: icd_code)
    #[arg(long, value_name = "DIR[=TYPE,…]", required = true)]
    corpus: Vec<Source>,
    /// Annotated folder to measure the model on after each epoch: the best checkpoint is kept
    #[arg(long, value_name = "DIR[=TYPE,…]", conflicts_with = "held_out")]
    dev: Option<Source>,
    /// Measure on every N-th document of the corpora instead, which is then not learnt from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    held_out: Option<u32>,
    /// Folder or hub id of the encoder to start from
    #[arg(long, value_name = "DIR|ID")]
    encoder: String,
    /// Model to train
    #[arg(long, value_enum, default_value_t = KindName::Tagger)]
    kind: KindName,
    /// Folder to write the model into
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Go on with the run that was interrupted in the output folder
    #[arg(long)]
    resume: bool,
    /// Passes over the corpora
    #[arg(long, value_name = "N", default_value_t = 20)]
    epochs: usize,
    /// Windows a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Highest learning rate; it falls along a cosine
    #[arg(long, value_name = "RATE", default_value_t = 1e-5)]
    learning_rate: f64,
    /// Learning rate of what is put on the encoder [default: as the encoder's]
    #[arg(long, value_name = "RATE")]
    head_learning_rate: Option<f64>,
    /// Share of the steps over which the learning rate rises
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    warm_up: f64,
    /// Weight decay
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    weight_decay: f64,
    /// Longest gradient; 0: any
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    clip_norm: f64,
    /// Stop after this many evaluations without a better F1; 0: never
    #[arg(long, value_name = "N", default_value_t = 0)]
    patience: usize,
    /// Longest window in tokens
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    /// Most tokens that a thread computes at once
    #[arg(long, value_name = "N", default_value_t = 8192)]
    batch_tokens: usize,
    /// Parts of a batch that are computed side by side
    #[arg(long, value_name = "N", default_value_t = 2)]
    shards: usize,
    /// Save memory: compute the layers a second time on the way back
    #[arg(long)]
    recompute: bool,
    /// Minutes between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    checkpoint_minutes: f64,
    /// Seed of the order of examples and of dropout
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What BINDER's type encoder reads [default: a Russian sentence that says what a diagnosis is]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    /// Token classifier: mentions lie apart
    Tagger,
    /// BINDER: mentions may lie within others
    Binder,
}

/// Trains the recogniser and writes its folder.
///
/// # Errors
/// If encoder or corpora cannot be read, teach nothing, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let encoder = Pretrained::load(&args.encoder, &Device::Cpu)?;
    let mut corpus = Vec::new();
    for source in &args.corpus {
        corpus.extend(load_source(source)?);
    }
    let mut dev = args.dev.as_ref().map(load_source).transpose()?.unwrap_or_default();
    if let Some(every) = args.held_out {
        let mut number = 0;
        dev.extend(corpus.extract_if(.., |_| {
            number += 1;
            number % every == 0
        }));
    }
    let place = Place { folder: &args.output, resume: args.resume };
    let training = Training::new(encoder, &corpus, &dev, &args.settings())?;
    eprintln!("to learn: {}", training.taught);
    if !dev.is_empty() {
        eprintln!("held out: {}", training.held_out);
    }
    let mut progress = Progress(ProgressBar::hidden());
    let outcome = training.run(place, &mut progress);
    progress.0.finish_and_clear();
    outcome?;
    eprintln!("{}: written", args.output.display());
    Ok(DONE)
}

fn load_source(source: &Source) -> anyhow::Result<Vec<AnnotatedDocument>> {
    let (documents, report) = load(source)?;
    eprintln!("{}: {report}", source.folder.display());
    Ok(documents)
}

impl Args {
    fn settings(&self) -> NerSettings {
        let kind = match self.kind {
            KindName::Tagger => Kind::Tagger,
            KindName::Binder => Kind::Binder,
        };
        let mut settings = NerSettings { max_tokens: self.max_tokens, ..NerSettings::new(kind) };
        if let Some(description) = &self.description {
            settings.description.clone_from(description);
        }
        let fit = &mut settings.fit;
        (fit.epochs, fit.batch, fit.patience, fit.seed) = (self.epochs, self.batch, self.patience, self.seed);
        (fit.learning_rate, fit.weight_decay, fit.clip_norm) = (self.learning_rate, self.weight_decay, self.clip_norm);
        (fit.shards, fit.batch_tokens, fit.recompute) = (self.shards, self.batch_tokens, self.recompute);
        (fit.warm_up, fit.checkpoint_minutes) = (WarmUp::Share(self.warm_up), self.checkpoint_minutes);
        let group = |learning_rate| {
            let heads = ["classifier.", "binder."].into_iter();
            heads.map(|prefix| Group { prefix: prefix.into(), learning_rate, weight_decay: None }).collect()
        };
        fit.groups = self.head_learning_rate.map(group).unwrap_or_default();
        settings
    }
}

/// Shows how far a run is on stderr.
struct Progress(ProgressBar);

impl Watch for Progress {
    fn begin(&mut self, steps: usize, done: usize) {
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} steps, {per_sec}, {eta} left{msg}");
        self.0 = ProgressBar::new(steps as u64)
            .with_position(done as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.reset_eta();
    }

    fn step(&mut self, step: &StepRecord) {
        self.0.set_message(format!(", loss {:.4}", step.loss));
        self.0.inc(1);
    }

    fn evaluation(&mut self, evaluation: &EvaluationRecord, best: bool) {
        let figures = evaluation.figures.iter().map(|(name, value)| format!("{name} {value:.4}"));
        let figures: Vec<String> = figures.collect();
        let line = format!("epoch {}: {}{}", evaluation.epoch, figures.join(", "), if best { ", the best so far" } else { "" });
        self.0.suspend(|| eprintln!("{line}"));
    }
}
