//! Layer normalisation.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result as OpResult, Shape, Tensor, bail};

use super::{
    composed,
    simd::{sum, widest},
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Normalises each row of `x` `(rows, hidden)` to mean 0 and variance 1, then scales and shifts by `weight` and `bias` `(hidden)`.
/// With `residual`, of `x`'s shape, the sum of both is normalised.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Ba et al. 2016: <https://arxiv.org/abs/1607.06450>; the variance is that of the population.
pub fn layer_norm(
    x: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    if !has_kernels(&[x, weight, bias]) {
        return composed::layer_norm(x, residual, weight, bias, epsilon);
    }
    let x = x.contiguous()?;
    let affine = Tensor::stack(&[weight, bias], 0)?; // one argument: an operation has at most three
    let norm = LayerNorm { epsilon: epsilon as f32 };
    Ok(match residual {
        Some(residual) => x.apply_op3(&residual.contiguous()?, &affine, norm)?,
        None => x.apply_op2(&affine, norm)?,
    })
}

struct LayerNorm {
    epsilon: f32,
}

impl LayerNorm {
    fn forward(&self, x: &[f32], residual: &[f32], affine: &[f32], shape: &Shape) -> OpResult<(CpuStorage, Shape)> {
        let hidden = affine.len() / 2;
        let fits = residual.is_empty() || residual.len() == x.len();
        if hidden == 0 || !fits || shape.dims().last() != Some(&hidden) {
            bail!("layer norm: {shape:?} with a residual of {} numbers, {hidden} weights", residual.len());
        }
        let mut out = vec![0.0; x.len()];
        normalise(x, residual, affine, self.epsilon, &mut out);
        Ok(result(out, shape))
    }

    /// Returns the gradients of the normalised sum and of the scale and shift.
    fn backward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        affine: &Tensor,
        slope: &Tensor,
    ) -> OpResult<(Tensor, Tensor)> {
        let slope = slope.contiguous()?;
        let residual = residual.map(Numbers::of).transpose()?;
        let (mut of_x, mut of_affine) = (vec![0.0; x.elem_count()], vec![0.0; affine.elem_count()]);
        let residual = residual.as_deref().unwrap_or(&[]);
        let (numbers, affines, slopes) = (Numbers::of(x)?, Numbers::of(affine)?, Numbers::of(&slope)?);
        normalise_back(&numbers, residual, &affines, self.epsilon, &slopes, &mut of_x, &mut of_affine);
        Ok((gradient(of_x, x)?, gradient(of_affine, affine)?))
    }
}

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, a: &CpuStorage, al: &Layout) -> OpResult<(CpuStorage, Shape)> {
        self.forward(slice(x, xl)?, &[], slice(a, al)?, xl.shape())
    }

    fn bwd(&self, x: &Tensor, a: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_affine) = self.backward(x, None, a, slope)?;
        Ok((x.track_op().then_some(of_x), a.track_op().then_some(of_affine)))
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "residual layer norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        residual: &CpuStorage,
        rl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> OpResult<(CpuStorage, Shape)> {
        self.forward(slice(x, xl)?, slice(residual, rl)?, slice(affine, al)?, xl.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> OpResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_sum, of_affine) = self.backward(x, Some(residual), affine, slope)?;
        let of_residual = residual.track_op().then(|| of_sum.clone());
        Ok((x.track_op().then_some(of_sum), of_residual, affine.track_op().then_some(of_affine)))
    }
}

/// Writes `x + residual` to `row`, less its mean and divided by its deviation. Returns what it was divided by, inverse.
#[inline(always)]
fn standardise(x: &[f32], residual: Option<&[f32]>, epsilon: f32, row: &mut [f32]) -> f32 {
    let hidden = row.len();
    let x = &x[..hidden];
    match residual {
        Some(residual) => {
            let residual = &residual[..hidden];
            (0..hidden).for_each(|at| row[at] = x[at] + residual[at]);
        }
        None => row.copy_from_slice(x),
    }
    let mean = sum(hidden, |at| row[at]) / hidden as f32;
    row.iter_mut().for_each(|number| *number -= mean);
    let variance = sum(hidden, |at| row[at] * row[at]) / hidden as f32;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    row.iter_mut().for_each(|number| *number *= inverse);
    inverse
}

widest! {
    /// Normalises `x`, or `x + residual` where that is not empty; `affine` holds the scale and then the shift.
    fn normalise(x: &[f32], residual: &[f32], affine: &[f32], epsilon: f32, out: &mut [f32]) {
        let hidden = affine.len() / 2;
        let (weight, bias) = affine.split_at(hidden);
        let mut residuals = residual.chunks_exact(hidden);
        for (x, row) in x.chunks_exact(hidden).zip(out.chunks_exact_mut(hidden)) {
            standardise(x, residuals.next(), epsilon, row);
            for at in 0..hidden {
                row[at] = row[at].mul_add(weight[at], bias[at]);
            }
        }
    }

    /// Goes back: writes the gradient of the sum and adds up that of scale and shift.
    fn normalise_back(
        x: &[f32],
        residual: &[f32],
        affine: &[f32],
        epsilon: f32,
        slope: &[f32],
        of_sum: &mut [f32],
        of_affine: &mut [f32],
    ) {
        let hidden = affine.len() / 2;
        let weight = &affine[..hidden];
        let (of_weight, of_bias) = of_affine.split_at_mut(hidden);
        let mut residuals = residual.chunks_exact(hidden);
        let rows = x.chunks_exact(hidden).zip(slope.chunks_exact(hidden));
        for ((x, slope), row) in rows.zip(of_sum.chunks_exact_mut(hidden)) {
            let inverse = standardise(x, residuals.next(), epsilon, row);
            for at in 0..hidden {
                of_weight[at] = slope[at].mul_add(row[at], of_weight[at]);
                of_bias[at] += slope[at];
            }
            let mean = sum(hidden, |at| slope[at] * weight[at]) / hidden as f32;
            let along = sum(hidden, |at| slope[at] * weight[at] * row[at]) / hidden as f32;
            for at in 0..hidden {
                row[at] = inverse * (slope[at] * weight[at] - mean - row[at] * along);
            }
        }
    }
}
