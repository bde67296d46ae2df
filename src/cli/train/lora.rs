//! `noso train lora`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::{
    card::Card,
    fit::Bar,
    manifest::{MODEL_WEIGHTS, Manifest},
};
use crate::{
    artifact::write_atomic,
    catalog::Catalog,
    cli::{DONE, corpus::load_annotated, load_catalog},
    config::Device,
    data::AnnotatedDocument,
    embed::{Embed, bert::device, ngram::NgramEncoder},
    error::{Error, Result, check_setting},
    nn::{
        decoder::Lora,
        fit::{History, ModelFolder, fingerprint},
    },
    train::lora::{
        adapter,
        finetune::{Counts, Finetuning},
        lessons::Lessons,
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

/// A job: adapters for a base model, or a model from nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    /// Annotated folders to learn from.
    corpus: Vec<PathBuf>,
    /// Whose texts they are; the model card says so.
    attribution: Option<String>,
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
    let mut job = args.job()?;
    job.finetune.full |= args.full;
    let ran = match (&job.base, &job.pretrain) {
        (Some(base), None) if !job.adapter.is_empty() => args.finetune(&job, base),
        (None, Some(settings)) if job.adapter.is_empty() => args.pretrain(&job, settings),
        _ => bail!("{}: expected either `base` with one `adapter` or more, or `pretrain`", args.config.display()),
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
    fn job(&self) -> Result<Job> {
        let text = std::fs::read_to_string(&self.config).map_err(|e| Error::read(&self.config, e))?;
        let wrong = |e: toml::de::Error| Error::Parse {
            what: "job",
            path: self.config.clone(),
            line: e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
            expected: "a job's keys and values".into(),
            got: e.message().to_owned(),
        };
        toml::from_str::<Job>(&text).map_err(wrong)?; // tells the line of what is wrong
        let mut table: toml::Table = toml::from_str(&text).map_err(wrong)?;
        over_defaults(&mut table, "finetune", &FinetuneSettings::default());
        over_defaults(&mut table, "pretrain", &PretrainSettings::default());
        table.try_into().map_err(wrong)
    }

    /// Keeps the job's file with the run.
    fn keep(&self, folder: &ModelFolder) -> Result<()> {
        let text = std::fs::read(&self.config).map_err(|e| Error::read(&self.config, e))?;
        write_atomic(&folder.place().folder.join("config.toml"), &text)
    }

    fn finetune(&self, job: &Job, base: &Path) -> anyhow::Result<ExitCode> {
        let names: Vec<&str> = job.adapter.iter().map(|adapter| adapter.name.as_str()).collect();
        let simple = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
        if let Some(wrong) = names.iter().enumerate().find(|(at, name)| !simple(name) || names[..*at].contains(name)) {
            bail!("adapter `{}`: expected a folder's name that no other adapter has", wrong.1);
        }
        job.adapter.iter().try_for_each(AdapterSettings::check)?;
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
        let prepared = job.adapter.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let mut watch = Bar::new()?.beside(finetuning.base_bytes());
        for ((one, prepared), folder) in job.adapter.iter().zip(&prepared).zip(folders.iter().rev()) {
            if Manifest::is_finished(folder) {
                eprintln!("{}: it is finished, and stays as it is", folder.path().display());
                continue;
            }
            let settings = DescribedAdapter {
                base,
                base_hash: finetuning.base_hash(),
                adapter: one,
                prompt: one.prompt()?.fingerprint(),
                finetune: finetuning.settings(),
            };
            let manifest = Manifest::begin(folder, &read.described(&settings), read.fingerprint())?;
            self.keep(folder)?;
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
        let manifest = Manifest::begin(&folder, &read.described(settings), read.fingerprint())?;
        self.keep(&folder)?;
        let history = pretrain(&read.lessons(), settings, &device, &folder, &mut Bar::new()?)
            .map_err(|e| e.lowered_by(LESS_TO_PRETRAIN))?;
        job.card_of_new(settings, &history, &folder).write(folder.path())?;
        manifest.finish(&folder, MODEL_WEIGHTS, &history)?;
        eprintln!("{}: written", self.output.display());
        Ok(DONE)
    }
}

/// Puts the settings of a section over the job's defaults, those of its parts over theirs: what is left out of `[finetune.fit]` is as the
/// job has it, not as every training has.
fn over_defaults(job: &mut toml::Table, section: &str, defaults: &impl Serialize) {
    let Some(toml::Value::Table(given)) = job.get_mut(section) else { return };
    let Ok(toml::Value::Table(mut all)) = toml::Value::try_from(defaults) else { return };
    for (key, value) in std::mem::take(given) {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(part)), toml::Value::Table(more)) => part.extend(more),
            (_, value) => drop(all.insert(key, value)),
        }
    }
    *given = all;
}

