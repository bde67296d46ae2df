//! A linear score over the features, learned so that the right candidate of each mention wins the softmax.

use serde::{Deserialize, Serialize};

use super::features::{FEATURES, FeatureMatrix, GATES, INPUTS};
use crate::error::{Error, Result};

/// Rounds of the optimiser at most.
const ROUNDS: usize = 120;
/// Steps whose curvature L-BFGS remembers.
const MEMORY: usize = 8;
/// Weight of the squared weights in the loss, on inputs of unit variance.
const RIDGE: f64 = 1e-3;

/// Weights of the score, `(INPUTS)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearScore {
    weights: Vec<f32>,
}

/// A mention to learn from: its candidates' features and which of them is right.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Features of the candidates.
    pub features: FeatureMatrix,
    /// Place of the right one.
    pub gold: usize,
}

impl LinearScore {
    /// Maximises the likelihood of the right candidates with L-BFGS. Equal inputs give equal weights.
    ///
    /// # Errors
    /// - [`Error::Training`] if there is no mention to learn from.
    ///
    /// # Source
    /// Limited-memory BFGS: Nocedal 1980, <https://doi.org/10.1090/S0025-5718-1980-0572855-7>.
    pub fn train(choices: &[&Choice]) -> Result<Self> {
        if choices.is_empty() {
            let reason = "no gold code is among the candidates of its mention".into();
            return Err(Error::Training { what: "the score of candidates", reason });
        }
        let (data, scales) = standardise(choices);
        let weights = minimise(|weights| loss(&data, weights));
        Ok(Self { weights: weights.iter().zip(scales).map(|(weight, scale)| (weight / scale) as f32).collect() })
    }

    /// Checks that a score just read is whole.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if it has another number of weights.
    pub fn checked(self) -> Result<Self> {
        match self.weights.len() {
            INPUTS => Ok(self),
            got => Err(Error::Dimension { expected: INPUTS, got }),
        }
    }

    /// Scores each candidate; only differences within one mention mean anything.
    pub fn scores(&self, features: &FeatureMatrix) -> Vec<f32> {
        let mut gated = [0.0f32; FEATURES];
        for (gate, weights) in features.gates.iter().zip(self.weights.chunks_exact(FEATURES)) {
            gated.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += gate * weight);
        }
        let score = |row: &[f32]| row.iter().zip(&gated).map(|(value, weight)| value * weight).sum();
        features.values.chunks_exact(FEATURES).map(score).collect()
    }
}

/// Turns scores into probabilities that sum to 1.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f32 = odds.iter().sum();
    odds.into_iter().map(|odds| odds / total).collect()
}

/// Features of one mention in units of their standard deviation.
struct Scaled {
    /// `(candidates, INPUTS)`.
    inputs: Vec<f32>,
    gold: usize,
}

fn standardise(choices: &[&Choice]) -> (Vec<Scaled>, Vec<f64>) {
    let (mut sums, mut squares, mut count) = (vec![0.0f64; INPUTS], vec![0.0f64; INPUTS], 0.0f64);
    for choice in choices {
        for candidate in 0..choice.features.values.len() / FEATURES {
            for ((sum, square), input) in sums.iter_mut().zip(&mut squares).zip(choice.features.inputs(candidate)) {
                *sum += f64::from(input);
                *square += f64::from(input) * f64::from(input);
            }
            count += 1.0;
        }
    }
    let deviation = |(sum, square): (&f64, &f64)| (square / count - (sum / count).powi(2)).max(0.0).sqrt() + 1e-6;
    let scales: Vec<f64> = sums.iter().zip(&squares).map(deviation).collect();
    let scaled = |choice: &&Choice| {
        let rows = 0..choice.features.values.len() / FEATURES;
        let row =
            |row| choice.features.inputs(row).zip(&scales).map(|(input, scale)| (f64::from(input) / scale) as f32);
        Scaled { inputs: rows.flat_map(row).collect(), gold: choice.gold }
    };
    (choices.iter().map(scaled).collect(), scales)
}

