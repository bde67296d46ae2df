//! Linear map of a matrix that is not trained and lies in fewer bits than it is multiplied in.

use std::{ops::Range, sync::Arc};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, Layout, Result as OpResult, Shape, Storage, Tensor,
    backend::BackendStorage,
    bail,
    op::BackpropOp,
    quantized::{GgmlDType, QTensor},
};
use faer::{Accum, MatMut, MatRef, prelude::ReborrowMut};
use rayon::prelude::*;

use super::{
    composed,
    linear::multiply,
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Numbers of a matrix that are brought to f32 at once on the CPU: 4 MiB, which are multiplied before they leave the caches.
const CPU_BLOCK: usize = 1 << 20;
/// The same on a GPU, where every operation has a price of its own.
const GPU_BLOCK: usize = 1 << 25;

/// A matrix `(out, in)` that stays as it is. Clones share its numbers.
#[derive(Clone)]
pub struct Frozen {
    held: Arc<Held>,
    /// `[out, in]`.
    shape: [usize; 2],
    /// Rows of a block, of which the last may be shorter.
    block: usize,
    /// Type in which it is multiplied.
    dtype: DType,
}

/// How the numbers lie in memory.
enum Held {
    Whole(Tensor),
    Quantised(Vec<QTensor>),
}

impl Frozen {
    /// Takes a matrix of `shape` (`[out, in]`) that `read` gives by ranges of rows, on the CPU, and holds it in `format` on `device`.
    ///
    /// A format of blocks is quantised one block of rows on each core: there is never a whole copy in f32.
    ///
    /// # Errors
    /// Those of `read` and of the device; a row that is no multiple of the format's own blocks.
    pub fn new(
        shape: [usize; 2],
        format: GgmlDType,
        device: &Device,
        read: impl Fn(Range<usize>) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        let [rows, columns] = shape;
        let numbers = if device.is_cpu() { CPU_BLOCK } else { GPU_BLOCK };
        let block = (numbers / columns.max(1)).max(1);
        let plain = match format {
            GgmlDType::F32 => Some(DType::F32),
            GgmlDType::F16 => Some(DType::F16),
            GgmlDType::BF16 => Some(DType::BF16),
            _ => None,
        };
        let held = match plain {
            Some(dtype) => Held::Whole(read(0..rows)?.to_dtype(dtype)?.to_device(device)?),
            None => {
                let quantise = |start: usize| {
                    // candle quantises what a view is cut from: it must be a tensor of its own.
                    let numbers = read(start..rows.min(start + block))?.force_contiguous()?;
                    Ok(QTensor::quantize_onto(&numbers, format, device)?)
                };
                let starts: Vec<usize> = (0..rows).step_by(block).collect();
                Held::Quantised(starts.into_par_iter().map(quantise).collect::<Result<_>>()?)
            }
        };
        // A GPU multiplies bf16 several times as fast; on the CPU there are kernels for f32 alone.
        let dtype = if device.is_cpu() || format == GgmlDType::F32 { DType::F32 } else { DType::BF16 };
        Ok(Self { held: Arc::new(held), shape, block, dtype })
    }

    /// Returns `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Returns how many bytes its numbers take.
    pub fn bytes(&self) -> usize {
        match &*self.held {
            Held::Whole(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Held::Quantised(blocks) => blocks.iter().map(QTensor::storage_size_in_bytes).sum(),
        }
    }

    /// Computes `x · matrixᵀ + bias`: `x` is `(rows, in)` in f32, `bias` `(out)`, which is not trained either. Returns `(rows, out)` in f32.
    ///
    /// The backward pass computes the gradient of `x` alone. On a GPU what is not held in f32 is multiplied in bf16.
    ///
    /// # Errors
    /// Those of the device, and shapes that do not fit.
    ///
    /// # Source
    /// QLoRA, Dettmers et al. 2023: <https://arxiv.org/abs/2305.14314>; blocks of numbers as in GGML.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias = bias.map(|bias| bias.detach().contiguous()).transpose()?;
        Ok(x.contiguous()?.apply_op1(Linear { matrix: self.clone(), bias })?)
    }

    /// Looks up the rows `ids` of a matrix that is held whole. Returns `(ids, in)` in f32.
    ///
    /// # Errors
    /// Those of the device, an id outside the matrix, and one that is quantised.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match &*self.held {
            Held::Whole(tensor) => Ok(super::embed(tensor, ids)?.to_dtype(DType::F32)?),
            Held::Quantised(_) => Err(crate::Error::Tensor("rows of a quantised matrix are not looked up".into())),
        }
    }

    /// Returns blocks of rows, each with the place of its first, as numbers that can be multiplied.
    pub(super) fn blocks(&self) -> impl Iterator<Item = OpResult<(usize, Tensor)>> {
        let [rows, block] = [self.shape[0], self.block];
        (0..rows).step_by(block).map(move |start| {
            let numbers = match &*self.held {
                Held::Whole(tensor) => tensor.narrow(0, start, block.min(rows - start))?,
                Held::Quantised(blocks) => blocks[start / block].dequantize(&blocks[start / block].device())?,
            };
            Ok((start, numbers.to_dtype(self.dtype)?))
        })
    }

    /// Returns the type in which it is multiplied.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }
}

