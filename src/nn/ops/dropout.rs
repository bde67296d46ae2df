//! Dropout with masks of our own: candle's generator cannot be seeded on the CPU.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as OpResult, Shape, Tensor};

use super::{
    composed,
    simd::widest,
    storage::{Numbers, gradient, has_kernels, result, slice},
};
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
        Some(masks) if drop > 0.0 && has_kernels(&[x]) => {
            Ok(x.contiguous()?.apply_op1(Dropout { drop, seed: masks.next_seed() })?)
        }
        Some(masks) if drop > 0.0 => composed::dropout(x, drop, masks.next_seed()),
        _ => Ok(x.clone()),
    }
}

struct Dropout {
    drop: f32,
    seed: u64,
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let mut kept = slice(x, layout)?.to_vec();
        apply_mask(&mut kept, self.seed, 0, self.drop);
        Ok(result(kept, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let slope = slope.contiguous()?;
        let mut kept = Numbers::of(&slope)?.to_vec();
        apply_mask(&mut kept, self.seed, 0, self.drop);
        Ok(Some(gradient(kept, x)?))
    }
}

widest! {
    /// Multiplies numbers by the factors of the mask from element `first` on.
    pub(super) fn apply_mask(numbers: &mut [f32], seed: u64, first: u32, drop: f32) {
        for (number, at) in numbers.iter_mut().zip(0u32..) {
            *number *= factor(seed, first.wrapping_add(at), drop);
        }
    }
}
