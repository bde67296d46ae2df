//! A head that says something of whole sequences: packed sequences come in, a logit a class leaves for each.

use candle_core::Tensor;

use super::{
    Masks, Packed, Parameters,
    bert::{Bert, Linear},
    ops,
};
use crate::error::Result;

/// An encoder with a layer of its own and a linear map over the vectors of the first tokens.
///
/// # Source
/// Names, order and dropout as in Hugging Face's `LongformerForSequenceClassification` (and `RobertaForSequenceClassification`).
#[derive(Clone)]
pub struct SequenceClassifier {
    bert: Bert,
    dense: Linear,
    output: Linear,
    drop: f32,
}

impl SequenceClassifier {
    /// Puts `classifier.dense.…` and `classifier.out_proj.…` of `parameters` on an encoder, or new ones.
    ///
    /// # Errors
    /// - [`Error::Artifact`](crate::Error::Artifact) if the weights are of another number of classes.
    pub fn new(bert: &Bert, parameters: &mut Parameters, classes: usize) -> Result<Self> {
        let config = bert.config();
        let (hidden, deviation) = (config.hidden_size, config.initializer_range);
        let dense = Linear::new(parameters, "classifier.dense", hidden, hidden, deviation)?;
        let output = Linear::new(parameters, "classifier.out_proj", classes, hidden, deviation)?;
        Ok(Self { bert: bert.clone(), dense, output, drop: config.hidden_dropout_prob })
    }

    /// Returns the same classifier for use without training, as [`Bert::detached`].
    pub fn detached(&self) -> Self {
        let (bert, dense) = (self.bert.detached(), self.dense.detached());
        Self { bert, dense, output: self.output.detached(), drop: self.drop }
    }

    /// Returns the encoder.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }

    /// Computes `(sequences, classes)`; no sequence may be empty. `masks` switches dropout on.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, batch: &Packed, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let firsts = self.bert.forward_firsts(batch, masks.as_deref_mut())?;
        self.judge(&firsts, masks)
    }

    /// Computes the logits from the vectors of the sequences' first tokens, `(sequences, hidden)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn judge(&self, firsts: &Tensor, mut masks: Option<&mut Masks>) -> Result<Tensor> {
        let firsts = ops::dropout(firsts, self.drop, masks.as_deref_mut())?;
        let inner = ops::dropout(&self.dense.forward(&firsts)?.tanh()?, self.drop, masks)?;
        self.output.forward(&inner)
    }
}
