//! The masked language model as a task of the training loop.

use candle_core::Tensor;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    EncoderSettings, MaskSettings,
    masking::{Ids, hide},
    windows::Window,
};
use crate::{
    error::{Error, Result},
    nn::{
        Init, Masks, Packed,
        bert::{Bert, Family, Linear, Norm},
        fit::{Evaluation, Loss, Task, fingerprint},
        ops,
        pretrained::Pretrained,
    },
};

/// Windows whose hidden tokens the model guesses, from the last layer through a transform onto the table of token embeddings.
///
/// # Source
/// The heads of `BertForMaskedLM` and `RobertaForMaskedLM`, which `LongformerForMaskedLM` shares, in Hugging Face transformers: names and
/// shapes as there.
pub(super) struct MaskedLm {
    bert: Bert,
    transform: Linear,
    norm: Norm,
    bias: Tensor,
    examples: Vec<Window>,
    held_out: Vec<Window>,
    mask: MaskSettings,
    ids: Ids,
    seed: u64,
    epoch: u64,
    batch_tokens: usize,
}

/// Stands for an epoch in the seeds of evaluation: held-out texts have the same tokens hidden every time.
const EVALUATION: u64 = u64::MAX;

impl MaskedLm {
    /// Takes the head's weights from the model, or draws them.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the tokenizer has no mask token, or a weight another shape.
    pub fn new(
        model: &mut Pretrained,
        examples: Vec<Window>,
        held_out: Vec<Window>,
        settings: &EncoderSettings,
    ) -> Result<Self> {
        let specials = model.tokenizer.specials();
        let mask = specials.mask.ok_or_else(|| Error::Artifact {
            what: "tokenizer",
            name: model.name.clone(),
            reason: "it has no [MASK] token".into(),
        })?;
        let ids = Ids::of(mask, specials, model.tokenizer.size() as u32);
        let (hidden, vocabulary) = (model.config.hidden_size, model.config.vocab_size);
        let (deviation, epsilon) = (model.config.initializer_range, model.config.layer_norm_eps);
        let parameters = &mut model.parameters;
        let [transform, norm, bias] = head_names(model.config.family);
        Ok(Self {
            bert: model.bert.clone(),
            transform: Linear::new(parameters, transform, hidden, hidden, deviation)?,
            norm: Norm::new(parameters, norm, hidden, epsilon)?,
            bias: parameters.get(bias, &[vocabulary], Init::Constant(0.0))?,
            examples,
            held_out,
            mask: settings.mask,
            ids,
            seed: settings.fit.seed,
            epoch: 0,
            batch_tokens: settings.fit.batch_tokens,
        })
    }

    /// Hides tokens of some windows, and scores the vocabulary in each hidden place. Returns `(hidden places, vocabulary)` and the tokens
    /// that are right.
    fn guess(
        &self,
        windows: &[(u64, &Window)],
        epoch: u64,
        masks: Option<&mut Masks>,
    ) -> Result<(Tensor, Vec<Option<u32>>)> {
        let mut batch = Packed::default();
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for &(number, window) in windows {
            let seed = xxh3_64([self.seed, epoch, number].map(u64::to_le_bytes).as_flattened());
            let (seen, places) = hide(window, self.mask, self.ids, seed);
            let start = batch.ids().len() as u32;
            rows.extend(places.iter().map(|place| start + place));
            targets.extend(places.iter().map(|&place| Some(window.ids[place as usize])));
            batch.push(&seen);
        }
        let hidden = ops::embed(&self.bert.forward(&batch, masks)?, &rows)?; // (hidden places, hidden)
        let transformed = ops::activate(&self.transform.forward(&hidden)?, self.bert.config().hidden_act)?;
        let logits = ops::linear(&self.norm.forward(&transformed, None)?, self.bert.words(), Some(&self.bias))?;
        Ok((logits, targets))
    }
}

/// Returns the names of the head's transform, normalisation and bias.
fn head_names(family: Family) -> [&'static str; 3] {
    match family {
        Family::Bert => {
            ["cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"]
        }
        Family::Roberta | Family::XlmRoberta | Family::Longformer => {
            ["lm_head.dense", "lm_head.layer_norm", "lm_head.bias"]
        }
    }
}

impl Task for MaskedLm {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn tokens(&self, example: usize) -> usize {
        self.examples[example].ids.len()
    }

    fn fingerprint(&self) -> u64 {
        let MaskSettings { share, whole_words } = self.mask;
        fingerprint((&self.examples, &self.held_out, share.to_bits(), whole_words))
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        let config = self.bert.config();
        let longest = self.examples.iter().map(|window| window.ids.len()).max().unwrap_or(0);
        // Logits, their gradient and a copy, for the share of tokens that are hidden.
        let head = 12.0 * config.vocab_size as f64 * self.mask.share;
        config.bytes_per_token(longest, recompute) + head as usize
    }

    fn begin_epoch(&mut self, epoch: usize) -> Result<()> {
        self.epoch = epoch as u64;
        Ok(())
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let windows: Vec<(u64, &Window)> = examples.iter().map(|&e| (e as u64, &self.examples[e])).collect();
        let (logits, targets) = self.guess(&windows, self.epoch, masks)?;
        Ok(Loss { sum: ops::cross_entropy(&logits, &targets, 0.0)?, weight: targets.len() as f64 })
    }

    /// The score is the negative loss; figures are the loss's perplexity and the share of hidden tokens guessed right.
    fn evaluate(&self) -> Result<Option<Evaluation>> {
        let windows: Vec<(u64, &Window)> = (0..).zip(&self.held_out).collect();
        let longest = self.held_out.iter().map(|window| window.ids.len()).max().unwrap_or(1);
        let parts: Vec<_> = windows.chunks((self.batch_tokens / 4 / longest.max(1)).max(1)).collect();
        let one = |windows: &&[(u64, &Window)]| -> Result<(f64, usize, usize)> {
            let (logits, targets) = self.guess(windows, EVALUATION, None)?;
            let sum = f64::from(ops::cross_entropy(&logits, &targets, 0.0)?.to_scalar::<f32>()?);
            let best = logits.detach().argmax(1)?.to_vec1::<u32>()?;
            let right = best.iter().zip(&targets).filter(|(best, target)| Some(**best) == **target).count();
            Ok((sum, right, targets.len()))
        };
        let sums: Vec<Result<(f64, usize, usize)>> = parts.par_iter().map(one).collect();
        let (mut sum, mut right, mut count) = (0.0, 0, 0);
        for part in sums {
            let part = part?;
            (sum, right, count) = (sum + part.0, right + part.1, count + part.2);
        }
        if count == 0 {
            return Ok(None);
        }
        let loss = sum / count as f64;
        let figures = vec![("perplexity", loss.exp()), ("accuracy", right as f64 / count as f64)];
        Ok(Some(Evaluation { score: -loss, figures }))
    }
}
