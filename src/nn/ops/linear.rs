//! Linear map.

use candle_core::Tensor;

use crate::error::Result;

/// Computes `x · weightᵀ + bias`: `x` is `(rows, in)`, `weight` `(out, in)`, `bias` `(out)`. Returns `(rows, out)`.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = x.matmul(&weight.t()?)?;
    Ok(match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    })
}