/// Returns the mean negative log-likelihood and its gradient.
fn loss(data: &[Scaled], weights: &[f64]) -> (f64, Vec<f64>) {
    let single: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
    let mut gradient: Vec<f64> = weights.iter().map(|weight| RIDGE * weight).collect();
    let mut value = 0.5 * RIDGE * dot(weights, weights);
    for mention in data {
        let rows = mention.inputs.chunks_exact(INPUTS);
        let score = |row: &[f32]| row.iter().zip(&single).map(|(input, weight)| input * weight).sum();
        let shares = softmax(&rows.clone().map(score).collect::<Vec<f32>>());
        value -= f64::from(shares[mention.gold].max(1e-12)).ln() / data.len() as f64;
        let mut own = [0.0f32; INPUTS];
        for (at, (row, share)) in rows.zip(shares).enumerate() {
            let slope = if at == mention.gold { share - 1.0 } else { share };
            own.iter_mut().zip(row).for_each(|(sum, input)| *sum += slope * input);
        }
        gradient.iter_mut().zip(own).for_each(|(sum, own)| *sum += f64::from(own) / data.len() as f64);
    }
    (value, gradient)
}

/// Minimises a smooth convex function of `INPUTS` weights, starting from zero.
fn minimise(function: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Vec<f64> {
    let mut at = vec![0.0; GATES * FEATURES];
    let (mut value, mut gradient) = function(&at);
    let mut memory: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for _ in 0..ROUNDS {
        let direction = descent(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        let mut length = if memory.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let found = (0..30).find_map(|_| {
            let next: Vec<f64> = at.iter().zip(&direction).map(|(at, direction)| at + length * direction).collect();
            let (next_value, next_gradient) = function(&next);
            length *= 0.5;
            (next_value <= value + 2e-4 * length * slope).then_some((next, next_value, next_gradient))
        });
        let Some((next, next_value, next_gradient)) = found else { break };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&moved, &turned) > 1e-12 {
            if memory.len() == MEMORY {
                memory.remove(0);
            }
            memory.push((moved, turned));
        }
        let gain = value - next_value;
        (at, value, gradient) = (next, next_value, next_gradient);
        if gain < 1e-7 * value.abs().max(1.0) {
            break;
        }
    }
    at
}

/// Returns the L-BFGS direction of descent: the two-loop recursion over the remembered steps.
fn descent(gradient: &[f64], memory: &[(Vec<f64>, Vec<f64>)]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut factors = Vec::with_capacity(memory.len());
    for (moved, turned) in memory.iter().rev() {
        let factor = dot(moved, &direction) / dot(moved, turned);
        direction.iter_mut().zip(turned).for_each(|(value, turned)| *value -= factor * turned);
        factors.push(factor);
    }
    if let Some((moved, turned)) = memory.last() {
        let scale = dot(moved, turned) / dot(turned, turned);
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for ((moved, turned), factor) in memory.iter().zip(factors.into_iter().rev()) {
        let correction = factor - dot(turned, &direction) / dot(moved, turned);
        direction.iter_mut().zip(moved).for_each(|(value, moved)| *value += correction * moved);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(right: f32, wrong: f32, gold: usize) -> Choice {
        let mut values = vec![0.0; 2 * FEATURES];
        values[3] = if gold == 0 { right } else { wrong };
        values[FEATURES + 3] = if gold == 0 { wrong } else { right };
        Choice { features: FeatureMatrix { values, gates: [1.0, 0.0, 0.0] }, gold }
    }

    #[test]
    fn learns_the_feature_that_tells_the_right_candidate() {
        let choices: Vec<Choice> = (0..20).map(|at| choice(1.0 + at as f32 / 50.0, 0.2, at % 2)).collect();
        let score = LinearScore::train(&choices.iter().collect::<Vec<_>>()).unwrap();
        for choice in &choices {
            let scores = score.scores(&choice.features);
            assert!(scores[choice.gold] > scores[1 - choice.gold], "{scores:?}");
        }
        assert!(LinearScore::train(&[]).is_err());
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (data, _) = standardise(&[&choice(1.0, 0.3, 0), &choice(0.8, 0.5, 1)]);
        let mut weights: Vec<f64> = (0..INPUTS).map(|at| (at as f64 * 0.37).sin() * 0.1).collect();
        let gradient = loss(&data, &weights).1;
        for at in [0, 3, FEATURES + 3] {
            weights[at] += 1e-3;
            let above = loss(&data, &weights).0;
            weights[at] -= 2e-3;
            let below = loss(&data, &weights).0;
            weights[at] += 1e-3;
            assert!(((above - below) / 2e-3 - gradient[at]).abs() < 1e-3, "{at}");
        }
    }
}
