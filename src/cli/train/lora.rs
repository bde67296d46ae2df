//! `noso train lora`.

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;

use super::{
    card::Card,
    fit::Bar,
    job::{DescribedAdapter, Job, Read},
    manifest::{MODEL_WEIGHTS, Manifest},
};
use crate::{
    artifact::write_atomic,
    cli::DONE,
    config::RerankConfig,
    embed::bert::device,
    error::{Error, Result, check_setting},
    llm::hub,
    nn::{
        decoder::Lora,
        fit::{History, ModelFolder},
    },
    train::lora::{
        adapter,
        finetune::{Counts, Finetuning},
        pretrain::{PretrainSettings, pretrain},
        settings::{AdapterSettings, Best, FinetuneSettings, Kind},
    },
};

/// What lowers the memory of a fine-tuning, in the keys of its file.
const LESS_TO_FINETUNE: &str = "finetune.base_format to \"q8\" or \"q4\", finetune.max_tokens, finetune.fit.batch_tokens or finetune.fit.shards, or set finetune.fit.recompute = true";
/// The same for a model from nothing.
const LESS_TO_PRETRAIN: &str =
    "pretrain.max_tokens, pretrain.fit.batch_tokens or pretrain.fit.shards, or set pretrain.fit.recompute = true";

/// Fine-tune a language model by LoRA, or train a small one from nothing, as a TOML file says
#[derive(Debug, clap::Args)]
#[command(after_long_help = concat!(
    "\
Examples:
  noso train lora --config qwen.toml --output adapters/qwen
  noso code --pipeline llm --model models/Qwen2.5-7B-Instruct \\
      --adapter-ner adapters/qwen/ner --adapter-rerank adapters/qwen/rerank 'Хр. гастрит'

The file qwen.toml, where the first four lines, and a line for each adapter, would do:

",
    include_str!("job.toml")
))]
pub struct Args {
    /// What is trained, from what, and how
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder to write: a model, or a folder of adapters
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Train all weights instead of an adapter's, and write whole models
    #[arg(long)]
    full: bool,
    /// Go on with an earlier run of the same command that was cut off
    #[arg(long)]
    resume: bool,
}

/// Trains and writes.
///
/// # Errors
/// If the file is no job, a corpus cannot be read or teaches nothing, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut job = Job::load(&args.config)?;
    job.finetune.full |= args.full;
    let alone = job.pretrain.is_none() || !args.full;
    check_setting(alone, "--full", "it with adapters to fine-tune", "a model from nothing, all of which is trained")?;
    let ran = match (&job.base, &job.pretrain) {
        (Some(base), None) if !job.adapter.is_empty() => args.finetune(&job, base),
        (None, Some(settings)) if job.adapter.is_empty() => args.pretrain(&job, settings),
        _ => Err(job.of_no_kind().into()),
    };
    // A setting was read from the file.
    ran.map_err(|e| match e.downcast_ref() {
        Some(Error::Setting { .. }) => {
            let told = format!("{}: {e}", args.config.display());
            e.context(told)
        }
        _ => e,
    })
}

impl Args {
    /// Begins a folder's manifest and keeps the job's file with it, unless those of a run that goes on are there; `None` for a run that has
    /// ended, of which is told.
    fn begin(&self, folder: &ModelFolder, read: &Read, settings: &impl Serialize) -> Result<Option<Manifest>> {
        let (settings, data) = (read.described(settings), read.fingerprint());
        if Manifest::tell_finished(folder, &settings, data) {
            return Ok(None);
        }
        let manifest = Manifest::begin(folder, &settings, data)?;
        if !folder.has_checkpoint() {
            let text = std::fs::read(&self.config).map_err(|e| Error::read(&self.config, e))?;
            write_atomic(&folder.place().folder.join("config.toml"), &text)?;
        }
        Ok(Some(manifest))
    }

    fn finetune(&self, job: &Job, base: &str) -> anyhow::Result<ExitCode> {
        let names: Vec<&str> = job.adapter.iter().map(|adapter| adapter.name.as_str()).collect();
        let simple = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
        for (at, name) in names.iter().enumerate() {
            check_setting(simple(name), "adapter.name", "the name of a folder, without a path", name)?;
            check_setting(!names[..at].contains(name), "adapter.name", "each name once", format!("{name} again"))?;
        }
        let folder = hub::resolve(base)?;
        let adapters: Vec<AdapterSettings> = job.adapter.iter().map(|one| one.with_prompt_of(&folder)).collect();
        for one in &adapters {
            one.check().map_err(|e| match e {
                Error::Setting { .. } => e.into(),
                e => {
                    let told = format!("{}: adapter `{}`: {e}", self.config.display(), one.name);
                    anyhow::Error::new(e).context(told)
                }
            })?;
        }
        job.finetune.check()?;
        let chooses = job.finetune.best == Best::Loss || !job.tune.is_empty();
        check_setting(chooses, "finetune.best", "loss, or a folder in `tune` to ask about", "score and no `tune`")?;
        let read = job.read()?;
        let claim = |name| ModelFolder::claim(&self.output.join(name), self.resume);
        let mut folders = names.into_iter().map(claim).collect::<Result<Vec<_>>>()?;
        folders.reverse(); // should nothing come of it, the first, which made the folder around them, goes last
        let in_keys = |e: Error| e.lowered_by(LESS_TO_FINETUNE);
        let finetuning = Finetuning::load(base, job.finetune.clone(), &device(job.device)?).map_err(in_keys)?;
        // All of it before the first is trained, which may take days.
        let prepare = |one| finetuning.prepare(one, &read.lessons());
        let prepared = adapters.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let mut watch = Bar::new()?.beside(finetuning.base_bytes());
        for ((one, prepared), folder) in adapters.iter().zip(&prepared).zip(folders.iter().rev()) {
            let settings = DescribedAdapter {
                base,
                base_hash: finetuning.base_hash(),
                adapter: one,
                prompt: one.prompt()?.fingerprint(),
                finetune: finetuning.settings(),
            };
            let Some(manifest) = self.begin(folder, &read, &settings)? else { continue };
            let history = finetuning.train(one, &read.lessons(), prepared, folder, &mut watch).map_err(in_keys)?;
            job.card(base, one, finetuning.settings(), &prepared.counts, &history, folder).write(folder.path())?;
            let weights = if job.finetune.full { MODEL_WEIGHTS } else { adapter::WEIGHTS_FILE };
            manifest.finish(folder, weights, &history)?;
            let Counts { taught, held_out, cut, left_out } = prepared.counts;
            let path = folder.path().display();
            eprintln!("{path}: written; {taught} texts taught, {held_out} held out, {cut} cut, {left_out} left out");
        }
        Ok(DONE)
    }

