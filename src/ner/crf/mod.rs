//! Mentions by a conditional random field: documents come in, mentions with their probabilities leave.
//!
//! A linear-chain CRF over hashed features gives each span of tokens a probability; boosted trees judge the probable
//! spans again, by what training texts tell of their words; of the spans that overlap, those are chosen whose expected
//! F1 is the highest. Long texts are labelled window by window, in linear time and bounded memory.

mod features;
mod lattice;
mod model;
mod spans;
mod statistics;
mod table;
mod tokens;
mod trees;

use std::{ops::Range, path::Path};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
pub use self::lattice::best_labels;
pub use self::{
    features::{BOUNDARY, Features},
    lattice::{BEGIN, INSIDE, LABELS, OUTSIDE, Scores, SpanProbability, choose},
    model::{KIND, Model, Weights},
    spans::{COLUMNS, Judged},
    statistics::{Labelled, Statistics},
    tokens::{Token, tokenise, windows},
    trees::{Node, Trees, answer},
};
use super::{Ner, Recognised};
use crate::{
    data::{Document, Match, Mention, Span},
    error::{Error, Result},
};

/// Finds mentions with a model of `noso train crf`.
#[derive(Debug)]
pub struct CrfNer {
    model: Model,
    fingerprint: String,
}

impl CrfNer {
    /// Reads a model file.
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be read; those of [`from_bytes`](Self::from_bytes).
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// Returns the model that ships with Noso.
    ///
    /// # Errors
    /// None as released; a test reads it.
    pub fn shipped() -> Result<Self> {
        Self::from_bytes("(shipped)", include_bytes!("../../../models/default/ner.bin"))
    }

    /// Opens the bytes of a model file. `name` is what messages call the file.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the bytes are no CRF model, damaged, or of another version.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let fingerprint = format!("crf-{:016x}", xxh3_64(bytes));
        Ok(Self { model: Model::from_bytes(name, bytes)?, fingerprint })
    }

    fn mentions(&self, text: &str) -> Result<Vec<Mention>> {
        let parts: Result<Vec<_>> =
            windows(text).into_par_iter().map(|range| self.mentions_in_window(text, range)).collect();
        Ok(parts?.into_iter().flatten().collect())
    }

    fn mentions_in_window(&self, text: &str, range: Range<usize>) -> Result<Vec<Mention>> {
        let tokens = tokenise(&text[range.clone()], range.start);
        let spans = self.model.judge(&tokens);
        let mention = |at: usize| {
            let SpanProbability { first, last, probability } = spans[at];
            let span = Span::new(text, tokens[first].start_byte, tokens[last].end_byte)?;
            let text = span.slice(text).to_owned();
            Ok(Mention { span, text, matched: Match::Exact, probability: probability as f32 })
        };
        choose(&spans, tokens.len(), f64::from(self.model.threshold)).into_iter().map(mention).collect()
    }
}

impl Ner for CrfNer {
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        documents.par_iter().map(|document| self.mentions(&document.text).map(Recognised::from)).collect()
    }
}
