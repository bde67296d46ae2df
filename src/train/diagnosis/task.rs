//! Prediction of diagnoses as a task of the training loop.

use candle_core::Tensor;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{DiagnosisSettings, Lesson};
use crate::{
    diagnosis::{
        Reader,
        decision::{Decision, Scored, Thresholds},
        labels::LabelSet,
        model::{DiagnosisModel, score},
        records::{Record, Records},
    },
    error::Result,
    eval::multilabel::{self, Judged, Multilabel},
    nn::{
        Masks, Packed, SequenceClassifier,
        fit::{Evaluation, Loss, Task, fingerprint},
        ops,
    },
};

/// Records whose codes are predicted, each code by itself: binary cross-entropy, averaged over records and codes.
pub(super) struct DiagnosisTask<'a> {
    classifier: SequenceClassifier,
    reader: Reader<'a>,
    records: &'a Records,
    labels: LabelSet,
    /// What speaks for a class counts so often.
    positives: Option<Vec<f32>>,
    /// Share of training records with each class, both label sets together.
    weights: Vec<f64>,
    validation: Vec<&'a Record>,
    thresholds: Thresholds,
    /// Records of the test that are measured at each evaluation.
    watched: Vec<&'a Record>,
    batch_tokens: usize,
}

impl<'a> DiagnosisTask<'a> {
    pub fn new(model: &'a DiagnosisModel, lesson: Lesson<'a>, settings: &DiagnosisSettings) -> Self {
        let Lesson { records, labels, watched } = lesson;
        let most = if settings.validation_records == 0 { usize::MAX } else { settings.validation_records };
        let validation = draw(&records.validation, most, settings.fit.seed);
        // The same for trainings by any seed, so that their courses can be averaged.
        let watched = draw(&records.test, watched, 0);
        Self {
            classifier: model.classifier().clone(),
            reader: model.reader(),
            records,
            labels,
            positives: settings.class_weights.of(&records.counts(labels), records.train.len()),
            weights: records.weights(),
            validation,
            thresholds: settings.thresholds,
            watched,
            batch_tokens: settings.fit.batch_tokens,
        }
    }

    /// Returns the share of training records with each class, both label sets together.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Scores the validation records.
    ///
    /// # Errors
    /// As [`score`].
    pub fn validation(&self) -> Result<Vec<Scored>> {
        let logits = self.score(&self.validation)?;
        let gold = self.validation.iter().map(|record| record.labels(self.labels).to_vec());
        Ok(logits.into_iter().zip(gold).map(|(logits, gold)| Scored { logits, gold }).collect())
    }

    /// Measures on records of the test as they would be coded now.
    fn tested(&self, decision: &Decision) -> Result<f64> {
        let logits = self.score(&self.watched)?;
        let gold = self.watched.iter().map(|record| record.labels(LabelSet::Manual).to_vec());
        let judged: Vec<Judged> =
            logits.into_iter().zip(gold).map(|(logits, gold)| decision.judge(&Scored { logits, gold })).collect();
        let counts = multilabel::per_class(&judged, self.weights.len());
        Ok(multilabel::weighted_f1(&counts, &self.weights))
    }

    fn score(&self, records: &[&Record]) -> Result<Vec<Vec<f32>>> {
        let tokens = |number: usize| self.records.tokens(records[number], &self.reader);
        let sequence = |number: usize| self.records.sequence(records[number], &self.reader);
        // Without a backward pass; small enough that both cores have work.
        score(&self.classifier, records.len(), tokens, sequence, self.batch_tokens / 4)
    }
}

/// Draws at most so many records.
fn draw(records: &[Record], most: usize, seed: u64) -> Vec<&Record> {
    let mut drawn: Vec<&Record> = records.iter().collect();
    if drawn.len() > most {
        drawn.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        drawn.truncate(most);
    }
    drawn
}

impl Task for DiagnosisTask<'_> {
    fn len(&self) -> usize {
        self.records.train.len()
    }

    fn tokens(&self, example: usize) -> usize {
        self.records.tokens(&self.records.train[example], &self.reader)
    }

    fn fingerprint(&self) -> u64 {
        let Reader { settings, max_tokens, .. } = self.reader;
        let said = (settings.conclusions, settings.codes, max_tokens, self.labels);
        fingerprint((self.records.fingerprint(), &self.validation, said, self.positives.is_some()))
    }

    fn bytes_per_token(&self, recompute: bool) -> usize {
        let longest = (0..self.len()).map(|example| self.tokens(example)).max().unwrap_or(0);
        self.classifier.bert().config().bytes_per_token(longest, recompute)
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let (classes, mut batch) = (self.weights.len(), Packed::default());
        let mut targets = vec![0.0f32; examples.len() * classes];
        for (row, &example) in targets.chunks_exact_mut(classes).zip(examples) {
            let record = &self.records.train[example];
            self.records.sequence(record, &self.reader)?.push_to(&mut batch, self.classifier.bert().config());
            record.labels(self.labels).iter().for_each(|&class| row[class as usize] = 1.0);
        }
        let logits = self.classifier.forward(&batch, masks)?;
        let targets = Tensor::from_vec(targets, (examples.len(), classes), logits.device())?;
        let sum = ops::binary_cross_entropy(&logits, &targets, self.positives.as_deref())?;
        Ok(Loss { sum, weight: (examples.len() * classes) as f64 })
    }

    /// The score is weighted F1 on the validation records, with calibrators and thresholds fitted to them.
    fn evaluate(&self) -> Result<Option<Evaluation>> {
        let scored = self.validation()?;
        if scored.is_empty() {
            return Ok(None);
        }
        let decision = Decision::fit(&scored, self.weights.len(), self.thresholds)?;
        let judged: Vec<Judged> = scored.iter().map(|record| decision.judge(record)).collect();
        let reached = Multilabel::of(&judged, &self.weights);
        let mut figures = vec![
            ("weighted F1", reached.weighted_f1),
            ("micro F1", reached.micro_f1),
            ("mean average precision", reached.mean_average_precision),
        ];
        if !self.watched.is_empty() {
            figures.push((MANUAL_F1, self.tested(&decision)?));
        }
        Ok(Some(Evaluation { score: reached.weighted_f1, figures }))
    }
}

/// Name of the figure of the records of the test.
pub const MANUAL_F1: &str = "weighted F1, manual";
