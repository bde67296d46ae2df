//! What an experiment is told: a TOML file comes in, typed settings leave.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    config::built_in_pipelines,
    error::{Error, Result, check_setting, line_at, nearest_name},
    prompt::built_in_prompts,
};

/// Axis whose values are pipelines rather than those of a key.
pub(super) const PIPELINE: &str = "pipeline";
/// How the keys of a pipeline end whose values are files, folders or names.
const FILE_KEYS: [&str; 11] = [
    "prompt",
    "examples",
    "model",
    "encoder_model",
    "index",
    "catalog",
    "abbreviations",
    "adapter_ner",
    "adapter_rerank",
    "reword",
    "descend",
];

/// An experiment: a corpus, and pipelines to compare on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSettings {
    /// Heading of its pages. Default: the file's name.
    #[serde(default)]
    pub title: String,
    /// What is coded.
    pub corpus: CorpusSettings,
    /// Built-in pipeline or pipeline file that everything starts from. Default `default`.
    #[serde(default = "pipeline")]
    pub pipeline: String,
    /// Keys changed everywhere, as `KEY=VALUE`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Keys of a pipeline, or `pipeline` itself, each with the values it takes; all combinations are run. Keys with points, also where the
    /// file nests them in tables.
    #[serde(default, deserialize_with = "flat")]
    pub axes: toml::Table,
    /// Pipelines that differ in more than one key; the axes are run for each. Default: one without a name.
    #[serde(default)]
    pub rows: Vec<RowSettings>,
    /// Resamples of the bootstrap. Default 10,000.
    #[serde(default = "resamples")]
    pub resamples: usize,
    /// Memory for the files of language models that are loaded at a time, in GB; one that is larger is loaded alone. Default 8.
    #[serde(default = "memory_gb")]
    pub memory_gb: f64,
}

/// Annotated documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSettings {
    /// Annotated brat folder.
    pub gold: PathBuf,
    /// Takes only the documents whose number (the digits of the id, or where there are none its place) leaves a remainder of `remainder`
    /// when divided by `modulo`. The others count as those that were trained on, unless `train` names a folder.
    pub split: Option<Split>,
    /// The first so many documents. Default: all.
    pub limit: Option<usize>,
    /// Annotated brat folder that was trained on: says which codes were seen, and how often. Default: the rest of a split.
    pub train: Option<PathBuf>,
    /// What it is for. Default `tune`.
    #[serde(default)]
    pub role: Role,
    /// Whose mentions are linked. Default `own`.
    #[serde(default)]
    pub mentions: Mentions,
}

/// Whose mentions are given codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mentions {
    /// Those that the pipeline recognises.
    #[default]
    Own,
    /// Those of the gold annotation: linking alone is measured.
    Gold,
}

/// A part of a corpus, by the documents' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Number of parts.
    pub modulo: u64,
    /// Which of them, from 0.
    pub remainder: u64,
}

/// What a corpus is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Prompts and settings are chosen on it.
    #[default]
    Tune,
    /// What was chosen is measured on it, once. Choosing on it makes its figures too good, so it is counted.
    Dev,
}

/// A pipeline of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowSettings {
    /// What it is called.
    pub name: String,
    /// Built-in pipeline or pipeline file. Default: that of the experiment.
    pub pipeline: Option<String>,
    /// Keys changed, as `KEY=VALUE`, after those of the experiment.
    #[serde(default)]
    pub set: Vec<String>,
    /// Row of a table of published figures (`experiments/paper.toml`) that it repeats.
    pub paper: Option<String>,
    /// What a user must have for it.
    pub needs: Option<String>,
}

