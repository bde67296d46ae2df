//! Losses.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as OpResult, Shape, Tensor, bail};

use super::{
    composed,
    simd::{exp, largest, ln_1p, sum, widest},
    storage::{Numbers, gradient, has_kernels, result, slice},
};
use crate::error::Result;

/// Computes the logarithm of the softmax over the last dimension.
///
/// # Errors
/// Those of the device.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    if !has_kernels(&[logits]) || logits.elem_count() == 0 {
        return composed::log_softmax(logits);
    }
    Ok(logits.contiguous()?.apply_op1(LogSoftmax)?)
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
    if !has_kernels(&[logits]) {
        return composed::cross_entropy(logits, targets, smoothing);
    }
    let kernel = CrossEntropy { targets: targets.to_vec(), smoothing: smoothing as f32 };
    Ok(logits.contiguous()?.apply_op1(kernel)?)
}

/// Sums the binary cross-entropy of `logits` and `targets`, tensors `(rows, classes)`, targets in `0..=1` and constant; what speaks for a
/// class counts by its weight in `positives`, one a class, or 1. Returns a scalar.
///
/// `(1 - t)·x + (1 + (w - 1)·t)·(max(-x, 0) + ln(1 + e^-|x|))` overflows for no logit.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// PyTorch's `binary_cross_entropy_with_logits`; the weights are its `pos_weight`.
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor, positives: Option<&[f32]>) -> Result<Tensor> {
    let classes = logits.dim(candle_core::D::Minus1)?;
    let positives = positives.map_or_else(|| vec![1.0; classes], <[f32]>::to_vec);
    if !has_kernels(&[logits, targets]) || targets.track_op() {
        return composed::binary_cross_entropy(logits, targets, &positives);
    }
    Ok(logits.contiguous()?.apply_op2(&targets.contiguous()?, BinaryCrossEntropy { positives })?)
}

struct LogSoftmax;

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        "log softmax"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let mut logs = slice(logits, layout)?.to_vec();
        log_softmax_rows(&mut logs, layout.dims().last().copied().unwrap_or(1));
        Ok(result(logs, layout.shape()))
    }

    fn bwd(&self, logits: &Tensor, logs: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let slope = slope.contiguous()?;
        let mut slopes = Numbers::of(&slope)?.to_vec();
        log_softmax_back(&Numbers::of(logs)?, &mut slopes, logits.dims().last().copied().unwrap_or(1));
        Ok(Some(gradient(slopes, logits)?))
    }
}

struct CrossEntropy {
    targets: Vec<Option<u32>>,
    smoothing: f32,
}

impl CrossEntropy {
    fn check(&self, shape: &Shape) -> OpResult<usize> {
        let (rows, classes) = shape.dims2()?;
        if rows != self.targets.len() || self.targets.iter().flatten().any(|&target| target as usize >= classes) {
            bail!("cross-entropy: {} targets, or one that is no class, for logits {shape:?}", self.targets.len());
        }
        Ok(classes)
    }

    fn targets(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.targets.iter().enumerate().filter_map(|(row, target)| Some((row, (*target)? as usize)))
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> OpResult<(CpuStorage, Shape)> {
        let (logits, classes) = (slice(logits, layout)?, self.check(layout.shape())?);
        let mut total = 0.0;
        for (row, target) in self.targets() {
            let row = &logits[row * classes..][..classes];
            let (log, mean) = log_sum(row);
            total += f64::from((log - row[target]) * (1.0 - self.smoothing) + (log - mean) * self.smoothing);
        }
        Ok(result(vec![total as f32], ()))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<Option<Tensor>> {
        let (classes, slope) = (self.check(logits.shape())?, slope.to_scalar::<f32>()?);
        let mut slopes = vec![0.0; logits.elem_count()];
        let numbers = Numbers::of(logits)?;
        for (row, target) in self.targets() {
            let place = row * classes..(row + 1) * classes;
            let (numbers, slopes) = (&numbers[place.clone()], &mut slopes[place]);
            soften(numbers, log_sum(numbers).0, slope, self.smoothing / classes as f32, slopes);
            slopes[target] -= slope * (1.0 - self.smoothing);
        }
        Ok(Some(gradient(slopes, logits)?))
    }
}

struct BinaryCrossEntropy {
    positives: Vec<f32>,
}

impl CustomOp2 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, t: &CpuStorage, tl: &Layout) -> OpResult<(CpuStorage, Shape)> {
        if xl.shape() != tl.shape() {
            bail!("binary cross-entropy: logits {:?}, targets {:?}", xl.shape(), tl.shape());
        }
        let classes = self.positives.len();
        if xl.dims().last().copied() != Some(classes) {
            bail!("binary cross-entropy: logits {:?}, weights of {classes} classes", xl.shape());
        }
        let pairs = slice(x, xl)?.chunks(classes.max(1)).zip(slice(t, tl)?.chunks(classes.max(1)));
        let total: f64 = pairs.map(|(x, t)| f64::from(binary_sum(x, t, &self.positives))).sum();
        Ok(result(vec![total as f32], ()))
    }

