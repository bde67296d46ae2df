//! Whether a run's results are what they say: a folder comes in, what differs leaves.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::Value;

use super::{
    compare::{Keep, Side},
    folder::{CellFolder, MANIFEST, METRICS, RunManifest, cell_path, json, sha256},
    gold::{Gold, GoldDocument},
    identity::{Identity, ask_with, current_source},
    scored::{PREDICTIONS, Prediction, Scored, predictions},
    settings::Mentions,
};
use crate::{
    artifact,
    config::PipelineConfig,
    corpus::{self, OutputFormat, WriteOptions},
    data::Document,
    error::{Error, Result},
    pipeline::{Pipeline, lookup},
};

/// What was found of a cell.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What the cell is called.
    pub name: String,
    /// Why it was not run, if it was not: there is nothing to check.
    pub not_run: Option<String>,
    /// What is not as it says.
    pub problems: Vec<String>,
    /// What has changed since, and may be why something is coded otherwise now.
    pub notes: Vec<String>,
    /// Documents that were coded again.
    pub replayed: usize,
    /// Of these, with other codings.
    pub changed_documents: usize,
    /// Questions that were asked again.
    pub asked: usize,
    /// Of these, answered otherwise.
    pub flipped_answers: usize,
}

impl Verdict {
    /// Tells whether everything was found as it says.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.changed_documents == 0 && self.flipped_answers == 0
    }
}

