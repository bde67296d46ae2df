//! From tensors to the f32 slices that kernels read and write.

use std::{
    cell::RefCell,
    ops::{Deref, Range},
    sync::RwLockReadGuard,
};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// Tells whether these tensors are f32 numbers on the CPU, for which there are kernels.
pub(super) fn has_kernels(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// Returns the numbers of an operation's argument, row by row.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("a kernel needs contiguous f32 numbers"),
    }
}

/// Makes an operation's result.
pub(super) fn result(numbers: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(numbers), shape.into())
}

/// Makes a gradient of the shape of `like`.
pub(super) fn gradient(numbers: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(numbers, like.shape(), like.device())
}

/// Makes the gradients of three arguments `(rows, columns)` of one operation. `backward` is given their numbers and those of the gradient
/// by its result, and the columns of the first.
pub(super) fn gradients_of_three(
    arguments: [&Tensor; 3],
    slope: &Tensor,
    backward: impl Fn([&[f32]; 4], usize) -> [Vec<f32>; 3],
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let (slope, [a, b, c]) = (slope.contiguous()?, arguments);
    let (of_a, of_b, of_c, slopes) = (Numbers::of(a)?, Numbers::of(b)?, Numbers::of(c)?, Numbers::of(&slope)?);
    let [by_a, by_b, by_c] = backward([&of_a, &of_b, &of_c, &slopes], a.dim(1)?);
    Ok((Some(gradient(by_a, a)?), Some(gradient(by_b, b)?), Some(gradient(by_c, c)?)))
}

/// The numbers of a tensor on the CPU, row by row.
pub(super) struct Numbers<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// Looks into a contiguous f32 tensor.
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Ok(Self { storage, range: start..end }),
            _ => bail!("a kernel needs contiguous f32 numbers"),
        }
    }
}

impl Deref for Numbers<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => &[], // never: `of` has looked
        }
    }
}

/// Changes the numbers of a contiguous f32 tensor on the CPU where they lie.
pub(super) fn change(tensor: &Tensor, f: impl FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Change(RefCell::new(f)))
}

struct Change<F>(RefCell<F>);

impl<F: FnMut(&mut [f32]) -> Result<()>> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(numbers), Some((start, end))) => (self.0.borrow_mut())(&mut numbers[start..end]),
            _ => bail!("a kernel needs contiguous f32 numbers"),
        }
    }
}
