//! Whether a training fits into memory, before it is tried.

use super::{FitSettings, Task};
use crate::{
    error::Result,
    nn::{Parameters, memory},
};

/// Copies of the weights that a run keeps: the weights, a gradient, two moments and a checkpoint.
const COPIES: f64 = 5.0;

/// What a run is estimated to need beside what it holds when it begins, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Of the weights that are trained: a gradient a shard, two moments and a checkpoint's copy.
    pub weights: f64,
    /// Of the tokens that are computed at once: what the forward pass keeps for the backward pass.
    pub activations: f64,
    /// What the system can give; `None` on a GPU, and where it does not say.
    pub free: Option<f64>,
}

impl Memory {
    /// Refuses a run that would not fit.
    ///
    /// # Errors
    /// - [`Error::Memory`](crate::Error::Memory).
    pub(super) fn check(&self) -> Result<()> {
        match self.free {
            None => Ok(()),
            Some(_) => memory::check(
                "a training step",
                "--batch-tokens or --shards, or add --recompute",
                self.weights + self.activations,
            ),
        }
    }
}

/// Holds the memory that a model of so many weights needs in training against what is free, before the weights are drawn.
///
/// # Errors
/// - [`Error::Memory`](crate::Error::Memory) if it would not fit.
pub fn check_weights(weights: f64) -> Result<()> {
    let lower = "--hidden, --layers, --intermediate, --vocabulary or --positions";
    memory::check("a model of this size in training", lower, 4.0 * weights * COPIES)
}

/// Estimates what a run needs.
pub(super) fn estimate(parameters: &Parameters, task: &dyn Task, settings: &FitSettings) -> Memory {
    let longest = (0..task.len()).map(|example| task.tokens(example)).max().unwrap_or(0);
    let all: usize = (0..task.len()).map(|example| task.tokens(example)).sum();
    let mean = all.div_ceil(task.len().max(1));
    let part = (mean * settings.batch.min(task.len())).div_ceil(settings.shards).min(settings.batch_tokens).max(longest)
        as f64;
    let per_token = task.bytes_per_token(settings.recompute) as f64;
    let shards = settings.shards.min(rayon::current_num_threads()) as f64;
    let weights = 4.0 * parameters.count() as f64;
    Memory {
        weights: weights * (COPIES - 1.0 + settings.shards as f64),
        activations: shards * part * per_token,
        free: memory::available().filter(|_| parameters.device().is_cpu()).map(|bytes| bytes as f64),
    }
}
