//! Root-mean-square normalisation.

use candle_core::{CpuStorage, CustomOp2, Layout, Result as OpResult, Shape, Tensor, bail};

use super::{
    composed,
    simd::{sum, widest},
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Divides each row of `x` `(rows, hidden)` by the root of its mean square, then scales by `weight` `(hidden)`.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Zhang and Sennrich 2019: <https://arxiv.org/abs/1910.07467>.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    if !has_kernels(&[x, weight]) {
        return composed::rms_norm(x, weight, epsilon);
    }
    Ok(x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { epsilon: epsilon as f32 })?)
}

struct RmsNorm {
    epsilon: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, xl)?, slice(w, wl)?);
        if weight.is_empty() || xl.dims().last() != Some(&weight.len()) {
            bail!("rms norm: {:?} with {} weights", xl.shape(), weight.len());
        }
        let mut out = vec![0.0; x.len()];
        normalise(x, weight, self.epsilon, &mut out);
        Ok(result(out, xl.shape()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        let slope = slope.contiguous()?;
        let (mut of_x, mut of_weight) = (vec![0.0; x.elem_count()], vec![0.0; w.elem_count()]);
        let (numbers, weights, slopes) = (Numbers::of(x)?, Numbers::of(w)?, Numbers::of(&slope)?);
        normalise_back(&numbers, &weights, self.epsilon, &slopes, &mut of_x, &mut of_weight);
        let of_x = x.track_op().then(|| gradient(of_x, x)).transpose()?;
        Ok((of_x, w.track_op().then(|| gradient(of_weight, w)).transpose()?))
    }
}

/// Returns the inverse of the root of a row's mean square.
#[inline(always)]
fn inverse_root(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(row.len(), |at| row[at] * row[at]) / row.len() as f32 + epsilon).sqrt()
}

widest! {
    fn normalise(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let hidden = weight.len();
        for (x, row) in x.chunks_exact(hidden).zip(out.chunks_exact_mut(hidden)) {
            let inverse = inverse_root(x, epsilon);
            for at in 0..hidden {
                row[at] = x[at] * inverse * weight[at];
            }
        }
    }

    /// Goes back: writes the gradient of `x` and adds up that of the scale.
    fn normalise_back(x: &[f32], weight: &[f32], epsilon: f32, slope: &[f32], of_x: &mut [f32], of_weight: &mut [f32]) {
        let hidden = weight.len();
        let rows = x.chunks_exact(hidden).zip(slope.chunks_exact(hidden));
        for ((x, slope), row) in rows.zip(of_x.chunks_exact_mut(hidden)) {
            let inverse = inverse_root(x, epsilon);
            let along = sum(hidden, |at| slope[at] * weight[at] * x[at]) * inverse * inverse / hidden as f32;
            for at in 0..hidden {
                of_weight[at] = (slope[at] * x[at]).mul_add(inverse, of_weight[at]);
                row[at] = inverse * (slope[at] * weight[at] - x[at] * along);
            }
        }
    }
}
