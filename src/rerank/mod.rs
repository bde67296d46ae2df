//! Re-ranking: a mention with its candidates comes in, the chosen code with its confidence leaves.

pub mod nearest;

use crate::{
    data::{Candidate, Coding, Document, Mention},
    error::Result,
};

/// Chooses a code for each mention of a document.
pub trait Rerank: Send + Sync {
    /// Decides all mentions of one document together; `candidates[i]` belong to `mentions[i]`, best first.
    ///
    /// Each coding keeps its candidates in the new order. A mention without candidates gets no code.
    ///
    /// # Errors
    /// Those of the engine.
    fn rerank(
        &self,
        document: &Document,
        mentions: Vec<Mention>,
        candidates: Vec<Vec<Candidate>>,
    ) -> Result<Vec<Coding>>;
}