/// Checks every cell of a run: hashes, figures counted again, and up to `sample` documents of each coded again, without the cache.
///
/// # Errors
/// - [`Error::Read`], [`Error::Parse`] if the folder is no run. What is wrong with a cell is in its verdict.
pub fn verify(run: &Path, sample: usize, mut told: impl FnMut(&str)) -> Result<Vec<Verdict>> {
    let manifest = RunManifest::load(run)?;
    let gold = Gold::load(run)?;
    let of_run = [
        (manifest.hash() != manifest.sha256, "the run's manifest was changed: its hash is not that of its content"),
        (gold.sha256() != manifest.documents_sha256, "documents.jsonl is not that of the run"),
        (gold.trained_sha256() != manifest.trained_sha256, "trained.json is not that of the run"),
    ];
    let mut verdicts = Vec::new();
    for listed in &manifest.cells {
        let mut verdict = Verdict { name: listed.name.clone(), ..Verdict::default() };
        let Some(folder) = &listed.folder else {
            verdict.not_run = listed.not_run().map(str::to_owned);
            verdicts.push(verdict);
            continue;
        };
        told(&listed.name);
        verdict.problems.extend(of_run.iter().filter(|(is, _)| *is).map(|(_, told)| (*told).to_owned()));
        let cell = cell_path(run, folder);
        let found = artifact::sha256_of_file(&cell.join(MANIFEST)).ok();
        if found.is_some() && found != listed.manifest_sha256 {
            verdict.problems.push("its manifest was changed: its hash is not that of the run's".into());
        }
        match CellFolder::load(&cell) {
            Err(error) => verdict.problems.push(error.to_string()),
            Ok(cell) => verdict.check(&cell, &gold, &manifest, sample),
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

impl Verdict {
    fn check(&mut self, cell: &CellFolder, gold: &Gold, run: &RunManifest, sample: usize) {
        let CellFolder { path, manifest } = cell;
        if manifest.identity.hash(&manifest.pipeline, &run.documents_sha256, run.experiment.corpus.mentions)
            != manifest.identity.sha256
        {
            self.problems.push("its manifest was changed: settings, files or prompts are not those of its hash".into());
        }
        self.notes = changed_since(&manifest.identity, &manifest.pipeline);
        let changed = manifest.changed_files(path).into_iter();
        self.problems.extend(changed.map(|name| format!("{name} was changed: its hash is not that of the manifest")));
        match figures_differ(cell, gold) {
            Ok(keys) if keys.is_empty() => {}
            Ok(keys) => self.problems.push(format!(
                "{METRICS} says otherwise than the predictions: {}",
                keys.into_iter().collect::<Vec<_>>().join(", ")
            )),
            Err(error) => self.problems.push(error.to_string()),
        }
        if sample > 0
            && let Err(error) = self.replay(cell, gold, run.experiment.corpus.mentions, sample)
        {
            self.problems.push(format!("cannot be coded again: {error}"));
        }
    }

    /// Codes some documents again, evenly spread over the corpus, and counts what comes out otherwise.
    fn replay(&mut self, cell: &CellFolder, gold: &Gold, mentions: Mentions, sample: usize) -> Result<()> {
        let side = Side::load(self.name.clone(), cell.clone(), gold, Keep::All)?;
        let step = gold.documents.len().div_ceil(sample.max(1)).max(1);
        let drawn = gold.documents.iter().zip(&side.predictions).step_by(step);
        let drawn = drawn.filter_map(|(document, prediction)| Some((document.clone(), prediction.as_ref()?)));
        let (documents, before): (Vec<GoldDocument>, Vec<&Prediction>) = drawn.unzip();
        let folder = tempfile::tempdir().map_err(|e| Error::write("a temporary folder", e))?;
        let mut config = cell.manifest.pipeline.clone();
        ask_with(&cell.manifest.identity.prompts, &mut config, folder.path())?;
        let pipeline = Arc::new(Pipeline::load(&config)?);
        for (before, now) in before.into_iter().zip(again(&pipeline, &documents, mentions)?) {
            self.replayed += 1;
            self.changed_documents += usize::from(now.mentions != before.mentions);
            self.asked += before.trace.exchanges.len();
            let asked = before.trace.exchanges.len().max(now.trace.exchanges.len());
            let same = before.trace.exchanges.iter().zip(&now.trace.exchanges).filter(|(a, b)| a.answer == b.answer);
            self.flipped_answers += asked - same.count();
        }
        Ok(())
    }
}

/// Says which files, prompts and program are others now than when a cell was run.
fn changed_since(identity: &Identity, config: &PipelineConfig) -> Vec<String> {
    let hash = |path: &str| sha256(Path::new(path)).ok();
    let changed = identity.files.iter().filter(|file| hash(&file.path).as_ref() != Some(&file.sha256));
    let mut notes: Vec<String> = changed.map(|file| format!("{} has changed since: {}", file.key, file.path)).collect();
    // Prompts that are no file of the settings: built in, or beside a model.
    let others = identity.prompts.iter().filter(|prompt| identity.files.iter().all(|file| file.key != prompt.key));
    for prompt in others {
        let now = current_source(config, &prompt.key);
        if now.is_none_or(|source| source != prompt.source) {
            notes.push(format!("{} has changed since: {}", prompt.key, prompt.name));
        }
    }
    if std::env::current_exe().ok().and_then(|program| sha256(&program).ok()).as_ref() != Some(&identity.program_sha256)
    {
        notes.push("it was coded by another build of noso".into());
    }
    notes
}

/// Codes documents, written and read as those of a run are, so that numbers are rounded alike.
fn again(pipeline: &Arc<Pipeline>, documents: &[GoldDocument], mentions: Mentions) -> Result<Vec<Prediction>> {
    let folder = tempfile::tempdir().map_err(|e| Error::write("a temporary folder", e))?;
    let options = WriteOptions { format: OutputFormat::Jsonl, explain: true, resume: false, lookup: lookup(pipeline) };
    let mut writer = corpus::create(Some(&folder.path().join(PREDICTIONS)), options)?;
    let recognised = mentions.of(documents, pipeline);
    let documents: Vec<Document> = documents.iter().map(GoldDocument::document).collect();
    for (document, outcome) in documents.iter().zip(pipeline.link(&documents, recognised)) {
        writer.write(document, &outcome?)?;
    }
    writer.finish()?;
    predictions(folder.path())?.collect()
}

/// Counts a cell's figures again and names those that its file gives otherwise.
fn figures_differ(cell: &CellFolder, gold: &Gold) -> Result<BTreeSet<String>> {
    let written: Value = json(&cell.path.join(METRICS))?;
    let resamples = written.get("resamples").and_then(Value::as_u64).unwrap_or_default() as usize;
    let scored = Scored::of(gold, predictions(&cell.path)?, &cell.manifest.unknown_codes)?;
    let mut differ = BTreeSet::new();
    let counted = serde_json::to_value(scored.figures(resamples)).unwrap_or_default();
    unequal(&counted, &written, "", &mut differ);
    Ok(differ)
}

/// Tells whether numbers are the same but for the last digit, which reading may change.
fn is_near(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    let [one, other] = [one, other].map(|number| number.as_f64().unwrap_or(f64::NAN));
    (one - other).abs() <= 1e-12 * one.abs().max(1.0)
}

fn unequal(one: &Value, other: &Value, key: &str, differ: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys()) {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                unequal(&of(one), &of(other), &key, differ);
            }
        }
        (Value::Number(one), Value::Number(other)) if is_near(one, other) => {}
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).for_each(|(one, other)| unequal(one, other, key, differ));
        }
        _ if one == other => {}
        _ => drop(differ.insert(key.to_owned())),
    }
}
