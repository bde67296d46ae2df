//! BINDER, a bi-encoder: passages and entity types come in; how near each span is to each type, against a threshold of its own, leaves.

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::{RECOGNISER, labels::Found, text::Passage};
use crate::{
    error::{Error, Result, check_finite},
    nn::{
        Init, Masks, Packed, Parameters,
        bert::{Bert, Linear},
        ops,
        tokenizer::Tokenizer,
    },
};

/// Prefix of the type encoder's weights. The text encoder's have none.
pub const TYPE_ENCODER: &str = "types";

/// Key `binder` of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinderConfig {
    /// What is looked for.
    pub types: Vec<EntityType>,
    /// Numbers of the vectors that are compared.
    pub size: usize,
    /// Numbers of the vector that stands for a span's width.
    pub width_size: usize,
    /// Most units of a mention.
    pub max_width: usize,
    /// Cosines are divided by this.
    pub temperature: f64,
}

/// An entity type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityType {
    /// Name.
    pub name: String,
    /// What the type encoder reads.
    pub description: String,
}

impl BinderConfig {
    /// Returns the paper's sizes for some types; a mention has at most 32 units.
    pub fn new(types: Vec<EntityType>) -> Self {
        Self { types, size: 128, width_size: 128, max_width: 32, temperature: 0.07 }
    }

    /// Cuts the types' descriptions into tokens.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn describe(&self, tokenizer: &Tokenizer, max_tokens: usize) -> Result<Packed> {
        let mut descriptions = Packed::default();
        for one in &self.types {
            descriptions.push(&tokenizer.encode(&one.description, max_tokens)?.ids);
        }
        Ok(descriptions)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [("size", self.size), ("width_size", self.width_size), ("max_width", self.max_width)];
        if let Some((key, size)) = sizes.into_iter().find(|(_, size)| !(1..=1 << 16).contains(size)) {
            return Err(format!("binder.{key}: expected 1 to 65536, got {size}"));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(format!("binder.temperature: expected a number above 0, got {}", self.temperature));
        }
        if self.types.is_empty() { Err("binder.types is empty".into()) } else { Ok(()) }
    }
}

/// A bi-encoder whose text and type encoders learn apart.
///
/// # Source
/// Zhang et al. 2022: <https://arxiv.org/abs/2208.14565>. Where a span is from unit `i` to unit `j`, its vector is
/// `W·(h_i ⊕ h_j ⊕ D(j - i))`, `h` the text encoder's vectors of the first piece of `i` and the last of `j`; a type's is a projection of the type
/// encoder's first vector; they are compared by cosine. The passage's first token, taken as a span, sets the threshold.
#[derive(Clone)]
pub struct Binder {
    config: BinderConfig,
    text: Bert,
    types: Bert,
    descriptions: Packed,
    start: Linear,
    end: Linear,
    span: Span,
    type_start: Linear,
    type_end: Linear,
    type_span: Linear,
}

/// The projection of spans.
#[derive(Clone)]
struct Span {
    weight: Tensor, // (size, 2 · hidden + width_size)
    bias: Tensor,   // (size)
    width: Tensor,  // (max_width, width_size)
}

/// Similarities by temperature, a column a type. In each passage's rows the first is the threshold.
pub struct Scores {
    /// How well a mention starts at a unit: the threshold, then each seen unit.
    pub start: Tensor,
    /// How well a mention ends at a unit: the threshold, then each seen unit.
    pub end: Tensor,
    /// How well a span is a mention: the threshold, then each span in the order of [`spans`].
    pub span: Tensor,
}

/// Lists the spans of `units` units that have at most `max_width`, as first and last unit.
pub fn spans(units: usize, max_width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..units).flat_map(move |first| (first..units.min(first + max_width)).map(move |last| (first, last)))
}

/// Returns the place of a span in the order of [`spans`]; `None` if it is too wide.
pub fn span_place(units: usize, max_width: usize, first: usize, last: usize) -> Option<usize> {
    let before = |first: usize| (0..first).map(|unit| max_width.min(units - unit)).sum::<usize>();
    (first <= last && last < units && last - first < max_width).then(|| before(first) + last - first)
}

