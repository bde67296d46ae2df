//! Decoders of the Llama kind: packed token ids come in, a vector a token leaves, and the scores of the next token.

mod cache;
mod config;
mod folder;
mod layer;
mod projection;
mod rotary;

use candle_core::{Device, Tensor};

pub use self::{
    cache::Cache,
    config::{DecoderConfig, Family},
    folder::LanguageModel,
    projection::Lora,
    rotary::Rotary,
};
use self::{layer::Layer, projection::Names};
use super::{Masks, Matrix, Packed, Parameters, Use, ops};
use crate::error::{Error, Result};

/// Name of the table of embeddings, and of the scores of the vocabulary.
const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

/// A stack of pre-norm transformer layers in which each token sees those before it.
///
/// # Source
/// Touvron et al. 2023: <https://arxiv.org/abs/2302.13971>; weights are named as in Hugging Face's `…ForCausalLM`.
#[derive(Clone)]
pub struct Decoder {
    config: DecoderConfig,
    words: Matrix,
    layers: Vec<Layer>,
    norm: Tensor,
    /// Scores of the vocabulary, where they do not come from the table of embeddings.
    head: Option<Matrix>,
}

impl Decoder {
    /// Takes the weights `model.…` and `lm_head.weight` from `parameters`, or draws those that are not given if `fresh`.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if a weight is missing or has another shape than `config` says.
    pub fn new(config: &DecoderConfig, parameters: &mut Parameters, fresh: bool) -> Result<Self> {
        let mut names = Names { parameters, fresh, deviation: config.initializer_range };
        let (rows, hidden) = (config.vocab_size, config.hidden_size);
        let mut table = |name: &str| names.matrix(name, [rows, hidden], Use::Vocabulary);
        let head = (!config.tie_word_embeddings).then(|| table(TABLES[1])).transpose()?;
        Ok(Self {
            config: config.clone(),
            words: table(TABLES[0])?,
            layers: (0..config.num_hidden_layers)
                .map(|number| Layer::new(config, &mut names, number))
                .collect::<Result<_>>()?,
            norm: names.scale("model.norm", hidden)?,
            head,
        })
    }

    /// Puts an adapter on the projections that `lora` names, in every layer: `model.….lora_A.weight` and `….lora_B.weight`, taken from
    /// `parameters` or drawn.
    ///
    /// # Errors
    /// - [`Error::Setting`] if a target is no projection of this architecture; [`Error::Artifact`] if a weight has another shape.
    pub fn adapt(&mut self, parameters: &mut Parameters, lora: &Lora) -> Result<()> {
        self.layers.iter_mut().enumerate().try_for_each(|(number, layer)| layer.adapt(parameters, number, lora))
    }

    /// Returns the projections that the paper adapts: query and value, or what they are part of.
    pub fn usual_targets(&self) -> Vec<String> {
        let targets: &[&str] = match self.config.family {
            Family::Phi3 => &["qkv_proj"],
            _ => &["q_proj", "v_proj"],
        };
        targets.iter().map(|&target| target.to_owned()).collect()
    }

    /// Returns the sizes.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Estimates how many bytes a forward pass keeps for each token, adapters counted; see [`DecoderConfig::bytes_per_token`].
    pub fn bytes_per_token(&self, recompute: bool) -> usize {
        let adapters = self.layers.iter().map(|layer| 4 * layer.clone().kept_by_adapters());
        let kept = if recompute { adapters.max().unwrap_or(0) } else { adapters.sum() };
        self.config.bytes_per_token(recompute) + kept
    }

    /// Returns where the weights lie.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Computes the last layer's vectors, normalised. Returns `(tokens, hidden)`. `masks` switches dropout on.
    ///
    /// # Errors
    /// - [`Error::Sequence`] if a sequence is longer than the model's positions or an id is outside its vocabulary; those of the device.
    pub fn forward(&self, batch: &Packed, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        self.check(batch, 0)?;
        let mut x = self.words.rows(batch.ids())?;
        let angles = self.config.rotary.angles(batch.lengths());
        for layer in &self.layers {
            x = match masks.as_deref_mut() {
                None => layer.forward(&x, batch.lengths(), &angles, None)?,
                Some(masks) => {
                    let (layer, lengths, angles) = (layer.clone(), batch.lengths().to_vec(), angles.clone());
                    masks.layer(&x, move |x, masks| layer.forward(x, &lengths, &angles, Some(masks)))?
                }
            };
        }
        ops::rms_norm(&x, &self.norm, self.config.rms_norm_eps)
    }

    /// Scores the vocabulary after each of some vectors `(rows, hidden)` of [`Self::forward`]. Returns `(rows, vocabulary)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn logits(&self, vectors: &Tensor) -> Result<Tensor> {
        self.head.as_ref().unwrap_or(&self.words).linear(vectors, None)
    }

    /// Returns the same decoder for use without training: it shares the weights and sees their updates.
    pub fn detached(&self) -> Self {
        Self {
            config: self.config.clone(),
            words: self.words.detached(),
            layers: self.layers.iter().map(Layer::detached).collect(),
            norm: self.norm.detach(),
            head: self.head.as_ref().map(Matrix::detached),
        }
    }

    /// Checks ids and lengths of sequences of which `known` tokens came before.
    fn check(&self, batch: &Packed, known: usize) -> Result<()> {
        let most = self.config.max_position_embeddings;
        let longest = known + batch.lengths().iter().copied().max().unwrap_or(0);
        if longest > most {
            return Err(Error::Sequence { expected: format!("at most {most} tokens"), got: longest.to_string() });
        }
        let largest = batch.ids().iter().copied().max().unwrap_or(0) as usize;
        if largest >= self.config.vocab_size {
            let expected = format!("token ids below {}, the size of the model's vocabulary", self.config.vocab_size);
            return Err(Error::Sequence { expected, got: largest.to_string() });
        }
        Ok(())
    }
}
