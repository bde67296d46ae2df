//! The operations in candle's basic ones, which run and differentiate on every device: what other devices than the CPU use, and what
//! the CPU's own kernels are held against.
//!
//! Each item is described where it has a kernel, in [`ops`](super).
//!
//! # Errors
//! All return those of the device, and those of shapes that do not fit.

use candle_core::{D, DType, Tensor};

use super::{Angles, Frozen, Heads, Sight, Span, Window};
use crate::{error::Result, nn::masks::factor};

/// See [`ops::linear`](super::linear).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = x.matmul(&weight.t()?)?;
    Ok(match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    })
}

/// See [`Frozen::linear`]; `x` is of the type in which `matrix` is multiplied, and so is what is returned.
pub fn frozen_linear(x: &Tensor, matrix: &Frozen, bias: Option<&Tensor>) -> candle_core::Result<Tensor> {
    let part = |block: candle_core::Result<(usize, Tensor)>| x.matmul(&block?.1.t()?);
    let product = Tensor::cat(&matrix.blocks().map(part).collect::<candle_core::Result<Vec<_>>>()?, 1)?;
    match bias {
        Some(bias) => product.broadcast_add(&bias.to_dtype(product.dtype())?),
        None => Ok(product),
    }
}

/// Returns the gradient of [`Frozen::linear`] by its `x`, in f32; `slope` `(rows, out)` is that by its result.
pub fn frozen_linear_gradient(slope: &Tensor, matrix: &Frozen) -> candle_core::Result<Tensor> {
    let slope = slope.detach().to_dtype(matrix.dtype())?;
    let mut sum = Tensor::zeros((slope.dim(0)?, matrix.shape()[1]), DType::F32, slope.device())?;
    for block in matrix.blocks() {
        let (start, block) = block?;
        let part = slope.narrow(1, start, block.dim(0)?)?.contiguous()?.matmul(&block)?;
        sum = (sum + part.to_dtype(DType::F32)?)?;
    }
    Ok(sum)
}

/// See [`ops::layer_norm`](super::layer_norm).
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

/// See [`ops::rms_norm`](super::rms_norm).
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let square = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(square + epsilon)?.sqrt()?)?.broadcast_mul(weight)?)
}

/// See [`ops::gate`](super::gate).
pub fn gate(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let share = (gate.neg()?.exp()? + 1.0)?.recip()?;
    Ok(((gate * share)? * up)?)
}

/// See [`ops::rotate`](super::rotate).
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    let ((tokens, width), half) = (x.dims2()?, angles.half);
    let heads = x.reshape((tokens, width / (2 * half), 2, half))?;
    let table = |numbers: &[f32]| Ok::<_, crate::Error>(Tensor::from_slice(numbers, (tokens, 1, half), x.device())?);
    let (cosines, sines) = (table(&angles.cosines)?, table(&angles.sines)?);
    let (first, second) = (heads.narrow(2, 0, 1)?.squeeze(2)?, heads.narrow(2, 1, 1)?.squeeze(2)?);
    let turned = Tensor::stack(
        &[
            (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?,
            (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?,
        ],
        2,
    )?; // (tokens, heads, 2, half)
    Ok(turned.reshape((tokens, width))?)
}

/// See [`ops::dropout`](super::dropout); `seed` is that of the mask.
pub fn dropout(x: &Tensor, drop: f32, seed: u64) -> Result<Tensor> {
    let factors = (0..x.elem_count() as u32).map(|number| factor(seed, number, drop)).collect();
    Ok((x * Tensor::from_vec::<_, f32>(factors, x.shape(), x.device())?)?)
}

/// See [`ops::attention`](super::attention), by way of a padded batch; with `seed`, weights are dropped.
pub fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    lengths: &[usize],
    heads: Heads,
    seed: Option<u64>,
) -> Result<Tensor> {
    let (tokens, hidden) = queries.dims2()?;
    if tokens == 0 {
        return Ok(queries.clone());
    }
    let device = queries.device();
    let Padding { batch, longest, places, masked, kept } = Padding::new(lengths, heads.sight);
    let places = Tensor::new(places, device)?;
    let size = hidden / heads.count;
    let sharing = heads.count / heads.key_count;
    let split = |x: &Tensor, sharing: usize| -> Result<Tensor> {
        let heads_of_x = heads.count / sharing;
        let padded = x.index_select(&places, 0)?.reshape((batch, longest, heads_of_x, size))?;
        let split = padded.transpose(1, 2)?.unsqueeze(2)?.expand((batch, heads_of_x, sharing, longest, size))?;
        Ok(split.reshape((batch, heads.count, longest, size))?) // (batch, heads, longest, size)
    };
    let (queries, keys, values) = (split(queries, 1)?, split(keys, sharing)?, split(values, sharing)?);
    let scores = (queries.matmul(&keys.t()?)? / (size as f64).sqrt())?; // (batch, heads, longest, longest)
    let scores = scores.broadcast_add(&Tensor::from_vec(masked, (batch, 1, longest, longest), device)?)?;
    let weights = (scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?).exp()?;
    let mut weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    if let Some(seed) = seed {
        let factors = weight_factors(lengths, longest, heads, seed);
        weights = (&weights * Tensor::from_vec(factors, weights.shape(), device)?)?;
    }
    let context = weights.matmul(&values)?.transpose(1, 2)?.reshape((batch * longest, hidden))?;
    Ok(context.index_select(&Tensor::new(kept, device)?, 0)?)
}

