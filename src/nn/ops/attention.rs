//! Scaled dot-product attention over sequences without padding.

use candle_core::{D, Tensor};

use super::dropout::mask;
use crate::{error::Result, nn::Masks};

/// How attention is divided and dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Number of heads; the hidden size is a multiple of it.
    pub count: usize,
    /// Probability with which a weight is dropped while training, `0..1`.
    pub drop: f32,
}

/// Lets every token attend to all tokens of its own sequence: `queries`, `keys`, `values` are `(tokens, hidden)`, where the sequences
/// of `lengths` lie one after another. Returns `(tokens, hidden)`.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Vaswani et al. 2017: <https://arxiv.org/abs/1706.03762>.
pub fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    lengths: &[usize],
    heads: Heads,
    masks: Option<&mut Masks>,
) -> Result<Tensor> {
    let seed = masks.filter(|_| heads.drop > 0.0).map(Masks::next_seed);
    padded(queries, keys, values, lengths, heads, seed)
}

/// Attention by way of a padded batch, in basic operations.
fn padded(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    lengths: &[usize],
    heads: Heads,
    seed: Option<u64>,
) -> Result<Tensor> {
    let (tokens, hidden) = queries.dims2()?;
    let (batch, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    if tokens == 0 {
        return Ok(queries.clone());
    }
    let device = queries.device();
    let mut places = vec![0u32; batch * longest]; // of each padded token among all tokens
    let mut masked = vec![f32::MIN / 2.0; batch * longest];
    let mut kept = Vec::with_capacity(tokens); // of each token among the padded ones
    for (sequence, &length) in lengths.iter().enumerate() {
        for at in sequence * longest..sequence * longest + length {
            places[at] = kept.len() as u32;
            masked[at] = 0.0;
            kept.push(at as u32);
        }
    }
    let places = Tensor::new(places, device)?;
    let size = hidden / heads.count;
    let split = |x: &Tensor| -> Result<Tensor> {
        let padded = x.index_select(&places, 0)?.reshape((batch, longest, heads.count, size))?;
        Ok(padded.transpose(1, 2)?.contiguous()?) // (batch, heads, longest, size)
    };
    let (queries, keys, values) = (split(queries)?, split(keys)?, split(values)?);
    let scores = (queries.matmul(&keys.t()?)? / (size as f64).sqrt())?; // (batch, heads, longest, longest)
    let scores = scores.broadcast_add(&Tensor::from_vec(masked, (batch, 1, 1, longest), device)?)?;
    let weights = (scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?).exp()?;
    let mut weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    if let Some(seed) = seed {
        weights = (&weights * mask(&weights, heads.drop, seed)?)?;
    }
    let context = weights.matmul(&values)?.transpose(1, 2)?.reshape((batch * longest, hidden))?;
    Ok(context.index_select(&Tensor::new(kept, device)?, 0)?)
}
