//! What a Longformer has beyond a BERT: global tokens, which see their whole sequence by projections of their own; and how a BERT becomes one.

use std::{collections::HashMap, sync::Arc};

use candle_core::{D, Tensor};

use super::{
    Masks, Parameters,
    bert::{AttentionWindow, BertConfig, Family, Linear, Names},
    ops::{self, Span, Window},
    pretrained::Pretrained,
};
use crate::error::{Result, check_setting};

/// Name of the position table.
const POSITIONS: &str = "embeddings.position_embeddings.weight";

/// Makes a Longformer of an encoder: its position table is laid end to end until it holds `tokens`, and the global projections begin as
/// copies of the others where it has none. A Longformer may be given a longer table and another window so. Heads are forgotten.
///
/// # Errors
/// - [`Error::Setting`](crate::Error::Setting) if `window` is odd or 0, or there is no token; those of the device.
///
/// # Source
/// Beltagy et al. 2020, section 5: <https://arxiv.org/abs/2004.05150>.
pub fn lengthen(model: &Pretrained, window: usize, tokens: usize) -> Result<Pretrained> {
    check_setting(window > 0 && window.is_multiple_of(2), "window", "an even number from 2", window)?;
    check_setting(tokens >= 2, "tokens", "a whole number from 2", tokens)?;
    let before = &model.config;
    let config = BertConfig {
        family: Family::Longformer,
        max_position_embeddings: before.pad_token_id as usize + 1 + tokens,
        attention_window: Some(AttentionWindow::Same(window)),
        ..before.clone()
    };
    let mut weights: HashMap<String, Tensor> = HashMap::new();
    for (name, variable) in model.parameters.variables() {
        let weight = variable.as_detached_tensor();
        if name == POSITIONS {
            weights.insert(name.clone(), tile(&weight, before.first_position(), &config)?);
            continue;
        }
        for part in ["query", "key", "value"].map(|part| format!(".attention.self.{part}.")) {
            if name.contains(&part) {
                let global = name.replace(&part, &format!("{}_global.", part.trim_end_matches('.')));
                weights.entry(global).or_insert_with(|| weight.clone());
            }
        }
        weights.insert(name.clone(), weight);
    }
    let parameters = Parameters::from_tensors(&model.name, weights, model.parameters.device(), 0);
    let mut longer = Pretrained::new(&model.name, config, parameters, Arc::clone(&model.tokenizer))?;
    longer.extra = model.extra.clone();
    longer.forget_heads();
    Ok(longer)
}

/// Lays the rows of a position table from `first` on end to end, behind rows of 0 that no token has.
fn tile(table: &Tensor, first: usize, config: &BertConfig) -> Result<Tensor> {
    let (unused, rows) = (config.first_position(), table.dim(0)?);
    let places = (0..config.max_tokens()).map(|place| (first + place % (rows - first)) as u32).collect::<Vec<_>>();
    let tiled = table.index_select(&Tensor::new(places, table.device())?, 0)?;
    let none = Tensor::zeros((unused, table.dim(1)?), table.dtype(), table.device())?;
    Ok(Tensor::cat(&[none, tiled], 0)?)
}

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
        masks: Option<&mut Masks>,
    ) -> Result<Tensor> {
        let (mut start, mut places) = (0, Vec::new());
        for span in spans {
            places.extend(span.globals.iter().map(|&place| (start + place) as u32));
            start += span.length;
        }
        if places.is_empty() {
            return Ok(context.clone());
        }
        let rows = Tensor::cat(&self.rows(x, spans, window, masks)?, 0)?;
        // Their rows are 0 until now.
        Ok(context.index_add(&Tensor::new(places, x.device())?, &rows, 0)?)
    }

    /// Computes what the global tokens see, `(globals, hidden)` for each sequence that has any.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn rows(
        &self,
        x: &Tensor,
        spans: &[Span],
        window: Window,
        mut masks: Option<&mut Masks>,
    ) -> Result<Vec<Tensor>> {
        let (mut start, mut rows) = (0, Vec::new());
        for span in spans {
            if !span.globals.is_empty() {
                let text = x.narrow(0, start, span.length)?;
                rows.push(self.of_one(&text, &span.globals, window, masks.as_deref_mut())?);
            }
            start += span.length;
        }
        Ok(rows)
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
        let scores = directions.matmul(&text.t()?)?; // (heads · globals, length)
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
