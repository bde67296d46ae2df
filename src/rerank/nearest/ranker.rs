//! The order of a mention's candidates: features come in, shares of a softmax leave.

use serde::{Deserialize, Serialize};

use super::{
    features::{FEATURES, FeatureMatrix, GATES},
    linear::{Choice, LinearScore, softmax},
    trees::Trees,
};
use crate::error::Result;

/// Candidates, best by the linear score, that the trees order anew.
const SHORT_LIST: usize = 15;
/// What the trees see of a candidate: its features, the gates but the first, and the logarithm of its linear share.
const INPUTS: usize = FEATURES + GATES;
/// Keeps the shares of candidates off the short list below all others.
const BEYOND: f32 = 1e-6;

/// A linear score over all candidates, and trees over the best of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranker {
    linear: LinearScore,
    trees: Trees,
}

impl Ranker {
    /// Trains the linear score, then the trees on its short lists.
    ///
    /// # Errors
    /// - [`crate::Error::Training`] if there is no mention to learn from.
    pub fn train(choices: &[&Choice]) -> Result<Self> {
        let linear = LinearScore::train(choices)?;
        let (mut rows, mut right) = (Vec::new(), Vec::new());
        for choice in choices {
            let shares = softmax(&linear.scores(&choice.features));
            for at in short_list(&shares) {
                rows.extend(inputs(&choice.features, &shares, at));
                right.push(at == choice.gold);
            }
        }
        let trees = Trees::train(INPUTS, &rows, &right);
        Ok(Self { linear, trees })
    }

    /// Checks that a ranker just read is whole.
    ///
    /// # Errors
    /// - [`crate::Error::Dimension`] if a part is missing.
    pub fn checked(self) -> Result<Self> {
        Ok(Self { linear: self.linear.checked()?, trees: self.trees.checked(INPUTS)? })
    }

    /// Returns each candidate's share, about the probability that it is right; `bonus` is added to its log-odds.
    pub fn shares(&self, features: &FeatureMatrix, bonus: impl Fn(usize) -> f32) -> Vec<f32> {
        let mut scores = self.linear.scores(features);
        scores.iter_mut().enumerate().for_each(|(at, score)| *score += bonus(at));
        let linear = softmax(&scores);
        let list = short_list(&linear);
        let boosted: Vec<f32> =
            list.iter().map(|&at| self.trees.score(&inputs(features, &linear, at)) + bonus(at)).collect();
        let mut shares: Vec<f32> = linear.iter().map(|share| share * BEYOND).collect();
        for (at, share) in list.into_iter().zip(softmax(&boosted)) {
            shares[at] += share;
        }
        shares
    }
}

/// Lists the candidates of greatest share, greatest first.
fn short_list(shares: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    order.truncate(SHORT_LIST);
    order
}

fn inputs(features: &FeatureMatrix, shares: &[f32], candidate: usize) -> [f32; INPUTS] {
    let mut inputs = [0.0; INPUTS];
    inputs[..FEATURES].copy_from_slice(&features.values[candidate * FEATURES..(candidate + 1) * FEATURES]);
    inputs[FEATURES..INPUTS - 1].copy_from_slice(&features.gates[1..]);
    inputs[INPUTS - 1] = (shares[candidate] + 1e-6).ln();
    inputs
}
