//! `noso train linker`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::ValueEnum;

use super::{
    fit::{Bar, FitArgs, defaults},
    manifest::{MODEL_WEIGHTS, Manifest},
};
use crate::{
    cli::{DONE, annotated::load_annotated, load_catalog},
    config::{EncoderConfig, Pooling},
    corpus::brat::{DIAGNOSIS_LABELS, load_concepts},
    embed::bert::load_model,
    error::Error,
    nn::fit::{FitSettings, ModelFolder, fingerprint},
    train::linker::{
        LinkerSettings, LinkerTraining, Wording, Wordings, catalog_wordings, concept_wordings, mention_wordings, train,
    },
};

/// Train an encoder for linking: BioSyn over the names of a catalogue and coded mentions
#[derive(Debug, clap::Args)]
#[command(after_long_help = defaults(&LinkerSettings::fit()) + "
They are BioSyn's and the paper's. A small encoder trained from scratch needs a higher --learning-rate, such as 2e-4;
--temperature 0.05 --in-batch --names-as-mentions go beyond BioSyn. A mention none of whose candidates has its code teaches nothing
in that epoch. λ, what the letters count beside the encoder, stands in sparse.json of the output folder; an index weighs its parts on
its own (`noso index build --weight auto`).

Example: train on ICD codes, keep the best epoch by linking on a tune folder, then index with the encoder

  noso train linker --encoder bergamot --corpus ruccod/train --mentions-as-names \\
      --dev ruccod/tune --output linker
  noso index build --encoder linker --mentions ruccod/train --output my-index")]
pub struct Args {
    /// Annotated brat folder with ICD codes (may be given several times)
    #[arg(long, value_name = "DIR", required_unless_present = "concepts")]
    corpus: Vec<PathBuf>,
    /// Annotated brat folder with UMLS concepts, with its sub-folders: RuCCoN, NEREL-BIO (may be given several times); its words are names too
    #[arg(long, value_name = "DIR")]
    concepts: Vec<PathBuf>,
    /// Catalogue whose titles and synonyms are names [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Make the mentions of --corpus names too; none is ever one for its own record
    #[arg(long)]
    mentions_as_names: bool,
    /// Make titles and synonyms mentions too: each is to find the other wordings of its code
    #[arg(long)]
    names_as_mentions: bool,
    /// Annotated folder with ICD codes to measure linking on after each epoch: the best checkpoint is kept
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
    /// The same with UMLS concepts
    #[arg(long, value_name = "DIR")]
    dev_concepts: Option<PathBuf>,
    /// Folder or hub id of the encoder to start from, or a preset
    #[arg(long, value_name = "DIR|ID")]
    encoder: String,
    /// Folder to write the encoder into
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// How token vectors become one [default: as the encoder says, else cls]
    #[arg(long, value_enum)]
    pooling: Option<PoolingName>,
    /// Put texts in small letters first
    #[arg(long)]
    lowercase: bool,
    /// Tokens of a text that are read
    #[arg(long, value_name = "N", default_value_t = 25)]
    max_tokens: usize,
    /// Names that a mention is held against
    #[arg(long, value_name = "N", default_value_t = 20)]
    candidates: usize,
    /// Share of them that the encoder finds; the letters find the others
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    dense_share: f64,
    /// Compare by the cosine divided by this instead of the inner product
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Hold a mention against the candidates of all mentions computed with it
    #[arg(long)]
    in_batch: bool,
    /// Learn from every mention, also from equal words with one code
    #[arg(long)]
    repeats: bool,
    /// What the letters count beside the encoder at the start
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    lambda: f32,
    /// Mentions with much the same candidates that come together: less to encode, batches less mixed
    #[arg(long, value_name = "N", default_value_t = 1)]
    bundle: usize,
    /// Learning rate of λ
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    lambda_rate: f64,
    #[command(flatten)]
    fit: FitArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolingName {
    /// The first token's vector
    Cls,
    /// The mean of all
    Mean,
}

/// Trains the encoder and writes its folder.
///
/// # Errors
/// If encoder or corpora cannot be read, teach nothing, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = ModelFolder::claim(&args.output, args.fit.resume)?;
    let (linker, fit) = (args.linker(), args.fit());
    linker.check()?;
    fit.check()?;
    let (mut model, encoder) = load_model(&args.encoder())?;
    let how = LinkerTraining { linker, fit, encoder };
    let wordings = args.wordings()?;
    let manifest = Manifest::begin(&folder, &(&args.encoder, &how), fingerprint(&wordings))?;
    let report = train(&mut model, &wordings, &how, &folder, &mut Bar::new()?)?;
    manifest.finish(&folder, MODEL_WEIGHTS, &report.history)?;
    eprintln!("{report}");
    eprintln!("{}: written", args.output.display());
    Ok(DONE)
}

