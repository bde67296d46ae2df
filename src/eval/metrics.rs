//! The paper's metrics: gold and predicted annotation of each document come in, counts and figures leave.
//!
//! A document is three sets: spans, (span, code) pairs, codes. Counts are summed over documents (micro average).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// When two codes count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// The whole code.
    #[default]
    Strict,
    /// The first three characters. Codes are cut before the sets are made, so `K29.5` and `K29.6` are one code.
    Relaxed,
}

impl Matching {
    /// Returns the part of `code` that is compared.
    pub fn key(self, code: &str) -> &str {
        match self {
            Self::Strict => code,
            Self::Relaxed => code.char_indices().nth(3).map_or(code, |(end, _)| &code[..end]),
        }
    }
}

/// A marked place and its code, exactly as written: nothing is checked or repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// Where it starts, in the unit that gold and prediction share (characters in brat).
    pub start: i64,
    /// Where it ends.
    pub end: i64,
    /// Its code; any string.
    pub code: &'a str,
}

/// True positives, false positives and false negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// In both.
    #[serde(rename = "tp")]
    pub true_positives: usize,
    /// Predicted only.
    #[serde(rename = "fp")]
    pub false_positives: usize,
    /// Gold only.
    #[serde(rename = "fn")]
    pub false_negatives: usize,
}

impl Counts {
    /// Compares two sets.
    pub fn of<T: Ord>(gold: &BTreeSet<T>, predicted: &BTreeSet<T>) -> Self {
        let both = gold.intersection(predicted).count();
        Self { true_positives: both, false_positives: predicted.len() - both, false_negatives: gold.len() - both }
    }

    /// Returns precision, recall, F1 and accuracy, each in `[0, 1]`, 0 where nothing is there to divide by.
    ///
    /// # Source
    /// RuCCoD, section on metrics; accuracy is TP / (TP + FP + FN). F1 is taken from the rounded precision and recall,
    /// as in the authors' script, which keeps the last digit equal to theirs.
    pub fn score(self) -> Score<f64> {
        let found = self.true_positives as f64;
        let precision = ratio(found, (self.true_positives + self.false_positives) as f64);
        let recall = ratio(found, (self.true_positives + self.false_negatives) as f64);
        let all = (self.true_positives + self.false_positives + self.false_negatives) as f64;
        Score {
            precision,
            recall,
            f1: ratio(2.0 * precision * recall, precision + recall),
            accuracy: ratio(found, all),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
    }
}

/// Returns `part / whole`, 0 where there is nothing to divide by.
pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// The counts of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DocumentCounts {
    /// Over spans. The same strict and relaxed.
    pub ner: Counts,
    /// Over (span, code) pairs.
    pub ner_linking: Counts,
    /// Over codes.
    pub code_assignment: Counts,
}

impl DocumentCounts {
    /// Compares the annotation of one document.
    pub fn of(gold: &[Annotation<'_>], predicted: &[Annotation<'_>], matching: Matching) -> Self {
        let spans = |side: &[Annotation<'_>]| side.iter().map(|a| (a.start, a.end)).collect::<BTreeSet<_>>();
        Self {
            ner: Counts::of(&spans(gold), &spans(predicted)),
            ner_linking: Counts::of(&pairs(gold, matching), &pairs(predicted, matching)),
            code_assignment: Counts::of(&codes(gold, matching), &codes(predicted, matching)),
        }
    }
}

fn pairs<'a>(side: &[Annotation<'a>], matching: Matching) -> BTreeSet<(i64, i64, &'a str)> {
    side.iter().map(|a| (a.start, a.end, matching.key(a.code))).collect()
}

fn codes<'a>(side: &[Annotation<'a>], matching: Matching) -> BTreeSet<&'a str> {
    side.iter().map(|a| matching.key(a.code)).collect()
}

/// Gold and predicted documents, matched by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// One entry a gold document, in order of ids.
    pub documents: Vec<DocumentCounts>,
    /// Gold documents without a prediction: compared with an empty one.
    pub only_gold: Vec<&'a str>,
    /// Predicted documents without gold: not scored, as in the authors' script.
    pub only_predicted: Vec<&'a str>,
}

