//! What a language model is taught: texts whose last part, the answer, it is to write.

use std::ops::Range;

use serde::Serialize;

use super::judge::Judge;
use crate::{
    error::Result,
    nn::{
        Masks, Packed,
        decoder::Decoder,
        divide,
        fit::{Evaluation, Loss, Task, fingerprint},
        ops,
    },
};

/// A text as token ids, and where its answer begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Example {
    /// Prompt and answer.
    pub ids: Vec<u32>,
    /// Place of the answer's first token, from 1.
    pub answer: usize,
    /// How much each token of the answer counts.
    pub weight: u8,
}

/// Writes the examples of an epoch, always as many.
pub type Renew<'a> = Box<dyn Fn(usize) -> Result<Vec<Example>> + Sync + 'a>;

/// Cross-entropy of the answers' tokens, all tokens of a step alike.
pub struct AnswerTask<'a> {
    decoder: Decoder,
    examples: Vec<Example>,
    held_out: Vec<Example>,
    renew: Option<Renew<'a>>,
    /// Of the first epoch's examples and those held out, and of what else makes the task this one.
    fingerprint: u64,
    /// What a token of the prompt counts beside one of the answer.
    prompt_weight: f64,
    batch_tokens: usize,
    judges: Vec<Judge<'a>>,
}

impl<'a> AnswerTask<'a> {
    /// Puts model and examples together; the model is measured on `held_out`, at most `batch_tokens` at a time.
    pub fn new(decoder: Decoder, examples: Vec<Example>, held_out: Vec<Example>, batch_tokens: usize) -> Self {
        let fingerprint = fingerprint((&examples, &held_out));
        Self {
            decoder,
            examples,
            held_out,
            renew: None,
            fingerprint,
            prompt_weight: 0.0,
            batch_tokens,
            judges: Vec::new(),
        }
    }

    /// Belongs to settings that its examples do not show: a run with other ones does not go on from its checkpoint.
    pub fn set_by(self, settings: &impl Serialize) -> Self {
        let settings = serde_json::to_string(settings).unwrap_or_default();
        Self { fingerprint: fingerprint((self.fingerprint, settings)), ..self }
    }

    /// Is measured by what the model says, not by the loss of held-out answers: by the mean of the judges' scores.
    pub fn judged(self, judges: impl IntoIterator<Item = Judge<'a>>) -> Self {
        Self { judges: judges.into_iter().collect(), ..self }
    }

    /// Has other examples in each epoch, and learns to write the prompts, too, whose tokens count `prompt_weight`.
    ///
    /// # Errors
    /// Those of `renew`.
    pub fn renewed(self, renew: Renew<'a>, prompt_weight: f64) -> Result<Self> {
        let examples = renew(0)?;
        let fingerprint = fingerprint((self.fingerprint, &examples, prompt_weight.to_bits()));
        Ok(Self { examples, renew: Some(renew), fingerprint, prompt_weight, ..self })
    }

    /// Sums the losses of answers' tokens, and of prompts' where they count. The vocabulary is scored where there is a token to write,
    /// nowhere else.
    fn answers(&self, decoder: &Decoder, examples: &[&Example], masks: Option<&mut Masks>) -> Result<Loss> {
        let batch = Packed::new(examples.iter().map(|example| example.ids.as_slice()));
        let vectors = decoder.forward(&batch, masks)?;
        // Places of a sequence whose tokens count alike, by what they count.
        let mut parts: Vec<(f64, Vec<u32>, Vec<Option<u32>>)> = Vec::new();
        let mut add = |weight: f64, start: usize, example: &Example, places: Range<usize>| {
            let at = parts.iter().position(|(other, ..)| *other == weight).unwrap_or_else(|| {
                parts.push((weight, Vec::new(), Vec::new()));
                parts.len() - 1
            });
            parts[at].1.extend(places.clone().map(|place| (start + place - 1) as u32)); // a vector tells the next token
            parts[at].2.extend(places.map(|place| Some(example.ids[place])));
        };
        for (range, example) in batch.ranges().zip(examples) {
            let answer = example.answer.max(1);
            add(example.weight.into(), range.start, example, answer..example.ids.len());
            if self.prompt_weight > 0.0 {
                add(self.prompt_weight, range.start, example, 1..answer);
            }
        }
        let mut all = Loss { sum: (vectors.sum_all()? * 0.0)?, weight: 0.0 };
        for (weight, rows, targets) in parts {
            let logits = decoder.logits(&ops::embed(&vectors, &rows)?)?; // (targets, vocabulary)
            let sum = (ops::cross_entropy(&logits, &targets, 0.0)? * weight)?;
            all = Loss { sum: (all.sum + sum)?, weight: all.weight + weight * targets.len() as f64 };
        }
        Ok(all)
    }
}

impl Task for AnswerTask<'_> {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        let answers: usize = self.examples.iter().map(|example| example.ids.len() - example.answer).sum();
        let all: usize = self.examples.iter().map(|example| example.ids.len()).sum();
        let scored = if self.prompt_weight > 0.0 { all } else { answers };
        // Logits and their gradient, for the tokens that are to be written.
        let vocabulary = self.decoder.config().vocab_size;
        self.decoder.bytes_per_token(recompute) + 8 * vocabulary * scored / all.max(1)
    }

    fn tokens(&self, example: usize) -> usize {
        self.examples[example].ids.len()
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn pools_batches(&self) -> bool {
        true
    }

    fn begin_epoch(&mut self, epoch: usize) -> Result<()> {
        if let Some(renew) = &self.renew {
            self.examples = renew(epoch)?;
        }
        Ok(())
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let some: Vec<&Example> = examples.iter().map(|&example| &self.examples[example]).collect();
        self.answers(&self.decoder, &some, masks)
    }

    /// The score is the judges', or the negative loss of the answers.
    fn evaluate(&self) -> Result<Option<Evaluation>> {
        use rayon::prelude::*;
        let decoder = self.decoder.detached();
        let answers = AnswerTask::new(decoder.clone(), Vec::new(), Vec::new(), self.batch_tokens);
        let mut order: Vec<usize> = (0..self.held_out.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.held_out[at].ids.len()));
        let batches = divide(&order, |at| self.held_out[at].ids.len(), self.batch_tokens);
        let one = |batch: &&[usize]| -> Result<(f64, f64)> {
            let some: Vec<&Example> = batch.iter().map(|&at| &self.held_out[at]).collect();
            let loss = answers.answers(&decoder, &some, None)?;
            Ok((f64::from(loss.sum.to_scalar::<f32>()?), loss.weight))
        };
        let sums: Vec<Result<(f64, f64)>> = batches.par_iter().map(one).collect();
        let (mut sum, mut weight) = (0.0, 0.0);
        for part in sums {
            let (more, of_weight) = part?;
            (sum, weight) = (sum + more, weight + of_weight);
        }
        let loss = sum / weight;
        let mut figures = if weight > 0.0 { vec![("loss", loss)] } else { Vec::new() };
        let scores = self.judges.iter().map(|judge| judge()).collect::<Result<Vec<_>>>()?;
        let score = match scores.len() {
            0 => -loss,
            judges => scores.iter().filter_map(|told| Some(told.first()?.1)).sum::<f64>() / judges as f64,
        };
        figures.extend(scores.concat());
        Ok((!figures.is_empty()).then_some(Evaluation { score, figures }))
    }
}
