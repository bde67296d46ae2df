//! The texts of a training run, cut into tokens once, and the encoder that turns them into vectors.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use candle_core::{D, Tensor};
use rayon::prelude::*;

use crate::{
    config::Pooling,
    embed::EncoderSettings,
    error::{Error, Result},
    nn::{Masks, Packed, bert::Bert, divide, fit::fingerprint, pretrained::Pretrained, tokenizer::Tokenizer},
};

/// Most tokens that a thread encodes at a time outside training.
const BATCH_TOKENS: usize = 2048;

/// Distinct token sequences by number, and their encoder.
pub struct Texts {
    bert: Bert,
    /// The same without gradients: it sees every update.
    still: Bert,
    tokenizer: Arc<Tokenizer>,
    settings: EncoderSettings,
    sequences: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
}

impl Texts {
    /// Starts without texts; shares the weights of `model` and sees their updates.
    ///
    /// # Errors
    /// - [`Error::Setting`] if the pooling is none that is trained.
    pub fn new(model: &Pretrained, settings: EncoderSettings) -> Result<Self> {
        if settings.pooling == Pooling::Pooler {
            let (expected, got) = ("cls or mean: the pooler is not trained".into(), "pooler".into());
            return Err(Error::Setting { key: "pooling".into(), expected, got });
        }
        Ok(Self {
            bert: model.bert.clone(),
            still: model.bert.detached(),
            tokenizer: model.tokenizer.clone(),
            settings,
            sequences: Vec::new(),
            numbers: HashMap::new(),
        })
    }

    /// Cuts texts into tokens and returns their numbers; equal sequences have one.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn add(&mut self, texts: &[&str]) -> Result<Vec<u32>> {
        let EncoderSettings { lowercase, max_tokens, .. } = self.settings;
        let tokens = |text: &&str| {
            let text = if lowercase { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(*text) };
            Ok(self.tokenizer.encode(&text, max_tokens)?.ids)
        };
        let sequences: Vec<Vec<u32>> = texts.par_iter().map(tokens).collect::<Result<_>>()?;
        let number = |sequence: Vec<u32>| {
            *self.numbers.entry(sequence).or_insert_with_key(|sequence| {
                self.sequences.push(sequence.clone());
                self.sequences.len() as u32 - 1
            })
        };
        Ok(sequences.into_iter().map(number).collect())
    }

    /// Returns about how many bytes a token takes in training; see [`BertConfig::bytes_per_token`](crate::nn::bert::BertConfig::bytes_per_token).
    pub fn bytes_per_token(&self, recompute: bool) -> usize {
        self.bert.config().bytes_per_token(self.settings.max_tokens, recompute)
    }

    /// Returns a hash of the texts' tokens and of how they become vectors.
    pub fn fingerprint(&self) -> u64 {
        fingerprint((&self.sequences, format!("{:?}", self.settings)))
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
        self.encode_with(&self.bert, texts, masks)
    }

    fn encode_with(&self, bert: &Bert, texts: &[u32], masks: Option<&mut Masks>) -> Result<Tensor> {
        let packed = Packed::new(texts.iter().map(|&text| self.sequences[text as usize].as_slice()));
        let tokens = bert.forward(&packed, masks)?; // (tokens, hidden)
        let pooled = match self.settings.pooling {
            Pooling::Mean => mean(&tokens, &packed)?,
            Pooling::Cls | Pooling::Pooler => packed.pick_firsts(&tokens)?,
        };
        if !self.settings.normalise {
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
        // Longest first: no core is left with the longest batch at the end.
        order.sort_by_key(|&at| std::cmp::Reverse(self.length(texts[at])));
        let batches = divide(&order, |at| self.length(texts[at]), BATCH_TOKENS);
        let encode = |batch: &&[usize]| {
            self.encode_with(&self.still, &batch.iter().map(|&at| texts[at]).collect::<Vec<_>>(), None)
        };
        let vectors: Vec<Tensor> = match self.still.words().device().is_cpu() {
            true => batches.par_iter().map(encode).collect::<Result<_>>()?,
            false => batches.iter().map(encode).collect::<Result<_>>()?,
        };
        let mut places = vec![0u32; texts.len()];
        batches.iter().copied().flatten().enumerate().for_each(|(row, &at)| places[at] = row as u32);
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
