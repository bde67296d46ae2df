//! One step of the optimiser for one variable, and the sum of squares by which gradients are clipped.

use candle_core::{Tensor, Var, bail};

use super::{
    simd::{sum, widest},
    storage::{Numbers, change, has_kernels},
};
use crate::error::Result;

/// Settings of one AdamW step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub rate: f64,
    /// Share of the first moment that is kept.
    pub beta1: f64,
    /// Share of the second moment that is kept.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay.
    pub decay: f64,
    /// Number of this step, counted from 1.
    pub step: usize,
    /// What the gradient is multiplied by: clipping, and the mean over a batch.
    pub scale: f64,
}

/// Moves a variable against its gradient; `moments`, tensors of its shape that start at 0 and are not shared, are moved along.
///
/// On the CPU all three are changed where they lie, in one pass.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Loshchilov and Hutter 2017: <https://arxiv.org/abs/1711.05101>; epsilon is added as in PyTorch, after the correction of the bias.
pub fn adamw(variable: &Var, gradient: &Tensor, moments: &mut [Tensor; 2], settings: &AdamW) -> Result<()> {
    let (first, second) = (&moments[0], &moments[1]);
    let shape = variable.shape();
    if [gradient, first, second].iter().any(|tensor| tensor.shape() != shape) {
        return Err(candle_core::Error::Msg(format!("adamw: gradient {:?} for {shape:?}", gradient.shape())).into());
    }
    let kernels = has_kernels(&[variable, gradient, first, second]);
    if !kernels || !variable.is_contiguous() || !first.is_contiguous() || !second.is_contiguous() {
        return composed(variable, gradient, moments, settings);
    }
    let gradient = gradient.contiguous()?;
    let gradients = Numbers::of(&gradient)?;
    let factors = Factors::new(settings);
    change(variable, |variable| {
        change(first, |first| {
            change(second, |second| {
                if variable.len() != gradients.len() {
                    bail!("adamw: {} gradients for {} numbers", gradients.len(), variable.len());
                }
                update(variable, &gradients, first, second, &factors);
                Ok(())
            })
        })
    })?;
    Ok(())
}

/// Sums the squares of all elements.
///
/// # Errors
/// Those of the device.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if !has_kernels(&[x]) {
        return Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    let x = x.contiguous()?;
    Ok(Numbers::of(&x)?.chunks(4096).map(|chunk| f64::from(squares(chunk))).sum())
}

/// A step in basic operations, for any device.
fn composed(variable: &Var, gradient: &Tensor, moments: &mut [Tensor; 2], settings: &AdamW) -> Result<()> {
    let AdamW { rate, beta1, beta2, epsilon, decay, step, scale } = *settings;
    let gradient = (gradient.detach() * scale)?;
    let first = ((&moments[0] * beta1)? + (&gradient * (1.0 - beta1))?)?;
    let second = ((&moments[1] * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let root = (second.sqrt()? / (1.0 - beta2.powf(step as f64)).sqrt())?;
    let moved = (&first / (root + epsilon)?)? * (rate / (1.0 - beta1.powf(step as f64)));
    let kept = (variable.as_detached_tensor() * (1.0 - rate * decay))?;
    variable.set(&(kept - moved?)?)?;
    *moments = [first, second];
    Ok(())
}

/// What a step multiplies by, worked out once.
struct Factors {
    keep: f32,
    beta1: f32,
    beta2: f32,
    fresh1: f32,
    fresh2: f32,
    root: f32,
    epsilon: f32,
    rate: f32,
    scale: f32,
}

impl Factors {
    fn new(settings: &AdamW) -> Self {
        let AdamW { rate, beta1, beta2, epsilon, decay, step, scale } = *settings;
        Self {
            keep: (1.0 - rate * decay) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            fresh1: (1.0 - beta1) as f32,
            fresh2: (1.0 - beta2) as f32,
            root: (1.0 / (1.0 - beta2.powf(step as f64)).sqrt()) as f32,
            epsilon: epsilon as f32,
            rate: (rate / (1.0 - beta1.powf(step as f64))) as f32,
            scale: scale as f32,
        }
    }
}

widest! {
    fn update(variable: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32], factors: &Factors) {
        let Factors { keep, beta1, beta2, fresh1, fresh2, root, epsilon, rate, scale } = *factors;
        let moments = first.iter_mut().zip(second);
        for ((number, &gradient), (first, second)) in variable.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient * scale;
            *first = beta1 * *first + fresh1 * gradient;
            *second = beta2 * *second + fresh2 * gradient * gradient;
            *number = keep * *number - rate * *first / (second.sqrt() * root + epsilon);
        }
    }

    fn squares(numbers: &[f32]) -> f32 {
        sum(numbers.len(), |at| numbers[at] * numbers[at])
    }
}
