//! A linear classifier over the encoder's vectors: a vector comes in, logits of candidate codes leave.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    icd::IcdCode,
};

/// Vectors are stretched by this before they meet the weights, so that logits of a useful size need no huge weights.
const STRETCH: f32 = 4.472_136;
/// Gradients smaller than this are left out.
const NEGLIGIBLE: f32 = 1e-4;
/// Examples that share a step.
const BATCH: usize = 8;
/// Partial sums of an inner product; every encoder's dimension is a multiple.
const LANES: usize = 16;

/// A weight vector and a bias for each known code, one byte a weight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Classifier {
    dim: usize,
    /// Known codes in order.
    codes: Vec<IcdCode>,
    /// Size of one step of each code's weights.
    steps: Vec<f32>,
    biases: Vec<f32>,
    /// Row-major `(codes, dim)`, in steps.
    weights: Vec<i8>,
    #[serde(skip)]
    places: HashMap<IcdCode, usize>,
}

/// A vector and the code it should get.
#[derive(Debug, Clone)]
pub struct Example {
    /// Unit vector of the text, `(dim)`.
    pub vector: Vec<f32>,
    /// Place of its code among the classifier's.
    pub gold: usize,
    /// How much it counts.
    pub weight: f32,
}

/// How a classifier is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierSettings {
    /// Passes over the examples.
    pub epochs: usize,
    /// Step length at the start; falls linearly to 0.
    pub rate: f32,
    /// Seed of the order of the examples.
    pub seed: u64,
}

impl Default for ClassifierSettings {
    fn default() -> Self {
        Self { epochs: 10, rate: 0.1, seed: 1 }
    }
}

impl Classifier {
    /// Trains a softmax over all codes by gradient descent, a few examples at a time: equal inputs give equal weights.
    pub fn train(dim: usize, codes: Vec<IcdCode>, examples: &[Example], settings: ClassifierSettings) -> Self {
        let mut weights = Weights::new(dim, codes.len());
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut random = settings.seed;
        for epoch in 0..settings.epochs {
            shuffle(&mut order, &mut random);
            let rate = settings.rate * (1.0 - epoch as f32 / settings.epochs as f32);
            for batch in order.chunks(BATCH) {
                weights.learn(&batch.iter().map(|&at| &examples[at]).collect::<Vec<_>>(), rate);
            }
        }
        Self::quantise(dim, codes, &weights)
    }

    fn quantise(dim: usize, codes: Vec<IcdCode>, weights: &Weights) -> Self {
        let mut classifier = Self {
            dim,
            codes,
            steps: Vec::with_capacity(weights.biases.len()),
            biases: weights.biases.clone(),
            weights: Vec::with_capacity(weights.values.len()),
            places: HashMap::new(),
        };
        for values in weights.values.chunks_exact(dim) {
            let step = values.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs())) / 127.0;
            classifier.weights.extend(values.iter().map(|value| (value / step).round() as i8));
            classifier.steps.push(step * STRETCH);
        }
        classifier.indexed()
    }

    /// Makes the look-up table that the file leaves out.
    fn indexed(mut self) -> Self {
        self.places = self.codes.iter().enumerate().map(|(place, code)| (code.clone(), place)).collect();
        self
    }

    /// Checks that a classifier just read is whole, and makes it usable.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if a part is missing.
    pub fn checked(self) -> Result<Self> {
        let codes = self.codes.len();
        for (expected, got) in
            [(codes, self.steps.len()), (codes, self.biases.len()), (codes * self.dim, self.weights.len())]
        {
            if expected != got {
                return Err(Error::Dimension { expected, got });
            }
        }
        Ok(self.indexed())
    }

    /// Returns the logit of `code` for a unit vector, or `None` if the code was not in the training data.
    pub fn logit(&self, vector: &[f32], code: &IcdCode) -> Option<f32> {
        let place = *self.places.get(code)?;
        let weights = self.weights.get(place * self.dim..(place + 1) * self.dim)?;
        let mut lanes = [0.0f32; LANES];
        for (weights, values) in weights.chunks_exact(LANES).zip(vector.chunks_exact(LANES)) {
            for ((lane, &weight), value) in lanes.iter_mut().zip(weights).zip(values) {
                *lane += f32::from(weight) * value;
            }
        }
        Some(lanes.iter().sum::<f32>() * self.steps[place] + self.biases[place])
    }

    /// Returns the number of dimensions of its vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }
}

