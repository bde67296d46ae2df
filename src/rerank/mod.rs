//! Re-ranking: a mention with its candidates comes in, the chosen code with its confidence leaves.

pub mod first;
pub mod llm;
pub mod nearest;

use crate::{
    data::{Candidate, Coded, Document, Mention},
    error::Result,
};

/// Chooses a code for each mention of a document.
pub trait Rerank: Send + Sync {
    /// Decides all mentions of each document together. A document that fails does not stop the others.
    ///
    /// Each coding keeps its candidates in the new order. A mention without candidates gets no code.
    fn rerank(&self, linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>>;

    /// Returns a name that changes whenever the answers could: engine and hash of the model.
    fn fingerprint(&self) -> String;
}

impl<T: Rerank> Rerank for std::sync::Arc<T> {
    fn rerank(&self, linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>> {
        (**self).rerank(linkings)
    }

    fn fingerprint(&self) -> String {
        (**self).fingerprint()
    }
}

/// The mentions of one document with what retrieval found for them.
#[derive(Debug, Clone)]
pub struct Linking<'a> {
    /// The document.
    pub document: &'a Document,
    /// Its mentions, in text order.
    pub mentions: Vec<Mention>,
    /// `candidates[i]` belong to `mentions[i]`, best first.
    pub candidates: Vec<Vec<Candidate>>,
}
