//! Matrices of linear maps and embeddings: trained, or frozen in some format.

use candle_core::{DType, Device, Tensor, quantized::GgmlDType};
use serde::{Deserialize, Serialize};

use super::ops::{self, Frozen};
use crate::error::Result;

/// How the matrices of a model that is not trained are held; its vectors (normalisations and biases) are held in f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// On a GPU as bf16; on the CPU as they lie in the file, so that nothing is lost.
    #[default]
    Auto,
    /// 32 bits a number.
    F32,
    /// 16 bits: the reach of f32 with 8 bits of precision.
    Bf16,
    /// 8.5 bits: GGML's Q8_0, 32 numbers of 8 bits with one scale.
    Q8,
    /// 4.5 bits: GGML's Q4_K, 256 numbers of 4 bits with scales and offsets; Q4_0 where rows are no multiple of 256.
    ///
    /// In either quantised format rows that are no multiple of 32 are held as bf16, and so are the tables of the vocabulary.
    Q4,
}

/// What a matrix is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A linear map within the layers.
    Map,
    /// Rows that are looked up by tokens, or score them: the few that a text needs would suffer most from few bits.
    Vocabulary,
}

impl Format {
    /// Returns how a matrix with rows of `columns` numbers of type `stored` is held.
    pub(super) fn resolve(self, stored: Option<DType>, columns: usize, used: Use, device: &Device) -> GgmlDType {
        let few = |dtype: GgmlDType| match used {
            Use::Map if columns.is_multiple_of(dtype.block_size()) => Some(dtype),
            _ => None,
        };
        match (self, stored) {
            (Self::Auto, _) if !device.is_cpu() => GgmlDType::BF16,
            (Self::Auto, Some(DType::BF16)) => GgmlDType::BF16,
            (Self::Auto, Some(DType::F16)) => GgmlDType::F16,
            (Self::Auto | Self::F32, _) => GgmlDType::F32,
            (Self::Bf16, _) => GgmlDType::BF16,
            (Self::Q8, _) => few(GgmlDType::Q8_0).unwrap_or(GgmlDType::BF16),
            (Self::Q4, _) => few(GgmlDType::Q4K).or(few(GgmlDType::Q4_0)).unwrap_or(GgmlDType::BF16),
        }
    }
}

/// A matrix `(out, in)`.
#[derive(Clone)]
pub enum Matrix {
    /// A variable, or what was one.
    Free(Tensor),
    /// As it was given.
    Frozen(Frozen),
}

impl Matrix {
    /// Returns `[out, in]`.
    ///
    /// # Errors
    /// If it is a tensor of another rank.
    pub fn shape(&self) -> Result<[usize; 2]> {
        match self {
            Self::Free(weight) => Ok(weight.dims2()?.into()),
            Self::Frozen(matrix) => Ok(matrix.shape()),
        }
    }

    /// Computes `x · matrixᵀ + bias`; see [`ops::linear`].
    ///
    /// # Errors
    /// Those of the device, and shapes that do not fit.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Free(weight) => ops::linear(x, weight, bias),
            Self::Frozen(matrix) => matrix.linear(x, bias),
        }
    }

    /// Takes the rows `ids`. Returns `(ids, in)`.
    ///
    /// # Errors
    /// Those of the device, and an id outside the matrix.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Free(table) => ops::embed(table, ids),
            Self::Frozen(matrix) => matrix.rows(ids),
        }
    }

    /// Returns the same matrix for use without training.
    pub fn detached(&self) -> Self {
        match self {
            Self::Free(weight) => Self::Free(weight.detach()),
            Self::Frozen(matrix) => Self::Frozen(matrix.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_no_block_divides_are_held_in_more_bits() {
        let held = |format: Format, columns, used| format.resolve(Some(DType::F32), columns, used, &Device::Cpu);
        let of_maps = |format| [512, 96, 40].map(|columns| held(format, columns, Use::Map));
        assert_eq!(of_maps(Format::Q4), [GgmlDType::Q4K, GgmlDType::Q4_0, GgmlDType::BF16]);
        assert_eq!(of_maps(Format::Q8), [GgmlDType::Q8_0, GgmlDType::Q8_0, GgmlDType::BF16]);
        assert_eq!(held(Format::Q4, 512, Use::Vocabulary), GgmlDType::BF16);
        assert_eq!(held(Format::F32, 512, Use::Vocabulary), GgmlDType::F32);
        let as_stored = |stored| Format::Auto.resolve(stored, 512, Use::Map, &Device::Cpu);
        let stored = [Some(DType::BF16), Some(DType::F16), Some(DType::F32), Some(DType::F64), None];
        assert_eq!(
            stored.map(as_stored),
            [GgmlDType::BF16, GgmlDType::F16, GgmlDType::F32, GgmlDType::F32, GgmlDType::F32]
        );
    }
}
