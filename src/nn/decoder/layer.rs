//! A layer of a decoder.

use candle_core::Tensor;

use super::{
    config::{DecoderConfig, Family},
    projection::{Lora, Names, Projection},
};
use crate::{
    error::{Error, Result},
    nn::{
        Masks, Parameters,
        ops::{self, Angles, Heads, Sight},
    },
};

/// Keys `(tokens, width)` and values of a sequence's tokens.
pub(super) type KeysAndValues = [Tensor; 2];

/// Attention and feed-forward part, each after a normalisation and added to what went in.
#[derive(Clone)]
pub(super) struct Layer {
    attention: Attention,
    feed_forward: FeedForward,
    attention_norm: Tensor,
    feed_forward_norm: Tensor,
    epsilon: f64,
}

#[derive(Clone)]
struct Attention {
    inputs: Inputs<3>,
    output: Projection,
    /// Scales of the normalisation of each head's queries and keys.
    head_norms: Option<[Tensor; 2]>,
    heads: Heads,
    head_size: usize,
    epsilon: f64,
}

#[derive(Clone)]
struct FeedForward {
    inputs: Inputs<2>,
    down: Projection,
}

/// Projections of one input: apart, or as one matrix.
#[derive(Clone)]
enum Inputs<const N: usize> {
    Apart([(&'static str, Projection); N]),
    Joint { name: &'static str, projection: Box<Projection>, widths: [usize; N] },
}

impl<const N: usize> Inputs<N> {
    /// Computes each projection of `x` `(rows, from)`: `(rows, width)`.
    fn forward(&self, x: &Tensor, mut masks: Option<&mut Masks>) -> Result<[Tensor; N]> {
        let parts: Vec<Tensor> = match self {
            Self::Apart(projections) => projections
                .iter()
                .map(|(_, projection)| projection.forward(x, masks.as_deref_mut()))
                .collect::<Result<_>>()?,
            Self::Joint { projection, widths, .. } => {
                let whole = projection.forward(x, masks)?;
                let mut start = 0;
                let part = |&width: &usize| {
                    start += width;
                    Ok(whole.narrow(1, start - width, width)?)
                };
                widths.iter().map(part).collect::<Result<_>>()?
            }
        };
        parts.try_into().map_err(|_| Error::Tensor("projections got lost".into())) // never: there are N of them
    }

    fn projections(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match self {
            Self::Apart(projections) => projections.iter_mut().map(|(name, one)| (*name, one)).collect(),
            Self::Joint { name, projection, .. } => vec![(*name, projection.as_mut())],
        }
    }

    fn detached(&self) -> Self {
        match self {
            Self::Apart(projections) => Self::Apart(projections.each_ref().map(|(name, one)| (*name, one.detached()))),
            Self::Joint { name, projection, widths } => {
                Self::Joint { name, projection: Box::new(projection.detached()), widths: *widths }
            }
        }
    }
}

impl Layer {
    pub fn new(config: &DecoderConfig, names: &mut Names<'_>, number: usize) -> Result<Self> {
        let layer = format!("model.layers.{number}");
        let hidden = config.hidden_size;
        Ok(Self {
            attention: Attention::new(config, names, &format!("{layer}.self_attn"))?,
            feed_forward: FeedForward::new(config, names, &format!("{layer}.mlp"))?,
            attention_norm: names.scale(&format!("{layer}.input_layernorm"), hidden)?,
            feed_forward_norm: names.scale(&format!("{layer}.post_attention_layernorm"), hidden)?,
            epsilon: config.rms_norm_eps,
        })
    }

    /// Puts adapters on the projections that `lora` names.
    ///
    /// # Errors
    /// - [`Error::Setting`] if it names one that is not here.
    pub fn adapt(&mut self, parameters: &mut Parameters, number: usize, lora: &Lora) -> Result<()> {
        let layer = format!("model.layers.{number}");
        let [of_attention, of_feed_forward] = self.projections();
        let mut all: Vec<(String, &'static str, &mut Projection)> = of_attention
            .into_iter()
            .map(|(name, one)| (format!("{layer}.self_attn.{name}"), name, one))
            .chain(of_feed_forward.into_iter().map(|(name, one)| (format!("{layer}.mlp.{name}"), name, one)))
            .collect();
        for target in &lora.targets {
            let known: Vec<&str> = all.iter().map(|(_, name, _)| *name).collect();
            let wrong = || Error::Setting {
                key: "targets".into(),
                expected: format!("projections of this model: {}", known.join(", ")),
                got: target.clone(),
            };
            if !known.contains(&target.as_str()) {
                return Err(wrong());
            }
        }
        for (name, short, projection) in &mut all {
            if lora.targets.iter().any(|target| target == short) {
                projection.adapt(parameters, name, lora)?;
            }
        }
        Ok(())
    }

    /// Returns how many numbers adapters let a forward pass keep for each token.
    pub fn kept_by_adapters(&mut self) -> usize {
        self.projections().iter().flatten().map(|(_, projection)| projection.kept()).sum()
    }

    /// Returns the projections of attention and of the feed-forward part, by name.
    fn projections(&mut self) -> [Vec<(&'static str, &mut Projection)>; 2] {
        let mut of_attention = self.attention.inputs.projections();
        of_attention.push(("o_proj", &mut self.attention.output));
        let mut of_feed_forward = self.feed_forward.inputs.projections();
        of_feed_forward.push(("down_proj", &mut self.feed_forward.down));
        [of_attention, of_feed_forward]
    }

    /// Computes `(tokens, hidden)` from `(tokens, hidden)`; the sequences of `lengths` lie one after another.
    pub fn forward(
        &self,
        x: &Tensor,
        lengths: &[usize],
        angles: &Angles,
        mut masks: Option<&mut Masks>,
    ) -> Result<Tensor> {
        let normal = ops::rms_norm(x, &self.attention_norm, self.epsilon)?;
        let x = (x + self.attention.forward(&normal, lengths, angles, masks.as_deref_mut())?)?;
        self.feed(&x, masks)
    }

    /// Computes `(tokens, hidden)` for the next tokens of one sequence: all of its first ones, or one that follows those `known`, to
    /// which its keys and values are added.
    pub fn next(&self, x: &Tensor, angles: &Angles, known: &mut Option<KeysAndValues>) -> Result<Tensor> {
        let normal = ops::rms_norm(x, &self.attention_norm, self.epsilon)?;
        self.feed(&(x + self.attention.next(&normal, angles, known)?)?, None)
    }

    fn feed(&self, x: &Tensor, masks: Option<&mut Masks>) -> Result<Tensor> {
        let normal = ops::rms_norm(x, &self.feed_forward_norm, self.epsilon)?;
        Ok((x + self.feed_forward.forward(&normal, masks)?)?)
    }

    pub fn detached(&self) -> Self {
        let Attention { inputs, output, head_norms, heads, head_size, epsilon } = &self.attention;
        Self {
            attention: Attention {
                inputs: inputs.detached(),
                output: output.detached(),
                head_norms: head_norms.as_ref().map(|norms| norms.each_ref().map(Tensor::detach)),
                heads: *heads,
                head_size: *head_size,
                epsilon: *epsilon,
            },
            feed_forward: FeedForward {
                inputs: self.feed_forward.inputs.detached(),
                down: self.feed_forward.down.detached(),
            },
            attention_norm: self.attention_norm.detach(),
            feed_forward_norm: self.feed_forward_norm.detach(),
            epsilon: self.epsilon,
        }
    }
}

impl Attention {
    fn new(config: &DecoderConfig, names: &mut Names<'_>, name: &str) -> Result<Self> {
        let (hidden, queries, keys) = (config.hidden_size, config.query_size(), config.key_size());
        let widths = [queries, keys, keys];
        let bias = config.attention_bias || config.family == Family::Qwen2;
        let inputs = match config.family {
            Family::Phi3 => {
                let shape = [widths.iter().sum(), hidden];
                let projection = Projection::new(names, &format!("{name}.qkv_proj"), shape, false)?;
                Inputs::Joint { name: "qkv_proj", projection: Box::new(projection), widths }
            }
            _ => {
                let mut one = |part: &'static str, width| {
                    let projection = Projection::new(names, &format!("{name}.{part}"), [width, hidden], bias)?;
                    Ok::<_, Error>((part, projection))
                };
                Inputs::Apart([one("q_proj", queries)?, one("k_proj", keys)?, one("v_proj", keys)?])
            }
        };
        let mut head_norm = |part: &str| names.scale(&format!("{name}.{part}"), config.head_dim);
        let head_norms = match config.family {
            Family::Qwen3 => Some([head_norm("q_norm")?, head_norm("k_norm")?]),
            _ => None,
        };
        let output = Projection::new(names, &format!("{name}.o_proj"), [hidden, queries], config.attention_bias)?;
        let heads = Heads {
            count: config.num_attention_heads,
            key_count: config.num_key_value_heads,
            sight: Sight::Past { window: config.sliding_window },
            drop: 0.0,
        };
        Ok(Self { inputs, output, head_norms, heads, head_size: config.head_dim, epsilon: config.rms_norm_eps })
    }

    fn forward(&self, x: &Tensor, lengths: &[usize], angles: &Angles, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let [queries, keys, values] = self.turned(x, angles, masks.as_deref_mut())?;
        let context = ops::attention(&queries, &keys, &values, lengths, self.heads, masks.as_deref_mut())?;
        self.output.forward(&context, masks)
    }

    /// See [`Layer::next`].
    fn next(&self, x: &Tensor, angles: &Angles, known: &mut Option<KeysAndValues>) -> Result<Tensor> {
        let [queries, keys, values] = self.turned(x, angles, None)?;
        let (context, all) = match known.take() {
            None => {
                let lengths = [queries.dim(0)?];
                (ops::attention(&queries, &keys, &values, &lengths, self.heads, None)?, [keys, values])
            }
            Some([before, values_before]) => {
                let (keys, values) = (Tensor::cat(&[before, keys], 0)?, Tensor::cat(&[values_before, values], 0)?);
                (ops::attention_of_last(&queries, &keys, &values, self.heads)?, [keys, values])
            }
        };
        *known = Some(all);
        self.output.forward(&context, None)
    }

    /// Computes queries, keys and values, the first two turned by their positions.
    fn turned(&self, x: &Tensor, angles: &Angles, masks: Option<&mut Masks>) -> Result<[Tensor; 3]> {
        let [mut queries, mut keys, values] = self.inputs.forward(x, masks)?;
        if let Some([of_queries, of_keys]) = &self.head_norms {
            queries = self.normalise_heads(&queries, of_queries)?;
            keys = self.normalise_heads(&keys, of_keys)?;
        }
        Ok([ops::rotate(&queries, angles)?, ops::rotate(&keys, angles)?, values])
    }

    fn normalise_heads(&self, x: &Tensor, scale: &Tensor) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let heads = x.reshape((tokens * width / self.head_size, self.head_size))?;
        Ok(ops::rms_norm(&heads, scale, self.epsilon)?.reshape((tokens, width))?)
    }
}

impl FeedForward {
    fn new(config: &DecoderConfig, names: &mut Names<'_>, name: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let inputs = match config.family {
            Family::Phi3 => {
                let projection = Projection::new(names, &format!("{name}.gate_up_proj"), [2 * inner, hidden], false)?;
                Inputs::Joint { name: "gate_up_proj", projection: Box::new(projection), widths: [inner, inner] }
            }
            _ => {
                let mut one = |part: &'static str| {
                    let shape = [inner, hidden];
                    Ok::<_, Error>((part, Projection::new(names, &format!("{name}.{part}"), shape, config.mlp_bias)?))
                };
                Inputs::Apart([one("gate_proj")?, one("up_proj")?])
            }
        };
        let down = Projection::new(names, &format!("{name}.down_proj"), [hidden, inner], config.mlp_bias)?;
        Ok(Self { inputs, down })
    }

    fn forward(&self, x: &Tensor, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let [gate, up] = self.inputs.forward(x, masks.as_deref_mut())?;
        self.down.forward(&ops::gate(&gate, &up)?, masks)
    }
}
