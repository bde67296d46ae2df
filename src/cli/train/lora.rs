//! `noso train lora`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::{
    fit::Bar,
    manifest::{MODEL_WEIGHTS, Manifest},
};
use crate::{
    catalog::Catalog,
    cli::{DONE, corpus::load_annotated, load_catalog},
    config::Device,
    data::AnnotatedDocument,
    embed::{Embed, bert::device, ngram::NgramEncoder},
    error::{Error, Result},
    nn::fit::{ModelFolder, fingerprint},
    train::lora::{
        adapter,
        finetune::{AdapterSettings, FinetuneSettings, Finetuning, Lessons},
        pretrain::{PretrainSettings, pretrain},
    },
};

/// What lowers the memory of a fine-tuning, in the keys of its file.
const LESS_TO_FINETUNE: &str = "finetune.base_format to \"q8\" or \"q4\", finetune.max_tokens, finetune.fit.batch_tokens or finetune.fit.shards, or set finetune.fit.recompute = true";
/// The same for a model from nothing.
const LESS_TO_PRETRAIN: &str =
    "pretrain.max_tokens, pretrain.fit.batch_tokens or pretrain.fit.shards, or set pretrain.fit.recompute = true";

/// Fine-tune a language model by LoRA, or train a small one from nothing, as a TOML file says
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example: a file that trains two adapters with the paper's settings, and the command

  base = \"models/Qwen2.5-7B-Instruct\"
  corpus = [\"ruccod/train\"]
  tune = [\"ruccod/tune\"]
  finetune = { base_format = \"q4\" }   # 4 bits a weight; left out: as in the file
  adapter = [{ name = \"ner\", task = \"ner\" }, { name = \"rerank\", task = \"rerank\" }]

  noso train lora --config qwen.toml --output adapters/qwen
  noso code --pipeline llm --model models/Qwen2.5-7B-Instruct \\
      --adapter-ner adapters/qwen/ner --adapter-rerank adapters/qwen/rerank 'Хр. гастрит'")]
pub struct Args {
    /// What is trained, from what, and how
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder to write: a model, or a folder of adapters
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Go on with an earlier run of the same command that was cut off
    #[arg(long)]
    resume: bool,
}

/// A job: adapters for a base model, or a model from nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    /// Annotated folders to learn from.
    corpus: Vec<PathBuf>,
    /// Annotated folders to choose the best checkpoint on.
    #[serde(default)]
    tune: Vec<PathBuf>,
    /// Catalogue whose codes are candidates. Default: the shipped one.
    catalog: Option<PathBuf>,
    /// Where it runs. Default `auto`.
    #[serde(default = "auto")]
    device: Device,
    /// Folder of the base model.
    base: Option<PathBuf>,
    /// Adapters.
    #[serde(default)]
    adapter: Vec<AdapterSettings>,
    /// How adapters are trained.
    #[serde(default)]
    finetune: FinetuneSettings,
    /// A model from nothing.
    pretrain: Option<PretrainSettings>,
}

fn auto() -> Device {
    Device::Auto
}

/// Trains and writes.
///
/// # Errors
/// If the file is no job, a corpus cannot be read or teaches nothing, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let job = args.job()?;
    match (&job.base, &job.pretrain) {
        (Some(base), None) if !job.adapter.is_empty() => args.finetune(&job, base),
        (None, Some(settings)) if job.adapter.is_empty() => args.pretrain(&job, settings),
        _ => bail!("{}: expected either `base` with one `adapter` or more, or `pretrain`", args.config.display()),
    }
}

impl Args {
    fn job(&self) -> Result<Job> {
        let text = std::fs::read_to_string(&self.config).map_err(|e| Error::read(&self.config, e))?;
        toml::from_str(&text).map_err(|e| Error::Parse {
            what: "job",
            path: self.config.clone(),
            line: e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
            expected: "a job's keys and values".into(),
            got: e.message().to_owned(),
        })
    }

    fn finetune(&self, job: &Job, base: &Path) -> anyhow::Result<ExitCode> {
        let names: Vec<&str> = job.adapter.iter().map(|adapter| adapter.name.as_str()).collect();
        let simple = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        if let Some(wrong) = names.iter().enumerate().find(|(at, name)| !simple(name) || names[..*at].contains(name)) {
            bail!("adapter `{}`: expected a folder's name that no other adapter has", wrong.1);
        }
        let folders = names
            .iter()
            .map(|name| ModelFolder::claim(&self.output.join(name), self.resume))
            .collect::<Result<Vec<_>>>()?;
        let in_keys = |e: Error| e.lowered_by(LESS_TO_FINETUNE);
        let finetuning = Finetuning::load(base, job.finetune.clone(), &device(job.device)?).map_err(in_keys)?;
        let read = job.read()?;
        let mut watch = Bar::new()?.with_base(finetuning.base_bytes());
        for (one, folder) in job.adapter.iter().zip(&folders) {
            let settings = Described { base, adapter: one, finetune: finetuning.settings() };
            let manifest = Manifest::begin(folder, &settings, read.fingerprint())?;
            let lessons =
                Lessons { taught: &read.taught, held_out: &read.tune, catalog: &read.catalog, encoder: &read.encoder };
            let (history, counts) = finetuning.train(one, &lessons, folder, &mut watch).map_err(in_keys)?;
            manifest.finish(folder, adapter::WEIGHTS_FILE, &history)?;
            let (path, counts) = (folder.path().display(), serde_json::to_string(&counts)?);
            eprintln!("{path}: written; texts {counts}");
        }
        Ok(DONE)
    }

    fn pretrain(&self, job: &Job, settings: &PretrainSettings) -> anyhow::Result<ExitCode> {
        settings.fit.check()?;
        let folder = ModelFolder::claim(&self.output, self.resume)?;
        let read = job.read()?;
        let manifest = Manifest::begin(&folder, settings, read.fingerprint())?;
        let history = pretrain(&read.taught, &read.catalog, &read.encoder, settings, &folder, &mut Bar::new()?)
            .map_err(|e| e.lowered_by(LESS_TO_PRETRAIN))?;
        manifest.finish(&folder, MODEL_WEIGHTS, &history)?;
        eprintln!("{}: written", self.output.display());
        Ok(DONE)
    }
}

/// What a manifest says of an adapter.
#[derive(Serialize)]
struct Described<'a> {
    base: &'a Path,
    adapter: &'a AdapterSettings,
    finetune: &'a FinetuneSettings,
}

/// What a job learns from.
struct Read {
    taught: Vec<AnnotatedDocument>,
    tune: Vec<AnnotatedDocument>,
    catalog: Arc<Catalog>,
    encoder: Arc<dyn Embed>,
}

impl Read {
    fn fingerprint(&self) -> u64 {
        let texts = self.taught.iter().chain(&self.tune).map(|annotated| annotated.document.text.as_str());
        fingerprint(texts.collect::<Vec<_>>())
    }
}

impl Job {
    fn read(&self) -> anyhow::Result<Read> {
        let load = |folders: &[PathBuf]| -> anyhow::Result<Vec<AnnotatedDocument>> {
            let all = folders.iter().map(|folder| load_annotated(folder)).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(all.concat())
        };
        let catalog = load_catalog(self.catalog.as_deref())?;
        Ok(Read {
            taught: load(&self.corpus)?,
            tune: load(&self.tune)?,
            catalog: Arc::new(catalog),
            encoder: Arc::new(NgramEncoder::shipped()?),
        })
    }
}
