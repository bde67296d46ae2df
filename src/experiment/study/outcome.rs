//! What a study found: plain values that are written beside the trained models and read to lay out the page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{diagnosis::statistics::Statistics, eval::calibration::Bin, icd::IcdCode};

/// Everything that the page of a study shows. Of two figures the first is of the original labels, the second of the
/// linked.
///
/// *Original* labels are the codes that doctors typed, *linked* ones those that the coder found in the doctors'
/// conclusions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Heading of the page.
    pub title: String,
    /// Whether the records are made up.
    pub is_simulated: bool,
    /// Version of noso.
    pub noso: String,
    /// Its commit.
    pub commit: String,
    /// What it ran on.
    pub machine: String,
    /// Wall-clock seconds of the run that came to its end; what earlier ones had done is not among them.
    pub seconds: f64,
    /// The study's TOML.
    pub settings: String,
    /// Hashes of what it read, by name: files in SHA-256, models and catalogue by their own fingerprints.
    pub sources: BTreeMap<String, String>,
    /// Rows that could not be read and conclusions that could not be coded.
    pub failures: u64,
    /// What was met and left out, a sentence each.
    pub notes: Vec<String>,
    /// What the label sets hold.
    pub statistics: Table2,
    /// Measures on the manual test set; the first is weighted F1.
    pub measures: Vec<Measure>,
    /// Weighted F1 of each run: original, linked.
    pub runs: Vec<[f64; 2]>,
    /// The same where codes are given that are likelier than not.
    pub even_runs: Vec<[f64; 2]>,
    /// Weighted F1 in the course of training.
    pub courses: Courses,
    /// How far the models' probabilities can be trusted.
    #[serde(default)]
    pub reliability: Reliability,
    /// Every code that either model can predict.
    pub codes: Vec<CodeOutcome>,
    /// Typed codes that the coder did not find.
    pub transitions: Vec<Transition>,
    /// What labels of other quality teach; `None` where it was not asked.
    #[serde(default)]
    pub sweep: Option<Sweep>,
}

/// What labels of every quality teach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Training records of each model.
    pub records: u64,
    /// Labels that become the doctors'.
    pub original: Vec<SweepPoint>,
    /// Labels that become the coder's.
    pub linked: Vec<SweepPoint>,
}

/// A model that learnt from labels of one quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Share of the appointments with the set's own codes; the others had the true ones.
    pub share: f64,
    /// F1 of the labels against the true codes.
    pub label_f1: f64,
    /// Weighted F1 of the model on the manual test set.
    pub weighted_f1: f64,
    /// The same where codes are given that are likelier than not.
    pub even_f1: f64,
}

/// Statistics of the three label sets.
///
/// # Source
/// The paper, Table 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table2 {
    /// Training records with the codes that doctors typed.
    pub original: Statistics,
    /// The same records with the codes that the coder found.
    pub linked: Statistics,
    /// Test records with codes given by hand.
    pub manual: Statistics,
}

/// A measure of both models on the manual test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Name, as a table shows it.
    pub name: String,
    /// Trained on original labels.
    pub original: f64,
    /// Trained on linked labels.
    pub linked: f64,
    /// Linked minus original.
    pub difference: f64,
    /// 95 % interval of the difference.
    pub interval: [f64; 2],
}

/// Training step and weighted F1 on the manual test set, evaluation by evaluation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Courses {
    /// Trained on original labels.
    pub original: Vec<[f64; 2]>,
    /// Trained on linked labels.
    pub linked: Vec<[f64; 2]>,
}

/// Probabilities of 0.1 or more that both models give for codes of the manual test set, in bins, against the share of these codes that are
/// right.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reliability {
    /// Trained on original labels.
    pub original: Vec<Bin>,
    /// Trained on linked labels.
    pub linked: Vec<Bin>,
    /// Expected calibration error of each.
    pub errors: [f64; 2],
}

/// What became of a code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeOutcome {
    /// The code.
    pub code: IcdCode,
    /// Its title in the catalogue.
    pub title: String,
    /// Training records with the code: original, linked.
    pub trained: [u64; 2],
    /// Manual test records with the code.
    pub tested: u64,
    /// F1 on the manual test set: original, linked. It tells nothing where no test record has the code.
    pub f1: [f64; 2],
}

impl CodeOutcome {
    /// Returns F1 of both models, or `None` where no test record has the code.
    pub fn scores(&self) -> Option<[f64; 2]> {
        (self.tested > 0 && self.f1.iter().all(|score| score.is_finite())).then_some(self.f1)
    }

    /// Returns by how much F1 is higher with linked labels, or `None` where no test record has the code.
    pub fn gain(&self) -> Option<f64> {
        self.scores().map(|[original, linked]| linked - original)
    }

    /// Returns by how many training records more have the code in the linked labels.
    pub fn more_trained(&self) -> i64 {
        let [original, linked] = self.trained.map(|records| i64::try_from(records).unwrap_or(i64::MAX));
        linked - original
    }
}

/// The label set that is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    /// The codes that doctors typed.
    Original,
    /// The codes that the coder found.
    Linked,
    /// Neither: no difference, or none that is known.
    Neither,
}

impl Better {
    /// Judges a change of F1, linked minus original. One that is written as 0.00 is none.
    pub(super) fn of(gain: Option<f64>) -> Self {
        match gain {
            Some(gain) if gain >= 0.005 => Self::Linked,
            Some(gain) if gain <= -0.005 => Self::Original,
            _ => Self::Neither,
        }
    }
}

/// What the coder found in training records instead of a code that doctors typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The typed code.
    pub from: IcdCode,
    /// Training records in which doctors typed it and the coder did not find it.
    pub records: u64,
    /// Codes that the coder found in these records and the doctor had not typed, with the number of records, most
    /// first.
    pub to: Vec<(IcdCode, u64)>,
}
