//! Watches a generation from inside the sampler: which tokens it took, and how probable the model found them.
//!
//! mistral.rs 0.8.1 reports log10, of raw logits under greedy decoding, and nothing at all for plain completions; so the
//! probabilities are read here, from the logits before any constraint.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use mistralrs::{CustomLogitsProcessor, Tensor};

use crate::llm::labels::log_softmax;

/// Tells when an engine last took a step.
#[derive(Debug)]
pub(super) struct Heartbeat {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Heartbeat {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now(), last_ms: AtomicU64::new(0) })
    }

    pub fn beat(&self) {
        self.last_ms.store(self.origin.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the seconds since the last step.
    pub fn silence_s(&self) -> f64 {
        self.origin.elapsed().as_secs_f64() - self.last_ms.load(Ordering::Relaxed) as f64 / 1e3
    }
}

/// The tokens of one generation.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Tokens with the natural logarithm of their probability.
    pub tokens: Vec<(u32, f32)>,
    step: usize,
    row: Vec<f32>,
    likeliest: u32,
}

impl Record {
    /// Notes the row of logits of a step. A step that a constraint had sampled anew comes twice, the second time masked: its
    /// likeliest token is then the one taken, but the probabilities are those of the first.
    fn note(&mut self, logits: Vec<f32>, step: usize, previous: Option<u32>) {
        let likeliest =
            logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token as u32);
        if self.row.is_empty() || step != self.step {
            self.close(previous);
            self.row = log_softmax(&logits);
            self.step = step;
        }
        self.likeliest = likeliest;
    }

    fn close(&mut self, taken: Option<u32>) {
        let row = std::mem::take(&mut self.row);
        if let Some(taken) = taken.filter(|_| !row.is_empty()) {
            self.tokens.push((taken, row.get(taken as usize).copied().unwrap_or(f32::NEG_INFINITY)));
        }
    }

    /// Closes the last step: its token is the likeliest one of a greedy generation; of a sampled one nothing tells it, so the
    /// likeliest stands for it.
    pub fn finish(&mut self, greedy: bool) {
        let likeliest = self.likeliest;
        self.close(Some(likeliest));
        if let Some((_, log)) = self.tokens.last_mut().filter(|_| !greedy) {
            *log = 0.0;
        }
    }
}

/// Makes the processor that fills `record` and beats `heart`; `prompt_tokens` says where the answer begins.
pub(super) fn recorder(
    record: Arc<Mutex<Record>>,
    heart: Arc<Heartbeat>,
    prompt_tokens: usize,
) -> Arc<dyn CustomLogitsProcessor> {
    Arc::new(move |logits: &Tensor, context: &[u32]| {
        heart.beat();
        let step = context.len().saturating_sub(prompt_tokens);
        let previous = context.last().copied().filter(|_| step > 0);
        if let Ok(mut record) = record.lock() {
            record.note(logits.to_vec1()?, step, previous);
        }
        Ok(logits.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_before_the_constraint_and_the_token_the_one_after() {
        let mut record = Record::default();
        record.note(vec![0.0, 2.0, 1.0], 0, None);
        record.note(vec![0.0, f32::NEG_INFINITY, 1.0], 0, None); // masked: token 2 is taken
        record.note(vec![3.0, 0.0, 0.0], 1, Some(2));
        record.finish(true);
        let tokens: Vec<u32> = record.tokens.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, [2, 0]);
        // e^1 / (e^0 + e^1 + e^2) = 0.2447
        assert!((record.tokens[0].1.exp() - 0.2447).abs() < 1e-4);
    }
}
