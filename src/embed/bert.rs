//! The encoder of BERTs: texts come in, pooled vectors leave, in batches of alike lengths, one batch a core.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::{Embed, preset::hub_id, settings::EncoderSettings};
use crate::{
    config::{self, EncoderConfig, Pooling},
    error::{Error, Result, check_finite},
    hub,
    nn::{
        Packed,
        bert::{Bert, Linear},
        divide, memory,
        pretrained::{self, Pretrained},
        tokenizer::{Tokenizer, Tokens},
    },
};

/// Encodes texts with a BERT or XLM-RoBERTa.
pub struct BertEncoder {
    bert: Bert,
    pooler: Option<Linear>,
    tokenizer: Arc<Tokenizer>,
    settings: EncoderSettings,
    batch_tokens: usize,
    device: Device,
    name: String,
    fingerprint: String,
    cut: AtomicUsize,
}

impl BertEncoder {
    /// Loads the encoder that `config` names, with the settings that it, the encoder's folder or its preset give.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if the folder cannot be used; [`Error::Setting`] if a setting is outside its range.
    pub fn load(config: &EncoderConfig) -> Result<Self> {
        let (mut model, settings) = load_model(config)?;
        Self::over(&mut model, settings, config.batch_tokens)
    }

    /// Encodes with a model that is in memory; shares its weights and sees their updates, after which the fingerprint is out of date.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if the pooling asks for a pooler that the model lacks; those of the device.
    pub fn over(model: &mut Pretrained, settings: EncoderSettings, batch_tokens: usize) -> Result<Self> {
        let pooler = match settings.pooling {
            Pooling::Pooler if !model.parameters.has("pooler.dense.weight") => {
                return Err(Error::EncoderLoad {
                    name: model.name.clone(),
                    reason: "the weights hold no `pooler.dense.weight`".into(),
                    hint: "set `pooling` to `cls` or `mean`".into(),
                });
            }
            Pooling::Pooler => {
                let hidden = model.config.hidden_size;
                Some(Linear::new(&mut model.parameters, "pooler.dense", hidden, hidden, 0.0)?.detached())
            }
            Pooling::Cls | Pooling::Mean => None,
        };
        let weights_and_settings = format!("{} {settings:?}", model.fingerprint()?);
        Ok(Self {
            bert: model.bert.detached(),
            pooler,
            tokenizer: model.tokenizer.clone(),
            settings,
            batch_tokens,
            device: model.parameters.device().clone(),
            name: format!("the encoder {}", model.name),
            fingerprint: format!("bert-{:016x}", xxh3_64(weights_and_settings.as_bytes())),
            cut: AtomicUsize::new(0),
        })
    }

    /// Returns how tokens become a vector.
    pub fn settings(&self) -> EncoderSettings {
        self.settings
    }

