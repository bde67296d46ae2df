//! `noso train ner`.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::{
    fit::{Bar, FitArgs, defaults},
    manifest::{MODEL_WEIGHTS, Manifest},
};
use crate::{
    cli::DONE,
    config::{Device, EncoderConfig},
    data::AnnotatedDocument,
    embed::bert::load_model,
    nn::fit::{FitSettings, Group, ModelFolder},
    train::ner::{Kind, NerSettings, Source, Training, load},
};

/// Train a BERT recogniser of mentions: token classifier or bi-encoder
#[derive(Debug, clap::Args)]
#[command(after_long_help = defaults(&NerSettings::new(Kind::Tagger).fit) + "
They are the paper's, for a pretrained encoder. A small encoder trained from scratch needs more, such as --learning-rate 2e-4.

Example: train on two corpora, keep the best checkpoint by F1 on a third folder, then code with it

  noso train ner --encoder rubiobert --corpus ruccod/train --corpus nerel-bio/train=DISO \\
      --dev ruccod/dev --output ner
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
    /// Folder or hub id of the encoder to start from, or a preset
    #[arg(long, value_name = "DIR|ID")]
    encoder: String,
    /// Model to train
    #[arg(long, value_enum, default_value_t = KindName::Tagger)]
    kind: KindName,
    /// Folder to write the model into
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Longest window, in tokens with special ones
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    /// What BINDER's type encoder reads [default: a Russian sentence that says what a diagnosis is]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Learning rate of what is put on the encoder [default: the encoder's]
    #[arg(long, value_name = "X")]
    head_learning_rate: Option<f64>,
    #[command(flatten)]
    fit: FitArgs,
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
    let folder = ModelFolder::claim(&args.output, args.fit.resume)?;
    let settings = args.settings();
    settings.fit.check()?;
    let encoder = load_model(&EncoderConfig { device: Device::Cpu, ..EncoderConfig::of(&args.encoder) })?.0;
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
    let training = Training::new(encoder, &corpus, &dev, &settings)?;
    eprintln!("to learn: {}", training.taught);
    if !dev.is_empty() {
        eprintln!("held out: {}", training.held_out);
    }
    let manifest = Manifest::begin(&folder, &(&args.encoder, &settings), training.fingerprint())?;
    let history = training.run(&folder, &mut Bar::new()?)?;
    manifest.finish(&folder, MODEL_WEIGHTS, &history)?;
    eprintln!("{}: written", args.output.display());
    Ok(DONE)
}

fn load_source(source: &Source) -> anyhow::Result<Vec<AnnotatedDocument>> {
    let (documents, report) = load(source)?;
    eprintln!("{}: {report}", source.folder.display());
    source.check_types(&documents)?;
    Ok(documents)
}

impl Args {
    fn settings(&self) -> NerSettings {
        let kind = match self.kind {
            KindName::Tagger => Kind::Tagger,
            KindName::Binder => Kind::Binder,
        };
        let papers = NerSettings::new(kind);
        let group = |learning_rate| {
            let heads = ["classifier.", "binder."].into_iter();
            heads.map(|prefix| Group { prefix: prefix.into(), learning_rate, weight_decay: None }).collect()
        };
        let groups = self.head_learning_rate.map(group).unwrap_or_default();
        NerSettings {
            fit: FitSettings { groups, ..self.fit.over(papers.fit) },
            max_tokens: self.max_tokens,
            description: self.description.clone().unwrap_or(papers.description),
            ..papers
        }
    }
}