/// See [`ops::window_attention`](super::window_attention), by blocks as wide as the window reaches, each with its two neighbours; with
/// `seed`, weights are dropped, others than the kernel drops.
pub fn window_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    spans: &[Span],
    window: Window,
    seed: Option<u64>,
) -> Result<Tensor> {
    let (mut start, mut parts) = (0, Vec::with_capacity(spans.len()));
    for (number, span) in (0..).zip(spans).filter(|(_, span)| span.length > 0) {
        let part = |x: &Tensor| x.narrow(0, start, span.length);
        let seed = seed.map(|seed: u64| seed.wrapping_add(number));
        parts.push(window_attention_of_one([part(queries)?, part(keys)?, part(values)?], span, window, seed)?);
        start += span.length;
    }
    if parts.is_empty() { Ok(queries.clone()) } else { Ok(Tensor::cat(&parts, 0)?) }
}

fn window_attention_of_one(qkv: [Tensor; 3], span: &Span, window: Window, seed: Option<u64>) -> Result<Tensor> {
    let ((length, hidden), device) = (qkv[0].dims2()?, qkv[0].device().clone());
    let (heads, width) = (window.heads, window.reach.max(1));
    let (blocks, size) = (length.div_ceil(width), hidden / heads);
    let split = |x: &Tensor, before: usize, after: usize| -> Result<Tensor> {
        let padded = x.pad_with_zeros(0, before, blocks * width - length + after)?;
        let rows = padded.dim(0)?;
        Ok(padded.reshape((rows / width, width, heads, size))?.permute((2, 0, 1, 3))?.contiguous()?)
    }; // (heads, blocks, width, size)
    let with_neighbours = |x: &Tensor| -> Result<Tensor> {
        let wide = split(x, width, width)?;
        let three = (0..3).map(|shift| wide.narrow(1, shift, blocks)).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&three, 2)?.contiguous()?) // (heads, blocks, 3 · width, size)
    };
    let places: Vec<u32> = span.globals.iter().map(|&place| place as u32).collect();
    let far = |x: &Tensor| -> Result<Tensor> {
        let rows = x.index_select(&Tensor::new(places.as_slice(), &device)?, 0)?;
        let rows = rows.reshape((places.len(), heads, size))?.transpose(0, 1)?.unsqueeze(1)?;
        Ok(rows.expand((heads, blocks, places.len(), size))?.contiguous()?)
    };
    let [q, k, v] = &qkv;
    let queries = (split(q, 0, 0)? / (size as f64).sqrt())?;
    let masked = Tensor::from_vec(masked_neighbours(span, window.reach, width), (blocks, width, 3 * width), &device)?;
    let mut scores = queries.matmul(&with_neighbours(k)?.t()?.contiguous()?)?.broadcast_add(&masked)?;
    if !places.is_empty() {
        scores = Tensor::cat(&[&scores, &queries.matmul(&far(k)?.t()?.contiguous()?)?], 3)?;
    }
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let mut weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    if let Some(seed) = seed {
        weights = dropout(&weights, window.drop, seed)?;
    }
    let mut context = weights.narrow(3, 0, 3 * width)?.contiguous()?.matmul(&with_neighbours(v)?)?;
    if !places.is_empty() {
        let of_globals = weights.narrow(3, 3 * width, places.len())?.contiguous()?;
        context = (context + of_globals.matmul(&far(v)?)?)?;
    }
    let rows = context.permute((1, 2, 0, 3))?.reshape((blocks * width, hidden))?.narrow(0, 0, length)?;
    let local = (0..length).map(|at| if span.globals.contains(&at) { 0.0f32 } else { 1.0 }).collect::<Vec<_>>();
    Ok(rows.broadcast_mul(&Tensor::from_vec(local, (length, 1), &device)?)?)
}

