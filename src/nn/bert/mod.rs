//! BERT and XLM-RoBERTa encoders: packed token ids come in, a vector a token leaves.

mod config;

use candle_core::Tensor;

pub use self::config::{AttentionWindow, BertConfig, Family};
use super::{
    Init, Masks, Packed, Parameters,
    longformer::GlobalAttention,
    ops::{self, Heads, Span, Window},
};
use crate::error::{Error, Result};

/// A stack of post-norm transformer layers over token, position and segment embeddings.
///
/// # Source
/// Devlin et al. 2018: <https://arxiv.org/abs/1810.04805>; weights are named as in Hugging Face's `BertModel`, without a prefix.
#[derive(Clone)]
pub struct Bert {
    config: BertConfig,
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Bert {
    /// Takes the weights `PREFIX.embeddings.…` and `PREFIX.encoder.…` (no dot for an empty prefix) from `parameters`, or draws those that are not given if
    /// `fresh`.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if a weight is missing or has another shape than `config` says.
    pub fn new(config: &BertConfig, parameters: &mut Parameters, prefix: &str, fresh: bool) -> Result<Self> {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        let mut names = Names { parameters, fresh, deviation: config.initializer_range };
        let hidden = config.hidden_size;
        let embeddings = format!("{prefix}embeddings");
        let table = |names: &mut Names<'_>, kind: &str, rows: usize| {
            names.matrix(&format!("{embeddings}.{kind}_embeddings.weight"), rows, hidden)
        };
        Ok(Self {
            config: config.clone(),
            words: table(&mut names, "word", config.vocab_size)?,
            positions: table(&mut names, "position", config.max_position_embeddings)?,
            types: table(&mut names, "token_type", config.type_vocab_size)?,
            norm: names.norm(&format!("{embeddings}.LayerNorm"), hidden, config.layer_norm_eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|number| {
                    Layer::new(config, &mut names, &format!("{prefix}encoder.layer.{number}"), config.reach(number))
                })
                .collect::<Result<_>>()?,
        })
    }

    /// Returns the sizes.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Returns the table of token embeddings, `(vocabulary, hidden)`, which a masked-language-model head shares.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// Encodes a batch. Returns `(tokens, hidden)`. `masks` switches dropout on.
    ///
    /// # Errors
    /// - [`Error::Sequence`] if a sequence is longer than the model's positions or an id is outside its vocabulary; those of the device.
    pub fn forward(&self, batch: &Packed, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let x = self.embed(batch, masks.as_deref_mut())?;
        self.run(&self.layers, x, &batch.spans(), masks)
    }

