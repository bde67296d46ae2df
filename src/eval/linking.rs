//! Linking of gold mentions: the right code and the ranked candidates of each come in, accuracy at rank 1, 5 and 15 leaves.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{metrics::Matching, report};
use crate::icd::IcdCode;

/// Ranks at which linking is reported.
pub const RANKS: [usize; 3] = [1, 5, 15];

/// Shares of mentions that have a right code among the first candidates, in `[0, 1]`; 0 without mentions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct AtRank {
    /// The first.
    #[serde(rename = "acc@1")]
    pub at_1: f64,
    /// The first five.
    #[serde(rename = "acc@5")]
    pub at_5: f64,
    /// The first fifteen.
    #[serde(rename = "acc@15")]
    pub at_15: f64,
}

/// How well candidates are ranked for mentions whose place is given.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LinkingAccuracy {
    /// The whole code is right.
    pub strict: AtRank,
    /// The first three characters are right.
    pub relaxed: AtRank,
    /// How many mentions.
    pub mentions: usize,
}

/// Returns the rank, from 1, of the first candidate that is right. Ranks count distinct codes, relaxed too.
pub fn rank(gold: &IcdCode, candidates: &[IcdCode], matching: Matching) -> Option<usize> {
    let wanted = matching.key(gold.as_str());
    let mut seen = HashSet::with_capacity(candidates.len());
    for candidate in candidates {
        seen.insert(candidate);
        if matching.key(candidate.as_str()) == wanted {
            return Some(seen.len());
        }
    }
    None
}

/// Measures linking over mentions: each item is a gold code and its candidates, best first.
///
/// # Source
/// RuCCoD, entity linking: acc@k is the share of mentions with a right code at rank k or better.
pub fn linking_accuracy<'a>(mentions: impl IntoIterator<Item = (&'a IcdCode, &'a [IcdCode])>) -> LinkingAccuracy {
    let mut total = 0;
    let mut hits = [[0usize; RANKS.len()]; 2];
    for (gold, candidates) in mentions {
        total += 1;
        for (hits, matching) in hits.iter_mut().zip([Matching::Strict, Matching::Relaxed]) {
            let rank = rank(gold, candidates, matching);
            for (hits, limit) in hits.iter_mut().zip(RANKS) {
                *hits += usize::from(rank.is_some_and(|rank| rank <= limit));
            }
        }
    }
    let share = |hits: usize| if total == 0 { 0.0 } else { hits as f64 / total as f64 };
    let at = |[one, five, fifteen]: [usize; 3]| AtRank { at_1: share(one), at_5: share(five), at_15: share(fifteen) };
    LinkingAccuracy { strict: at(hits[0]), relaxed: at(hits[1]), mentions: total }
}

impl fmt::Display for LinkingAccuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("linking of {} gold mentions", self.mentions);
        let row = |name: &str, at: AtRank| {
            let figures = [at.at_1, at.at_5, at.at_15].map(|share| format!("{share:.4}"));
            [name.to_owned()].into_iter().chain(figures).collect()
        };
        let rows = vec![row("strict", self.strict), row("relaxed", self.relaxed)];
        write!(f, "{}", report::table(&[&head, "acc@1", "acc@5", "acc@15"], rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<IcdCode> {
        text.split_whitespace().map(|code| code.parse().unwrap()).collect()
    }

    #[test]
    fn accuracy_by_hand() {
        let gold = codes("K29.5 I10 J06.9 E11.9");
        let candidates = [
            codes("K29.5 K29.6"),                     // strict 1, relaxed 1
            codes("I11.9 I20.0 I15 I25.1 I67.9 I10"), // strict 6, relaxed 6
            codes("J00 J00 J06.8 J06.9"),             // J00 twice is one code: strict 3, relaxed 2
            codes("E10.9"),                           // never
        ];
        let seen = linking_accuracy(gold.iter().zip(candidates.iter().map(Vec::as_slice)));
        // Strict: rank 1 in 1 of 4, up to 5 in 2 of 4, up to 15 in 3 of 4; relaxed the same here.
        let at = AtRank { at_1: 0.25, at_5: 0.5, at_15: 0.75 };
        assert_eq!(seen, LinkingAccuracy { strict: at, relaxed: at, mentions: 4 });
        assert_eq!(rank(&gold[2], &candidates[2], Matching::Strict), Some(3));
        assert_eq!(rank(&gold[2], &candidates[2], Matching::Relaxed), Some(2));
        assert_eq!(linking_accuracy([]), LinkingAccuracy::default());
    }
}
