//! What a bi-encoder is taught: passages and the mentions of each.

use std::ops::Range;

use serde::Serialize;

use super::{
    contrast::{Contrasted, contrast},
    dev::Dev,
};
use crate::{
    error::Result,
    ner::bert::{Binder, Passage, Recogniser, span_place, spans},
    nn::{
        Masks,
        fit::{Evaluation, Loss, Task, fingerprint},
    },
};

/// A passage and its mentions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marked {
    /// The passage.
    pub passage: Passage,
    /// Mentions: units, counted from the first seen one, and type. A mention cut off by the window's end is none.
    pub mentions: Vec<(Range<usize>, usize)>,
}

/// How much each part of the loss counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BinderWeights {
    /// Where mentions start.
    pub start: f64,
    /// Where mentions end.
    pub end: f64,
    /// Which spans are mentions.
    pub span: f64,
    /// Share of the threshold in each of them, `0..=1`.
    pub threshold: f64,
}

impl Default for BinderWeights {
    fn default() -> Self {
        Self { start: 0.2, end: 0.2, span: 0.6, threshold: 0.5 }
    }
}

/// Contrastive losses of starts, ends and spans, averaged over passages and types.
pub struct BinderTask {
    binder: Binder,
    weights: BinderWeights,
    examples: Vec<Marked>,
    dev: Dev,
}

impl BinderTask {
    /// Puts model and examples together.
    pub fn new(binder: Binder, weights: BinderWeights, examples: Vec<Marked>, dev: Dev) -> Self {
        Self { binder, weights, examples, dev }
    }
}

impl Task for BinderTask {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn fingerprint(&self) -> u64 {
        let BinderWeights { start, end, span, threshold } = self.weights;
        let descriptions = self.binder.config().types.iter().map(|kind| &kind.description).collect::<Vec<_>>();
        fingerprint((
            &self.examples,
            self.dev.fingerprint(),
            [start, end, span, threshold].map(f64::to_bits),
            descriptions,
        ))
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        let longest = self.examples.iter().map(|one| one.passage.ids.len()).max().unwrap_or(0);
        let config = self.binder.config();
        // Each token starts up to `max_width` spans; a span's vector, its parts and their gradients are kept.
        let spans = 4 * 8 * config.max_width * config.size;
        self.binder.text().config().bytes_per_token(longest, recompute) + spans
    }

    fn tokens(&self, example: usize) -> usize {
        self.examples[example].passage.ids.len()
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let some: Vec<&Marked> = examples.iter().map(|&example| &self.examples[example]).collect();
        let passages: Vec<&Passage> = some.iter().map(|one| &one.passage).collect();
        let scores = self.binder.forward(&passages, masks)?;
        let most = self.binder.config().max_width;
        let rows = |of: &dyn Fn(&Marked) -> Contrasted| some.iter().map(|&one| of(one)).collect::<Vec<_>>();
        let BinderWeights { start, end, span, threshold } = self.weights;
        let start = (contrast(&scores.start, &rows(&|one| one.places(|units| units.start)), threshold)? * start)?;
        let end = (contrast(&scores.end, &rows(&|one| one.places(|units| units.end - 1)), threshold)? * end)?;
        let span = (contrast(&scores.span, &rows(&|one| one.spans(most)), threshold)? * span)?;
        let weight = (examples.len() * self.binder.config().types.len()) as f64;
        Ok(Loss { sum: ((start + end)? + span)?, weight })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        self.dev.evaluate(&Recogniser::new(self.binder.clone(), self.dev.max_tokens))
    }
}

impl Marked {
    /// Rows of units: the threshold, then each seen unit. Mentions that share a start (or end) count once.
    fn places(&self, place: impl Fn(&Range<usize>) -> usize) -> Contrasted {
        let mut right: Vec<_> = self.mentions.iter().map(|(units, kind)| (1 + place(units), *kind)).collect();
        right.sort_unstable();
        right.dedup();
        Contrasted { rows: 1 + self.passage.tokens.len(), right }
    }

    /// Rows of spans: the threshold, then each in order. Mentions wider than the model's spans are none.
    fn spans(&self, max_width: usize) -> Contrasted {
        let count = self.passage.tokens.len();
        let place = |units: &Range<usize>| span_place(count, max_width, units.start, units.end - 1);
        let right = self.mentions.iter().filter_map(|(units, kind)| Some((1 + place(units)?, *kind))).collect();
        Contrasted { rows: 1 + spans(count, max_width).count(), right }
    }
}