    fn bwd(&self, x: &Tensor, t: &Tensor, _: &Tensor, slope: &Tensor) -> OpResult<(Option<Tensor>, Option<Tensor>)> {
        let mut slopes = vec![0.0; x.elem_count()];
        let (logits, targets, slope) = (Numbers::of(x)?, Numbers::of(t)?, slope.to_scalar::<f32>()?);
        let classes = self.positives.len().max(1);
        let rows = logits.chunks(classes).zip(targets.chunks(classes)).zip(slopes.chunks_mut(classes));
        rows.for_each(|((x, t), slopes)| binary_back(x, t, &self.positives, slope, slopes));
        Ok((Some(gradient(slopes, x)?), None))
    }
}

/// Returns the logarithm of the sum of `e^logit`, and the mean logit.
#[inline(always)]
fn row_log_sum(row: &[f32]) -> (f32, f32) {
    let most = largest(row);
    let log = most + sum(row.len(), |at| exp(row[at] - most)).ln();
    (log, sum(row.len(), |at| row[at]) / row.len() as f32)
}

widest! {
    fn log_sum(row: &[f32]) -> (f32, f32) {
        row_log_sum(row)
    }

    fn log_softmax_rows(logits: &mut [f32], classes: usize) {
        for row in logits.chunks_exact_mut(classes.max(1)) {
            let (log, _) = row_log_sum(row);
            row.iter_mut().for_each(|logit| *logit -= log);
        }
    }

    /// `slope - e^log · Σ slope`.
    fn log_softmax_back(logs: &[f32], slopes: &mut [f32], classes: usize) {
        for (logs, slopes) in logs.chunks_exact(classes.max(1)).zip(slopes.chunks_exact_mut(classes.max(1))) {
            let total = sum(slopes.len(), |at| slopes[at]);
            for (slope, &log) in slopes.iter_mut().zip(logs) {
                *slope -= exp(log) * total;
            }
        }
    }

    /// `slope · (softmax - share)`: what lacks to the gradient of a row's cross-entropy is the target's part.
    fn soften(logits: &[f32], log: f32, slope: f32, share: f32, slopes: &mut [f32]) {
        for (place, &logit) in slopes.iter_mut().zip(logits) {
            *place = slope * (exp(logit - log) - share);
        }
    }

    fn binary_sum(logits: &[f32], targets: &[f32], positives: &[f32]) -> f32 {
        let (targets, positives) = (&targets[..logits.len()], &positives[..logits.len()]);
        sum(logits.len(), |at| {
            let (x, t, weight) = (logits[at], targets[at], positives[at]);
            let softplus = (if x < 0.0 { -x } else { 0.0 }) + ln_1p(exp(-x.abs()));
            (1.0 - t) * x + (1.0 + (weight - 1.0) * t) * softplus
        })
    }

    /// `slope · ((1 - t)·σ(x) - w·t·(1 - σ(x)))`.
    fn binary_back(logits: &[f32], targets: &[f32], positives: &[f32], slope: f32, slopes: &mut [f32]) {
        for (((place, &x), t), weight) in slopes.iter_mut().zip(logits).zip(targets).zip(positives) {
            let small = exp(-x.abs());
            let share = (if x < 0.0 { small } else { 1.0 }) / (1.0 + small);
            *place = slope * ((1.0 - t) * share - weight * t * (1.0 - share));
        }
    }
}
