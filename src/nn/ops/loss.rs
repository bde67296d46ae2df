//! Losses.

use candle_core::{D, Tensor};

use crate::error::Result;

/// Computes the logarithm of the softmax over the last dimension.
///
/// # Errors
/// Those of the device.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// Sums the cross-entropy of `logits` `(rows, classes)` and `targets`, one class a row; a row whose target is `None` is left out.
/// `smoothing`, `0..1`, moves that share of the probability from the target to all classes evenly. Returns a scalar: the sum, to be
/// divided by the number of targets that the caller counts.
///
/// # Errors
/// Those of the device, and a target that is no class.
///
/// # Source
/// Label smoothing: Szegedy et al. 2015, section 7: <https://arxiv.org/abs/1512.00567>.
pub fn cross_entropy(logits: &Tensor, targets: &[Option<u32>], smoothing: f64) -> Result<Tensor> {
    let device = logits.device();
    let (rows, classes): (Vec<u32>, Vec<u32>) =
        targets.iter().enumerate().filter_map(|(row, target)| Some((row as u32, (*target)?))).unzip();
    if rows.is_empty() {
        return Ok((logits.sum_all()? * 0.0)?);
    }
    let count = rows.len();
    let logits = logits.index_select(&Tensor::new(rows, device)?, 0)?;
    let logs = log_softmax(&logits)?; // (targets, classes)
    let right = logs.gather(&Tensor::from_vec(classes, (count, 1), device)?, 1)?.sum_all()?.neg()?;
    if smoothing == 0.0 {
        return Ok(right);
    }
    let even = logs.mean(D::Minus1)?.sum_all()?.neg()?;
    Ok(((right * (1.0 - smoothing))? + (even * smoothing)?)?)
}

/// Sums the binary cross-entropy of `logits` and `targets`, tensors of one shape, targets in `0..=1`. Returns a scalar.
///
/// `max(x, 0) - x·t + ln(1 + e^-|x|)` overflows for no logit.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let softplus = ((logits.abs()?.neg()?.exp()? + 1.0)?.log()? + logits.relu()?)?;
    Ok((softplus - (logits * targets)?)?.sum_all()?)
}
