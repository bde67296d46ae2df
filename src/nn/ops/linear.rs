//! Linear map.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result as OpResult, Shape, Tensor, bail};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use super::{
    composed,
    simd::widest,
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Computes `x · weightᵀ + bias`: `x` is `(rows, in)`, `weight` `(out, in)`, `bias` `(out)`. Returns `(rows, out)`.
///
/// The backward pass computes the gradients of those arguments alone that a variable stands behind: frozen weights cost nothing.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if !has_kernels(&[x, weight]) {
        return composed::linear(x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    Ok(match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Linear)?,
        None => x.apply_op2(&weight, Linear)?,
    })
}

/// Adds or writes `factor · a · b` to `to`, on the thread that asks.
pub(super) fn multiply(to: MatMut<'_, f32>, how: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>, factor: f32) {
    matmul(to, how, a, b, factor, Par::Seq);
}

struct Linear;

impl Linear {
    fn forward(x: (&[f32], &Shape), weight: (&[f32], &Shape), bias: Option<&[f32]>) -> OpResult<(CpuStorage, Shape)> {
        let ((rows, from), (to, taken)) = (x.1.dims2()?, weight.1.dims2()?);
        if from != taken || bias.is_some_and(|bias| bias.len() != to) {
            bail!("linear: x {:?} and weight {:?} (and a bias as long as its rows) do not fit", x.1, weight.1);
        }
        let mut product = match bias {
            Some(bias) => bias.repeat(rows),
            None => vec![0.0; rows * to],
        };
        let transposed = MatRef::from_row_major_slice(weight.0, to, from).transpose();
        let out = MatMut::from_row_major_slice_mut(&mut product, rows, to);
        multiply(out, Accum::Add, MatRef::from_row_major_slice(x.0, rows, from), transposed, 1.0);
        Ok(result(product, (rows, to)))
    }

    fn backward(x: &Tensor, weight: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        let ((rows, from), (to, _)) = (x.dims2()?, weight.dims2()?);
        let slopes = Numbers::of(slope)?;
        let slopes = MatRef::from_row_major_slice(&slopes, rows, to);
        let of_x = x.track_op().then(|| {
            let weights = Numbers::of(weight)?;
            let mut numbers = vec![0.0; rows * from];
            let out = MatMut::from_row_major_slice_mut(&mut numbers, rows, from);
            multiply(out, Accum::Replace, slopes, MatRef::from_row_major_slice(&weights, to, from), 1.0);
            gradient(numbers, x)
        });
        let of_weight = weight.track_op().then(|| {
            let inputs = Numbers::of(x)?;
            let mut numbers = vec![0.0; to * from];
            let out = MatMut::from_row_major_slice_mut(&mut numbers, to, from);
            multiply(out, Accum::Replace, slopes.transpose(), MatRef::from_row_major_slice(&inputs, rows, from), 1.0);
            gradient(numbers, weight)
        });
        Ok((of_x.transpose()?, of_weight.transpose()?))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> OpResult<(CpuStorage, Shape)> {
        Self::forward((slice(x, xl)?, xl.shape()), (slice(w, wl)?, wl.shape()), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        Self::backward(x, w, &slope.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> OpResult<(CpuStorage, Shape)> {
        Self::forward((slice(x, xl)?, xl.shape()), (slice(w, wl)?, wl.shape()), Some(slice(b, bl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> OpResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let slope = slope.contiguous()?;
        let of_bias = bias.track_op().then(|| {
            let mut sums = vec![0.0; bias.elem_count()];
            add_rows(&Numbers::of(&slope)?, &mut sums);
            gradient(sums, bias)
        });
        let (of_x, of_weight) = Self::backward(x, weight, &slope)?;
        Ok((of_x, of_weight, of_bias.transpose()?))
    }
}

widest! {
    /// Adds each row of `matrix` to `sums`, which is one row.
    fn add_rows(matrix: &[f32], sums: &mut [f32]) {
        for row in matrix.chunks_exact(sums.len().max(1)) {
            for (sum, number) in sums.iter_mut().zip(row) {
                *sum += number;
            }
        }
    }
}
