//! AdamW over groups of weights.

use std::collections::HashMap;

use candle_core::{Tensor, Var};
use rayon::prelude::*;

use super::FitSettings;
use crate::{
    error::{Error, Result},
    nn::{
        Parameters,
        ops::{self, AdamW},
    },
};

/// Prefixes of the moments' names in a checkpoint.
const MOMENTS: [&str; 2] = ["first_moment/", "second_moment/"];

/// The optimiser's state: moments of each weight's gradient, and the steps taken.
pub(super) struct Optimiser {
    weights: Vec<Weight>,
    steps: usize,
}

/// A trained tensor.
struct Weight {
    name: String,
    variable: Var,
    /// Running means of the gradient and of its square, in the variable's shape.
    moments: [Tensor; 2],
    /// By what the learning rate of the run is multiplied; 0 freezes.
    rate: f64,
    decay: f64,
}

impl Optimiser {
    /// Starts with moments of 0. Biases and normalisations (tensors of one dimension) do not decay.
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
                moments: [variable.zeros_like()?, variable.zeros_like()?],
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
        let steps = self.steps;
        self.weights.par_iter_mut().zip(gradients).try_for_each(|(weight, gradient)| {
            let Some(gradient) = gradient.as_ref().filter(|_| weight.rate > 0.0) else { return Ok(()) };
            let (rate, decay) = (learning_rate * weight.rate, weight.decay);
            let step = AdamW { rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay, step: steps, scale };
            ops::adamw(&weight.variable, gradient, &mut weight.moments, &step)
        })
    }

    /// Returns the moments by name, to be kept in a checkpoint.
    pub fn moments(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.weights.iter().flat_map(|weight| {
            MOMENTS.iter().zip(&weight.moments).map(|(prefix, moment)| (format!("{prefix}{}", weight.name), moment))
        })
    }

    /// Goes on from the moments of a checkpoint after `steps` steps.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if one is missing or has another shape.
    pub fn restore(&mut self, tensors: &HashMap<String, Tensor>, steps: usize) -> Result<()> {
        for weight in &mut self.weights {
            for (prefix, moment) in MOMENTS.iter().zip(&mut weight.moments) {
                let name = format!("{prefix}{}", weight.name);
                let reason = format!("`{name}` is missing or has not the shape {:?}", moment.dims());
                let kept = tensors.get(&name).filter(|kept| kept.dims() == moment.dims());
                let kept = kept.ok_or(Error::Artifact { what: "checkpoint", name, reason })?;
                // A copy: moments are changed where they lie.
                *moment = kept.to_device(moment.device())?.copy()?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}
