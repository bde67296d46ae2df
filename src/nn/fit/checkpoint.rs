//! Checkpoints: one file with weights, the optimiser's moments and the place in the run, written atomically.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{FitSettings, Task, optimiser::Optimiser};
use crate::{
    artifact,
    error::{Error, Result},
    nn::Parameters,
};

/// Key of the best weights' number of steps.
const STEP: &str = "step";

/// Place in a run. Everything else, such as the order of examples and the dropout masks, follows from it and the settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Batches of the present epoch done.
    pub batch: usize,
    /// Evaluations done, and steps before the last of them.
    pub evaluations: usize,
    pub evaluated_step: Option<usize>,
    /// Best score so far, as bits: JSON would round it. Steps before it, evaluations since.
    best: Option<u64>,
    pub best_step: Option<usize>,
    pub stale: usize,
    /// Whether patience ran out.
    pub exhausted: bool,
}

impl State {
    /// Takes note of an evaluation's score. Returns whether it is the best so far; NaN never is.
    pub fn score(&mut self, score: f64) -> bool {
        self.evaluations += 1;
        self.evaluated_step = Some(self.step);
        let better = match self.best.map(f64::from_bits) {
            None => !score.is_nan(),
            Some(best) => score > best,
        };
        if better {
            (self.best, self.best_step, self.stale) = (Some(score.to_bits()), Some(self.step), 0);
        } else {
            self.stale += 1;
        }
        better
    }

    /// Forgets the best score, whose weights are not there any more.
    fn forget_best(&mut self) {
        (self.best, self.best_step, self.stale) = (None, None, 0);
    }
}

/// What a run is, beside what it has come to: settings, examples and weights.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Frame {
    settings: FitSettings,
    examples: usize,
    data: u64,
    /// Hash of names and shapes of the weights.
    weights: u64,
}

impl Frame {
    fn new(settings: &FitSettings, task: &dyn Task, parameters: &Parameters) -> Self {
        let shapes: Vec<_> = parameters.variables().iter().map(|(name, weight)| (name, weight.dims())).collect();
        Self {
            settings: settings.clone(),
            examples: task.len(),
            data: task.fingerprint(),
            weights: xxh3_64(format!("{shapes:?}").as_bytes()),
        }
    }

    /// Takes over what a run may change as it goes on: what costs time or memory alone, and what cures a loss that diverged. A run that has
    /// ended stays as it is with any of them.
    fn with_free_settings_of(mut self, now: &FitSettings) -> Self {
        self.settings = self.settings.with_cost_of(now);
        (self.settings.learning_rate, self.settings.clip_norm) = (now.learning_rate, now.clip_norm);
        self
    }

    /// Says what of this frame is not as in another.
    fn difference(&self, now: &Self) -> serde_json::Result<String> {
        let value = |settings: &FitSettings| serde_json::to_value(settings);
        let (then_set, now_set) = (value(&self.settings)?, value(&now.settings)?);
        let differing =
            then_set.as_object().into_iter().flatten().filter(|(name, value)| now_set.get(name) != Some(value));
        let mut said: Vec<String> = differing
            .map(|(name, value)| format!("{} {value} instead of {}", name.replace('_', " "), now_set[name]))
            .collect();
        if self.examples != now.examples {
            said.push(format!("{} examples instead of {}", self.examples, now.examples));
        } else if self.data != now.data {
            said.push("other texts to learn from or to measure on, or other settings of its job".to_owned());
        }
        if self.weights != now.weights {
            said.push("a model of another shape".to_owned());
        }
        Ok(said.join(", "))
    }
}

/// Returns where the checkpoint of a run in `folder` is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

/// Returns where the best weights of a run in `folder` are.
pub(super) fn best_path(folder: &Path) -> PathBuf {
    folder.join("best.safetensors")
}

