//! Named-entity recognition: documents come in, the mentions in each leave.

pub mod crf;

use crate::{
    data::{Document, Mention},
    error::Result,
};

/// Finds the pieces of a document that name diagnoses.
pub trait Ner: Send + Sync {
    /// Returns each document's mentions in text order, without overlaps.
    ///
    /// # Errors
    /// Those of the engine; a text without any diagnosis is no error.
    fn recognise(&self, documents: &[Document]) -> Result<Vec<Vec<Mention>>>;

    /// Returns a name that changes whenever the answers could: engine and hash of the model.
    fn fingerprint(&self) -> String;
}
