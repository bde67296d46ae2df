//! The file of a trained recogniser, and how it labels a text's tokens.

use serde::{Deserialize, Serialize};

use super::{
    features::Features,
    lattice::{LABELS, Scores, SpanProbability, span_probabilities},
    spans::Judged,
    statistics::Statistics,
    table::Table,
    tokens::Token,
    trees::Trees,
};
use crate::{
    artifact::{self, Kind},
    error::{Error, Result},
};

/// Kind of the file.
pub const KIND: Kind = Kind { name: "CRF model", tag: *b"CRFN", version: 1 };

/// Spans less probable than this, by the CRF alone, are not looked at further.
pub const LEAST_PROBABILITY: f64 = 0.015;

/// Weights of a linear-chain CRF: a scale and 8-bit steps for each feature and label.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Weights {
    scale: f32,
    steps: Table<[i8; LABELS.len()]>,
    transitions: [[f32; LABELS.len()]; LABELS.len()],
}

/// A trained recogniser.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    /// Labels tokens and so proposes spans.
    pub weights: Weights,
    /// What is known of words and phrases.
    pub statistics: Statistics,
    /// Judges the spans.
    pub trees: Trees,
    /// A span enters the choice if it is more probable than this.
    pub threshold: f32,
}

impl Weights {
    /// Rounds exact weights (key, weight of each label; keys distinct and rising) to 8 bits; those that become 0 are
    /// left out.
    pub fn round(exact: &[(u32, Scores)], transitions: [Scores; LABELS.len()]) -> Self {
        let most = exact.iter().flat_map(|(_, weights)| weights).fold(0.0f64, |most, weight| most.max(weight.abs()));
        let scale = if most > 0.0 { most / f64::from(i8::MAX) } else { 1.0 };
        let rounded: Vec<(u32, [i8; LABELS.len()])> = exact
            .iter()
            .map(|&(key, weights)| (key, weights.map(|weight| (weight / scale).round() as i8)))
            .filter(|(_, steps)| steps.iter().any(|&step| step != 0))
            .collect();
        Self {
            scale: scale as f32,
            steps: Table::new(rounded.into_iter()),
            transitions: transitions.map(|row| row.map(|weight| weight as f32)),
        }
    }

    /// Returns the spans that the CRF proposes in a text, by first token, then by last.
    pub fn propose(&self, tokens: &[Token]) -> Vec<SpanProbability> {
        let features = Features::new(tokens);
        let nodes: Vec<Scores> = (0..tokens.len())
            .map(|index| {
                let mut sums = [0i32; LABELS.len()];
                features.visit(index, &mut |key| {
                    for (sum, step) in sums.iter_mut().zip(self.steps.get(key)) {
                        *sum += i32::from(step);
                    }
                });
                sums.map(|sum| f64::from(sum) * f64::from(self.scale))
            })
            .collect();
        let transitions = self.transitions.map(|row| row.map(f64::from));
        let mut spans = span_probabilities(&nodes, &transitions, LEAST_PROBABILITY);
        spans.retain(|span| [span.first, span.last].iter().all(|&at| !tokens[at].writing.never_at_edge()));
        spans
    }
}

impl Model {
    /// Opens a file made by [`Model::to_bytes`]. `name` is what messages call it.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the bytes are no such file, damaged, or inconsistent.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let model: Self = artifact::open(KIND, name, bytes)?;
        if !model.trees.is_sound() {
            let reason = "a tree of it does not end".to_owned();
            return Err(Error::Artifact { what: KIND.name, name: name.to_owned(), reason });
        }
        Ok(model)
    }

    /// Returns the file's bytes; equal models give equal bytes.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the model cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        artifact::seal(KIND, self)
    }

    /// Returns the spans that may be mentions in a text, each with its final probability, by first token, then by last.
    pub fn judge(&self, tokens: &[Token]) -> Vec<SpanProbability> {
        let proposed = self.weights.propose(tokens);
        let judged = Judged::new(tokens, &proposed, &self.statistics);
        let mut row = Vec::new();
        (0..proposed.len())
            .map(|at| {
                judged.row(at, &mut row);
                SpanProbability { probability: f64::from(self.trees.probability(&row)), ..proposed[at] }
            })
            .collect()
    }
}
