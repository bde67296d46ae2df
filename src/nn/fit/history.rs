//! The record of a run: a line of JSON a step and an evaluation in `losses.jsonl`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    artifact,
    error::{Error, Result},
};

/// Name of the file with the losses, a line a step.
pub(super) const LOSSES_FILE: &str = "losses.jsonl";

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Loss before the step.
    pub loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f32,
    /// L2 norm of the gradient before it was clipped.
    pub gradient_norm: f32,
    /// Tokens of the step's examples.
    pub tokens: usize,
}

/// An evaluation on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Steps taken before.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Decides which checkpoint is best: higher is better.
    #[serde(deserialize_with = "number_or_null")]
    pub score: f32,
    /// Further figures by name.
    pub figures: BTreeMap<String, f32>,
}

/// What happened in a run, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Steps.
    pub steps: Vec<StepRecord>,
    /// Evaluations.
    pub evaluations: Vec<EvaluationRecord>,
    /// Steps taken before the best evaluation.
    pub best_step: Option<usize>,
}

impl History {
    /// Reads what a run that has ended left in its folder. Which evaluation was best is not written there.
    ///
    /// # Errors
    /// - [`Error::Read`] if nothing was left.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(LOSSES_FILE);
        let text = fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
        let mut history = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Step(step) => history.steps.push(step),
                Line::Evaluation(evaluation) => history.evaluations.push(evaluation),
            }
        }
        Ok(history)
    }

    /// Writes a row of CSV a step, with the evaluation that followed it, if any.
    ///
    /// # Errors
    /// - [`Error::Write`] never in practice: memory takes it all.
    pub(super) fn table(&self) -> Result<Vec<u8>> {
        let mut figures: Vec<&str> = self.evaluations.iter().flat_map(|one| one.figures.keys().map(|k| &**k)).collect();
        figures.sort_unstable();
        figures.dedup();
        let evaluated: BTreeMap<usize, &EvaluationRecord> =
            self.evaluations.iter().map(|one| (one.step, one)).collect();
        let mut table = csv::Writer::from_writer(Vec::new());
        let columns = ["step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens", "score"];
        // A loss of held-out texts beside that of the step.
        let names = figures.iter().map(|name| format!("held_out_{name}"));
        let failed = |e: std::io::Error| Error::write("losses.csv", e);
        table.write_record(columns.map(str::to_owned).into_iter().chain(names)).map_err(|e| failed(e.into()))?;
        for StepRecord { step, epoch, loss, learning_rate, gradient_norm, tokens } in &self.steps {
            let told = evaluated.get(step);
            let number = |value: Option<f32>| value.map(|value| value.to_string()).unwrap_or_default();
            let row = [
                step.to_string(),
                epoch.to_string(),
                loss.to_string(),
                learning_rate.to_string(),
                gradient_norm.to_string(),
                tokens.to_string(),
                number(told.map(|one| one.score)),
            ];
            let rest = figures.iter().map(|name| number(told.and_then(|one| one.figures.get(*name).copied())));
            table.write_record(row.into_iter().chain(rest)).map_err(|e| failed(e.into()))?;
        }
        table.into_inner().map_err(|e| failed(e.into_error()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Evaluation(EvaluationRecord),
    Step(StepRecord),
}

/// JSON has no NaN: it is written as null.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN))
}

/// A history that is written down as it happens.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    pub history: History,
}

impl Log {
    /// Opens `losses.jsonl` in `folder` with what it held of the first `step` steps and `evaluations` evaluations; later lines were not part of the checkpoint and come again.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn open(folder: &Path, step: usize, evaluations: usize) -> Result<Self> {
        let path = folder.join(LOSSES_FILE);
        let mut history = History::default();
        let mut kept = String::new();
        let before = if step > 0 { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        for text in before.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match serde_json::from_str(text) {
                Ok(Line::Step(line)) if line.step <= step => history.steps.push(line),
                Ok(Line::Evaluation(line)) if history.evaluations.len() < evaluations => history.evaluations.push(line),
                _ => continue,
            }
            kept.push_str(text);
        }
        artifact::write_atomic(&path, kept.as_bytes())?;
        let file = File::options().append(true).open(&path).map_err(|e| Error::write(&path, e))?;
        Ok(Self { path, file, history })
    }

    /// Writes down a step.
    ///
    /// # Errors
    /// - [`Error::Write`] if the disk is full.
    pub fn step(&mut self, record: StepRecord) -> Result<()> {
        self.history.steps.push(record.clone());
        self.write(&Line::Step(record))
    }

    /// Writes down an evaluation.
    ///
    /// # Errors
    /// - [`Error::Write`] if the disk is full.
    pub fn evaluation(&mut self, record: EvaluationRecord) -> Result<()> {
        self.history.evaluations.push(record.clone());
        self.write(&Line::Evaluation(record))
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(|e| Error::write(&self.path, e.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|e| Error::write(&self.path, e))
    }
}
