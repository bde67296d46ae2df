//! Rotary positions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result as OpResult, Shape, Tensor, bail};

use super::{
    composed,
    simd::widest,
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Cosines and sines by which the tokens of a batch are turned.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// `(tokens, half)`, row by row: the cosine of each pair's angle.
    pub cosines: Arc<[f32]>,
    /// The same of the sine.
    pub sines: Arc<[f32]>,
    /// Pairs of numbers in a head.
    pub half: usize,
}

/// Turns each head of each row of `x` `(tokens, heads · 2 · half)` by the token's angles: the numbers `i` and `i + half` of a head are a pair.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Su et al. 2021: <https://arxiv.org/abs/2104.09864>; pairs as in Hugging Face transformers.
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    if !has_kernels(&[x]) {
        return composed::rotate(x, angles);
    }
    Ok(x.contiguous()?.apply_op1(Rotate(angles.clone()))?)
}

struct Rotate(Angles);

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let Angles { cosines, sines, half } = &self.0;
        let (tokens, width) = layout.shape().dims2()?;
        if *half == 0
            || !width.is_multiple_of(2 * half)
            || cosines.len() != tokens * half
            || sines.len() != cosines.len()
        {
            bail!("rotate: {:?} by {} angles in heads of {half} pairs", layout.shape(), cosines.len());
        }
        let mut out = slice(x, layout)?.to_vec();
        turn(&mut out, width, cosines, sines, *half, 1.0);
        Ok(result(out, layout.shape()))
    }

    /// The way back is the turn the other way.
    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let (slope, width) = (slope.contiguous()?, x.dim(1)?);
        let mut out = Numbers::of(&slope)?.to_vec();
        turn(&mut out, width, &self.0.cosines, &self.0.sines, self.0.half, -1.0);
        Ok(Some(gradient(out, x)?))
    }
}

widest! {
    /// Turns the heads of each row of `x`, `width` numbers; `direction` 1 turns forwards, -1 back.
    fn turn(x: &mut [f32], width: usize, cosines: &[f32], sines: &[f32], half: usize, direction: f32) {
        let angles = cosines.chunks_exact(half).zip(sines.chunks_exact(half));
        for (row, (cosines, sines)) in x.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for at in 0..half {
                    let (a, b, sine) = (first[at], second[at], sines[at] * direction);
                    first[at] = a * cosines[at] - b * sine;
                    second[at] = b * cosines[at] + a * sine;
                }
            }
        }
    }
}
