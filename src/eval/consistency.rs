//! How consistently mentions are coded: words and codes come in, contradictions and what they leave to reach go out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::{Matching, ratio};
use crate::icd::IcdCode;

/// How consistently the mentions of a corpus are coded. Of two figures the first is of whole codes, the second of groups (three characters).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Consistency {
    /// Coded mentions.
    pub mentions: usize,
    /// Different words of theirs.
    pub texts: usize,
    /// Mentions whose words occur again.
    pub repeated: usize,
    /// Words that have several codes.
    pub contradictory: [usize; 2],
    /// Of the repeated mentions, the mean share of the others with the same words that have the same code.
    pub agreement: [f64; 2],
    /// Share of the repeated mentions that are coded as most of the *others* with the same words are; of codes that are equally many, in
    /// proportion. What a system that knows words alone could reach on such mentions lies between this, for which a mention's own code is
    /// unknown, and `majority`, for which it is known.
    pub majority_of_others: [f64; 2],
    /// Share of the repeated mentions that are coded as most with the same words are, the mention itself included.
    pub majority: [f64; 2],
    /// Words with several codes, those first where most mentions have another code than the most frequent one.
    #[serde(skip)]
    pub contradictions: Vec<Contradiction>,
}

/// Words with several codes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contradiction {
    /// The words, normalised.
    pub text: String,
    /// Codes with the number of mentions, most first.
    pub codes: Vec<(IcdCode, usize)>,
}

impl Consistency {
    /// Compares mentions of the same words; a mention is its words, normalised, and its code.
    pub fn of<'a>(mentions: impl IntoIterator<Item = (String, &'a IcdCode)>) -> Self {
        let mut by_text: BTreeMap<String, BTreeMap<&IcdCode, usize>> = BTreeMap::new();
        for (text, code) in mentions {
            *by_text.entry(text).or_default().entry(code).or_default() += 1;
        }
        let whole: Vec<Vec<usize>> = by_text.values().map(|codes| counts(codes, Matching::Strict)).collect();
        let groups: Vec<Vec<usize>> = by_text.values().map(|codes| counts(codes, Matching::Relaxed)).collect();
        let of_both = |of: fn(&[Vec<usize>]) -> f64| [of(&whole), of(&groups)];
        let repeated = whole.iter().map(|counts| counts.iter().sum()).filter(|&count: &usize| count > 1).sum();
        let contradictory = [&whole, &groups].map(|all| all.iter().filter(|counts| counts.len() > 1).count());
        Self {
            mentions: whole.iter().flatten().sum(),
            texts: by_text.len(),
            repeated,
            contradictory,
            agreement: of_both(agreement),
            majority_of_others: of_both(majority_of_others),
            majority: of_both(|texts| {
                over_repeated(texts, |counts, _| counts.iter().max().copied().unwrap_or_default() as f64)
            }),
            contradictions: contradictions(by_text),
        }
    }
}

/// Returns how many mentions of the same words have each code.
fn counts(codes: &BTreeMap<&IcdCode, usize>, matching: Matching) -> Vec<usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    codes.iter().for_each(|(code, count)| *counts.entry(matching.key(code.as_str())).or_default() += count);
    counts.into_values().collect()
}

/// Returns the mean of a figure over all mentions whose words occur again; `of` returns the sum over those of the same words.
fn over_repeated(texts: &[Vec<usize>], of: impl Fn(&[usize], usize) -> f64) -> f64 {
    let repeated = || texts.iter().map(|counts| (counts, counts.iter().sum::<usize>())).filter(|(_, all)| *all > 1);
    let sum: f64 = repeated().map(|(counts, all)| of(counts, all)).sum();
    ratio(sum, repeated().map(|(_, all)| all as f64).sum())
}

fn agreement(texts: &[Vec<usize>]) -> f64 {
    over_repeated(texts, |counts, all| {
        counts.iter().map(|&count| (count * (count - 1)) as f64 / (all - 1) as f64).sum()
    })
}

fn majority_of_others(texts: &[Vec<usize>]) -> f64 {
    over_repeated(texts, |counts, _| {
        let right = |at: usize| {
            // Without the mention itself.
            let own = counts[at] - 1;
            let others = || counts.iter().enumerate().map(|(other, &count)| if other == at { own } else { count });
            let most = others().max().unwrap_or(0);
            if own < most { 0.0 } else { counts[at] as f64 / others().filter(|&count| count == most).count() as f64 }
        };
        (0..counts.len()).map(right).sum()
    })
}

fn contradictions(by_text: BTreeMap<String, BTreeMap<&IcdCode, usize>>) -> Vec<Contradiction> {
    let several = by_text.into_iter().filter(|(_, codes)| codes.len() > 1);
    let mut all: Vec<Contradiction> = several
        .map(|(text, codes)| {
            let mut codes: Vec<(IcdCode, usize)> =
                codes.into_iter().map(|(code, count)| (code.clone(), count)).collect();
            codes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Contradiction { text, codes }
        })
        .collect();
    let against = |one: &Contradiction| one.codes[1..].iter().map(|(_, count)| count).sum::<usize>();
    all.sort_by(|a, b| against(b).cmp(&against(a)).then_with(|| a.text.cmp(&b.text)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_and_majorities_are_those_of_the_formulas() {
        let [k297, k295, j00, i10] = ["K29.7", "K29.5", "J00", "I10"].map(|code| code.parse::<IcdCode>().unwrap());
        let mentions = [
            ("гастрит", &k297),
            ("гастрит", &k297),
            ("гастрит", &k295),
            ("орви", &j00),
            ("орви", &j00),
            ("гб", &i10),
            ("боль", &i10),
            ("боль", &j00),
        ];
        let found = Consistency::of(mentions.map(|(text, code)| (text.to_owned(), code)));
        assert_eq!((found.mentions, found.texts, found.repeated, found.contradictory), (8, 4, 7, [2, 1]));
        // гастрит: (1/2 + 1/2 + 0), орви 2, боль 0: 3 of 7; as groups 3 + 2 + 0 of 7.
        assert!((found.agreement[0] - 3.0 / 7.0).abs() < 1e-12 && (found.agreement[1] - 5.0 / 7.0).abs() < 1e-12);
        // гастрит: each K29.7 sees one of each, 1/2; K29.5 sees two others, 0. орви 2. боль: each sees the other alone, 0.
        let [codes, groups] = found.majority_of_others;
        assert!((codes - 3.0 / 7.0).abs() < 1e-12 && (groups - 5.0 / 7.0).abs() < 1e-12);
        // гастрит 2 of 3, орви 2, боль 1 of 2; as groups 3, 2, 1.
        assert_eq!(found.majority, [5.0 / 7.0, 6.0 / 7.0]);
        let told: Vec<_> = found.contradictions.iter().map(|one| (one.text.as_str(), one.codes.len())).collect();
        assert_eq!(told, [("боль", 2), ("гастрит", 2)]);
        assert_eq!(found.contradictions[1].codes, [(k297, 2), (k295, 1)]);
        let nothing = Consistency::of([]);
        assert_eq!((nothing.repeated, nothing.majority, nothing.agreement), (0, [0.0; 2], [0.0; 2]));
    }
}
