//! Training of an encoder for linking: coded mentions and the names of a dictionary come in, an encoder folder leaves.
//!
//! BioSyn: mention and name go through one encoder; the score of a pair is the inner product of their vectors plus λ times the cosine of
//! their character n-grams. Each epoch finds every mention's candidates anew, half of them by letters, half by the encoder as it is, and
//! teaches the encoder to give the candidates of the right code, all its synonyms together, the higher probability.
//!
//! # Source
//! Sung et al. 2020, "Biomedical Entity Representations with Synonym Marginalization": <https://arxiv.org/abs/2005.00239>.

mod biosyn;
mod candidates;
mod dictionary;
mod held_out;
mod loss;
mod texts;

use serde::{Deserialize, Serialize};

pub use self::{
    biosyn::{BioSyn, LAMBDA, Wordings},
    candidates::Candidate,
    dictionary::{Dictionary, Mention, Name, Wording, catalog_wordings, concept_wordings, mention_wordings},
    loss::marginal_loss,
    texts::Texts,
};
use crate::{
    error::{Error, Result},
    nn::fit::{FitSettings, Group, Schedule},
};

/// Learning rate of λ.
const LAMBDA_RATE: f64 = 0.01;

/// What is trained, beside how (see [`FitSettings`]). The defaults are those of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkerSettings {
    /// Names that a mention is held against, `1..=1024`. Default 20.
    pub candidates: usize,
    /// Share of them that the encoder finds, `0..=1`; the others are alike by letters. Default 0.5.
    pub dense_share: f64,
    /// Compares by the cosine divided by this, above 0, such as 0.05, instead of the inner product. Default: the inner product.
    pub temperature: Option<f64>,
    /// Whether a mention is held against the candidates of all mentions computed with it, not against its own alone. Default no.
    pub in_batch: bool,
    /// Whether equal words with one code count as one mention. Default yes.
    pub distinct: bool,
}

impl Default for LinkerSettings {
    fn default() -> Self {
        Self { candidates: 20, dense_share: 0.5, temperature: None, in_batch: false, distinct: true }
    }
}

impl LinkerSettings {
    /// Returns the paper's course of training: 20 epochs of batches of 32 at a constant learning rate of 2e-5, weight decay 0.01; λ
    /// learns at 0.01, without decay.
    pub fn fit() -> FitSettings {
        let lambda = Group { prefix: LAMBDA.into(), learning_rate: LAMBDA_RATE, weight_decay: Some(0.0) };
        FitSettings {
            epochs: 20,
            batch: 32,
            learning_rate: 2e-5,
            weight_decay: 0.01,
            groups: vec![lambda],
            schedule: Schedule::Constant,
            clip_norm: 0.0,
            ..FitSettings::default()
        }
    }

    /// What the inner product of two vectors is divided by.
    fn divisor(&self) -> f64 {
        self.temperature.unwrap_or(1.0)
    }

    fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, got: String| {
            Err(Error::Setting { key: format!("linker.{key}"), expected: expected.into(), got })
        };
        if !(1..=1024).contains(&self.candidates) {
            return wrong("candidates", "a whole number from 1 to 1024", self.candidates.to_string());
        }
        if !(0.0..=1.0).contains(&self.dense_share) {
            return wrong("dense_share", "a number from 0 to 1", self.dense_share.to_string());
        }
        match self.temperature {
            Some(temperature) if !(temperature > 0.0 && temperature.is_finite()) => {
                wrong("temperature", "a number above 0", temperature.to_string())
            }
            _ => Ok(()),
        }
    }
}