/// Weights while they are learned.
struct Weights {
    dim: usize,
    /// Row-major `(codes, dim)`.
    values: Vec<f32>,
    biases: Vec<f32>,
}

impl Weights {
    fn new(dim: usize, codes: usize) -> Self {
        Self { dim, values: vec![0.0; codes * dim], biases: vec![0.0; codes] }
    }

    /// Moves against the gradient of the loss of a few examples, which share each pass over the weights.
    fn learn(&mut self, batch: &[&Example], rate: f32) {
        let vectors: Vec<Vec<f32>> =
            batch.iter().map(|example| example.vector.iter().map(|value| value * STRETCH).collect()).collect();
        // (codes, batch): logits first, then slopes.
        let mut slopes = vec![0.0f32; self.biases.len() * batch.len()];
        let rows = self.values.chunks_exact(self.dim).zip(&self.biases);
        for (logits, (weights, bias)) in slopes.chunks_exact_mut(batch.len()).zip(rows) {
            logits.iter_mut().zip(&vectors).for_each(|(logit, vector)| *logit = dot(weights, vector) + bias);
        }
        for (place, example) in batch.iter().enumerate() {
            let (length, step) = (slopes.len(), batch.len());
            let own = || (place..length).step_by(step);
            let highest = own().map(|at| slopes[at]).fold(f32::NEG_INFINITY, f32::max);
            own().for_each(|at| slopes[at] = (slopes[at] - highest).exp());
            let total: f32 = own().map(|at| slopes[at]).sum();
            own().for_each(|at| slopes[at] *= example.weight / total);
            slopes[example.gold * batch.len() + place] -= example.weight;
        }
        let rows = self.values.chunks_exact_mut(self.dim).zip(&mut self.biases);
        for (slopes, (weights, bias)) in slopes.chunks_exact(batch.len()).zip(rows) {
            for (slope, vector) in slopes.iter().zip(&vectors).filter(|(slope, _)| slope.abs() > NEGLIGIBLE) {
                weights.iter_mut().zip(vector).for_each(|(weight, value)| *weight -= rate * slope * value);
                *bias -= rate * slope;
            }
        }
    }
}

/// Multiplies in a fixed order, so that every machine gets the same sum.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// Shuffles with a linear congruential generator, so that the order is the same everywhere.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for last in (1..order.len()).rev() {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (*random >> 33) as usize % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(at: usize, gold: usize) -> Example {
        let mut vector = vec![0.0; 32];
        vector[at] = 1.0;
        Example { vector, gold, weight: 1.0 }
    }

    fn codes() -> Vec<IcdCode> {
        ["I10", "J00", "K29.5"].iter().map(|code| code.parse().unwrap()).collect()
    }

    #[test]
    fn learns_which_vector_has_which_code() {
        let examples: Vec<Example> = (0..30).map(|at| example(at, at % 3)).collect();
        let classifier = Classifier::train(32, codes(), &examples, ClassifierSettings::default());
        for example in &examples {
            let logits =
                codes().iter().map(|code| classifier.logit(&example.vector, code).unwrap()).collect::<Vec<_>>();
            let best = (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(best, example.gold, "{logits:?}");
        }
        assert_eq!(classifier.logit(&examples[0].vector, &"Z00".parse().unwrap()), None);
    }

    #[test]
    fn the_same_examples_give_the_same_weights() {
        let examples: Vec<Example> = (0..9).map(|at| example(at, at % 3)).collect();
        let train = || Classifier::train(32, codes(), &examples, ClassifierSettings::default());
        assert_eq!(train().weights, train().weights);
    }
}