impl Binder {
    /// Puts the projections of `parameters`, or new ones, on two encoders. `descriptions` are those of the types, as token ids.
    ///
    /// The type encoder's weights must be among `parameters`, with the prefix `types.`.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if `config` is out of range, a weight has another shape, or the type encoder is missing.
    pub fn new(text: &Bert, parameters: &mut Parameters, descriptions: Packed, config: BinderConfig) -> Result<Self> {
        config.check().map_err(|reason| Error::Artifact {
            what: "BINDER model",
            name: "config.json".into(),
            reason,
        })?;
        let types = Bert::new(text.config(), parameters, TYPE_ENCODER, false)?;
        let (hidden, deviation) = (text.config().hidden_size, text.config().initializer_range);
        let mut linear =
            |name: &str| Linear::new(parameters, &format!("binder.{name}"), config.size, hidden, deviation);
        let (start, end) = (linear("start")?, linear("end")?);
        let (type_start, type_end, type_span) = (linear("type_start")?, linear("type_end")?, linear("type_span")?);
        let normal = Init::Normal(deviation);
        let span = Span {
            weight: parameters.get("binder.span.weight", &[config.size, 2 * hidden + config.width_size], normal)?,
            bias: parameters.get("binder.span.bias", &[config.size], Init::Constant(0.0))?,
            width: parameters.get("binder.width.weight", &[config.max_width, config.width_size], normal)?,
        };
        Ok(Self { config, text: text.clone(), types, descriptions, start, end, span, type_start, type_end, type_span })
    }

    /// Returns the same model for use without training, as [`Bert::detached`].
    pub fn detached(&self) -> Self {
        let Span { weight, bias, width } = &self.span;
        Self {
            config: self.config.clone(),
            text: self.text.detached(),
            types: self.types.detached(),
            descriptions: self.descriptions.clone(),
            start: self.start.detached(),
            end: self.end.detached(),
            span: Span { weight: weight.detach(), bias: bias.detach(), width: width.detach() },
            type_start: self.type_start.detached(),
            type_end: self.type_end.detached(),
            type_span: self.type_span.detached(),
        }
    }

    /// Returns the encoder of texts.
    pub fn text(&self) -> &Bert {
        &self.text
    }

    /// Returns the settings.
    pub fn config(&self) -> &BinderConfig {
        &self.config
    }

    /// Compares each unit and span of some passages with each type. `masks` switches dropout on.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, passages: &[&Passage], mut masks: Option<&mut Masks>) -> Result<Scores> {
        let batch = Packed::new(passages.iter().map(|passage| passage.ids.as_slice()));
        let text = self.text.forward(&batch, masks.as_deref_mut())?; // (tokens, hidden)
        let types = self.types.forward(&self.descriptions, masks.as_deref_mut())?;
        let types = self.descriptions.pick_firsts(&types)?; // (types, hidden)
        let drop = self.text.config().hidden_dropout_prob;
        let (text, types) = (ops::dropout(&text, drop, masks.as_deref_mut())?, ops::dropout(&types, drop, masks)?);
        let rows = Rows::new(passages, &batch, self.config.max_width);
        let score = |rows: Tensor, types: Tensor| -> Result<Tensor> {
            Ok((unit_rows(&rows)?.matmul(&unit_rows(&types)?.t()?)? / self.config.temperature)?)
        };
        Ok(Scores {
            start: score(self.start.forward(&ops::embed(&text, &rows.first)?)?, self.type_start.forward(&types)?)?,
            end: score(self.end.forward(&ops::embed(&text, &rows.last)?)?, self.type_end.forward(&types)?)?,
            span: score(self.span.forward(&text, &rows)?, self.type_span.forward(&types)?)?,
        })
    }

    /// Returns the spans nearer to a type than the passage's threshold that begin with a unit decided there; they may nest and cross.
    ///
    /// A span's probability is `1 / (1 + e^-(score - threshold))`: its odds against the threshold under the softmax that training compares
    /// them by. It is above 0.5.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn decide(&self, passages: &[&Passage]) -> Result<Vec<Vec<Found>>> {
        let scores = self.forward(passages, None)?.span.to_vec2::<f32>()?;
        check_finite(RECOGNISER, &scores.concat())?;
        let mut scores = scores.into_iter();
        let none = vec![f32::INFINITY; self.config.types.len()];
        let decide = |passage: &&Passage| {
            let threshold = scores.next().unwrap_or_else(|| none.clone());
            let mut found = Vec::new();
            for ((first, last), row) in spans(passage.seen.len(), self.config.max_width).zip(scores.by_ref()) {
                let units = passage.seen.start + first..passage.seen.start + last + 1;
                let margins = row.iter().zip(&threshold).map(|(score, threshold)| score - threshold).enumerate();
                let nearer = margins.filter(|(_, margin)| *margin > 0.0 && passage.units.contains(&units.start));
                found.extend(nearer.map(|(kind, margin)| Found {
                    units: units.clone(),
                    kind,
                    probability: 1.0 / (1.0 + (-margin).exp()),
                }));
            }
            found
        };
        Ok(passages.iter().map(decide).collect())
    }
}

