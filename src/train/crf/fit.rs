//! Labelled texts come in, the weights of a linear-chain CRF leave. The `crfs` crate does the fitting.

use crfs::{Attribute, Model, train::Trainer};

use super::{CrfSettings, Text};
use crate::{
    error::{Error, Result},
    ner::crf::{BEGIN, BOUNDARY, Features, INSIDE, LABELS, OUTSIDE, Scores},
};

/// Texts that are fitted as one sequence, each between two boundary tokens: `crfs` passes over all weights once a
/// sequence, which makes many short ones slow.
const TEXTS_IN_SEQUENCE: usize = 100;

/// Bytes in the header of a CRFsuite model file, in the head of its feature chunk, and of one feature.
const HEADER_BYTES: usize = 48;
const CHUNK_HEAD_BYTES: usize = 12;
const FEATURE_BYTES: usize = 20;

/// Exact weights of a fitted CRF.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Key and weights of each feature, keys rising.
    pub features: Vec<(u32, Scores)>,
    /// `transitions[from][to]`.
    pub transitions: [Scores; LABELS.len()],
}

fn training(reason: impl std::fmt::Display) -> Error {
    Error::Training { what: "the CRF", reason: reason.to_string() }
}

/// Fits a CRF. The same texts in the same order give the same weights.
pub(super) fn fit(texts: &[&Text], settings: &CrfSettings) -> Result<Fitted> {
    let folder = tempfile::tempdir().map_err(|e| Error::write(std::env::temp_dir(), e))?;
    let path = folder.path().join("model.crfsuite");
    write_model(texts, settings, &path)?;
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    read_weights(&bytes)
}

fn write_model(texts: &[&Text], settings: &CrfSettings, path: &std::path::Path) -> Result<()> {
    let mut trainer = Trainer::lbfgs();
    let parameters = trainer.params_mut();
    parameters.set_c1(settings.l1).map_err(training)?;
    parameters.set_c2(settings.l2).map_err(training)?;
    parameters.set_max_iterations(settings.iterations).map_err(training)?;
    for part in texts.chunks(TEXTS_IN_SEQUENCE) {
        let (items, labels) = sequence(part);
        trainer.append(&items, &labels).map_err(training)?;
    }
    trainer.train(path).map_err(training)
}

/// Chains texts into one sequence, with a boundary before, between and after them.
fn sequence(texts: &[&Text]) -> (Vec<Vec<Attribute>>, Vec<&'static str>) {
    let mut items = vec![vec![attribute(BOUNDARY)]];
    let mut labels = vec![LABELS[OUTSIDE]];
    for text in texts {
        let features = Features::new(&text.tokens);
        for index in 0..text.tokens.len() {
            let mut item = Vec::new();
            features.visit(index, &mut |key| item.push(attribute(key)));
            items.push(item);
        }
        labels.extend(text_labels(text).into_iter().map(|label| LABELS[label]));
        items.push(vec![attribute(BOUNDARY)]);
        labels.push(LABELS[OUTSIDE]);
    }
    (items, labels)
}

fn attribute(key: u32) -> Attribute {
    Attribute::new(format!("{key:08x}"), 1.0)
}

fn text_labels(text: &Text) -> Vec<usize> {
    let mut labels = vec![OUTSIDE; text.tokens.len()];
    for &(first, last) in &text.mentions {
        labels[first..=last].fill(INSIDE);
        labels[first] = BEGIN;
    }
    labels
}

/// Reads the weights out of a CRFsuite model file: labels and attributes by the crate, features from their chunk, where
/// they stand with full precision.
fn read_weights(bytes: &[u8]) -> Result<Fitted> {
    let model = Model::new(bytes).map_err(training)?;
    let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let number = |at: usize| word(at).map(u32::from_le_bytes).ok_or_else(|| training("the model is cut"));
    if bytes.len() < HEADER_BYTES {
        return Err(training("the model is cut"));
    }
    let (count, start) = (number(16)? as usize, number(28)? as usize + CHUNK_HEAD_BYTES);
    let label = |id: u32| {
        let name = model.to_label(id).unwrap_or_default();
        LABELS.iter().position(|&label| label == name).ok_or_else(|| training("a label is unknown"))
    };
    let mut weights = std::collections::BTreeMap::<u32, Scores>::new();
    let mut transitions = [[0.0; LABELS.len()]; LABELS.len()];
    for at in (0..count).map(|feature| start + feature * FEATURE_BYTES) {
        let (kind, source, target) = (number(at)?, number(at + 4)?, label(number(at + 8)?)?);
        let weight = f64::from_bits(u64::from(number(at + 16)?) << 32 | u64::from(number(at + 12)?));
        if kind == 0 {
            let name = model.to_attr(source).unwrap_or_default();
            let key = u32::from_str_radix(name, 16).map_err(training)?;
            weights.entry(key).or_default()[target] = weight;
        } else {
            transitions[label(source)?][target] = weight;
        }
    }
    Ok(Fitted { features: weights.into_iter().collect(), transitions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ner::crf::{best_labels, tokenise};

    fn text(words: &str, mentions: &[(usize, usize)]) -> Text {
        Text { tokens: tokenise(words, 0), mentions: mentions.to_vec(), gold: Default::default(), document: 0 }
    }

    #[test]
    fn own_decoder_labels_as_the_tagger_of_crfs_does() {
        let texts = [
            text("Острый отит. Хронический тонзиллит, ремиссия", &[(0, 1), (3, 4)]),
            text("ИБС, стенокардия напряжения 2 ФК.", &[(0, 0), (2, 3)]),
            text("Осмотр. Здоров", &[]),
            text("Хронический гастрит. Острый бронхит?", &[(0, 1), (3, 4)]),
        ];
        let texts: Vec<&Text> = texts.iter().collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        write_model(&texts, &CrfSettings { l2: 0.1, ..CrfSettings::default() }, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let model = Model::new(&bytes).unwrap();
        let tagger = model.tagger().unwrap();
        let fitted = read_weights(&bytes).unwrap();
        let unseen = text("Острый гастрит 2 ст. ИБС. Хронический отит, тонзиллит напряжения\nОсмотр, стенокардия", &[]);
        for some in [&texts[..], &[&unseen]] {
            let (items, _) = sequence(some);
            let nodes: Vec<Scores> = items.iter().map(|item| node(item, &fitted)).collect();
            let own: Vec<&str> =
                best_labels(&nodes, &fitted.transitions).into_iter().map(|label| LABELS[label]).collect();
            assert_eq!(own, tagger.tag(&items).unwrap());
            assert!(own.contains(&"B") && own.contains(&"I"));
        }
    }

    fn node(item: &[Attribute], fitted: &Fitted) -> Scores {
        let mut scores = [0.0; 3];
        for attribute in item {
            let key = u32::from_str_radix(&attribute.name, 16).unwrap();
            if let Ok(at) = fitted.features.binary_search_by_key(&key, |entry| entry.0) {
                for (score, weight) in scores.iter_mut().zip(fitted.features[at].1) {
                    *score += weight;
                }
            }
        }
        scores
    }
}
