//! Training of the CRF recogniser: annotated documents come in, a model file's bytes leave.
//!
//! The trees that judge spans are grown on texts that neither the CRF nor the statistics behind their numbers have
//! seen: documents fall into folds, each judged by a CRF and statistics of the others. What is written at last is fitted
//! on all. The same documents in the same order give the same bytes.

mod boost;
mod fit;

use std::collections::BTreeSet;

use rayon::prelude::*;

pub use self::boost::{BoostSettings, boost};
use self::fit::fit;
use crate::{
    data::{AnnotatedDocument, Span},
    error::{Error, Result},
    ner::crf::{Judged, Labelled, Model, Statistics, Token, Weights, tokenise, windows},
};

/// How to train. The defaults made the shipped model.
#[derive(Debug, Clone, PartialEq)]
pub struct CrfSettings {
    /// L1 strength of the CRF, `0` or more.
    pub l1: f64,
    /// L2 strength of the CRF, `0` or more.
    pub l2: f64,
    /// Most L-BFGS iterations, at least 1.
    pub iterations: usize,
    /// Folds for the trees, at least 2.
    pub folds: usize,
    /// Trees.
    pub boost: BoostSettings,
    /// A span is a mention if it is more probable than this and no better one overlaps, `0..1`.
    pub threshold: f32,
}

impl Default for CrfSettings {
    fn default() -> Self {
        Self { l1: 0.0, l2: 4.0, iterations: 80, folds: 5, boost: BoostSettings::default(), threshold: 0.31 }
    }
}

/// A window of a training document.
#[derive(Debug)]
pub(crate) struct Text {
    tokens: Vec<Token>,
    /// Outermost coded entities as first and last token, blanks and punctuation at their ends cut off.
    mentions: Vec<(usize, usize)>,
    /// Places of all coded entities, as annotated.
    gold: BTreeSet<(usize, usize)>,
    /// Number of the document.
    document: usize,
}

/// Trains a model and returns the bytes of its file.
///
/// Entities without a code are no mentions: nothing downstream could use them.
///
/// # Errors
/// - [`Error::Training`] if there are fewer documents than folds, no mention, or the optimiser fails.
/// - [`Error::Setting`] if a setting is out of its range.
pub fn train(documents: &[AnnotatedDocument], settings: &CrfSettings) -> Result<Vec<u8>> {
    check(settings)?;
    let texts: Vec<Text> = documents.iter().enumerate().flat_map(|(number, one)| prepare(number, one)).collect();
    if documents.len() < settings.folds || texts.iter().all(|text| text.mentions.is_empty()) {
        let reason = format!("{} documents, none or too few with coded entities", documents.len());
        return Err(Error::Training { what: "the CRF", reason });
    }
    let judged: Vec<Result<Rows>> = (0..settings.folds).into_par_iter().map(|f| fold(f, &texts, settings)).collect();
    let (mut rows, mut answers) = (Vec::new(), Vec::new());
    for fold in judged {
        let fold = fold?;
        rows.extend(fold.rows);
        answers.extend(fold.answers);
    }
    let all: Vec<&Text> = texts.iter().collect();
    let (weights, statistics) = know(&all, settings)?;
    Model { weights, statistics, trees: boost(&rows, &answers, &settings.boost), threshold: settings.threshold }
        .to_bytes()
}

fn check(settings: &CrfSettings) -> Result<()> {
    let wrong = |key: &str, expected: &str, got: String| {
        Err(Error::Setting { key: key.into(), expected: expected.into(), got })
    };
    if settings.folds < 2 {
        return wrong("folds", "a whole number from 2", settings.folds.to_string());
    }
    if !(2..=1000).contains(&settings.boost.leaves) {
        return wrong("boost.leaves", "a whole number from 2 to 1000", settings.boost.leaves.to_string());
    }
    if !(0.0..1.0).contains(&settings.threshold) {
        return wrong("threshold", "a number from 0 up to 1", settings.threshold.to_string());
    }
    Ok(())
}

/// Numbers of the spans proposed in the texts of a fold, and whether each is a coded entity.
struct Rows {
    rows: Vec<Vec<f32>>,
    answers: Vec<bool>,
}

