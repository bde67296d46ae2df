//! `config.json` of a language model's folder.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rotary::Rotary;

/// Architectures that share these layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 2 and 3.
    Llama,
    /// Mistral and Mistral Nemo.
    Mistral,
    /// Phi-3 and Phi-3.5: query, key and value, and gate and up, lie in one matrix each.
    Phi3,
    /// Qwen2 and Qwen2.5: query, key and value have biases.
    Qwen2,
    /// Qwen3: queries and keys are normalised.
    Qwen3,
}

/// Sizes of a decoder, named as in Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DecoderConfig {
    /// Architecture.
    #[serde(rename = "model_type")]
    pub family: Family,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Numbers a token.
    pub hidden_size: usize,
    /// Numbers a token within a layer's feed-forward part.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Heads of keys and values; 0 is as many as there are attention heads.
    #[serde(default)]
    pub num_key_value_heads: usize,
    /// Numbers of a head; 0 is the hidden size by the number of heads.
    #[serde(default)]
    pub head_dim: usize,
    /// Most tokens of a sequence.
    pub max_position_embeddings: usize,
    /// Added to the mean square in normalisation.
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the scores of the vocabulary come from the table of embeddings.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether all projections of attention have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward part have biases.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Tokens that a token sees, itself counted, where the model limits them.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// Whether Qwen's window is switched on.
    #[serde(default)]
    use_sliding_window: Option<bool>,
    /// Standard deviation of new weights.
    #[serde(default = "initializer_range")]
    pub initializer_range: f32,
    /// Rotary positions.
    #[serde(skip, default = "Rotary::none")]
    pub rotary: Rotary,
}

impl DecoderConfig {
    /// Reads a configuration, of transformers 4 or 5.
    ///
    /// # Errors
    /// What is wrong, as words: a key that is missing or of another type, an architecture or scaling that these layers do not compute.
    pub fn read(config: &Map<String, Value>) -> Result<Self, String> {
        let stated: Map<String, Value> = config
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let activation = stated.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        if activation != "silu" {
            return Err(format!("expected hidden_act silu, got {activation}"));
        }
        let mut read: Self = serde_json::from_value(Value::Object(stated.clone())).map_err(|e| e.to_string())?;
        if read.num_key_value_heads == 0 {
            read.num_key_value_heads = read.num_attention_heads;
        }
        if read.head_dim == 0 {
            read.head_dim = read.hidden_size.checked_div(read.num_attention_heads).unwrap_or(0);
        }
        if read.use_sliding_window == Some(false) {
            read.sliding_window = None;
        }
        read.check()?;
        if read.use_sliding_window == Some(true) {
            return Err("a sliding window in some layers only is not computed".into());
        }
        read.rotary = Rotary::read(&stated, read.head_dim)?;
        Ok(read)
    }

    /// Holds the sizes against reason, before anything is allocated by them.
    fn check(&self) -> Result<(), String> {
        /// More than any decoder has of anything; what lies beyond is damage.
        const MOST: usize = 1 << 24;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        if let Some((key, size)) = sizes.into_iter().find(|(_, size)| !(1..=MOST).contains(size)) {
            return Err(format!("expected {key} from 1 to {MOST}, got {size}"));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) || !self.head_dim.is_multiple_of(2) {
            return Err(
                "expected num_attention_heads as a multiple of num_key_value_heads, and an even head_dim".into()
            );
        }
        match self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0 {
            true => Ok(()),
            false => Err(format!("expected rms_norm_eps between 0 and 1, got {}", self.rms_norm_eps)),
        }
    }

    /// Returns the width of the queries of all heads.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Returns the width of the keys, or values, of all heads.
    pub fn key_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Estimates how many bytes a forward pass keeps for each token of a sequence of `length` until its backward pass; see
    /// [`BertConfig::bytes_per_token`](crate::nn::bert::BertConfig::bytes_per_token).
    pub fn bytes_per_token(&self, recompute: bool) -> usize {
        // A layer keeps about: two sums and two norms, queries and context, keys and values turned or not, gate, up and their product.
        let inside = 5 * self.hidden_size + 4 * self.query_size() + 5 * self.key_size() + 4 * self.intermediate_size;
        let between = 2 * self.hidden_size;
        let layers = self.num_hidden_layers;
        4 * if recompute { layers * between + inside } else { layers * inside }
    }
}

fn rms_norm_eps() -> f64 {
    1e-6
}

fn initializer_range() -> f32 {
    0.02
}
