//! Training of an encoder for linking: coded mentions and the names of a dictionary come in, an encoder folder leaves.
//!
//! BioSyn: mention and name go through one encoder; the score of a pair is the inner product of their vectors plus λ times the cosine of
//! their character n-grams. Each epoch finds every mention's candidates anew, half of them by letters, half by the encoder as it is, and
//! teaches the encoder to give the candidates of the right code, all its synonyms together, the higher probability.
//!
//! # Source
//! Sung et al. 2020, "Biomedical Entity Representations with Synonym Marginalization": <https://arxiv.org/abs/2005.00239>.

mod biosyn;
mod bundles;
mod candidates;
mod dictionary;
mod held_out;
mod loss;
mod texts;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    biosyn::{BioSyn, LAMBDA},
    candidates::Candidate,
    dictionary::{Dictionary, Mention, Name, Wording, Wordings, catalog_wordings, concept_wordings, mention_wordings},
    loss::marginal_loss,
    texts::Texts,
};
use crate::{
    embed::EncoderSettings,
    error::{Result, check_setting},
    nn::{
        fit::{FitSettings, Group, History, ModelFolder, Schedule, Watch, fit_watched},
        pretrained::Pretrained,
    },
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
    /// λ at the start. Default 0.
    pub lambda: f32,
    /// Mentions with much the same candidates that come together, at least 1; the training loop counts bundles. Default 1.
    pub bundle: usize,
}

impl Default for LinkerSettings {
    fn default() -> Self {
        Self {
            candidates: 20,
            dense_share: 0.5,
            temperature: None,
            in_batch: false,
            distinct: true,
            lambda: 0.0,
            bundle: 1,
        }
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

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        let most = 1024;
        let candidates = (1..=most).contains(&self.candidates);
        check_setting(candidates, "candidates", &format!("a whole number from 1 to {most}"), self.candidates)?;
        let share = (0.0..=1.0).contains(&self.dense_share);
        check_setting(share, "dense_share", "a number from 0 to 1", self.dense_share)?;
        check_setting(self.bundle > 0, "bundle", "a whole number from 1", self.bundle)?;
        check_setting(self.lambda.is_finite(), "lambda", "a number", self.lambda)?;
        let divisor = self.divisor();
        check_setting(divisor > 0.0 && divisor.is_finite(), "temperature", "a number above 0", divisor)
    }
}

/// What a run is told.
#[derive(Debug, Clone, Serialize)]
pub struct LinkerTraining {
    /// What is trained.
    pub linker: LinkerSettings,
    /// How.
    pub fit: FitSettings,
    /// How tokens become a vector. Whether vectors have unit length in training follows from the temperature.
    pub encoder: EncoderSettings,
}

/// What a run worked with and came to.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkerReport {
    /// Distinct texts of the dictionary.
    pub names: usize,
    /// Mentions learnt from.
    pub mentions: usize,
    /// Those of them that had a right name among their candidates in the last epoch.
    pub reached: usize,
    /// λ of the weights that are left.
    pub lambda: f32,
    /// Steps and evaluations.
    pub history: History,
    /// The encoder's share in a hybrid of unit vectors by the same λ; `None` where it was trained with the inner product.
    pub dense_share: Option<f64>,
}

impl fmt::Display for LinkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, mentions, reached, lambda, .. } = self;
        write!(
            f,
            "{names} names, {mentions} mentions, {reached} of them with their code among the candidates; λ {lambda:.4}"
        )?;
        match self.dense_share {
            Some(share) => write!(f, ", the encoder's share {share:.3}"),
            None => Ok(()),
        }
    }
}

/// Trains `model` and writes it into `folder` as an encoder folder: what transformers loads, with `noso.toml` (embedding settings) and
/// `sparse.json` (λ and the n-grams' weights).
///
/// The encoder is written as one of unit vectors, as an index compares them, also where it was trained with the inner product.
///
/// # Errors
/// - [`Error::Training`](crate::Error::Training) if there is nothing to learn; those of [`fit_watched`].
pub fn train(
    model: &mut Pretrained,
    wordings: &Wordings,
    how: &LinkerTraining,
    folder: &ModelFolder,
    watch: &mut dyn Watch,
) -> Result<LinkerReport> {
    let unit = EncoderSettings { normalise: how.linker.temperature.is_some(), ..how.encoder };
    let texts = Texts::new(model, unit)?;
    let task = BioSyn::new(wordings, texts, &mut model.parameters, how.linker.clone())?;
    let mut task = task.with_place(folder.place());
    let history = fit_watched(&model.parameters, &mut task, &how.fit, folder.place(), watch)?;
    task.forget_candidates()?;
    model.parameters.remove(LAMBDA);
    task.sparse_encoder()?.save(folder.path())?;
    EncoderSettings { normalise: true, ..how.encoder }.save(folder.path())?;
    model.forget_heads();
    model.save(folder.path())?;
    let (mentions, reached) = task.reach();
    let lambda = task.lambda()?;
    let share = |temperature: f64| 1.0 / (1.0 + temperature * f64::from(lambda.max(0.0)));
    Ok(LinkerReport {
        names: task.dictionary().names().len(),
        mentions,
        reached,
        lambda,
        history,
        dense_share: how.linker.temperature.map(share),
    })
}