fn fold(fold: usize, texts: &[Text], settings: &CrfSettings) -> Result<Rows> {
    let (held_out, others): (Vec<&Text>, Vec<&Text>) =
        texts.iter().partition(|text| text.document % settings.folds == fold);
    let (weights, statistics) = know(&others, settings)?;
    let mut made = Rows { rows: Vec::new(), answers: Vec::new() };
    for text in held_out {
        let spans = weights.propose(&text.tokens);
        let judged = Judged::new(&text.tokens, &spans, &statistics);
        for (at, span) in spans.iter().enumerate() {
            let mut row = Vec::new();
            judged.row(at, &mut row);
            made.rows.push(row);
            let place = (text.tokens[span.first].start_byte, text.tokens[span.last].end_byte);
            made.answers.push(text.gold.contains(&place));
        }
    }
    Ok(made)
}

fn know(texts: &[&Text], settings: &CrfSettings) -> Result<(Weights, Statistics)> {
    let fitted = fit(texts, settings)?;
    let labelled = texts.iter().map(|text| Labelled { tokens: &text.tokens, mentions: &text.mentions });
    Ok((Weights::round(&fitted.features, fitted.transitions), Statistics::count(labelled)))
}

/// Cuts a document into windows and its entities to tokens.
fn prepare(number: usize, annotated: &AnnotatedDocument) -> Vec<Text> {
    let text = &annotated.document.text;
    let coded = AnnotatedDocument {
        document: annotated.document.clone(),
        entities: annotated.entities.iter().filter(|entity| entity.code.is_some()).cloned().collect(),
    };
    let gold: BTreeSet<(usize, usize)> =
        coded.entities.iter().map(|entity| (entity.span.start_byte(), entity.span.end_byte())).collect();
    let places: Vec<(usize, usize)> = coded.outermost().iter().filter_map(|entity| trim(text, entity.span)).collect();
    let mut texts = Vec::new();
    for range in windows(text) {
        let tokens = tokenise(&text[range.clone()], range.start);
        if !tokens.is_empty() {
            let mentions = to_tokens(&tokens, &places);
            texts.push(Text { tokens, mentions, gold: gold.clone(), document: number });
        }
    }
    texts
}

/// Cuts off what annotators took along by chance: blanks and punctuation at both ends.
fn trim(text: &str, span: Span) -> Option<(usize, usize)> {
    let inner = span.slice(text);
    let inner = inner.trim_end_matches(|c: char| c.is_whitespace() || ".,;:?!".contains(c));
    let start = span.start_byte();
    let end = start + inner.len();
    let inner = inner.trim_start_matches(|c: char| c.is_whitespace() || ".,;:?!)".contains(c));
    (!inner.is_empty()).then_some((end - inner.len(), end))
}

/// Returns first and last token of each place, widened to whole tokens; a place that meets an earlier one is left out.
fn to_tokens(tokens: &[Token], places: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut mentions: Vec<(usize, usize)> = Vec::new();
    for &(start, end) in places {
        let first = tokens.partition_point(|token| token.end_byte <= start);
        let after = tokens.partition_point(|token| token.start_byte < end);
        if first < after && mentions.last().is_none_or(|&(_, last)| last < first) {
            mentions.push((first, after - 1));
        }
    }
    mentions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_whole_tokens_without_punctuation_at_the_ends() {
        let text = "Острый отит. Гастрит,обострение";
        let place = |part: &str| {
            let start = text.find(part).unwrap();
            Span::new(text, start, start + part.len()).unwrap()
        };
        let trimmed: Vec<_> = [" отит. ", "астрит,"].into_iter().filter_map(|part| trim(text, place(part))).collect();
        assert_eq!(trimmed.iter().map(|&(a, b)| &text[a..b]).collect::<Vec<_>>(), ["отит", "астрит"]);
        assert_eq!(to_tokens(&tokenise(text, 0), &trimmed), [(1, 1), (3, 3)]);
        assert_eq!(trim(text, place(". ")), None);
    }
}
