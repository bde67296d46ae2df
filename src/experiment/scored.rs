//! What a cell predicted, held against what is right: lines of `predictions.jsonl` come in, counts of each document and figures leave.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::gold::{Gold, GoldDocument, GoldEntity};
use crate::{
    corpus::Offsets,
    data::{DecidedBy, Span, Trace, TraceCounts},
    error::{Error, Result},
    eval::{
        bootstrap::Bootstrap,
        calibration::{Binning, area_under_risk_coverage, expected_calibration_error, risk_coverage},
        linking::{LinkingAccuracy, LinkingCounts},
        loss::{CodedMention, Losses},
        metrics::{Annotation, DocumentCounts, Matching, Metrics},
        report::Report,
    },
    icd::IcdCode,
};

/// File of the predictions in a cell's folder.
pub const PREDICTIONS: &str = "predictions.jsonl";
/// Bins of the expected calibration error.
const BINS: usize = 10;

/// What was predicted for a document, as `noso code --output-format jsonl --explain` writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Prediction {
    /// Document.
    pub id: String,
    /// Mentions in text order.
    pub mentions: Vec<PredictedMention>,
    /// What language models were asked.
    #[serde(default)]
    pub trace: Trace,
}

/// A mention with the code it was given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PredictedMention {
    /// First character, where a place is reported.
    pub start_char: Option<usize>,
    /// One past the last.
    pub end_char: Option<usize>,
    /// First byte.
    pub start_byte: Option<usize>,
    /// One past the last.
    pub end_byte: Option<usize>,
    /// Words.
    pub text: String,
    /// Code, or none.
    pub code: Option<IcdCode>,
    /// Its title.
    pub title: String,
    /// Probability that the code is right.
    pub confidence: f64,
    /// Which rule chose.
    pub decided_by: DecidedBy,
    /// What it was chosen from.
    #[serde(default)]
    pub candidates: Vec<PredictedCandidate>,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedCandidate {
    /// Code.
    pub code: IcdCode,
    /// Title.
    pub title: String,
    /// Score, comparable within one mention.
    pub score: f64,
}

impl PredictedMention {
    fn annotation(&self) -> Option<Annotation<'_>> {
        let (start, end) = (self.start_char? as i64, self.end_char? as i64);
        Some(Annotation { start, end, code: self.code.as_ref()?.as_str() })
    }

    fn coded(&self, text: &str) -> Option<CodedMention<'_>> {
        Some(CodedMention {
            span: Span::new(text, self.start_byte?, self.end_byte?).ok()?,
            code: self.code.as_ref(),
            candidates: self.candidates.iter().map(|candidate| &candidate.code).collect(),
        })
    }
}

impl Prediction {
    /// Returns what is scored: mentions with a place and a code.
    pub fn annotations(&self) -> Vec<Annotation<'_>> {
        self.mentions.iter().filter_map(PredictedMention::annotation).collect()
    }

    /// Returns the mention at the place of an entity.
    pub fn at(&self, entity: &GoldEntity) -> Option<&PredictedMention> {
        let place = (Some(entity.start_char), Some(entity.end_char));
        self.mentions.iter().find(|mention| (mention.start_char, mention.end_char) == place)
    }

    /// Returns the distinct codes, each with the highest confidence of those that have it.
    pub fn codes(&self) -> BTreeMap<&IcdCode, f64> {
        let mut codes: BTreeMap<&IcdCode, f64> = BTreeMap::new();
        for mention in &self.mentions {
            if let Some(code) = &mention.code {
                let sure = codes.entry(code).or_default();
                *sure = sure.max(mention.confidence);
            }
        }
        codes
    }
}

/// Reads the predictions of a cell, one after another.
///
/// # Errors
/// - [`Error::Read`] if the file cannot be opened; each item [`Error::Parse`] with the line.
pub fn predictions(cell: &Path) -> Result<impl Iterator<Item = Result<Prediction>>> {
    super::gold::lines(&cell.join(PREDICTIONS))
}

/// Everything counted of a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scored {
    /// Of each gold document, whole codes.
    pub strict: Vec<DocumentCounts>,
    /// Of each gold document, codes cut to three characters.
    pub relaxed: Vec<DocumentCounts>,
    /// Documents without a prediction: they count as if nothing was found in them.
    pub failed: usize,
    /// Mentions found.
    pub mentions: usize,
    /// Where codes got lost, of each gold document.
    pub losses: Vec<Losses>,
    /// Whether anything was wrong with the answers about each gold document.
    pub faulty: Vec<bool>,
    /// Confidence of each distinct predicted code of a document, and whether it is right.
    pub confidences: Vec<(f64, bool)>,
    /// Gold entities whose place was found, and at which rank their code stands among the candidates.
    pub linking: LinkingCounts,
    /// What language models were asked.
    pub asked: TraceCounts,
}

