//! The texts of a training run, cut into tokens once, and the encoder that turns them into vectors.

use std::collections::HashMap;

use candle_core::{D, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    nn::{Masks, Packed, bert::Bert, tokenizer::Tokenizer},
};

/// Most tokens that a thread encodes at a time outside training.
const BATCH_TOKENS: usize = 2048;

/// Which of a text's token vectors stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// That of the first token.
    Cls,
    /// Their mean.
    Mean,
}

/// Distinct token sequences by number, and their encoder.
pub struct Texts {
    bert: Bert,
    pooling: Pooling,
    unit: bool,
    sequences: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
}

impl Texts {
    /// Starts without texts. With `unit`, vectors have unit length, so that their inner product is a cosine.
    pub fn new(bert: Bert, pooling: Pooling, unit: bool) -> Self {
        Self { bert, pooling, unit, sequences: Vec::new(), numbers: HashMap::new() }
    }

    /// Cuts texts into at most `max_tokens` tokens and returns their numbers; equal sequences have one.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn add(&mut self, tokenizer: &Tokenizer, texts: &[&str], max_tokens: usize) -> Result<Vec<u32>> {
        let number = |sequence: Vec<u32>| {
            *self.numbers.entry(sequence).or_insert_with_key(|sequence| {
                self.sequences.push(sequence.clone());
                self.sequences.len() as u32 - 1
            })
        };
        let tokens = tokenizer.encode_batch(texts, max_tokens)?;
        Ok(tokens.into_iter().map(|tokens| tokens.ids).map(number).collect())
    }

    /// Returns the number of a text's tokens.
    pub fn length(&self, text: u32) -> usize {
        self.sequences[text as usize].len()
    }

    /// Encodes texts with their gradients. Returns `(texts, hidden)`.
    ///
    /// # Errors
    /// Those of the device, and a text longer than the encoder takes.
    pub fn encode(&self, texts: &[u32], masks: Option<&mut Masks>) -> Result<Tensor> {
        let packed = Packed::new(texts.iter().map(|&text| self.sequences[text as usize].as_slice()));
        let tokens = self.bert.forward(&packed, masks)?; // (tokens, hidden)
        let pooled = match self.pooling {
            Pooling::Cls => tokens.index_select(&packed.firsts(tokens.device())?, 0)?,
            Pooling::Mean => mean(&tokens, &packed)?,
        };
        if !self.unit {
            return Ok(pooled);
        }
        let norm = (pooled.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
        Ok(pooled.broadcast_div(&norm)?)
    }

    /// Encodes any number of texts on all cores, without gradients. Returns `(texts, hidden)`.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_all(&self, texts: &[u32]) -> Result<Tensor> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| self.length(texts[at]));
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut load = 0;
        for at in order {
            let length = self.length(texts[at]);
            match batches.last_mut() {
                Some(batch) if load + length <= BATCH_TOKENS => batch.push(at),
                _ => {
                    batches.push(vec![at]);
                    load = 0;
                }
            }
            load += length;
        }
        let encode = |batch: &Vec<usize>| -> Result<Tensor> {
            Ok(self.encode(&batch.iter().map(|&at| texts[at]).collect::<Vec<_>>(), None)?.detach())
        };
        let vectors: Vec<Tensor> = batches.par_iter().map(encode).collect::<Result<_>>()?;
        let mut places = vec![0u32; texts.len()];
        batches.iter().flatten().enumerate().for_each(|(row, &at)| places[at] = row as u32);
        let vectors = Tensor::cat(&vectors, 0)?;
        Ok(vectors.index_select(&Tensor::new(places, vectors.device())?, 0)?)
    }
}

/// Averages the token vectors of each sequence. Returns `(sequences, hidden)`.
fn mean(tokens: &Tensor, packed: &Packed) -> Result<Tensor> {
    let (_, hidden) = tokens.dims2()?;
    let (device, count) = (tokens.device(), packed.lengths().len());
    let owner = packed.lengths().iter().zip(0u32..).flat_map(|(&length, row)| std::iter::repeat_n(row, length));
    let owner = Tensor::from_iter(owner, device)?;
    let lengths: Vec<f32> = packed.lengths().iter().map(|&length| length.max(1) as f32).collect();
    let sums = Tensor::zeros((count, hidden), tokens.dtype(), device)?.index_add(&owner, tokens, 0)?;
    Ok(sums.broadcast_div(&Tensor::from_vec(lengths, (count, 1), device)?)?)
}
