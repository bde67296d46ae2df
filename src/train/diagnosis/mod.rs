//! Training of models that predict diagnoses: records of a dataset come in, a folder leaves that `noso diagnose` and transformers load.

mod task;

use candle_core::Device;
use serde::{Deserialize, Deserializer, Serialize};

use self::task::DiagnosisTask;
pub use self::task::MANUAL_F1;
use super::encoder::{self, Sizes};
use crate::{
    diagnosis::{
        self, Input, InputSettings, Part, Reader,
        dataset::Dataset,
        decision::{Decision, Scored, Thresholds},
        labels::LabelSet,
        model::{DiagnosisModel, Settings},
        records::Records,
    },
    error::{Error, Result, check_setting},
    eval::multilabel::Multilabel,
    nn::{
        bert::{AttentionWindow, Family},
        fit::{FitSettings, History, ModelFolder, Schedule, WarmUp, Watch, fit_watched},
        longformer::lengthen,
        pretrained::Pretrained,
    },
};

/// Histories whose texts words are learnt from.
const TAUGHT_HISTORIES: usize = 5000;
/// Highest weight of what speaks for a class, where classes are balanced.
const MOST_WEIGHT: f64 = 50.0;

/// How a model of diagnoses is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiagnosisSettings {
    /// What is told of earlier appointments.
    pub input: InputSettings,
    /// Most tokens of an input, from 32. Default 4096.
    pub max_tokens: usize,
    /// Tokens that one sees, even, from 2. Default: the encoder's, or 512.
    pub window: Option<usize>,
    /// What speaks for a class counts so often. Default evenly.
    pub class_weights: ClassWeights,
    /// Which thresholds are chosen. Default a global one.
    pub thresholds: Thresholds,
    /// Most validation records that are evaluated on, drawn by the seed; 0 is all. Default 2000.
    pub validation_records: usize,
    /// The training loop.
    #[serde(deserialize_with = "read_fit")]
    pub fit: FitSettings,
}

fn read_fit<'de, D: Deserializer<'de>>(given: D) -> std::result::Result<FitSettings, D::Error> {
    DiagnosisSettings::default().fit.read_over(given)
}

impl Default for DiagnosisSettings {
    /// Those of the paper, Table 4.
    fn default() -> Self {
        let fit = FitSettings {
            epochs: 2,
            batch: 4,
            learning_rate: 5e-5,
            weight_decay: 0.01,
            schedule: Schedule::Linear,
            warm_up: WarmUp::Share(0.1),
            ..FitSettings::default()
        };
        Self {
            input: InputSettings::default(),
            max_tokens: 4096,
            window: None,
            class_weights: ClassWeights::Even,
            thresholds: Thresholds::Global,
            validation_records: 2000,
            fit,
        }
    }
}

/// How much what speaks for a class counts in the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// As much as what speaks against it.
    #[default]
    Even,
    /// So many times as much as records lack the class for each that has it, at least once and at most 50 times.
    Balanced,
}

impl ClassWeights {
    /// Returns how often what speaks for each class counts, by the number of records with it among all; `None` where it is once.
    fn of(self, counts: &[u64], records: usize) -> Option<Vec<f32>> {
        let weight = |&count: &u64| ((records as f64 / (count as f64).max(1.0)) - 1.0).clamp(1.0, MOST_WEIGHT) as f32;
        match self {
            Self::Even => None,
            Self::Balanced => Some(counts.iter().map(weight).collect()),
        }
    }
}

