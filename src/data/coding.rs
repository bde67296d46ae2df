//! What Noso decided for a mention, and for a document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Candidate, Mention};
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
    /// The three-character group, surer than any of its codes.
    BackOff,
    /// No code: the confidence is below the limit, or there was no candidate.
    Abstained,
}

/// A mention and the code chosen for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Coding {
    /// The mention.
    pub mention: Mention,
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