impl Scored {
    /// Holds predictions against gold; `unknown` are gold codes that neither catalogue nor index has.
    ///
    /// # Errors
    /// Those of `predictions`; [`Error::Setting`] for a prediction of a document that is none of the gold ones, or a second one.
    pub fn of(
        gold: &Gold,
        predictions: impl Iterator<Item = Result<Prediction>>,
        unknown: &BTreeSet<String>,
    ) -> Result<Self> {
        let places: HashMap<&str, usize> =
            gold.documents.iter().zip(0..).map(|(one, at)| (one.id.as_str(), at)).collect();
        let mut counts: Vec<Option<[DocumentCounts; 2]>> = vec![None; gold.documents.len()];
        let (losses, faulty) = (vec![Losses::default(); counts.len()], vec![false; counts.len()]);
        let mut scored = Self { losses, faulty, ..Self::default() };
        for prediction in predictions {
            let prediction = prediction?;
            let place = places.get(prediction.id.as_str()).copied().filter(|&at| counts[at].is_none());
            let at = place.ok_or_else(|| Error::Setting {
                key: "predictions".into(),
                expected: "one for each document of the same corpus".into(),
                got: format!("one for document {}, which is another or has one already", prediction.id),
            })?;
            let document = &gold.documents[at];
            counts[at] = Some(of_document(document, &prediction.annotations()));
            scored.faulty[at] = !prediction.trace.faults.is_empty();
            scored.losses[at] = losses_of(document, &prediction, unknown);
            scored.add(document, &prediction);
        }
        scored.failed = counts.iter().filter(|counts| counts.is_none()).count();
        let nothing =
            |(counts, document): (Option<_>, &GoldDocument)| counts.unwrap_or_else(|| of_document(document, &[]));
        let all = counts.into_iter().zip(&gold.documents).map(nothing);
        (scored.strict, scored.relaxed) = all.map(|[strict, relaxed]| (strict, relaxed)).unzip();
        Ok(scored)
    }

    fn add(&mut self, document: &GoldDocument, prediction: &Prediction) {
        self.mentions += prediction.mentions.len();
        self.asked.add(&prediction.trace);
        for entity in &document.gold {
            if let (Some(mention), Ok(code)) = (prediction.at(entity), entity.code.parse::<IcdCode>()) {
                let candidates: Vec<IcdCode> = mention.candidates.iter().map(|one| one.code.clone()).collect();
                self.linking.add(&code, &candidates);
            }
        }
        let right: BTreeSet<&str> = document.gold.iter().map(|entity| entity.code.as_str()).collect();
        let sure = prediction.codes().into_iter();
        self.confidences.extend(sure.map(|(code, confidence)| (confidence, right.contains(code.as_str()))));
    }

    /// Sums up where codes got lost; those of documents without a prediction are not among them.
    pub fn all_losses(&self) -> Losses {
        self.losses.iter().fold(Losses::default(), |sum, &of| sum + of)
    }

    /// Lays out the figures, with intervals of about so many resamples.
    pub fn figures(&self, resamples: usize) -> CellFigures {
        let resamples = Bootstrap::affordable(resamples, self.strict.len());
        let bootstrap = Bootstrap::new(resamples);
        let report = |counts: &[DocumentCounts], matching| {
            Report::new(&Metrics::of(counts), bootstrap.intervals(counts).as_ref(), matching)
        };
        CellFigures {
            documents: self.strict.len(),
            failed: self.failed,
            mentions: self.mentions,
            strict: report(&self.strict, Matching::Strict),
            relaxed: report(&self.relaxed, Matching::Relaxed),
            losses: self.all_losses(),
            linking: self.linking.summary(),
            expected_calibration_error: expected_calibration_error(&self.confidences, Binning::EqualWidth(BINS)),
            area_under_risk_coverage: area_under_risk_coverage(&risk_coverage(&self.confidences)),
            resamples,
            asked: self.asked.clone(),
        }
    }
}

