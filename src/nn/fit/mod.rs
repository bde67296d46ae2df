//! The one training loop: a [`Task`] and the parameters it moves come in, the best checkpoint and the history of losses leave.
//!
//! Each batch is divided into shards, one a thread, whose gradients are summed in a fixed order: a run comes to the same bits on any number
//! of cores, and so does one that was cut off and resumed.

mod batches;
mod checkpoint;
mod curve;
mod folder;
mod gradients;
mod history;
mod memory;
mod optimiser;
mod run;
mod schedule;
mod settings;
mod watch;

use std::hash::Hash;

use candle_core::Tensor;
use xxhash_rust::xxh3::Xxh3;

pub use self::{
    folder::ModelFolder,
    history::{EvaluationRecord, History, StepRecord},
    memory::{Memory, check_weights},
    run::{Place, fit, fit_watched},
    schedule::{Schedule, WarmUp},
    settings::{FitSettings, Group},
    watch::Watch,
};
use super::Masks;
use crate::error::Result;

/// What a training job teaches: examples by number, their loss, and how well the model does.
pub trait Task: Sync {
    /// Returns the number of training examples.
    fn len(&self) -> usize;

    /// Tells whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns about how many bytes a forward pass keeps for each token until its backward pass, or with `recompute` where layers are
    /// computed twice; see [`BertConfig::bytes_per_token`](super::bert::BertConfig::bytes_per_token). By default 0: unknown.
    fn bytes_per_token(&self, recompute: bool) -> usize {
        let _ = recompute;
        0
    }

    /// Returns the number of tokens of an example, by which batches are divided among threads.
    fn tokens(&self, example: usize) -> usize;

    /// Returns a number that tells these examples, and what is asked of them, from others and stays the same over a run: a checkpoint
    /// belongs to a run with the same one. See [`fingerprint`].
    fn fingerprint(&self) -> u64;

    /// Tells how the batches of a step count: by their weights, so that all that is labelled counts alike, or (by default) alike themselves.
    fn pools_batches(&self) -> bool {
        false
    }

    /// Prepares an epoch, counted from 0; called before its first batch, also when a run resumes within it.
    ///
    /// # Errors
    /// Those of the job.
    fn begin_epoch(&mut self, epoch: usize) -> Result<()> {
        let _ = epoch;
        Ok(())
    }

    /// Computes the loss of some examples, with dropout where `masks` are given.
    ///
    /// # Errors
    /// Those of the device.
    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss>;

    /// Measures the model on held-out data; `None` where there is none.
    ///
    /// # Errors
    /// Those of the device.
    fn evaluate(&self) -> Result<Option<Evaluation>>;
}

/// A loss as sum and weight, so that the parts of a batch can be computed apart: the batch's loss is the sum of sums by the sum of weights.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Scalar tensor.
    pub sum: Tensor,
    /// What to divide by: labelled tokens, mentions, …
    pub weight: f64,
}

/// Returns a hash of what is learnt from, the same on every machine.
pub fn fingerprint(data: impl Hash) -> u64 {
    let mut hash = Xxh3::new();
    data.hash(&mut hash);
    hash.digest()
}

/// How well a model does on held-out data.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Decides which checkpoint is best: higher is better.
    pub score: f64,
    /// Figures to show: name and value.
    pub figures: Vec<(&'static str, f64)>,
}