impl DiagnosisSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`] with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        check_setting(self.max_tokens >= 32, "max_tokens", "a whole number from 32", self.max_tokens)?;
        let window = self.window.unwrap_or(2);
        check_setting(window > 0 && window.is_multiple_of(2), "window", "an even number from 2", window)?;
        self.fit.check()
    }

    /// Returns what turns histories into a model's tokens.
    pub fn reader<'a>(&self, model: &'a Pretrained) -> Reader<'a> {
        Reader { tokenizer: &model.tokenizer, settings: self.input, max_tokens: self.max_tokens }
    }

    /// Makes a Longformer for these settings of an encoder; one that is long enough stays as it is, unless another window is asked for. Heads are forgotten.
    ///
    /// # Errors
    /// As [`lengthen`].
    pub fn begin(&self, mut encoder: Pretrained) -> Result<Pretrained> {
        let is_long = encoder.config.family == Family::Longformer && encoder.config.max_tokens() >= self.max_tokens;
        let own = match encoder.config.attention_window {
            Some(AttentionWindow::Same(window)) => Some(window),
            _ => None,
        };
        if is_long && (self.window.is_none() || self.window == own) {
            encoder.forget_heads();
            encoder.parameters.forget("classifier.");
            return Ok(encoder);
        }
        let window = self.window.or(own).unwrap_or(512);
        lengthen(&encoder, window, self.max_tokens.max(encoder.config.max_tokens()))
    }

    /// Draws a new Longformer: word pieces learnt from `texts`, weights drawn from the seed. `sizes.positions` does not count.
    ///
    /// # Errors
    /// - [`Error::Setting`] if a size is out of its range.
    pub fn draw(&self, texts: &[String], sizes: &Sizes, device: &Device) -> Result<Pretrained> {
        let sizes = Sizes { positions: self.max_tokens, ..*sizes };
        self.begin(encoder::draw(texts, &sizes, self.fit.seed, device)?)
    }

    /// Returns the texts of a dataset's training histories that are `taught`, the first 5,000: as good as drawn, for histories stand in an
    /// order by hashes of patients.
    ///
    /// # Errors
    /// Those of the dataset.
    pub fn texts(&self, dataset: &Dataset, taught: impl Fn(&diagnosis::History) -> bool) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for history in dataset.histories()? {
            let history = history?;
            if history.part == Part::Train && !history.visits.is_empty() && taught(&history) {
                texts.push(Input::of(&history, history.visits.len() - 1, &self.input).text());
            }
            if texts.len() == TAUGHT_HISTORIES {
                break;
            }
        }
        Ok(texts)
    }
}

/// What a model learns from.
#[derive(Clone, Copy)]
pub struct Lesson<'a> {
    /// Its records.
    pub records: &'a Records,
    /// Whose codes are right.
    pub labels: LabelSet,
    /// Most records of the test that are measured at each evaluation, too; they decide nothing.
    pub watched: usize,
}

/// What a training did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Steps and evaluations.
    pub history: History,
    /// Measures on the validation records, with the weights, calibrators and thresholds that were kept; `None` without one.
    pub reached: Option<Multilabel>,
}

/// Trains `encoder`, a Longformer, and writes it to `folder`.
///
/// # Errors
/// - [`Error::Setting`] or [`Error::Training`] if it cannot start; [`Error::Write`] if the folder cannot be written; those of [`fit_watched`].
pub fn train(
    encoder: Pretrained,
    lesson: Lesson<'_>,
    settings: &DiagnosisSettings,
    folder: &ModelFolder,
    watch: &mut dyn Watch,
) -> Result<(DiagnosisModel, Report)> {
    settings.check()?;
    let Lesson { records, labels, .. } = lesson;
    if records.train.is_empty() || records.classes.is_empty() {
        let reason = "no appointment to learn from has a code".into();
        return Err(Error::Training { what: "a model of diagnoses", reason });
    }
    let decision = Decision::plain(records.classes.len());
    let kept = Settings { labels, input: settings.input, max_tokens: settings.max_tokens, decision };
    let mut model = DiagnosisModel::new(encoder, records.classes.clone(), kept)?;
    begin_at_shares(&model, &records.counts(labels), records.train.len(), settings.class_weights)?;
    let mut task = DiagnosisTask::new(&model, lesson, settings);
    let history = fit_watched(&model.pretrained.parameters, &mut task, &settings.fit, folder.place(), watch)?;
    let scored = task.validation()?;
    let decision = Decision::fit(&scored, records.classes.len(), settings.thresholds)?;
    let judged: Vec<_> = scored.iter().map(|record: &Scored| decision.judge(record)).collect();
    let reached = (!judged.is_empty()).then(|| Multilabel::of(&judged, task.weights()));
    drop(task);
    model.settings.decision = decision;
    model.save(folder.path())?;
    Ok((model, Report { history, reached }))
}

/// Lets the head begin at the log-odds of each class's weighted share: nothing has to be unlearnt of an even chance for every code.
fn begin_at_shares(model: &DiagnosisModel, counts: &[u64], records: usize, weights: ClassWeights) -> Result<()> {
    let positives = weights.of(counts, records).unwrap_or_else(|| vec![1.0; counts.len()]);
    let odds = |(&count, weight): (&u64, f32)| {
        (f64::from(weight) * (count as f64 + 0.5) / (records as f64 - count as f64 + 0.5)).ln() as f32
    };
    let parameters = &model.pretrained.parameters;
    if let Some(bias) = parameters.variables().get("classifier.out_proj.bias") {
        let odds: Vec<f32> = counts.iter().zip(positives).map(odds).collect();
        bias.set(&candle_core::Tensor::new(odds, parameters.device())?)?;
    }
    Ok(())
}