    /// Encodes a batch whose first tokens alone are wanted. Returns `(sequences, hidden)`; no sequence may be empty. Where these see their
    /// whole sequence by projections of their own, the last layer is computed for nothing else.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_firsts(&self, batch: &Packed, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let spans = batch.spans();
        let are_global = spans.iter().all(|span| span.globals == [0]);
        let (last, others) = match self.layers.split_last() {
            Some((last, others)) if are_global && matches!(last.sight, Sight::Near(..)) => (last, others),
            _ => return batch.pick_firsts(&self.forward(batch, masks)?),
        };
        let x = self.embed(batch, masks.as_deref_mut())?;
        let x = self.run(others, x, &spans, masks.as_deref_mut())?;
        let firsts = batch.first_rows();
        match masks {
            None => last.forward_firsts(&x, &spans, &firsts, None),
            Some(masks) => {
                let last = last.clone();
                masks.layer(&x, move |x, masks| last.forward_firsts(x, &spans, &firsts, Some(masks)))
            }
        }
    }

    /// Runs some layers.
    fn run(&self, layers: &[Layer], x: Tensor, spans: &[Span], mut masks: Option<&mut Masks>) -> Result<Tensor> {
        layers.iter().try_fold(x, |x, layer| match masks.as_deref_mut() {
            None => layer.forward(&x, spans, None),
            Some(masks) => {
                let (layer, spans) = (layer.clone(), spans.to_vec());
                masks.layer(&x, move |x, masks| layer.forward(x, &spans, Some(masks)))
            }
        })
    }

    /// Runs the layers, without dropout, over what [`Self::embed`] gave for a batch. Returns `(tokens, hidden)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn encode(&self, embedded: &Tensor, batch: &Packed) -> Result<Tensor> {
        self.run(&self.layers, embedded.clone(), &batch.spans(), None)
    }

    /// Adds up token, position and segment embeddings and normalises them. Returns `(tokens, hidden)`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn embed(&self, batch: &Packed, masks: Option<&mut Masks>) -> Result<Tensor> {
        self.check(batch)?;
        let first = self.config.first_position() as u32;
        let positions: Vec<u32> = batch.lengths().iter().flat_map(|&length| first..first + length as u32).collect();
        let sum = (ops::embed(&self.words, batch.ids())? + ops::embed(&self.types, batch.types())?)?;
        let normal = self.norm.forward(&sum, Some(&ops::embed(&self.positions, &positions)?))?;
        ops::dropout(&normal, self.config.hidden_dropout_prob, masks)
    }

    /// Returns the same encoder for use without training: it shares the weights and sees their updates, but keeps nothing for a
    /// backward pass.
    pub fn detached(&self) -> Self {
        Self {
            config: self.config.clone(),
            words: self.words.detach(),
            positions: self.positions.detach(),
            types: self.types.detach(),
            norm: self.norm.detached(),
            layers: self.layers.iter().map(Layer::detached).collect(),
        }
    }

    /// Returns the layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn check(&self, batch: &Packed) -> Result<()> {
        let most = self.config.max_tokens();
        let longest = batch.lengths().iter().copied().max().unwrap_or(0);
        let largest = batch.ids().iter().copied().max().unwrap_or(0) as usize;
        if longest > most {
            return Err(Error::Sequence { expected: format!("at most {most} tokens"), got: longest.to_string() });
        }
        if largest >= self.config.vocab_size {
            let expected = format!("token ids below {}, the size of the model's vocabulary", self.config.vocab_size);
            return Err(Error::Sequence { expected, got: largest.to_string() });
        }
        Ok(())
    }
}

/// A transformer layer: attention and feed-forward part, each with residual and normalisation.
#[derive(Clone)]
pub struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    output_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
    activation: ops::Activation,
    sight: Sight,
    drop: f32,
}

/// What a layer's tokens attend to.
#[derive(Clone)]
enum Sight {
    /// Their whole sequence.
    All(Heads),
    /// Their neighbours and the global tokens, which see the whole sequence.
    Near(Window, GlobalAttention),
}

impl Layer {
    fn new(config: &BertConfig, names: &mut Names<'_>, name: &str, reach: Option<usize>) -> Result<Self> {
        let (hidden, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let (heads, drop) = (config.num_attention_heads, config.attention_probs_dropout_prob);
        let sight = match reach {
            None => Sight::All(Heads::all(heads, drop)),
            Some(reach) => {
                let global = GlobalAttention::new(names, &format!("{name}.attention.self"), hidden)?;
                Sight::Near(Window { heads, reach, drop }, global)
            }
        };
        let mut linear = |part: &str, to, from| names.linear(&format!("{name}.{part}"), to, from);
        Ok(Self {
            query: linear("attention.self.query", hidden, hidden)?,
            key: linear("attention.self.key", hidden, hidden)?,
            value: linear("attention.self.value", hidden, hidden)?,
            output: linear("attention.output.dense", hidden, hidden)?,
            up: linear("intermediate.dense", inner, hidden)?,
            down: linear("output.dense", hidden, inner)?,
            output_norm: names.norm(&format!("{name}.attention.output.LayerNorm"), hidden, epsilon)?,
            down_norm: names.norm(&format!("{name}.output.LayerNorm"), hidden, epsilon)?,
            activation: config.hidden_act,
            sight,
            drop: config.hidden_dropout_prob,
        })
    }

    fn detached(&self) -> Self {
        Self {
            query: self.query.detached(),
            key: self.key.detached(),
            value: self.value.detached(),
            output: self.output.detached(),
            output_norm: self.output_norm.detached(),
            up: self.up.detached(),
            down: self.down.detached(),
            down_norm: self.down_norm.detached(),
            sight: match &self.sight {
                Sight::All(heads) => Sight::All(*heads),
                Sight::Near(window, global) => Sight::Near(*window, global.detached()),
            },
            activation: self.activation,
            drop: self.drop,
        }
    }

    /// Computes `(tokens, hidden)` from `(tokens, hidden)`; the sequences of `spans` lie one after another.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(&self, x: &Tensor, spans: &[Span], mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let (q, k, v) = (self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?);
        let context = match &self.sight {
            Sight::All(heads) => {
                let lengths: Vec<usize> = spans.iter().map(|span| span.length).collect();
                ops::attention(&q, &k, &v, &lengths, *heads, masks.as_deref_mut())?
            }
            Sight::Near(window, global) => {
                let near = ops::window_attention(&q, &k, &v, spans, *window, masks.as_deref_mut())?;
                global.complete(&near, x, spans, *window, masks.as_deref_mut())?
            }
        };
        self.finish(&context, x, masks)
    }

