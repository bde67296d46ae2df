//! The token classifier: passages come in, the probability of each label for each unit leaves.

use candle_core::Tensor;

use super::{RECOGNISER, labels::Labels, text::Passage};
use crate::{
    error::{Result, check_finite},
    nn::{
        Masks, Packed, Parameters,
        bert::{Bert, Linear},
        ops,
    },
};

/// A linear map over an encoder's vectors, one output a label; a unit is labelled at its first piece.
///
/// # Source
/// Devlin et al. 2018, section 5.3; weights are named as in Hugging Face's `BertForTokenClassification`.
#[derive(Clone)]
pub struct Tagger {
    bert: Bert,
    classifier: Linear,
    labels: Labels,
    drop: f32,
}

impl Tagger {
    /// Puts `classifier.weight` and `classifier.bias` of `parameters` on an encoder, or new ones. `drop` is the dropout before it.
    ///
    /// # Errors
    /// - [`crate::Error::Artifact`] if the weights are of another number of labels.
    pub fn new(bert: &Bert, parameters: &mut Parameters, labels: Labels, drop: f32) -> Result<Self> {
        let config = bert.config();
        let deviation = config.initializer_range;
        let classifier = Linear::new(parameters, "classifier", labels.len(), config.hidden_size, deviation)?;
        Ok(Self { bert: bert.clone(), classifier, labels, drop })
    }

    /// Returns the same classifier for use without training, as [`Bert::detached`].
    pub fn detached(&self) -> Self {
        Self { bert: self.bert.detached(), classifier: self.classifier.detached(), ..self.clone() }
    }

    /// Returns the encoder.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }

    /// Returns the labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Computes the logits of the tokens at `rows` of a batch, `(rows, labels)`. `masks` switches dropout on.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, batch: &Packed, rows: &[u32], mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let hidden = self.bert.forward(batch, masks.as_deref_mut())?;
        let hidden = ops::embed(&hidden, rows)?;
        self.classifier.forward(&ops::dropout(&hidden, self.drop, masks)?)
    }

    /// Returns the probabilities of the labels of each unit decided in each passage.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn decide(&self, passages: &[&Passage]) -> Result<Vec<Vec<Vec<f32>>>> {
        let (batch, rows) = pack(passages);
        if rows.is_empty() {
            return Ok(vec![Vec::new(); passages.len()]);
        }
        let logits = self.forward(&batch, &rows, None)?;
        let probabilities = ops::log_softmax(&logits)?.exp()?.to_vec2::<f32>()?;
        check_finite(RECOGNISER, &probabilities.concat())?;
        let mut rows = probabilities.into_iter();
        Ok(passages.iter().map(|passage| rows.by_ref().take(passage.units.len()).collect()).collect())
    }
}

/// Packs passages, and lists where the first pieces of the units decided in them stand among all tokens.
pub fn pack(passages: &[&Passage]) -> (Packed, Vec<u32>) {
    let mut batch = Packed::default();
    let mut rows = Vec::new();
    for passage in passages {
        let start = batch.ids().len();
        let decided = passage.units.start - passage.seen.start..passage.units.end - passage.seen.start;
        rows.extend(passage.tokens[decided].iter().map(|&(first, _)| (start + first) as u32));
        batch.push(&passage.ids);
    }
    (batch, rows)
}
