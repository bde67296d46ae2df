//! Layer normalisation.

use candle_core::{D, Tensor};

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
    let x = match residual {
        Some(residual) => (x + residual)?,
        None => x.clone(),
    };
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    Ok(normal.broadcast_mul(weight)?.broadcast_add(bias)?)
}
