//! Whether a training fits into memory, before it is tried.

use super::{FitSettings, Task};
use crate::{
    error::Result,
    nn::{Parameters, memory},
};

/// Copies of the weights that a run keeps: the weights, a gradient, two moments and a checkpoint.
const COPIES: f64 = 5.0;

/// Holds the estimate of a step's memory against what is free. On a GPU nothing is refused.
///
/// # Errors
/// - [`Error::Memory`](crate::Error::Memory) if it would not fit.
pub(super) fn check(parameters: &Parameters, task: &dyn Task, settings: &FitSettings) -> Result<()> {
    if !parameters.device().is_cpu() {
        return Ok(());
    }
    memory::check(
        "a training step",
        "--batch-tokens or --shards, or add --recompute",
        needed(parameters, task, settings),
    )
}

/// Holds the memory that a model of so many weights needs in training against what is free, before the weights are drawn.
///
/// # Errors
/// - [`Error::Memory`](crate::Error::Memory) if it would not fit.
pub fn check_weights(weights: f64) -> Result<()> {
    let lower = "--hidden, --layers, --intermediate, --vocabulary or --positions";
    memory::check("a model of this size in training", lower, 4.0 * weights * COPIES)
}

/// Estimates the bytes of a step: activations of the tokens that are computed at once, a gradient a shard, and a checkpoint's copy.
fn needed(parameters: &Parameters, task: &dyn Task, settings: &FitSettings) -> f64 {
    let longest = (0..task.len()).map(|example| task.tokens(example)).max().unwrap_or(0);
    let all: usize = (0..task.len()).map(|example| task.tokens(example)).sum();
    let mean = all.div_ceil(task.len().max(1));
    let part = (mean * settings.batch.min(task.len())).div_ceil(settings.shards).min(settings.batch_tokens).max(longest)
        as f64;
    let per_token = task.bytes_per_token(settings.recompute) as f64;
    let shards = settings.shards.min(rayon::current_num_threads()) as f64;
    let weights = 4.0 * parameters.count() as f64;
    shards * part * per_token + weights * (COPIES - 1.0 + settings.shards as f64)
}