/// What a manifest says of a training.
#[derive(Serialize)]
struct Described<'a, S> {
    #[serde(flatten)]
    settings: &'a S,
    /// Fingerprints of what candidates are looked up in and by.
    catalog: String,
    encoder: &'a str,
}

/// What it says of an adapter.
#[derive(Serialize)]
struct DescribedAdapter<'a> {
    base: &'a Path,
    base_hash: &'a str,
    adapter: &'a AdapterSettings,
    /// Fingerprint of what it is asked.
    prompt: String,
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
    fn lessons(&self) -> Lessons<'_> {
        Lessons { taught: &self.taught, held_out: &self.tune, catalog: &self.catalog, encoder: &self.encoder }
    }

    fn described<'a, S>(&'a self, settings: &'a S) -> Described<'a, S> {
        Described { settings, catalog: self.catalog.fingerprint(), encoder: self.encoder.fingerprint() }
    }

    fn fingerprint(&self) -> u64 {
        let all = self.taught.iter().chain(&self.tune);
        let said =
            all.map(|AnnotatedDocument { document, entities }| (document.text.as_str(), format!("{entities:?}")));
        fingerprint(said.collect::<Vec<_>>())
    }
}

impl Job {
    fn card<'a>(
        &'a self,
        base: &'a Path,
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
        let (path, base_path) = (folder.path().display(), base.display());
        let mut trained = vec![
            ("Texts taught", counts.taught.to_string()),
            ("Texts held out", counts.held_out.to_string()),
            ("Texts cut", counts.cut.to_string()),
            ("Texts left out", counts.left_out.to_string()),
            ("Most tokens a text", settings.max_tokens.to_string()),
        ];
        let (summary, model) = if settings.full {
            (format!("A language model that {task}, trained from `{base_path}`."), format!("--model {path}"))
        } else {
            let Lora { rank, alpha, dropout, targets } = &settings.lora;
            trained.extend([
                ("Rank", rank.to_string()),
                ("α", alpha.to_string()),
                ("Dropout", dropout.to_string()),
                ("Projections", targets.join(", ")),
            ]);
            let summary = format!("A LoRA adapter with which `{base_path}` {task}.");
            (summary, format!("--model {base_path} --adapter-{option} {path}"))
        };
        // An adapter's folder holds the prompt, a whole model's does not.
        let prompt = adapter.prompt.as_deref().filter(|_| settings.full);
        let prompt = prompt.map(|name| format!(" --set {option}.llm.prompt={name}"));
        Card {
            name: adapter.name.clone(),
            base: (!settings.full).then_some(base),
            summary,
            corpus: &self.corpus,
            attribution: self.attribution.as_deref(),
            settings: trained,
            fit: &settings.fit,
            history,
            usage: format!("noso code --pipeline llm {model}{} 'Хр. гастрит'", prompt.unwrap_or_default()),
        }
    }

    fn card_of_new<'a>(
        &'a self,
        settings: &'a PretrainSettings,
        history: &'a History,
        folder: &ModelFolder,
    ) -> Card<'a> {
        let PretrainSettings { sizes, extract, select, .. } = settings;
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
                "noso code --pipeline llm --model {} --set llm.context_tokens={} \\\n    --set ner.llm.prompt={extract} --set rerank.llm.prompt={select} 'Хр. гастрит'",
                folder.path().display(),
                sizes.positions
            ),
        }
    }

    fn read(&self) -> anyhow::Result<Read> {
        let load = |folders: &[PathBuf]| -> anyhow::Result<Vec<AnnotatedDocument>> {
            let all = folders.iter().map(|folder| load_annotated(folder)).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(all.concat())
        };
        let catalog = load_catalog(self.catalog.as_deref())?;
        let (taught, tune) = (load(&self.corpus)?, load(&self.tune)?);
        let known: HashSet<&str> = taught.iter().map(|annotated| annotated.document.text.as_str()).collect();
        let both = tune.iter().filter(|annotated| known.contains(annotated.document.text.as_str())).count();
        if both > 0 {
            eprintln!(
                "warning: {both} of {} notes in `tune` are in `corpus`, too: they flatter what was taught",
                tune.len()
            );
        }
        Ok(Read { taught, tune, catalog: Arc::new(catalog), encoder: Arc::new(NgramEncoder::shipped()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::fit::{Schedule, WarmUp};

    fn read(text: &str) -> Result<Job> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Args { config: file.path().to_owned(), output: PathBuf::new(), full: false, resume: false }.job()
    }

    #[test]
    fn the_job_in_the_help_has_every_key_at_its_default() {
        let Job { adapter, finetune, pretrain, .. } = read(include_str!("job.toml")).unwrap();
        assert_eq!((finetune, pretrain), (FinetuneSettings::default(), None));
        let short = read(
            "corpus = []\nadapter = [{ name = \"ner\", task = \"ner\" }, { name = \"rerank\", task = \"rerank\" }]",
        )
        .unwrap();
        for (long, short) in adapter.iter().zip(&short.adapter) {
            assert_eq!(long.prompt().unwrap(), short.prompt().unwrap());
            assert_eq!(*long, AdapterSettings { prompt: long.prompt.clone(), ..short.clone() });
        }
        let (_, rest) = include_str!("job.toml").split_once("# [pretrain]\n").unwrap();
        let rest: String = rest.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        let Job { pretrain, .. } = read(&format!("corpus = []\n[pretrain]\n{rest}")).unwrap();
        assert_eq!(pretrain, Some(PretrainSettings::default()));
        // Every key that there is stands in it.
        let (help, mut keys) = (include_str!("job.toml"), Vec::new());
        let defaults = (FinetuneSettings::default(), PretrainSettings::default());
        for value in [serde_json::to_value(defaults.0).unwrap(), serde_json::to_value(defaults.1).unwrap()] {
            let mut open = vec![value];
            while let Some(serde_json::Value::Object(part)) = open.pop() {
                part.into_iter().for_each(|(key, value)| {
                    keys.push(key);
                    if value.is_object() {
                        open.push(value)
                    }
                });
            }
        }
        let missing: Vec<&String> = keys.iter().filter(|key| !help.contains(key.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn what_a_job_leaves_out_is_the_jobs_own_default() {
        let job = "corpus = []\n[finetune.lora]\nrank = 4\n[finetune.fit]\nepochs = 3\nwarm_up = { steps = 5 }\n[pretrain]\nexamples = 9\n[pretrain.fit]\nseed = 7\n";
        let Job { finetune, pretrain, .. } = read(job).unwrap();
        let fit = &finetune.fit;
        assert_eq!((fit.epochs, fit.batch, fit.accumulation, fit.warm_up), (3, 2, 8, WarmUp::Steps(5)));
        assert_eq!(finetune.lora, Lora { rank: 4, ..Lora::default() });
        let pretrain = pretrain.unwrap();
        assert_eq!((pretrain.examples, pretrain.fit.seed, pretrain.fit.batch), (9, 7, 24));
        assert_eq!(pretrain.fit.schedule, Schedule::Cosine);

        let told = read("corpus = []\n[finetune.fit]\nepoch = 3\n").unwrap_err();
        assert!(told.to_string().contains(":3:") && told.to_string().contains("epoch"), "{told}");
        assert!(told.hint().unwrap().contains("--help"));
    }
}
