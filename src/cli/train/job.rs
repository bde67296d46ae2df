//! A training job of language models: a TOML file comes in, settings and annotated notes leave.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::Catalog,
    cli::{annotated::load_annotated, load_catalog},
    config::{Device, RetrievalConfig},
    data::AnnotatedDocument,
    embed::Embed,
    error::{Error, Result, check_setting, line_at},
    nn::fit::fingerprint,
    pipeline::load_encoder,
    train::lora::{
        lessons::Lessons,
        pretrain::PretrainSettings,
        settings::{AdapterSettings, FinetuneSettings},
    },
};

/// A job: adapters for a base model, or a model from nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Annotated folders to learn from.
    pub corpus: Vec<PathBuf>,
    /// Whose texts they are; the model card says so.
    pub attribution: Option<String>,
    /// Annotated folders to choose the best checkpoint on.
    #[serde(default)]
    pub tune: Vec<PathBuf>,
    /// Index whose encoder finds candidates, as the one that will be searched does. Default: the shipped one.
    index: Option<PathBuf>,
    /// Catalogue whose codes are candidates. Default: the shipped one.
    catalog: Option<PathBuf>,
    /// Where it runs. Default `auto`.
    #[serde(default = "auto")]
    pub device: Device,
    /// Path or hub id of the base model.
    pub base: Option<String>,
    /// Adapters.
    #[serde(default)]
    pub adapter: Vec<AdapterSettings>,
    /// How adapters are trained.
    #[serde(default)]
    pub finetune: FinetuneSettings,
    /// A model from nothing.
    pub pretrain: Option<PretrainSettings>,
}

fn auto() -> Device {
    Device::Auto
}

impl Job {
    /// Reads a job's file; what is left out of a part of it is the job's own default.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::Parse`] with the line.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let wrong = |e: toml::de::Error| Error::Parse {
            what: "job",
            path: path.to_owned(),
            line: e.span().map_or(1, |span| line_at(&text, span.start)),
            expected: "a job's keys and values".into(),
            got: e.message().to_owned(),
        };
        toml::from_str::<Self>(&text).map_err(wrong)?; // tells the line of what is wrong
        let mut table: toml::Table = toml::from_str(&text).map_err(wrong)?;
        let is_one = !(table.contains_key("finetune") && table.contains_key("pretrain"));
        check_setting(is_one, "finetune", "either it or `pretrain`", "both")?;
        over_defaults(&mut table, "finetune", &FinetuneSettings::default());
        over_defaults(&mut table, "pretrain", &PretrainSettings::default());
        table.try_into().map_err(wrong)
    }

    /// Reads the notes to learn from and to measure on.
    ///
    /// # Errors
    /// If a folder cannot be read or holds no annotated note.
    pub fn read(&self) -> anyhow::Result<Read> {
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
        let retrieval = RetrievalConfig { index: self.index.clone(), ..RetrievalConfig::default() };
        Ok(Read { taught, tune, catalog: Arc::new(catalog), encoder: load_encoder(&retrieval)? })
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
pub(super) struct Described<'a, S> {
    #[serde(flatten)]
    settings: &'a S,
    /// Fingerprints of what candidates are looked up in and by.
    catalog: String,
    encoder: &'a str,
}

/// What it says of an adapter.
#[derive(Serialize)]
pub(super) struct DescribedAdapter<'a> {
    pub base: &'a str,
    pub base_hash: &'a str,
    pub adapter: &'a AdapterSettings,
    /// Fingerprint of what it is asked.
    pub prompt: String,
    pub finetune: &'a FinetuneSettings,
}

/// What a job learns from.
pub(super) struct Read {
    taught: Vec<AnnotatedDocument>,
    tune: Vec<AnnotatedDocument>,
    catalog: Arc<Catalog>,
    encoder: Arc<dyn Embed>,
}

impl Read {
    pub fn lessons(&self) -> Lessons<'_> {
        Lessons { taught: &self.taught, held_out: &self.tune, catalog: &self.catalog, encoder: &self.encoder }
    }

    /// Says of a training's settings what they lack.
    pub fn described<'a, S>(&'a self, settings: &'a S) -> Described<'a, S> {
        Described { settings, catalog: self.catalog.fingerprint(), encoder: self.encoder.fingerprint() }
    }

    /// Returns a hash of texts and annotation.
    pub fn fingerprint(&self) -> u64 {
        let all = self.taught.iter().chain(&self.tune);
        let said =
            all.map(|AnnotatedDocument { document, entities }| (document.text.as_str(), format!("{entities:?}")));
        fingerprint(said.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        decoder::Lora,
        fit::{Schedule, WarmUp},
    };

    fn read(text: &str) -> Result<Job> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Job::load(file.path())
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
        let finetune = "corpus = []\n[finetune.lora]\nrank = 4\n[finetune.fit]\nepochs = 3\nwarm_up = { steps = 5 }\n";
        let pretrain = "[pretrain]\nexamples = 9\n[pretrain.fit]\nseed = 7\n";
        let told = read(&format!("{finetune}{pretrain}")).unwrap_err();
        assert!(told.to_string().contains("either it or `pretrain`"), "{told}");
        let Job { finetune, .. } = read(finetune).unwrap();
        let Job { pretrain, .. } = read(&format!("corpus = []\n{pretrain}")).unwrap();
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