/// Compares every gold document with the prediction of the same id.
pub fn compare<'a>(
    gold: &'a BTreeMap<String, Vec<Annotation<'a>>>,
    predicted: &'a BTreeMap<String, Vec<Annotation<'a>>>,
    matching: Matching,
) -> Comparison<'a> {
    let one = |(id, gold): (&String, &Vec<_>)| {
        DocumentCounts::of(gold, predicted.get(id).map_or(&[][..], Vec::as_slice), matching)
    };
    Comparison {
        documents: gold.iter().map(one).collect(),
        only_gold: gold.keys().filter(|id| !predicted.contains_key(*id)).map(String::as_str).collect(),
        only_predicted: predicted.keys().filter(|id| !gold.contains_key(*id)).map(String::as_str).collect(),
    }
}

/// Counts summed over documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// How many gold documents.
    pub documents: usize,
    /// Sums of the documents' counts.
    pub counts: DocumentCounts,
    /// Documents in which every gold span was predicted. One without gold spans counts.
    pub all_spans_found: usize,
    /// Documents in which every gold code was predicted. One without gold codes counts.
    pub all_codes_found: usize,
}

impl Metrics {
    /// Sums over documents.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a DocumentCounts>) -> Self {
        let mut sum = Self::default();
        for document in documents {
            sum.documents += 1;
            sum.counts.ner.add(document.ner);
            sum.counts.ner_linking.add(document.ner_linking);
            sum.counts.code_assignment.add(document.code_assignment);
            sum.all_spans_found += usize::from(document.ner.false_negatives == 0);
            sum.all_codes_found += usize::from(document.code_assignment.false_negatives == 0);
        }
        sum
    }

    /// Returns every figure of the report.
    pub fn figures(&self) -> Figures<f64> {
        let share = |part: usize| ratio(part as f64, self.documents as f64);
        Figures {
            ner: self.counts.ner.score(),
            ner_linking: self.counts.ner_linking.score(),
            code_assignment: self.counts.code_assignment.score(),
            document_recall: DocumentRecall {
                ner: share(self.all_spans_found),
                code_assignment: share(self.all_codes_found),
            },
        }
    }
}

/// The figures of one task, or something known of each of them, such as an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score<T> {
    /// Share of the predicted that is gold.
    pub precision: T,
    /// Share of the gold that is predicted.
    pub recall: T,
    /// Harmonic mean of both.
    pub f1: T,
    /// Share of gold and predicted together that is in both.
    pub accuracy: T,
}

/// Share of documents whose gold set is contained in the predicted one; extra predictions cost nothing here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DocumentRecall<T> {
    /// Over spans.
    pub ner: T,
    /// Over codes.
    pub code_assignment: T,
}

/// Every figure of a report, or something known of each of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures<T> {
    /// Spans.
    pub ner: Score<T>,
    /// (span, code) pairs.
    pub ner_linking: Score<T>,
    /// Codes of a document.
    pub code_assignment: Score<T>,
    /// Complete documents.
    pub document_recall: DocumentRecall<T>,
}

impl<T: Copy> Figures<T> {
    /// Returns the figures in order of the fields.
    pub fn values(&self) -> [T; 14] {
        let [a, b, c] = [self.ner, self.ner_linking, self.code_assignment]
            .map(|score| [score.precision, score.recall, score.f1, score.accuracy]);
        let recall = self.document_recall;
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], recall.ner, recall.code_assignment]
    }

    /// Lays out what [`values`](Self::values) returned.
    pub fn from_values(values: [T; 14]) -> Self {
        let score = |at: usize| Score {
            precision: values[at],
            recall: values[at + 1],
            f1: values[at + 2],
            accuracy: values[at + 3],
        };
        Self {
            ner: score(0),
            ner_linking: score(4),
            code_assignment: score(8),
            document_recall: DocumentRecall { ner: values[12], code_assignment: values[13] },
        }
    }
}
