//! Activation functions.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

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

/// Applies an activation to every element.
///
/// # Errors
/// Those of the device.
///
/// # Source
/// Hendrycks and Gimpel 2016: <https://arxiv.org/abs/1606.08415>.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
        Activation::Tanh => x.tanh()?,
    })
}