impl Span {
    /// Projects spans, `(spans, size)`. The parts of the long product are computed once a token and then added up span by span.
    fn forward(&self, text: &Tensor, rows: &Rows) -> Result<Tensor> {
        let hidden = text.dim(1)?;
        let columns = |from: usize, count: usize| self.weight.narrow(1, from, count)?.contiguous();
        let first = ops::embed(&ops::linear(text, &columns(0, hidden)?, Some(&self.bias))?, &rows.span_first)?;
        let last = ops::embed(&ops::linear(text, &columns(hidden, hidden)?, None)?, &rows.span_last)?;
        let width = ops::linear(&self.width, &columns(2 * hidden, self.width.dim(1)?)?, None)?;
        Ok(((first + last)? + ops::embed(&width, &rows.width)?)?)
    }
}

/// Where units and spans stand among a batch's tokens; in each passage the first row is the threshold: its first token.
#[derive(Default)]
struct Rows {
    first: Vec<u32>,
    last: Vec<u32>,
    span_first: Vec<u32>,
    span_last: Vec<u32>,
    width: Vec<u32>,
}

impl Rows {
    fn new(passages: &[&Passage], batch: &Packed, max_width: usize) -> Self {
        let mut rows = Self::default();
        for (passage, range) in passages.iter().zip(batch.ranges()) {
            let threshold = [(0, 0)];
            for (first, last) in threshold.iter().chain(&passage.tokens) {
                rows.first.push((range.start + first) as u32);
                rows.last.push((range.start + last) as u32);
            }
            rows.push_span(range.start, range.start, 0);
            for (first, last) in spans(passage.tokens.len(), max_width) {
                let (start, end) = (passage.tokens[first].0, passage.tokens[last].1);
                rows.push_span(range.start + start, range.start + end, last - first);
            }
        }
        rows
    }

    fn push_span(&mut self, first: usize, last: usize, width: usize) {
        self.span_first.push(first as u32);
        self.span_last.push(last as u32);
        self.width.push(width as u32);
    }
}

/// Divides each row by its length, so that the product of two such rows is their cosine.
fn unit_rows(x: &Tensor) -> Result<Tensor> {
    // No row of a trained projection is 0; the summand keeps the gradient finite if one ever is.
    Ok(x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_up_to_the_width_is_listed_once() {
        assert_eq!(spans(3, 2).collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]);
        assert_eq!(spans(0, 2).count(), 0);
        for (place, (first, last)) in spans(7, 3).enumerate() {
            assert_eq!(span_place(7, 3, first, last), Some(place));
        }
        assert_eq!([span_place(7, 3, 0, 3), span_place(7, 3, 6, 7)], [None, None]);
    }
}