    /// Returns how many texts so far were longer than `max_tokens`, and were cut.
    pub fn cut_texts(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    fn tokens(&self, text: &str) -> Result<Tokens> {
        let text = if self.settings.lowercase { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        let tokens = self.tokenizer.encode(&text, self.settings.max_tokens)?;
        if tokens.cut > 0 {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
        Ok(tokens)
    }

    /// Holds the memory that the largest batch takes on each core against what is free, where it is much.
    fn check_memory(&self, tokens: &[Tokens], batches: &[&[usize]]) -> Result<()> {
        const MUCH: f64 = 268_435_456.0;
        let length = |text: &usize| tokens[*text].ids.len();
        let largest: usize = batches.iter().map(|batch| batch.iter().map(length).sum()).max().unwrap_or(0);
        let longest = batches.iter().copied().flatten().map(length).max().unwrap_or(0);
        let at_once = rayon::current_num_threads().min(batches.len()) as f64;
        let needed = largest as f64 * self.bert.config().forward_bytes_per_token(longest) as f64 * at_once;
        match self.device.is_cpu() && needed > MUCH {
            true => memory::check("encoding a batch", "--batch-tokens or --max-tokens", needed),
            false => Ok(()),
        }
    }

    /// Encodes one batch. Returns row-major `(texts, hidden)`.
    fn encode(&self, batch: &[&[u32]]) -> Result<Vec<f32>> {
        let packed = Packed::new(batch.iter().copied());
        let hidden = self.bert.forward(&packed, None)?; // (tokens, hidden)
        let mut rows = match (self.settings.pooling, &self.pooler) {
            (Pooling::Mean, _) => mean(&hidden, &packed)?,
            (Pooling::Pooler, Some(pooler)) => flat(&pooler.forward(&packed.pick_firsts(&hidden)?)?.tanh()?)?,
            _ => flat(&packed.pick_firsts(&hidden)?)?,
        };
        check_finite(&self.name, &rows)?;
        if self.settings.normalise {
            rows.chunks_exact_mut(self.dim()).for_each(scale_to_unit);
        }
        Ok(rows)
    }
}

impl Embed for BertEncoder {
    fn dim(&self) -> usize {
        self.bert.config().hidden_size
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let tokens: Vec<Tokens> = texts.par_iter().map(|text| self.tokens(text)).collect::<Result<_>>()?;
        let mut order: Vec<usize> = (0..texts.len()).filter(|&text| !tokens[text].is_empty()).collect();
        // Longest first: no core is left with the longest batch at the end.
        order.sort_by_key(|&text| std::cmp::Reverse(tokens[text].ids.len()));
        let batches = divide(&order, |text| tokens[text].ids.len(), self.batch_tokens);
        self.check_memory(&tokens, &batches)?;
        let encode = |batch: &&[usize]| {
            let ids: Vec<&[u32]> = batch.iter().map(|&text| tokens[text].ids.as_slice()).collect();
            self.encode(&ids)
        };
        let parts: Vec<Vec<f32>> = match self.device.is_cpu() {
            true => batches.par_iter().map(encode).collect::<Result<_>>()?,
            false => batches.iter().map(encode).collect::<Result<_>>()?,
        };
        let dim = self.dim();
        let mut vectors = vec![0.0; texts.len() * dim];
        for (batch, part) in batches.iter().zip(&parts) {
            for (&text, row) in batch.iter().zip(part.chunks_exact(dim)) {
                vectors[text * dim..][..dim].copy_from_slice(row);
            }
        }
        Ok(vectors)
    }
}

/// Loads the model that `config` names, to be trained further, with the settings that it, the model's folder or its preset give.
///
/// # Errors
/// As [`BertEncoder::load`].
pub fn load_model(config: &EncoderConfig) -> Result<(Pretrained, EncoderSettings)> {
    config.check("encoder")?;
    let preset = config.preset.and_then(hub_id);
    let name = config.model.as_deref().filter(|name| !name.is_empty()).or(preset).unwrap_or_default();
    let model = Pretrained::load(name, &device(config.device)?)?;
    let folder = hub::resolve(name, &pretrained::HUB_FILES)?;
    let settings = EncoderSettings::resolve(config, &folder, model.config.max_tokens())?;
    Ok((model, settings))
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Averages the rows of each sequence.
fn mean(hidden: &Tensor, packed: &Packed) -> Result<Vec<f32>> {
    let dim = hidden.dim(1)?;
    let numbers = flat(hidden)?;
    let mut rows = vec![0.0; packed.lengths().len() * dim];
    for (row, range) in rows.chunks_exact_mut(dim).zip(packed.ranges()) {
        let share = 1.0 / range.len().max(1) as f32;
        for token in numbers[range.start * dim..range.end * dim].chunks_exact(dim) {
            row.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
        }
        row.iter_mut().for_each(|sum| *sum *= share);
    }
    Ok(rows)
}

fn scale_to_unit(row: &mut [f32]) {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

/// Returns the device that a setting names.
///
/// # Errors
/// - [`Error::NotBuilt`] if it is a GPU and this build has no CUDA; [`Error::Tensor`] if there is none.
pub fn device(setting: config::Device) -> Result<Device> {
    match setting {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
        config::Device::Auto => Ok(Device::cuda_if_available(0)?),
        config::Device::Cuda if !cfg!(feature = "cuda") => Err(Error::NotBuilt { engine: "CUDA", feature: "cuda" }),
        config::Device::Cuda => Ok(Device::new_cuda(0)?),
    }
}
