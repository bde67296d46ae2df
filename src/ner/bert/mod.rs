//! Mentions by a BERT: documents come in, mentions with their probabilities leave.
//!
//! A folder holds one of two models, told apart by its `config.json`: a token classifier ([`Tagger`]; also of others, trained with
//! Hugging Face transformers), whose mentions lie apart, or a bi-encoder ([`Binder`]), whose mentions may nest. Both see long documents in
//! overlapping windows; each piece is decided where it has most context.

mod binder;
mod labels;
mod overlaps;
mod recognise;
mod tagger;
mod text;
mod windows;

use std::sync::Arc;

use serde_json::Value;

pub use self::{
    binder::{Binder, BinderConfig, EntityType, Scores, TYPE_ENCODER, span_place, spans},
    labels::{Found, Labels},
    overlaps::resolve,
    recognise::{Recogniser, classifier_drop},
    tagger::{Tagger, pack},
    text::{Passage, Text, Unit},
    windows::{Window, windows},
};
use super::{Ner, Recognised};
use crate::{
    config::NerConfig,
    data::{Document, Match, Mention},
    embed::bert::device,
    error::{Error, Result},
    nn::{pretrained::Pretrained, tokenizer::Tokenizer},
};

/// Key of `config.json` that holds a [`BinderConfig`].
pub const BINDER_KEY: &str = "binder";
/// What is told to give numbers that are not finite.
const RECOGNISER: &str = "the recogniser of mentions";
/// Longest window, in tokens with special ones, even if the model takes longer ones.
pub const MAX_TOKENS: usize = 512;

/// Finds mentions with a token classifier or a bi-encoder.
pub struct BertNer {
    tokenizer: Arc<Tokenizer>,
    recogniser: Recogniser,
    /// Whether mentions of each type are wanted.
    wanted: Vec<bool>,
    nested: bool,
    fingerprint: String,
}

impl BertNer {
    /// Loads a model's folder (or hub id). Of `config`, `types`, `nested` and `device` count.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if the folder holds no such model; [`Error::Setting`] if it knows none of the wanted types.
    pub fn load(folder: &str, config: &NerConfig) -> Result<Self> {
        let mut pretrained = Pretrained::load(folder, &device(config.device)?)?;
        let recogniser = Recogniser::of(&mut pretrained)?;
        let known = recogniser.types();
        if let Some(strange) = config.types.iter().find(|kind| !known.contains(&kind.as_str())) {
            let expected = format!("types of {folder}: {}", known.join(", "));
            return Err(Error::Setting { key: "ner.types".into(), expected, got: strange.clone() });
        }
        let is_wanted = |kind: &&str| config.types.is_empty() || config.types.iter().any(|wanted| wanted == kind);
        let wanted = known.iter().map(is_wanted).collect();
        let fingerprint = format!("bert-{}", pretrained.fingerprint()?);
        Ok(Self { tokenizer: pretrained.tokenizer, recogniser, wanted, nested: config.nested, fingerprint })
    }

    fn mentions(&self, document: &Document, text: &Text, mut found: Vec<Found>) -> Result<Vec<Mention>> {
        found.retain(|one| self.wanted.get(one.kind).copied().unwrap_or(false));
        let kept = overlaps::resolve(found, self.nested).into_iter();
        let mention = |one: Found| {
            let span = text.span(&document.text, &one.units)?;
            let text = span.slice(&document.text).to_owned();
            Ok(Mention { span, text, matched: Match::Exact, probability: one.probability })
        };
        kept.map(mention).collect()
    }
}

impl Ner for BertNer {
    fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        let found = self.recogniser.recognise(&self.tokenizer, &texts);
        let finish = |(document, outcome): (&Document, Result<(Text, Vec<Found>)>)| {
            let (text, found) = outcome?;
            self.mentions(document, &text, found).map(Recognised::from)
        };
        documents.iter().zip(found).map(finish).collect()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

/// Makes the error of a folder whose model cannot be used here.
fn unusable(pretrained: &Pretrained, reason: String) -> Error {
    let hint =
        "`noso train ner` makes such folders; a token classifier of transformers needs id2label with B-TYPE and I-TYPE"
            .into();
    Error::EncoderLoad { name: pretrained.name.clone(), reason, hint }
}

fn number(pretrained: &Pretrained, key: &str) -> Option<f32> {
    pretrained.extra.get(key).and_then(Value::as_f64).map(|number| number as f32)
}
