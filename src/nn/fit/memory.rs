//! Whether a step fits into memory, before the first one is tried.

use super::{FitSettings, Task};
use crate::{
    error::{Error, Result},
    nn::Parameters,
};

/// Holds the estimate of a step's memory against what is free. Where the system does not say, or on a GPU, nothing is refused.
///
/// # Errors
/// - [`Error::Memory`] if it would not fit.
pub(super) fn check(parameters: &Parameters, task: &dyn Task, settings: &FitSettings) -> Result<()> {
    let Some(available) = available().filter(|_| parameters.device().is_cpu()) else { return Ok(()) };
    let needed = needed(parameters, task, settings);
    if needed > available {
        return Err(Error::Memory { needed_mib: needed >> 20, available_mib: available >> 20 });
    }
    Ok(())
}

/// Estimates the bytes of a step: activations of the tokens that are computed at once, a gradient a shard, and a checkpoint's copy.
fn needed(parameters: &Parameters, task: &dyn Task, settings: &FitSettings) -> u64 {
    let longest = (0..task.len()).map(|example| task.tokens(example)).max().unwrap_or(0);
    let all: usize = (0..task.len()).map(|example| task.tokens(example)).sum();
    let mean = all.div_ceil(task.len().max(1));
    let part = (mean * settings.batch.min(task.len())).div_ceil(settings.shards).min(settings.batch_tokens).max(longest)
        as u64;
    let per_token = task.bytes_per_token(settings.recompute) as u64;
    let shards = settings.shards.min(rayon::current_num_threads()) as u64;
    let weights = 4 * parameters.count() as u64;
    shards * part * per_token + weights * (settings.shards as u64 + 4)
}

/// Reads how many bytes the system can give.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