    /// Computes the rows `firsts` alone, `(sequences, hidden)`, of tokens that see all by projections of their own.
    fn forward_firsts(
        &self,
        x: &Tensor,
        spans: &[Span],
        firsts: &[u32],
        mut masks: Option<&mut Masks>,
    ) -> Result<Tensor> {
        let residual = ops::embed(x, firsts)?;
        match &self.sight {
            Sight::All(_) => ops::embed(&self.forward(x, spans, masks)?, firsts),
            Sight::Near(window, global) => {
                let context = Tensor::cat(&global.rows(x, spans, *window, masks.as_deref_mut())?, 0)?;
                self.finish(&context, &residual, masks)
            }
        }
    }

    /// Computes what follows attention, from its `context` and the layer's input `x`, both `(rows, hidden)`.
    fn finish(&self, context: &Tensor, x: &Tensor, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let attended = ops::dropout(&self.output.forward(context)?, self.drop, masks.as_deref_mut())?;
        let attended = self.output_norm.forward(&attended, Some(x))?;
        let inner = ops::activate(&self.up.forward(&attended)?, self.activation)?;
        let outer = ops::dropout(&self.down.forward(&inner)?, self.drop, masks)?;
        self.down_norm.forward(&outer, Some(&attended))
    }
}

/// A linear map with its weights.
#[derive(Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Takes `NAME.weight` `(to, from)` and `NAME.bias` `(to)` from `parameters`, or draws them as BERT does.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if a weight has another shape.
    pub fn new(parameters: &mut Parameters, name: &str, to: usize, from: usize, deviation: f32) -> Result<Self> {
        Names { parameters, fresh: true, deviation }.linear(name, to, from)
    }

    /// Returns the same map for use without training, as [`Bert::detached`].
    pub fn detached(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach() }
    }

    /// Returns the matrix, `(to, from)`.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Returns what is added, `(to)`.
    pub(super) fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// Computes `(rows, to)` from `(rows, from)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}

/// A layer normalisation with its weights.
#[derive(Clone)]
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    /// Takes `NAME.weight` and `NAME.bias` `(size)` from `parameters`, or starts from 1 and 0.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if a weight has another shape.
    pub fn new(parameters: &mut Parameters, name: &str, size: usize, epsilon: f64) -> Result<Self> {
        Names { parameters, fresh: true, deviation: 0.0 }.norm(name, size, epsilon)
    }

    /// Returns the same normalisation for use without training, as [`Bert::detached`].
    pub fn detached(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach(), epsilon: self.epsilon }
    }

    /// Normalises the rows of `x`, or of the sum of `x` and `residual`, `(rows, size)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        ops::layer_norm(x, residual, &self.weight, &self.bias, self.epsilon)
    }
}

/// Asks for weights by name, required or drawn.
pub(super) struct Names<'a> {
    parameters: &'a mut Parameters,
    fresh: bool,
    deviation: f32,
}

impl Names<'_> {
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.parameters.get(name, shape, if self.fresh { init } else { Init::Required })
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        let init = Init::Normal(self.deviation);
        self.get(name, &[rows, columns], init)
    }

    pub(super) fn linear(&mut self, name: &str, to: usize, from: usize) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), to, from)?;
        Ok(Linear { weight, bias: self.get(&format!("{name}.bias"), &[to], Init::Constant(0.0))? })
    }

    fn norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<Norm> {
        let weight = self.get(&format!("{name}.weight"), &[size], Init::Constant(1.0))?;
        Ok(Norm { weight, bias: self.get(&format!("{name}.bias"), &[size], Init::Constant(0.0))?, epsilon })
    }
}
