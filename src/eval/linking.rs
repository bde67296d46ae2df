//! Linking of gold mentions: the right code and the ranked candidates of each come in, accuracy at rank 1, 5 and 15 leaves.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{
    bootstrap::{Bootstrap, Interval},
    metrics::Matching,
    report,
};
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
    let mut counts = LinkingCounts::default();
    mentions.into_iter().for_each(|(gold, candidates)| counts.add(gold, candidates));
    counts.summary()
}

/// Mentions of one document, and how many of them are right up to each rank: strict at 1, 5 and 15, then relaxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkingCounts {
    mentions: usize,
    hits: [usize; 2 * RANKS.len()],
}

impl LinkingCounts {
    /// Counts a mention: its code, and its candidates, best first.
    pub fn add(&mut self, gold: &IcdCode, candidates: &[IcdCode]) {
        self.mentions += 1;
        for (hits, matching) in self.hits.chunks_mut(RANKS.len()).zip([Matching::Strict, Matching::Relaxed]) {
            let rank = rank(gold, candidates, matching);
            for (hits, limit) in hits.iter_mut().zip(RANKS) {
                *hits += usize::from(rank.is_some_and(|rank| rank <= limit));
            }
        }
    }

    /// Returns the shares of mentions that are right up to each rank.
    pub fn summary(&self) -> LinkingAccuracy {
        let [at_1, at_5, at_15, relaxed_1, relaxed_5, relaxed_15] = Self::shares([self]);
        LinkingAccuracy {
            strict: AtRank { at_1, at_5, at_15 },
            relaxed: AtRank { at_1: relaxed_1, at_5: relaxed_5, at_15: relaxed_15 },
            mentions: self.mentions,
        }
    }

    /// Returns the number of mentions.
    pub fn mentions(&self) -> usize {
        self.mentions
    }

    fn shares<'a>(documents: impl IntoIterator<Item = &'a Self>) -> [f64; 2 * RANKS.len()] {
        let mut sum = Self::default();
        for document in documents {
            sum.mentions += document.mentions;
            sum.hits.iter_mut().zip(document.hits).for_each(|(sum, hits)| *sum += hits);
        }
        sum.hits.map(|hits| if sum.mentions == 0 { 0.0 } else { hits as f64 / sum.mentions as f64 })
    }

    /// Returns acc@1, @5 and @15, strict, then relaxed, each with its 95 % interval where documents are drawn anew.
    pub fn accuracy(documents: &[Self], bootstrap: Bootstrap) -> [(f64, Option<Interval>); 2 * RANKS.len()] {
        let shares = Self::shares(documents);
        let of_draw = |draw: &[usize]| Self::shares(draw.iter().map(|&n| &documents[n]));
        let intervals = bootstrap.percentiles(documents.len(), of_draw);
        std::array::from_fn(|figure| (shares[figure], intervals.map(|intervals| intervals[figure])))
    }
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
    fn counts_of_documents_give_the_same_shares_and_an_interval() {
        let mut documents = [LinkingCounts::default(); 4];
        for (n, document) in documents.iter_mut().enumerate() {
            document.add(&codes("K29.5")[0], &codes(if n == 0 { "K29.5" } else { "K29.6 I10" }));
        }
        let [(at_1, interval), _, _, (relaxed, certain), ..] = LinkingCounts::accuracy(&documents, Bootstrap::new(500));
        let (interval, certain) = (interval.unwrap(), certain.unwrap());
        // One of four; a draw of four holds the first document never to three times in 95 of 100 cases.
        assert_eq!((at_1, relaxed, certain.lower), (0.25, 1.0, 1.0));
        assert!(interval.lower == 0.0 && (0.5..=0.75).contains(&interval.upper), "{interval:?}");
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
