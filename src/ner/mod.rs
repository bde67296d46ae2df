//! Named-entity recognition: documents come in, the mentions in each leave.

pub mod align;
#[cfg(feature = "neural")]
pub mod bert;
pub mod crf;
pub mod llm;

use crate::{
    data::{Document, Mention, Trace},
    error::Result,
};

/// Finds the pieces of a document that name diagnoses.
pub trait Ner: Send + Sync {
    /// Finds each document's mentions. A document that fails does not stop the others.
    fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>>;

    /// Returns a name that changes whenever the answers could: engine and hash of the model.
    fn fingerprint(&self) -> String;
}

/// What was found in one document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recognised {
    /// Mentions in text order; they overlap only where the engine says so. None in a text without a diagnosis.
    pub mentions: Vec<Mention>,
    /// What a language model was asked for them.
    pub trace: Trace,
}

impl From<Vec<Mention>> for Recognised {
    fn from(mentions: Vec<Mention>) -> Self {
        Self { mentions, trace: Trace::default() }
    }
}
