//! The gradient of a step: its batches come in, one gradient a weight leaves; threads share the work.

use candle_core::{Tensor, Var};
use rayon::prelude::*;

use super::{FitSettings, Task, batches};
use crate::{
    error::Result,
    nn::{Masks, ops, recompute},
};

/// Gradients in the order of the weights, `None` where a weight took no part.
pub(super) type Gradients = Vec<Option<Tensor>>;

/// What a step's forward and backward pass gave.
pub(super) struct Found {
    /// To be multiplied by `scale`.
    pub gradients: Gradients,
    pub scale: f64,
    /// Mean of the batches' losses.
    pub loss: f64,
    pub tokens: usize,
}

/// Loss and gradients of some examples, not yet divided by the weight.
struct Part {
    sum: f64,
    weight: f64,
    gradients: Gradients,
}

/// Computes the gradient of step `step`: the mean over `batches` of each batch's loss, which is the sum of its examples' losses by the sum
/// of their weights; or, where the task pools them, the sum of all by that of all weights.
///
/// # Errors
/// Those of the task.
pub(super) fn compute(
    task: &dyn Task,
    variables: &[&Var],
    settings: &FitSettings,
    step: usize,
    batches: &[&[usize]],
) -> Result<Found> {
    let inverse = |weight: f64| if weight > 0.0 { 1.0 / weight } else { 0.0 };
    let mut all = Part { sum: 0.0, weight: 0.0, gradients: vec![None; variables.len()] };
    for (number, batch) in batches.iter().enumerate() {
        let seed = batches::seed([settings.seed, 1, step as u64, number as u64, 0]);
        let mut part = compute_batch(task, variables, settings, seed, batch)?;
        if batches.len() > 1 && !task.pools_batches() {
            let factor = inverse(part.weight);
            part = part.scaled(factor)?;
        }
        all = all.plus(part)?;
    }
    // Left to the optimiser: one pass over the weights less.
    let scale = inverse(all.weight);
    let tokens = batches.iter().copied().flatten().map(|&example| task.tokens(example)).sum();
    Ok(Found { gradients: all.gradients, scale, loss: all.sum * scale, tokens })
}

fn compute_batch(
    task: &dyn Task,
    variables: &[&Var],
    settings: &FitSettings,
    seed: u64,
    batch: &[usize],
) -> Result<Part> {
    let parts = batches::divide(batch, |example| task.tokens(example), settings.shards, settings.batch_tokens);
    let one = |(number, pieces): (usize, Vec<Vec<usize>>)| {
        let mut part = Part { sum: 0.0, weight: 0.0, gradients: vec![None; variables.len()] };
        for (piece, examples) in pieces.iter().enumerate() {
            let seed = batches::seed([seed, 2, number as u64, piece as u64, 0]);
            part = part.plus(compute_piece(task, variables, settings.recompute, seed, examples)?)?;
        }
        Ok(part)
    };
    // One after another on a GPU, which parallel parts would only make wait for each other.
    let on_cpu = variables.iter().all(|variable| variable.device().is_cpu());
    let parts: Vec<Result<Part>> = if on_cpu {
        parts.into_par_iter().enumerate().map(one).collect()
    } else {
        parts.into_iter().enumerate().map(one).collect()
    };
    // Always in this order: sums of floating-point numbers depend on it.
    let mut sum = Part { sum: 0.0, weight: 0.0, gradients: vec![None; variables.len()] };
    for part in parts {
        sum = sum.plus(part?)?;
    }
    Ok(sum)
}

fn compute_piece(task: &dyn Task, variables: &[&Var], again: bool, seed: u64, examples: &[usize]) -> Result<Part> {
    let mut masks = if again { Masks::recomputing(seed) } else { Masks::new(seed) };
    let loss = task.loss(examples, Some(&mut masks))?;
    let gradients = masks.into_tape().backward(&loss.sum, variables)?;
    Ok(Part { sum: f64::from(loss.sum.to_scalar::<f32>()?), weight: loss.weight, gradients })
}

impl Part {
    /// Multiplies loss and gradients so that the part weighs 1.
    fn scaled(self, factor: f64) -> Result<Self> {
        let scale = |gradient: Option<Tensor>| Ok(gradient.map(|gradient| gradient * factor).transpose()?);
        let gradients = self.gradients.into_iter().map(scale).collect::<Result<_>>()?;
        Ok(Self { sum: self.sum * factor, weight: 1.0, gradients })
    }

    fn plus(mut self, other: Self) -> Result<Self> {
        for (sum, new) in self.gradients.iter_mut().zip(other.gradients) {
            *sum = recompute::add(sum.take(), new)?;
        }
        Ok(Self { sum: self.sum + other.sum, weight: self.weight + other.weight, gradients: self.gradients })
    }
}

/// Returns the L2 norm over all gradients.
///
/// # Errors
/// Those of the device.
pub(super) fn norm(gradients: &Gradients) -> Result<f64> {
    let squares = |gradient: &Option<Tensor>| gradient.as_ref().map_or(Ok(0.0), ops::sum_of_squares);
    let each: Vec<Result<f64>> = gradients.par_iter().map(squares).collect();
    Ok(each.into_iter().sum::<Result<f64>>()?.sqrt())
}
