//! Activation functions.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as OpResult, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    simd::{normal, widest},
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// A function of one number. Names as in Hugging Face's `hidden_act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// GELU by its approximation with tanh.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Applies an activation to every element. GELU, which encoders spend their time in, has a kernel on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Source
/// Hendrycks and Gimpel 2016: <https://arxiv.org/abs/1606.08415>.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Gelu if has_kernels(&[x]) => x.contiguous()?.apply_op1(Gelu)?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
        Activation::Tanh => x.tanh()?,
    })
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len()];
        gelu(x, &mut out);
        Ok(result(out, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let slope = slope.contiguous()?;
        let mut out = vec![0.0; x.elem_count()];
        gelu_back(&Numbers::of(x)?, &Numbers::of(&slope)?, &mut out);
        Ok(Some(gradient(out, x)?))
    }
}

widest! {
    fn gelu(x: &[f32], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x * normal(x).0;
        }
    }

    /// The derivative of `x · Φ(x)` is `Φ(x) + x · φ(x)`.
    fn gelu_back(x: &[f32], slope: &[f32], out: &mut [f32]) {
        for ((out, &x), slope) in out.iter_mut().zip(x).zip(slope) {
            let (share, density) = normal(x);
            *out = slope * x.mul_add(density, share);
        }
    }
}