/// Finds out what became of a document's gold codes.
fn losses_of(document: &GoldDocument, prediction: &Prediction, unknown: &BTreeSet<String>) -> Losses {
    let offsets = Offsets::new(&document.text);
    let entity = |entity: &GoldEntity| Some((entity.span(&offsets)?, entity.code.parse::<IcdCode>().ok()?));
    let entities: Vec<(Span, IcdCode)> = document.gold.iter().filter_map(entity).collect();
    let entities: Vec<(Span, &IcdCode)> = entities.iter().map(|(span, code)| (*span, code)).collect();
    let mentions: Vec<CodedMention<'_>> =
        prediction.mentions.iter().filter_map(|mention| mention.coded(&document.text)).collect();
    let mut losses = Losses::default();
    losses.add(&entities, &mentions, |code| !unknown.contains(code.as_str()));
    losses
}

fn of_document(document: &GoldDocument, predicted: &[Annotation<'_>]) -> [DocumentCounts; 2] {
    [Matching::Strict, Matching::Relaxed]
        .map(|matching| DocumentCounts::of(&document.annotations(), predicted, matching))
}

/// The figures of a cell, as in its `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellFigures {
    /// Gold documents.
    pub documents: usize,
    /// Of these, without a prediction.
    pub failed: usize,
    /// Mentions found.
    pub mentions: usize,
    /// Whole codes.
    pub strict: Report,
    /// Codes cut to three characters.
    pub relaxed: Report,
    /// Where codes got lost.
    pub losses: Losses,
    /// Of gold entities whose place was found exactly: whether their code is among the first candidates.
    pub linking: LinkingAccuracy,
    /// Of the distinct codes of a document, ten bins of equal width.
    pub expected_calibration_error: f64,
    /// Of the same.
    pub area_under_risk_coverage: f64,
    /// Of the intervals.
    pub resamples: usize,
    /// What language models were asked, and what was wrong with their answers.
    pub asked: TraceCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gold() -> Gold {
        let entity = |start_char, end_char, code: &str| GoldEntity { start_char, end_char, code: code.into() };
        let document =
            |id: &str, gold| GoldDocument { id: id.into(), text: "ИБС. Гастрит, ОРВИ".into(), gold };
        let documents = vec![
            document("1", vec![entity(0, 3, "I25.9"), entity(5, 12, "K29.7"), entity(14, 18, "J06.9")]),
            document("2", vec![entity(0, 3, "I25.9")]),
        ];
        Gold { documents, trained: None }
    }

    fn prediction(id: &str) -> Prediction {
        serde_json::from_str(&format!(
            r#"{{"id": "{id}", "codes": ["I25.9", "K29.5"], "mentions": [
            {{"start_char": 0, "end_char": 3, "start_byte": 0, "end_byte": 6, "text": "ИБС", "code": "I25.9", "title": "", "confidence": 0.9, "group_confidence": 1.0, "decided_by": "direct"}},
            {{"start_char": 5, "end_char": 12, "start_byte": 8, "end_byte": 22, "text": "Гастрит", "code": "K29.5", "title": "", "confidence": 0.4, "group_confidence": 1.0, "decided_by": "nearest",
              "candidates": [{{"code": "K29.5", "title": "", "score": 1.0, "support": []}}, {{"code": "K29.7", "title": "", "score": 0.5, "support": []}}]}}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn counts_losses_and_confidences_are_those_of_the_definitions() {
        let scored = Scored::of(&gold(), [Ok(prediction("1"))].into_iter(), &BTreeSet::new()).unwrap();
        // Document 1: I25.9 right, K29.5 wrong, K29.7 and J06.9 missed; document 2 has no prediction.
        let strict = Metrics::of(&scored.strict).counts.code_assignment;
        assert_eq!((strict.true_positives, strict.false_positives, strict.false_negatives), (1, 1, 3));
        let relaxed = Metrics::of(&scored.relaxed).counts.code_assignment;
        assert_eq!((relaxed.true_positives, relaxed.false_positives, relaxed.false_negatives), (2, 0, 2));
        assert_eq!((scored.failed, scored.mentions), (1, 2));
        assert_eq!(scored.confidences, [(0.9, true), (0.4, false)]);
        let losses = scored.all_losses();
        assert_eq!((losses.found, losses.reranking, losses.ner), (1, 1, 1));
        let figures = scored.figures(500);
        assert_eq!((figures.documents, figures.resamples), (2, 500));
        // |0.9 − 1| / 2 + |0.4 − 0| / 2
        assert!((figures.expected_calibration_error - 0.25).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn predictions_of_other_documents_are_refused() {
        for ids in [&["3"][..], &["1", "1"]] {
            let predictions = ids.iter().map(|id| Ok(prediction(id)));
            let told = Scored::of(&gold(), predictions, &BTreeSet::new()).unwrap_err().to_string();
            assert!(told.contains("document") && told.contains(ids[0]), "{told}");
        }
    }
}
