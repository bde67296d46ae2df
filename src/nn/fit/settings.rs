//! What a training run is told.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::schedule::{Schedule, WarmUp};
use crate::error::{Result, check_setting};

/// How to train. A job changes the defaults to those of its paper, a user any of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitSettings {
    /// Passes over the examples, at least 1. Default 10.
    pub epochs: usize,
    /// Examples a batch, at least 1. Default 32.
    pub batch: usize,
    /// Batches whose gradients are averaged into one step, at least 1. Default 1.
    pub accumulation: usize,
    /// Highest learning rate, above 0. Default 5e-5.
    pub learning_rate: f64,
    /// AdamW's decoupled weight decay, 0 or more; biases and normalisations are spared. Default 0.01.
    pub weight_decay: f64,
    /// Weights with a learning rate of their own, by the start of their names; the first group that fits counts. Default none.
    pub groups: Vec<Group>,
    /// Course of the learning rate after the warm-up. Default linear.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0. Default none.
    pub warm_up: WarmUp,
    /// Longest gradient, as L2 norm over all weights; longer ones are shortened to it; 0 switches this off. Default 1.
    pub clip_norm: f64,
    /// Seed of the order of examples and of dropout. Default 1.
    pub seed: u64,
    /// Whether each epoch has its own order of examples; else they come by number. Default true.
    pub shuffle: bool,
    /// Parts of a batch that are computed side by side, `1..=256`. Results depend on it in the last digits, but not on the
    /// machine's cores. Default 2.
    pub shards: usize,
    /// Most tokens of a part that are computed at once: a part with more is computed piece by piece, which saves memory. Default 8192.
    pub batch_tokens: usize,
    /// Whether the layers' inner results are computed a second time on the way back instead of being kept: a quarter slower, a
    /// fraction of the memory. Default false.
    pub recompute: bool,
    /// Whether the weights that a run begins with are evaluated, too: no step may have made them better. Default false.
    pub evaluate_first: bool,
    /// Steps between two evaluations; 0 is once an epoch. Default 0.
    pub evaluate_steps: usize,
    /// Evaluations without a better score after which the run ends; 0 is never. Default 0.
    pub patience: usize,
    /// Steps between two checkpoints; 0 leaves it to the minutes. Default 0.
    pub checkpoint_steps: usize,
    /// Minutes between two checkpoints; 0 is never. Default 10.
    pub checkpoint_minutes: f64,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 32,
            accumulation: 1,
            learning_rate: 5e-5,
            weight_decay: 0.01,
            groups: Vec::new(),
            schedule: Schedule::Linear,
            warm_up: WarmUp::Steps(0),
            clip_norm: 1.0,
            seed: 1,
            shuffle: true,
            shards: 2,
            batch_tokens: 8192,
            recompute: false,
            evaluate_first: false,
            evaluate_steps: 0,
            patience: 0,
            checkpoint_steps: 0,
            checkpoint_minutes: 10.0,
        }
    }
}

/// Weights that learn at a rate of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Start of the weights' names, such as `classifier.`.
    pub prefix: String,
    /// Highest learning rate, 0 or more; 0 freezes them.
    pub learning_rate: f64,
    /// Weight decay, where it differs.
    #[serde(default)]
    pub weight_decay: Option<f64>,
}

impl FitSettings {
    /// Takes over what costs time or memory alone.
    pub fn with_cost_of(self, other: &Self) -> Self {
        Self {
            recompute: other.recompute,
            checkpoint_steps: other.checkpoint_steps,
            checkpoint_minutes: other.checkpoint_minutes,
            ..self
        }
    }

    /// Reads the keys that are given; what is not given stays as it is here, with a job's own defaults.
    ///
    /// # Errors
    /// Those of the format.
    pub fn read_over<'de, D: Deserializer<'de>>(&self, given: D) -> std::result::Result<Self, D::Error> {
        let given: serde_json::Map<String, serde_json::Value> = Deserialize::deserialize(given)?;
        let mut all = serde_json::to_value(self).map_err(D::Error::custom)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(given);
        }
        serde_json::from_value(all).map_err(D::Error::custom)
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::error::Error::Setting) with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        let whole = |key: &str, value: usize, least: usize, most: usize| {
            let expected = if most == usize::MAX { format!("from {least}") } else { format!("{least} to {most}") };
            check_setting((least..=most).contains(&value), key, &expected, value)
        };
        let from_zero =
            |key: &str, value: f64| check_setting(value >= 0.0 && value.is_finite(), key, "a number from 0", value);
        whole("epochs", self.epochs, 1, usize::MAX)?;
        whole("batch", self.batch, 1, usize::MAX)?;
        whole("accumulation", self.accumulation, 1, usize::MAX)?;
        whole("shards", self.shards, 1, 256)?;
        whole("batch_tokens", self.batch_tokens, 1, usize::MAX)?;
        let rate = self.learning_rate;
        check_setting(rate > 0.0 && rate.is_finite(), "learning_rate", "a number above 0", rate)?;
        from_zero("weight_decay", self.weight_decay)?;
        from_zero("clip_norm", self.clip_norm)?;
        from_zero("checkpoint_minutes", self.checkpoint_minutes)?;
        for group in &self.groups {
            from_zero("groups.learning_rate", group.learning_rate)?;
            from_zero("groups.weight_decay", group.weight_decay.unwrap_or(0.0))?;
        }
        match self.warm_up {
            WarmUp::Share(share) => check_setting((0.0..=1.0).contains(&share), "warm_up.share", "0 to 1", share),
            WarmUp::Steps(_) => Ok(()),
        }
    }
}