struct Linear {
    matrix: Frozen,
    bias: Option<Tensor>,
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "frozen linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let ([to, taken], (rows, from)) = (self.matrix.shape, layout.shape().dims2()?);
        if from != taken || self.bias.as_ref().is_some_and(|bias| bias.elem_count() != to) {
            bail!(
                "linear: x {:?} and weight [{to}, {taken}] (and a bias as long as its rows) do not fit",
                layout.shape()
            );
        }
        let x = MatRef::from_row_major_slice(slice(storage, layout)?, rows, from);
        let mut product = match &self.bias {
            Some(bias) => Numbers::of(bias)?.repeat(rows),
            None => vec![0.0; rows * to],
        };
        let mut out = MatMut::from_row_major_slice_mut(&mut product, rows, to);
        for block in self.matrix.blocks() {
            let (start, block) = block?;
            let (count, numbers) = (block.dim(0)?, Numbers::of(&block)?);
            let block = MatRef::from_row_major_slice(&numbers, count, from);
            multiply(out.rb_mut().subcols_mut(start, count), Accum::Add, x, block.transpose(), 1.0);
        }
        Ok(result(product, (rows, to)))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> OpResult<(CudaStorage, Shape)> {
        let x = Storage::Cuda(storage.to_dtype(layout, self.matrix.dtype)?);
        let x = Tensor::from_storage(x, layout.shape(), BackpropOp::none(), false);
        let out = composed::frozen_linear(&x, &self.matrix, self.bias.as_ref())?;
        let (storage, layout) = out.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.to_dtype(layout, DType::F32)?, out.shape().clone())),
            _ => bail!("linear: the matrix lies on another device than x"),
        }
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let slope = slope.contiguous()?;
        if !has_kernels(&[&slope]) {
            return Ok(Some(composed::frozen_linear_gradient(&slope, &self.matrix)?));
        }
        let ([to, from], rows) = (self.matrix.shape, x.dim(0)?);
        let slopes = Numbers::of(&slope)?;
        let slopes = MatRef::from_row_major_slice(&slopes, rows, to);
        let mut numbers = vec![0.0; rows * from];
        let mut out = MatMut::from_row_major_slice_mut(&mut numbers, rows, from);
        for block in self.matrix.blocks() {
            let (start, block) = block?;
            let (count, numbers) = (block.dim(0)?, Numbers::of(&block)?);
            let block = MatRef::from_row_major_slice(&numbers, count, from);
            multiply(out.rb_mut(), Accum::Add, slopes.subcols(start, count), block, 1.0);
        }
        gradient(numbers, x).map(Some)
    }
}
