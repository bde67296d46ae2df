//! `config.json` of a BERT or XLM-RoBERTa folder.

use serde::{Deserialize, Serialize};

use crate::nn::ops::Activation;

/// Window of a Longformer that names none.
const DEFAULT_WINDOW: usize = 512;

/// Architectures that share these layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// BERT: positions count from 0.
    Bert,
    /// RoBERTa: positions count from the padding id + 1.
    Roberta,
    /// XLM-RoBERTa, as RoBERTa.
    XlmRoberta,
    /// Longformer: as RoBERTa, but tokens see those near them and global ones only.
    Longformer,
}

/// Sizes of an encoder, named as in Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Architecture.
    #[serde(rename = "model_type")]
    pub family: Family,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Numbers a token.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Numbers a token within a layer's feed-forward part.
    pub intermediate_size: usize,
    /// Activation of the feed-forward part.
    #[serde(default = "gelu")]
    pub hidden_act: Activation,
    /// Share of numbers dropped while training.
    #[serde(default = "a_tenth")]
    pub hidden_dropout_prob: f32,
    /// Share of attention weights dropped while training.
    #[serde(default = "a_tenth")]
    pub attention_probs_dropout_prob: f32,
    /// Rows of the position table; for RoBERTa `pad_token_id + 1` of them are never used.
    pub max_position_embeddings: usize,
    /// Rows of the segment-type table.
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalisation.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Standard deviation of new weights.
    #[serde(default = "initializer_range")]
    pub initializer_range: f32,
    /// Id of the padding token.
    #[serde(default)]
    pub pad_token_id: u32,
    /// Longformer: tokens that one sees, half of them on either side of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_window: Option<AttentionWindow>,
}

/// Tokens that one sees, in a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttentionWindow {
    /// In all layers.
    Same(usize),
    /// In each layer.
    Each(Vec<usize>),
}

impl BertConfig {
    /// Returns the position of a sequence's first token.
    pub fn first_position(&self) -> usize {
        match self.family {
            Family::Bert => 0,
            Family::Roberta | Family::XlmRoberta | Family::Longformer => self.pad_token_id as usize + 1,
        }
    }

    /// Returns how many tokens one sees on either side of itself in a layer; `None` where it sees all.
    pub fn reach(&self, layer: usize) -> Option<usize> {
        match &self.attention_window {
            _ if self.family != Family::Longformer => None,
            Some(AttentionWindow::Each(windows)) => windows.get(layer).map(|window| window / 2),
            Some(AttentionWindow::Same(window)) => Some(window / 2),
            None => Some(DEFAULT_WINDOW / 2),
        }
    }

    /// Returns the most tokens that one of a sequence of `length` sees.
    fn seen(&self, length: usize) -> usize {
        let widest = (0..self.num_hidden_layers).map(|layer| self.reach(layer)).max().flatten();
        widest.map_or(length, |reach| length.min(2 * reach + 1))
    }

    /// Returns how many tokens a sequence may have.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// Estimates how many bytes a token of a sequence of `length` takes in use, without a backward pass: one layer at a time.
    pub fn forward_bytes_per_token(&self, length: usize) -> usize {
        // Input, query, key, value, context and their sums; the inner part before and after its activation; a head's weights.
        4 * (8 * self.hidden_size + 2 * self.intermediate_size + self.seen(length))
    }

    /// Estimates how many bytes a forward pass keeps for each token of a sequence of `length` until its backward pass. With `recompute`
    /// only what goes in between layers is kept, and one layer at a time in full.
    pub fn bytes_per_token(&self, length: usize, recompute: bool) -> usize {
        // A layer keeps about: input, query, key, value, context, two projections, two sums, two norms and their gradients; the inner part
        // before and after its activation; scores and weights of attention.
        let inside =
            14 * self.hidden_size + 3 * self.intermediate_size + 3 * self.num_attention_heads * self.seen(length);
        let between = 2 * self.hidden_size;
        let layers = self.num_hidden_layers;
        4 * if recompute { layers * between + inside } else { layers * inside }
    }
}

fn gelu() -> Activation {
    Activation::Gelu
}

fn a_tenth() -> f32 {
    0.1
}

fn layer_norm_eps() -> f64 {
    1e-12
}

fn initializer_range() -> f32 {
    0.02
}
