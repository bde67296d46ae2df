//! The gate of a feed-forward part.

use candle_core::{CpuStorage, CustomOp2, Layout, Result as OpResult, Shape, Tensor, bail};

use super::{
    composed,
    simd::{exp, widest},
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Computes `SiLU(gate) · up` element by element, `SiLU(x) = x · σ(x)`; both are of one shape.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Shazeer 2020 (SwiGLU): <https://arxiv.org/abs/2002.05202>.
pub fn gate(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !has_kernels(&[gate, up]) {
        return composed::gate(gate, up);
    }
    Ok(gate.contiguous()?.apply_op2(&up.contiguous()?, Gate)?)
}

struct Gate;

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, g: &CpuStorage, gl: &Layout, u: &CpuStorage, ul: &Layout) -> OpResult<(CpuStorage, Shape)> {
        if gl.shape() != ul.shape() {
            bail!("gate: {:?} and {:?}", gl.shape(), ul.shape());
        }
        let (gate, up) = (slice(g, gl)?, slice(u, ul)?);
        let mut out = vec![0.0; gate.len()];
        product(gate, up, &mut out);
        Ok(result(out, gl.shape()))
    }

    fn bwd(&self, g: &Tensor, u: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        let slope = slope.contiguous()?;
        let (mut of_gate, mut of_up) = (vec![0.0; g.elem_count()], vec![0.0; u.elem_count()]);
        product_back(&Numbers::of(g)?, &Numbers::of(u)?, &Numbers::of(&slope)?, &mut of_gate, &mut of_up);
        let of_gate = g.track_op().then(|| gradient(of_gate, g)).transpose()?;
        Ok((of_gate, u.track_op().then(|| gradient(of_up, u)).transpose()?))
    }
}

/// `σ(x)`, which overflows for no `x`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

widest! {
    fn product(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate * sigmoid(gate) * up;
        }
    }

    /// The derivative of `x · σ(x)` is `σ(x) · (1 + x · (1 - σ(x)))`.
    fn product_back(gate: &[f32], up: &[f32], slope: &[f32], of_gate: &mut [f32], of_up: &mut [f32]) {
        let count = gate.len();
        let (up, slope, of_gate, of_up) = (&up[..count], &slope[..count], &mut of_gate[..count], &mut of_up[..count]);
        for at in 0..count {
            let (x, share) = (gate[at], sigmoid(gate[at]));
            of_up[at] = slope[at] * x * share;
            of_gate[at] = slope[at] * up[at] * share * (1.0 - share).mul_add(x, 1.0);
        }
    }
}
