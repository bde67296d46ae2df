//! Concepts of the Unified Medical Language System, and the words for them.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// Concept unique identifier of UMLS, such as `C0020538`: a `C` and seven digits. Another thing than an ICD code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConceptId(u32);

impl FromStr for ConceptId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix('C').filter(|digits| digits.len() == 7);
        let number = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| Error::Concept { id: text.chars().take(32).collect() })
    }
}

impl fmt::Display for ConceptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C{:07}", self.0)
    }
}

/// A wording that a corpus or terminology gives a concept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConceptTerm {
    /// The words.
    pub text: String,
    /// What they mean.
    pub concept: ConceptId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_form_is_a_concept() {
        assert_eq!("C0020538".parse::<ConceptId>().unwrap().to_string(), "C0020538");
        for wrong in ["", "C", "C002053", "C00205381", "c0020538", "С0020538", "CUILESS", "C+020538", "I10"] {
            assert!(wrong.parse::<ConceptId>().is_err(), "{wrong}");
        }
    }
}
