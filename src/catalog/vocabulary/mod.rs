//! Vocabulary from elsewhere: words for UMLS concepts and a way from concepts to ICD codes come in, words for codes leave.
//!
//! Two ways lead from a concept to codes: the ICD atoms of UMLS that share the concept ([`Umls`], licensed to each user by the
//! National Library of Medicine), and equal names ([`ConceptMap::by_name`]), weaker, for those who have no UMLS.

mod umls;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use umls::{RowReport, Umls};

use crate::{
    data::{ConceptId, ConceptTerm},
    icd::IcdCode,
    text,
};

/// The ICD codes of concepts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConceptMap {
    codes: BTreeMap<ConceptId, BTreeSet<IcdCode>>,
}

impl ConceptMap {
    /// Maps the concepts of `terms` by names: a concept gets the code that most of its wordings have among `wordings`
    /// (titles, synonyms, coded mentions), compared without regard to case, punctuation and the order of words.
    ///
    /// Of codes that equally many wordings have, the first in the order of codes counts.
    pub fn by_name<'a>(terms: &[ConceptTerm], wordings: impl IntoIterator<Item = (&'a str, &'a IcdCode)>) -> Self {
        let mut known: HashMap<String, BTreeMap<&IcdCode, usize>> = HashMap::new();
        for (wording, code) in wordings {
            *known.entry(bag_of_words(wording)).or_default().entry(code).or_default() += 1;
        }
        known.remove("");
        let mut votes: BTreeMap<ConceptId, BTreeMap<&IcdCode, f64>> = BTreeMap::new();
        for term in terms {
            let Some(codes) = known.get(&bag_of_words(&term.text)) else { continue };
            let total: usize = codes.values().sum();
            for (code, count) in codes {
                *votes.entry(term.concept).or_default().entry(code).or_default() += *count as f64 / total as f64;
            }
        }
        let chosen = |(concept, codes): (ConceptId, BTreeMap<&IcdCode, f64>)| {
            let most = codes.values().copied().fold(0.0, f64::max);
            let (code, _) = codes.into_iter().find(|(_, votes)| *votes >= most)?;
            Some((concept, BTreeSet::from([code.clone()])))
        };
        Self { codes: votes.into_iter().filter_map(chosen).collect() }
    }

    /// Returns the codes of a concept, in order; none where it is unknown.
    pub fn codes(&self, concept: ConceptId) -> impl Iterator<Item = &IcdCode> {
        self.codes.get(&concept).into_iter().flatten()
    }

    /// Returns the number of concepts that have a code.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Tells whether no concept has a code.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Says of how many of the terms' distinct concepts, and of how many terms, the code is known.
    pub fn coverage(&self, terms: &[ConceptTerm]) -> Coverage {
        let concepts: BTreeSet<ConceptId> = terms.iter().map(|term| term.concept).collect();
        Coverage {
            terms: terms.len(),
            mapped_terms: terms.iter().filter(|term| self.codes.contains_key(&term.concept)).count(),
            concepts: concepts.len(),
            mapped_concepts: concepts.iter().filter(|concept| self.codes.contains_key(concept)).count(),
        }
    }

    fn add(&mut self, concept: ConceptId, code: IcdCode) {
        self.codes.entry(concept).or_default().insert(code);
    }
}

/// How much of a vocabulary a map reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Terms, repeated ones included.
    pub terms: usize,
    /// Terms whose concept has a code.
    pub mapped_terms: usize,
    /// Distinct concepts.
    pub concepts: usize,
    /// Distinct concepts that have a code.
    pub mapped_concepts: usize,
}

/// Sorts the words of the normal form: UMLS writes `ринит острый`, a doctor `острый ринит`.
fn bag_of_words(text: &str) -> String {
    let normal = text::normalise(text);
    let mut words: Vec<&str> = normal.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_map_a_concept_to_the_code_most_of_them_have() {
        let code = |text: &str| text.parse::<IcdCode>().unwrap();
        let term = |text: &str, id: &str| ConceptTerm { text: text.into(), concept: id.parse().unwrap() };
        let terms = [
            term("Ринит острый", "C0000001"),
            term("насморк", "C0000001"),
            term("ОРЗ", "C0000001"),
            term("сердце", "C0000002"),
            term("…", "C0000003"),
        ];
        let (j00, j06, empty) = (code("J00"), code("J06.9"), code("Z00"));
        let wordings = [("острый ринит", &j00), ("Насморк", &j00), ("насморк", &j06), ("орз", &j06), ("", &empty)];
        let map = ConceptMap::by_name(&terms, wordings);
        // J00: 1 + 1/2, J06.9: 1/2 + 1: the first of the two in order.
        assert_eq!(map.codes(terms[0].concept).collect::<Vec<_>>(), [&j00]);
        let coverage = Coverage { terms: 5, mapped_terms: 3, concepts: 3, mapped_concepts: 1 };
        assert_eq!((map.len(), map.coverage(&terms)), (1, coverage));
    }
}