    fn pretrain(&self, job: &Job, settings: &PretrainSettings) -> anyhow::Result<ExitCode> {
        settings.check()?;
        let device = device(job.device)?;
        let read = job.read()?;
        let folder = ModelFolder::claim(&self.output, self.resume)?;
        let Some(manifest) = self.begin(&folder, &read, settings)? else { return Ok(DONE) };
        let history = pretrain(&read.lessons(), settings, &device, &folder, &mut Bar::new()?)
            .map_err(|e| e.lowered_by(LESS_TO_PRETRAIN))?;
        job.card_of_new(settings, &history, &folder).write(folder.path())?;
        manifest.finish(&folder, MODEL_WEIGHTS, &history)?;
        eprintln!("{}: written", self.output.display());
        Ok(DONE)
    }
}

impl Job {
    /// Says that the file is neither job.
    fn of_no_kind(&self) -> Error {
        let keys = [
            ("base", self.base.is_some()),
            ("adapter", !self.adapter.is_empty()),
            ("pretrain", self.pretrain.is_some()),
        ];
        let given: Vec<&str> = keys.into_iter().filter_map(|(key, is_given)| is_given.then_some(key)).collect();
        Error::Setting {
            key: "base".into(),
            expected: "it with one `adapter` or more, or `pretrain` alone".into(),
            got: if given.is_empty() { "neither".into() } else { given.join(" and ") },
        }
    }

    fn card<'a>(
        &'a self,
        base: &'a str,
        adapter: &AdapterSettings,
        settings: &'a FinetuneSettings,
        counts: &Counts,
        history: &'a History,
        folder: &ModelFolder,
    ) -> Card<'a> {
        let (task, option) = match adapter.task {
            Kind::Ner => ("writes out the diagnoses of a clinical note", "ner"),
            Kind::Rerank => ("chooses the ICD-10 code of a diagnosis among candidates", "rerank"),
        };
        let path = folder.path().display();
        let mut trained = vec![
            ("Texts taught", counts.taught.to_string()),
            ("Texts held out", counts.held_out.to_string()),
            ("Texts cut", counts.cut.to_string()),
            ("Texts left out", counts.left_out.to_string()),
            ("Most tokens a text", settings.max_tokens.to_string()),
        ];
        if adapter.task == Kind::Rerank {
            let said = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
            trained.extend([
                ("Candidates", adapter.candidates.to_string()),
                ("Order of candidates", said(&adapter.order)),
                ("Right code not offered: answer", said(&adapter.absent)),
            ]);
        }
        let (summary, model) = if settings.full {
            (format!("A language model that {task}, trained from `{base}`."), format!("--model {path}"))
        } else {
            let Lora { rank, alpha, dropout, targets } = &settings.lora;
            trained.extend([
                ("Rank", rank.to_string()),
                ("α", alpha.to_string()),
                ("Dropout", dropout.to_string()),
                ("Projections", targets.join(", ")),
            ]);
            let summary = format!("A LoRA adapter with which `{base}` {task}.");
            (summary, format!("--model {base} --adapter-{option} {path}"))
        };
        let fewer = adapter.task == Kind::Rerank && adapter.candidates != RerankConfig::default().candidates;
        let offered = fewer.then(|| format!(" --set rerank.candidates={}", adapter.candidates));
        Card {
            name: adapter.name.clone(),
            base: (!settings.full).then_some(base),
            summary,
            corpus: &self.corpus,
            attribution: self.attribution.as_deref(),
            settings: trained,
            fit: &settings.fit,
            history,
            usage: format!("noso code --pipeline llm {model}{} 'Хр. гастрит'", offered.unwrap_or_default()),
        }
    }

    fn card_of_new<'a>(
        &'a self,
        settings: &'a PretrainSettings,
        history: &'a History,
        folder: &ModelFolder,
    ) -> Card<'a> {
        let PretrainSettings { sizes, .. } = settings;
        Card {
            name: folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            base: None,
            summary: "A small language model, trained from nothing to write out the diagnoses of a clinical note and to choose the ICD-10 \
                      code of a diagnosis among candidates. It can do nothing else."
                .to_owned(),
            corpus: &self.corpus,
            attribution: self.attribution.as_deref(),
            settings: vec![
                ("Layers", sizes.layers.to_string()),
                ("Numbers a token", sizes.hidden.to_string()),
                ("Heads", sizes.heads.to_string()),
                ("Vocabulary", sizes.vocabulary.to_string()),
                ("Texts an epoch", settings.examples.to_string()),
            ],
            fit: &settings.fit,
            history,
            usage: format!(
                "noso code --pipeline llm --model {} --set llm.context_tokens={} 'Хр. гастрит'",
                folder.path().display(),
                sizes.positions
            ),
        }
    }
}
