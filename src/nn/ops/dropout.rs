//! Dropout with masks of our own: candle's generator cannot be seeded on the CPU.

use candle_core::Tensor;

use crate::{
    error::Result,
    nn::masks::{Masks, factor},
};

/// Sets each element to 0 with the probability `drop`, `0..1`, and divides the others by `1 - drop`; without `masks`, as in use, does nothing.
///
/// # Errors
/// Those of the device.
///
/// # Source
/// Srivastava et al. 2014: <https://jmlr.org/papers/v15/srivastava14a.html>.
pub fn dropout(x: &Tensor, drop: f32, masks: Option<&mut Masks>) -> Result<Tensor> {
    match masks {
        Some(masks) if drop > 0.0 => Ok((x * mask(x, drop, masks.next_seed())?)?),
        _ => Ok(x.clone()),
    }
}

/// Makes the factors of a mask in `like`'s shape.
pub(super) fn mask(like: &Tensor, drop: f32, seed: u64) -> Result<Tensor> {
    let factors: Vec<f32> = (0..like.elem_count() as u64).map(|number| factor(seed, number, drop)).collect();
    Ok(Tensor::from_vec(factors, like.shape(), like.device())?)
}
