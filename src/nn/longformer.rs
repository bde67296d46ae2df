//! What a Longformer has beyond a BERT: global tokens, which see their whole sequence by projections of their own.

use candle_core::{D, Tensor};

use super::{
    Masks,
    bert::{Linear, Names},
    ops::{self, Span, Window},
};
use crate::error::Result;

/// Attention of the global tokens.
///
/// They are few, so keys and values are never computed: `q · (K x + b)` is `(Kᵀ q) · x` but for a term that is the same for every `x`, and
/// `Σ p (V x + b)` is `V Σ p x + b Σ p`. That saves two of the six projections of every token.
///
/// # Source
/// Beltagy et al. 2020: <https://arxiv.org/abs/2004.05150>; weights are named as in Hugging Face's `LongformerSelfAttention`.
#[derive(Clone)]
pub struct GlobalAttention {
    query: Linear,
    key: Linear,
    value: Linear,
}

impl GlobalAttention {
    /// Takes `NAME.query_global.…`, `NAME.key_global.…` and `NAME.value_global.…`.
    ///
    /// # Errors
    /// - [`Error::Artifact`](crate::Error::Artifact) if a weight is missing or has another shape.
    pub(super) fn new(names: &mut Names<'_>, name: &str, hidden: usize) -> Result<Self> {
        let mut linear = |part: &str| names.linear(&format!("{name}.{part}_global"), hidden, hidden);
        Ok(Self { query: linear("query")?, key: linear("key")?, value: linear("value")? })
    }

    pub(super) fn detached(&self) -> Self {
        Self { query: self.query.detached(), key: self.key.detached(), value: self.value.detached() }
    }

    /// Lets the global tokens attend to every token of their sequence, and puts what they see in the place of their rows of `context`,
    /// `(tokens, hidden)`, as is `x`.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn complete(
        &self,
        context: &Tensor,
        x: &Tensor,
        spans: &[Span],
        window: Window,
        mut masks: Option<&mut Masks>,
    ) -> Result<Tensor> {
        let (mut start, mut places, mut rows) = (0, Vec::new(), Vec::new());
        for span in spans {
            if !span.globals.is_empty() {
                let text = x.narrow(0, start, span.length)?;
                rows.push(self.of_one(&text, &span.globals, window, masks.as_deref_mut())?);
                places.extend(span.globals.iter().map(|&place| (start + place) as u32));
            }
            start += span.length;
        }
        if rows.is_empty() {
            return Ok(context.clone());
        }
        // Their rows are 0 until now.
        Ok(context.index_add(&Tensor::new(places, x.device())?, &Tensor::cat(&rows, 0)?, 0)?)
    }

    /// Computes `(globals, hidden)` from a sequence `(length, hidden)`.
    fn of_one(&self, text: &Tensor, globals: &[usize], window: Window, masks: Option<&mut Masks>) -> Result<Tensor> {
        let (count, hidden) = (globals.len(), text.dim(1)?);
        let (heads, size) = (window.heads, hidden / window.heads);
        let places: Vec<u32> = globals.iter().map(|&place| place as u32).collect();
        let picked = text.index_select(&Tensor::new(places, text.device())?, 0)?;
        let queries = (self.query.forward(&picked)? / (size as f64).sqrt())?;
        let queries = queries.reshape((count, heads, size))?.transpose(0, 1)?.contiguous()?; // (heads, globals, size)
        let by_head = |weight: &Tensor| weight.reshape((heads, size, hidden)); // of (hidden, hidden)
        let directions = queries.matmul(&by_head(self.key.weight())?)?.reshape((heads * count, hidden))?;
        let scores = directions.matmul(&text.t()?.contiguous()?)?; // (heads · globals, length)
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let weights = ops::dropout(&weights, window.drop, masks)?;
        let seen = weights.matmul(&text.contiguous()?)?.reshape((heads, count, hidden))?;
        let values = seen.matmul(&by_head(self.value.weight())?.transpose(1, 2)?.contiguous()?)?; // (heads, globals, size)
        let kept = weights.sum_keepdim(D::Minus1)?.reshape((heads, count, 1))?;
        let biases = self.value.bias().reshape((heads, 1, size))?;
        let values = (values + kept.broadcast_mul(&biases)?)?;
        Ok(values.transpose(0, 1)?.reshape((count, hidden))?)
    }
}