impl ExperimentSettings {
    /// Reads a file; paths in it are looked for beside it first.
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be read; [`Error::Parse`] with the line if it breaks the form; [`Error::Setting`] if a value is out of
    ///   its range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let mut settings: Self = toml::from_str(&text).map_err(|e| Error::Parse {
            what: "experiment",
            path: path.to_owned(),
            line: e.span().map_or(1, |span| line_at(&text, span.start)),
            expected: "TOML with the keys of an experiment".into(),
            got: nearest_name(e.message()),
        })?;
        if settings.title.is_empty() {
            settings.title = path.file_stem().unwrap_or_default().to_string_lossy().into();
        }
        settings.look_beside(path.parent().unwrap_or(Path::new("")));
        settings.check()?;
        Ok(settings)
    }

    /// Takes what stands beside the file for what its settings name; what is built in goes before.
    fn look_beside(&mut self, folder: &Path) {
        let is_built_in = |name: &str| built_in_pipelines().chain(built_in_prompts()).any(|one| one == name);
        let found = |name: &str| {
            let path = folder.join(name);
            let is_there = !name.is_empty() && !is_built_in(name) && path.exists();
            is_there.then(|| path.canonicalize().unwrap_or(path))
        };
        let beside = |path: &mut PathBuf| *path = found(&path.to_string_lossy()).unwrap_or(std::mem::take(path));
        let named = |name: &mut String| {
            if let Some(path) = found(name) {
                *name = path.display().to_string();
            }
        };
        let assigned = |assignment: &mut String| {
            let Some((key, value)) = assignment.split_once('=') else { return };
            if let Some(path) = found(value.trim().trim_matches(['"', '\''])).filter(|_| names_file(key)) {
                *assignment = format!("{key}={}", toml::Value::from(path.display().to_string()));
            }
        };
        beside(&mut self.corpus.gold);
        self.corpus.train.iter_mut().for_each(beside);
        named(&mut self.pipeline);
        self.set.iter_mut().for_each(assigned);
        for row in &mut self.rows {
            row.pipeline.iter_mut().for_each(named);
            row.set.iter_mut().for_each(assigned);
        }
        for (_, values) in self.axes.iter_mut().filter(|(key, _)| key.as_str() == PIPELINE || names_file(key)) {
            let texts = values.as_array_mut().into_iter().flatten();
            texts.for_each(|value| {
                if let toml::Value::String(name) = value {
                    named(name);
                }
            });
        }
    }

    /// Returns the memory for the files of language models that are loaded at a time.
    pub fn memory_bytes(&self) -> u64 {
        (self.memory_gb * 1e9) as u64
    }

    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// - [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        if let Some(Split { modulo, remainder }) = self.corpus.split {
            check_setting(modulo > 1, "corpus.split.modulo", "a whole number from 2", modulo)?;
            check_setting(remainder < modulo, "corpus.split.remainder", "less than modulo", remainder)?;
        }
        check_setting(self.corpus.limit != Some(0), "corpus.limit", "a whole number from 1", 0)?;
        check_setting(self.resamples > 0, "resamples", "a whole number from 1", self.resamples)?;
        check_setting(self.memory_gb > 0.0, "memory_gb", "above 0", self.memory_gb)?;
        for (key, values) in &self.axes {
            let is_list = values.as_array().is_some_and(|values| !values.is_empty());
            check_setting(is_list, &format!("axes.{key}"), "a list of values", values)?;
            let values = values.as_array().into_iter().flatten();
            let twice = values.clone().find(|value| values.clone().filter(|other| other == value).count() > 1);
            check_setting(
                twice.is_none(),
                &format!("axes.{key}"),
                "each value once",
                twice.map_or(String::new(), |value| format!("{value} twice")),
            )?;
        }
        let names: std::collections::BTreeSet<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        check_setting(names.len() == self.rows.len(), "rows", "a name of its own for each", "one name twice")
    }
}

/// Tells whether the values of a pipeline's key are files, folders or names.
pub(super) fn names_file(key: &str) -> bool {
    FILE_KEYS.contains(&key.trim().rsplit('.').next().unwrap_or_default())
}

