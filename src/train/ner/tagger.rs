//! What a token classifier is taught: passages and the label of each unit.

use super::dev::Dev;
use crate::{
    error::Result,
    ner::bert::{Passage, Recogniser, Tagger, pack},
    nn::{
        Masks,
        fit::{Evaluation, Loss, Task, fingerprint},
        ops,
    },
};

/// A passage and the labels of the units decided in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labelled {
    /// The passage.
    pub passage: Passage,
    /// One label a decided unit.
    pub labels: Vec<u32>,
}

/// Cross-entropy of the labels, averaged over units.
pub struct TaggerTask {
    tagger: Tagger,
    examples: Vec<Labelled>,
    dev: Dev,
}

impl TaggerTask {
    /// Puts model and examples together.
    pub fn new(tagger: Tagger, examples: Vec<Labelled>, dev: Dev) -> Self {
        Self { tagger, examples, dev }
    }
}

impl Task for TaggerTask {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn fingerprint(&self) -> u64 {
        fingerprint((&self.examples, self.dev.fingerprint()))
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        let longest = self.examples.iter().map(|one| one.passage.ids.len()).max().unwrap_or(0);
        self.tagger.bert().config().bytes_per_token(longest, recompute)
    }

    fn tokens(&self, example: usize) -> usize {
        self.examples[example].passage.ids.len()
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let some: Vec<&Labelled> = examples.iter().map(|&example| &self.examples[example]).collect();
        let passages: Vec<&Passage> = some.iter().map(|one| &one.passage).collect();
        let (batch, rows) = pack(&passages);
        let logits = self.tagger.forward(&batch, &rows, masks)?;
        let targets: Vec<Option<u32>> = some.iter().flat_map(|one| one.labels.iter().copied().map(Some)).collect();
        Ok(Loss { sum: ops::cross_entropy(&logits, &targets, 0.0)?, weight: targets.len() as f64 })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        self.dev.evaluate(&Recogniser::new(self.tagger.clone(), self.dev.max_tokens))
    }
}