/// Writes a checkpoint over the one before.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written or the disk is full; the checkpoint before is then untouched.
pub(super) fn save(
    folder: &Path,
    parameters: &Parameters,
    optimiser: &Optimiser,
    state: &State,
    settings: &FitSettings,
    task: &dyn Task,
) -> Result<()> {
    let path = path(folder);
    let json = |value: serde_json::Result<String>| value.map_err(|e| broken(&path, e.to_string()));
    let metadata = HashMap::from([
        ("state".to_owned(), json(serde_json::to_string(state))?),
        ("frame".to_owned(), json(serde_json::to_string(&Frame::new(settings, task, parameters)))?),
    ]);
    let weights = parameters.variables().iter().map(|(name, weight)| (name.clone(), weight.as_tensor()));
    let bytes = safetensors::serialize(weights.chain(optimiser.moments()), Some(metadata))
        .map_err(|e| broken(&path, e.to_string()))?;
    artifact::write_atomic(&path, &bytes)
}

/// Restores weights and moments from the checkpoint in `folder` and returns the place in the run; the beginning where there is none.
///
/// # Errors
/// - [`Error::Checkpoint`] if it is damaged, or belongs to a run of other examples or settings.
pub(super) fn load(
    folder: &Path,
    parameters: &Parameters,
    optimiser: &mut Optimiser,
    settings: &FitSettings,
    task: &dyn Task,
) -> Result<State> {
    let path = path(folder);
    if !path.exists() {
        return Ok(State::default());
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&path, e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let field = |name: &str| metadata.get(name).map(String::as_str).unwrap_or_default();
    let mut state: State = serde_json::from_str(field("state")).map_err(|e| broken(&path, e.to_string()))?;
    let frame: Frame = serde_json::from_str(field("frame")).map_err(|e| broken(&path, e.to_string()))?;
    let now = Frame::new(settings, task, parameters);
    // Through JSON as the other one went, which may round a number.
    let now: Frame = serde_json::to_string(&now)
        .and_then(|json| serde_json::from_str(&json))
        .map_err(|e| broken(&path, e.to_string()))?;
    let frame = frame.with_free_settings_of(&now.settings);
    if frame != now {
        let difference = frame.difference(&now).map_err(|e| broken(&path, e.to_string()))?;
        return Err(other_run(&path, &difference));
    }
    if state.best_step.is_some() && state.best_step != step_of_best(folder)? {
        // The run was killed between writing the two: the better weights will be found again.
        tracing::warn!("{} is not that of the checkpoint; the best is looked for anew", best_path(folder).display());
        state.forget_best();
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    let named = |e| match e {
        Error::Artifact { reason, .. } => broken(&path, reason), // names the file, not the model
        other => other,
    };
    parameters.restore(&tensors).map_err(named)?;
    optimiser.restore(&tensors, state.step).map_err(named)?;
    Ok(state)
}

/// Writes the best weights so far over the ones before, with the number of steps they had.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written or the disk is full; the weights before are then untouched.
pub(super) fn save_best(folder: &Path, parameters: &Parameters, step: usize) -> Result<()> {
    let path = best_path(folder);
    let metadata = HashMap::from([(STEP.to_owned(), step.to_string())]);
    let weights = parameters.variables().iter().map(|(name, weight)| (name.clone(), weight.as_tensor()));
    let bytes = safetensors::serialize(weights, Some(metadata)).map_err(|e| broken(&path, e.to_string()))?;
    artifact::write_atomic(&path, &bytes)
}

/// Reads after how many steps the best weights were taken; `None` if there are none.
fn step_of_best(folder: &Path) -> Result<Option<usize>> {
    let path = best_path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&path, e.to_string()))?;
    Ok(header.metadata().as_ref().and_then(|metadata| metadata.get(STEP)?.parse().ok()))
}

/// Restores the best weights.
///
/// # Errors
/// - [`Error::Read`] or [`Error::Checkpoint`] if the file is missing or damaged.
pub(super) fn load_best(folder: &Path, parameters: &Parameters) -> Result<()> {
    let path = best_path(folder);
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| broken(&path, e.to_string()))?;
    parameters.restore(&tensors)
}

fn broken(path: &Path, reason: String) -> Error {
    let hint = "it is damaged, or of another version of noso: delete it, and the run begins anew; best.safetensors beside it keeps the best weights";
    Error::Checkpoint { path: path.to_owned(), reason, hint }
}

fn other_run(path: &Path, difference: &str) -> Error {
    let hint = "give the settings and texts of that run, or another --output";
    Error::Checkpoint { path: path.to_owned(), reason: format!("it belongs to a run with {difference}"), hint }
}
