//! A code that may be right for a mention, and the index rows that speak for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::icd::IcdCode;

/// Where an index row's text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Title of a catalogue entry.
    Title,
    /// Further wording of a catalogue entry.
    Synonym,
    /// Mention coded by an annotator.
    Mention {
        /// Number of the annotator, from 0.
        annotator: u8,
    },
    /// Term of another corpus or terminology, whose concept was mapped to the code.
    Vocabulary,
}

/// A nearest index row of a candidate's code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Support {
    /// Cosine of row and mention, in `[-1, 1]`.
    pub similarity: f32,
    /// Where the row's text came from.
    pub origin: Origin,
    /// How many identical rows stand behind this one.
    pub count: u32,
    /// Whether row and mention are the same text after normalisation.
    pub exact: bool,
}

/// A code that retrieval proposes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The code.
    pub code: IcdCode,
    /// Its title in the catalogue; empty if the catalogue lacks the code.
    #[serde(with = "shared")]
    pub title: Arc<str>,
    /// The words it is shown by when a language model chooses: those of its nearest row where the index keeps them and the
    /// pipeline says so, else the title.
    #[serde(with = "shared")]
    pub text: Arc<str>,
    /// Score of the stage that ranked it last: higher is better, comparable within one mention only.
    pub score: f32,
    /// Rows that speak for the code, nearest first.
    pub support: Vec<Support>,
}

/// Writes words that are shared as what they are.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(words: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(words)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}