/// Returns what is added to the score of each token of a block and each of its neighbours, `(blocks, width, 3 · width)`: global tokens are
/// no neighbours.
fn masked_neighbours(span: &Span, reach: usize, width: usize) -> Vec<f32> {
    let blocks = span.length.div_ceil(width);
    let mut masked = Vec::with_capacity(blocks * width * 3 * width);
    for block in 0..blocks {
        for at in block * width..(block + 1) * width {
            for place in block * width..(block + 3) * width {
                // Places count from a block before the first.
                let other = place.checked_sub(width).filter(|&other| other < span.length);
                let is_seen = other.is_some_and(|other| other.abs_diff(at) <= reach && !span.globals.contains(&other));
                masked.push(if is_seen { 0.0 } else { f32::MIN / 2.0 });
            }
        }
    }
    masked
}

/// Where the tokens of sequences lie in a batch padded to the longest.
struct Padding {
    batch: usize,
    longest: usize,
    /// Place of each padded token among all tokens; 0 for padding.
    places: Vec<u32>,
    /// What is added to the score of each pair of padded tokens, `(batch, longest, longest)`.
    masked: Vec<f32>,
    /// Place of each token among the padded ones.
    kept: Vec<u32>,
}

impl Padding {
    fn new(lengths: &[usize], sight: Sight) -> Self {
        let (batch, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
        let (mut places, mut masked) = (vec![0; batch * longest], vec![f32::MIN / 2.0; batch * longest * longest]);
        let mut kept = Vec::new();
        for (sequence, &length) in lengths.iter().enumerate() {
            for token in 0..length {
                let at = sequence * longest + token;
                let (start, end) = sight.range(token, length);
                masked[at * longest..][start..end].fill(0.0);
                places[at] = kept.len() as u32;
                kept.push(at as u32);
            }
        }
        Self { batch, longest, places, masked, kept }
    }
}

/// Makes the factors of `(batch, heads, longest, longest)`; they are counted without the padding, so that the mask does not depend on it.
fn weight_factors(lengths: &[usize], longest: usize, heads: Heads, seed: u64) -> Vec<f32> {
    let mut factors = vec![0.0; lengths.len() * heads.count * longest * longest];
    let mut number = 0;
    for (sequence, &length) in lengths.iter().enumerate() {
        for head in 0..heads.count {
            for row in 0..length {
                let start = ((sequence * heads.count + head) * longest + row) * longest;
                for place in &mut factors[start..start + length] {
                    *place = factor(seed, number, heads.drop);
                    number += 1;
                }
            }
        }
    }
    factors
}

/// See [`ops::log_softmax`](super::log_softmax).
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// See [`ops::cross_entropy`](super::cross_entropy).
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

/// See [`ops::binary_cross_entropy`](super::binary_cross_entropy).
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor, positives: &[f32]) -> Result<Tensor> {
    let softplus = ((logits.abs()?.neg()?.exp()? + 1.0)?.log()? + logits.neg()?.relu()?)?;
    let more = (Tensor::new(positives, logits.device())? - 1.0)?;
    let factors = (targets.broadcast_mul(&more)? + 1.0)?;
    Ok(((targets.affine(-1.0, 1.0)? * logits)? + (softplus * factors)?)?.sum_all()?)
}
