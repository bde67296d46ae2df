//! What Noso decided for a mention, and for a document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Candidate, Mention, Span, Trace};
use crate::icd::IcdCode;

/// The distinct codes of a document.
pub type CodeSet = BTreeSet<IcdCode>;

/// Which rule chose the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The code stands in the document beside the mention.
    Written,
    /// The weighted vote of the nearest rows.
    Nearest,
    /// An index entry has the mention's words.
    Direct,
    /// A language model chose among the candidates.
    Model,
    /// The first candidate, because the model's answer could not be used.
    First,
    /// The first candidate: nothing else was to be asked.
    FirstCandidate,
    /// The three-character group, surer than any of its codes.
    BackOff,
    /// No code: the confidence is below the limit, there was no candidate, or the model found none that fits.
    Abstained,
}

/// A mention and the code chosen for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Coding {
    /// The mention.
    pub mention: Mention,
    /// The place that is reported: the mention's, or, where a pipeline says so, that of the chosen entry's words in the
    /// document; `None` if these do not stand there.
    pub span: Option<Span>,
    /// The code, or `None` if Noso abstained.
    pub code: Option<IcdCode>,
    /// Calibrated probability that `code` is right given that the mention is, in `[0, 1]`.
    pub confidence: f32,
    /// Calibrated probability that the three-character group of the best candidate is right, in `[0, 1]`.
    pub group_confidence: f32,
    /// What the choice was made from, best first.
    pub candidates: Vec<Candidate>,
    /// Which rule chose.
    pub decided_by: DecidedBy,
}

/// What Noso decided for a document, and what language models were asked on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coded {
    /// Mentions with their codes, in text order.
    pub codings: Vec<Coding>,
    /// Questions, answers and what was wrong with them; empty for engines without a language model.
    pub trace: Trace,
}