impl Args {
    fn wordings(&self) -> anyhow::Result<Wordings> {
        let mut names = match self.corpus.is_empty() && self.catalog.is_none() {
            true => Vec::new(),
            false => catalog_wordings(&load_catalog(self.catalog.as_deref())?),
        };
        let mut mentions = Vec::new();
        for folder in &self.corpus {
            mentions.extend(load_mentions(folder)?);
        }
        if self.mentions_as_names {
            names.extend(mentions.iter().cloned());
        }
        for folder in &self.concepts {
            let terms = load_terms(folder)?;
            names.extend(terms.iter().cloned());
            mentions.extend(terms);
        }
        let mut held_out = self.dev.as_deref().map(load_mentions).transpose()?.unwrap_or_default();
        held_out.extend(self.dev_concepts.as_deref().map(load_terms).transpose()?.unwrap_or_default());
        let wordings = Wordings { names, mentions, held_out };
        Ok(if self.names_as_mentions { wordings.with_names_as_mentions() } else { wordings })
    }

    fn encoder(&self) -> EncoderConfig {
        EncoderConfig {
            pooling: self.pooling.map(|pooling| match pooling {
                PoolingName::Cls => Pooling::Cls,
                PoolingName::Mean => Pooling::Mean,
            }),
            lowercase: self.lowercase.then_some(true),
            max_tokens: Some(self.max_tokens),
            ..EncoderConfig::of(&self.encoder)
        }
    }

    fn linker(&self) -> LinkerSettings {
        LinkerSettings {
            candidates: self.candidates,
            dense_share: self.dense_share,
            temperature: self.temperature,
            in_batch: self.in_batch,
            distinct: !self.repeats,
            lambda: self.lambda,
            bundle: self.bundle,
        }
    }

    fn fit(&self) -> FitSettings {
        let mut fit = self.fit.over(LinkerSettings::fit());
        fit.groups.iter_mut().for_each(|lambda| lambda.learning_rate = self.lambda_rate);
        // The loop counts bundles.
        fit.batch = fit.batch.div_ceil(self.bundle.max(1));
        fit
    }
}

fn load_mentions(folder: &Path) -> anyhow::Result<Vec<Wording>> {
    let wordings = mention_wordings(&folder.display().to_string(), &load_annotated(folder)?);
    not_empty(wordings, folder, "an ICD code; UMLS concepts are read by --concepts and --dev-concepts")
}

fn load_terms(folder: &Path) -> anyhow::Result<Vec<Wording>> {
    let (terms, report) = load_concepts(folder, &DIAGNOSIS_LABELS)?;
    eprintln!("{}: {report}", folder.display());
    not_empty(concept_wordings(&terms), folder, "a UMLS concept; ICD codes are read by --corpus and --dev")
}

fn not_empty(wordings: Vec<Wording>, folder: &Path, what: &str) -> anyhow::Result<Vec<Wording>> {
    if wordings.is_empty() {
        let reason = format!("{} has no diagnosis with {what}", folder.display());
        return Err(Error::Training { what: "the linker", reason }.into());
    }
    Ok(wordings)
}