/// Reads a table of which tables in it are part by keys with points.
fn flat<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<toml::Table, D::Error> {
    fn put(table: toml::Table, before: &str, all: &mut toml::Table) -> std::result::Result<(), String> {
        for (key, value) in table {
            let key = format!("{before}{key}");
            match value {
                toml::Value::Table(inner) => put(inner, &format!("{key}."), all)?,
                _ if all.contains_key(&key) => return Err(format!("`{key}` is there twice")),
                value => drop(all.insert(key, value)),
            }
        }
        Ok(())
    }
    let mut all = toml::Table::new();
    put(toml::Table::deserialize(from)?, "", &mut all).map_err(serde::de::Error::custom)?;
    Ok(all)
}

fn pipeline() -> String {
    "default".into()
}

fn resamples() -> usize {
    10_000
}

fn memory_gb() -> f64 {
    8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<ExperimentSettings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::create_dir(folder.path().join("notes")).unwrap();
        std::fs::write(folder.path().join("mine.toml"), "").unwrap();
        // A folder of a built-in pipeline's name, and one that is a value's.
        std::fs::create_dir(folder.path().join("llm")).unwrap();
        std::fs::create_dir(folder.path().join("crf")).unwrap();
        ExperimentSettings::load(&path)
    }

    #[test]
    fn paths_are_looked_for_beside_the_file_and_names_stay() {
        let text = "pipeline = 'llm'\nset = ['ner.llm.prompt=mine.toml', 'ner.engine=crf']\n[corpus]\ngold = 'notes'\n\
                    [axes]\n'rerank.llm.prompt' = ['select-ru', 'mine.toml']\n'rerank.candidates' = [5]";
        let settings = load(text).unwrap();
        assert!(settings.corpus.gold.is_absolute() && settings.title == "prompts");
        let prompts = settings.axes["rerank.llm.prompt"].as_array().unwrap();
        assert_eq!(prompts[0].as_str(), Some("select-ru"));
        assert!(Path::new(prompts[1].as_str().unwrap()).is_absolute());
        assert!(settings.set[0].contains("/mine.toml") && settings.set[1] == "ner.engine=crf", "{settings:?}");
        assert_eq!(settings.pipeline, "llm");
        assert_eq!(settings.axes.keys().collect::<Vec<_>>(), ["rerank.llm.prompt", "rerank.candidates"]);
    }

    #[test]
    fn axes_in_tables_are_those_with_points() {
        let axes = |text: &str| load(&format!("[corpus]\ngold = 'notes'\n{text}")).unwrap().axes;
        let quoted = axes("[axes]\n'rerank.llm.shots' = [0, 1]\nresamples = [2]");
        assert_eq!(axes("[axes]\nrerank.llm.shots = [0, 1]\nresamples = [2]"), quoted);
        assert_eq!(axes("[axes.rerank.llm]\nshots = [0, 1]\n[axes]\nresamples = [2]"), quoted);
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_the_nearest_one() {
        let told = load("[corpus]\ngold = 'notes'\nlimt = 3").unwrap_err().to_string();
        assert!(told.contains("prompts.toml:3") && told.contains("`limt`, nearest is `limit`"), "{told}");
        for wrong in [
            "[corpus]\ngold = 'notes'\nlimit = 0",
            "[corpus]\ngold = 'notes'\nsplit = { modulo = 6, remainder = 6 }",
            "[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidates' = 5",
            "[corpus]\ngold = 'notes'\n[axes]\n'rerank.candidates' = [5, 6, 5]",
            "[corpus]\ngold = 'notes'\n[axes]\nrerank.candidates = [5]\n'rerank.candidates' = [6]",
            "[corpus]\ngold = 'notes'\n[[rows]]\nname = 'a'\n[[rows]]\nname = 'a'",
            "memory_gb = 0.0\n[corpus]\ngold = 'notes'",
        ] {
            assert!(load(wrong).is_err(), "{wrong}");
        }
    }
}
