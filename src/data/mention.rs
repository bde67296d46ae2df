//! A diagnosis found in a document.

use serde::{Deserialize, Serialize};

use super::Span;

/// A piece of a document that names a diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mention {
    /// Where it stands.
    pub span: Span,
    /// The words at that place.
    pub text: String,
    /// How the place was found.
    pub matched: Match,
    /// Probability that the span is right, in `[0, 1]`; 1 where the finder gives none.
    pub probability: f32,
}

/// How the quoted text was matched to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The quoted words stand in the document.
    Exact,
    /// The nearest words differ by this Levenshtein distance.
    Edited(u32),
}
