//! AdamW over groups of weights.

use std::collections::HashMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, Var};

use super::FitSettings;
use crate::{
    error::{Error, Result},
    nn::Parameters,
};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The optimiser: moments of each weight's gradient, and the steps taken.
///
/// # Source
/// Loshchilov and Hutter 2017, algorithm 2 with decoupled decay: <https://arxiv.org/abs/1711.05101>; order of operations as in PyTorch's `AdamW`.
pub struct AdamW {
    weights: Vec<Weight>,
    steps: i32,
}

/// A trained tensor.
struct Weight {
    name: String,
    variable: Var,
    /// Running means of the gradient and of its square, in the variable's shape.
    first: Tensor,
    second: Tensor,
    /// By what the learning rate of the run is multiplied.
    rate: f64,
    decay: f64,
}

impl AdamW {
    /// Starts with moments of 0. Biases and normalisations (tensors of one dimension) do not decay; a group with rate 0 is frozen.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(parameters: &Parameters, settings: &FitSettings) -> Result<Self> {
        let weight = |(name, variable): (&String, &Var)| -> Result<Weight> {
            let group = settings.groups.iter().find(|group| name.starts_with(&group.prefix));
            let decay = group.and_then(|group| group.weight_decay).unwrap_or(settings.weight_decay);
            Ok(Weight {
                name: name.clone(),
                variable: variable.clone(),
                first: variable.zeros_like()?,
                second: variable.zeros_like()?,
                rate: group.map_or(1.0, |group| group.learning_rate / settings.learning_rate),
                decay: if variable.rank() > 1 { decay } else { 0.0 },
            })
        };
        let weights = parameters.variables().iter().map(weight).collect::<Result<_>>()?;
        Ok(Self { weights, steps: 0 })
    }

    /// Moves every weight against its gradient times `scale`; `gradients` are in the order of the parameters' names. A weight without a
    /// gradient stays as it is.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(&mut self, gradients: &[Option<Tensor>], scale: f64, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        for (weight, gradient) in self.weights.iter_mut().zip(gradients) {
            if let Some(gradient) = gradient.as_ref().filter(|_| weight.rate > 0.0) {
                let rate = learning_rate * weight.rate;
                weight.step(gradient, scale, rate, self.steps)?;
            }
        }
        Ok(())
    }

    /// Returns the moments by name, to be kept in a checkpoint.
    pub fn moments(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.weights.iter().flat_map(|weight| {
            [(format!("{FIRST}{}", weight.name), &weight.first), (format!("{SECOND}{}", weight.name), &weight.second)]
        })
    }

    /// Goes on from the moments of a checkpoint after `steps` steps.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if one is missing or has another shape.
    pub fn restore(&mut self, tensors: &HashMap<String, Tensor>, steps: usize) -> Result<()> {
        for weight in &mut self.weights {
            for (prefix, moment) in [(FIRST, &mut weight.first), (SECOND, &mut weight.second)] {
                let name = format!("{prefix}{}", weight.name);
                let kept = tensors.get(&name).filter(|kept| kept.dims() == moment.dims());
                let reason = || Error::Artifact {
                    what: "checkpoint",
                    name: name.clone(),
                    reason: format!("it is missing or has not the shape {:?}", moment.dims()),
                };
                *moment = kept.ok_or_else(reason)?.to_device(moment.device())?;
            }
        }
        self.steps = steps as i32;
        Ok(())
    }
}

/// Prefixes of the moments' names in a checkpoint.
const FIRST: &str = "first_moment/";
const SECOND: &str = "second_moment/";

impl Weight {
    fn step(&mut self, gradient: &Tensor, scale: f64, rate: f64, steps: i32) -> Result<()> {
        let (correction_1, correction_2) = (1.0 - BETA_1.powi(steps), 1.0 - BETA_2.powi(steps));
        if self.variable.device().is_cpu() {
            let gradient = gradient.contiguous()?;
            self.first.inplace_op2(&gradient, &Mean { keep: BETA_1 as f32, scale: scale as f32, square: false })?;
            self.second.inplace_op2(&gradient, &Mean { keep: BETA_2 as f32, scale: scale as f32, square: true })?;
            let shrink = (1.0 - rate * self.decay) as f32;
            let (rate, correction) = ((rate / correction_1) as f32, correction_2.sqrt() as f32);
            self.variable.inplace_op3(&self.first, &self.second, &Move { shrink, rate, correction })?;
            return Ok(());
        }
        let gradient = (gradient * scale)?;
        self.first = ((&self.first * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
        self.second = ((&self.second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
        let below = ((self.second.sqrt()? / correction_2.sqrt())? + EPSILON)?;
        let step = ((&self.first / below)? * (rate / correction_1))?;
        self.variable.set(&((self.variable.as_tensor() * (1.0 - rate * self.decay))? - step)?)?;
        Ok(())
    }
}

/// Mixes a gradient, or its square, into a running mean.
struct Mean {
    keep: f32,
    scale: f32,
    square: bool,
}

impl InplaceOp2 for Mean {
    fn name(&self) -> &'static str {
        "adamw-mean"
    }

    fn cpu_fwd(&self, mean: &mut CpuStorage, at: &Layout, new: &CpuStorage, from: &Layout) -> candle_core::Result<()> {
        let (mean, new) = (numbers_mut(mean, at)?, numbers(new, from)?);
        let take = 1.0 - self.keep;
        for (mean, &new) in mean.iter_mut().zip(new) {
            let new = new * self.scale;
            *mean = self.keep * *mean + take * if self.square { new * new } else { new };
        }
        Ok(())
    }
}

/// Moves weights by their moments.
struct Move {
    shrink: f32,
    rate: f32,
    /// Square root of the second moment's bias correction.
    correction: f32,
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "adamw-move"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        at: &Layout,
        first: &CpuStorage,
        first_at: &Layout,
        second: &CpuStorage,
        second_at: &Layout,
    ) -> candle_core::Result<()> {
        let weights = numbers_mut(weights, at)?;
        let moments = numbers(first, first_at)?.iter().zip(numbers(second, second_at)?);
        for (weight, (&first, &second)) in weights.iter_mut().zip(moments) {
            *weight = *weight * self.shrink - self.rate * first / (second.sqrt() / self.correction + EPSILON as f32);
        }
        Ok(())
    }
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (layout.contiguous_offsets(), storage.as_slice::<f32>()?) {
        (Some((start, end)), all) => Ok(&all[start..end]),
        (None, _) => candle_core::bail!("expected a contiguous tensor"),
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(all)) => Ok(&mut all[start..end]),
        _ => candle_core::bail!("expected a contiguous tensor of f32"),
    }
}
