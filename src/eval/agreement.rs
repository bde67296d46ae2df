//! How far annotators agree: the codes that each gave each record come in, shares and coefficients leave.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::metrics::ratio;
use crate::{data::Entity, icd::IcdCode};

/// The codes that an annotator gave a record, or `None` where the record was not annotated.
pub type Given<T> = Option<BTreeSet<T>>;

/// How far annotators agree. Coefficients are over decisions: whether an annotator gave a record a code, for each record and each code
/// that anyone gave any record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Records that at least two annotated.
    pub records: usize,
    /// Records of these that no one gave a code; they count in no share.
    pub without_codes: usize,
    /// Distinct codes.
    pub codes: usize,
    /// Mean over records of: codes that at least two gave ÷ all codes of the record.
    ///
    /// # Source
    /// The paper, section on annotation (IAA).
    pub mean: f64,
    /// The same with both numbers summed over records first.
    pub pooled: f64,
    /// Cohen's κ of each two annotators, by their numbers; `None` where chance alone would agree always.
    pub cohen: Vec<(usize, usize, Option<f64>)>,
    /// Fleiss' κ over the records that all annotated.
    pub fleiss: Option<f64>,
    /// Krippendorff's α, nominal, over all records that at least two annotated.
    pub krippendorff: Option<f64>,
}

/// A record's decisions on one code: how many of its annotators gave it.
#[derive(Debug, Clone, Copy)]
struct Votes {
    annotators: usize,
    yes: usize,
}

impl Agreement {
    /// Compares annotators; each record has an entry an annotator, in the same order. Returns `None` if no record has two.
    ///
    /// # Source
    /// Cohen, 1960, <https://doi.org/10.1177/001316446002000104>; Fleiss, 1971, <https://doi.org/10.1037/h0031619>; Krippendorff, *Content
    /// Analysis*, 2004, chapter 11 (α from coincidences, with records that some did not annotate).
    pub fn of<T: Ord>(records: &[Vec<Given<T>>]) -> Option<Self> {
        let shared: Vec<&Vec<Given<T>>> = records.iter().filter(|of| of.iter().flatten().count() > 1).collect();
        let annotators = shared.first()?.len();
        let codes = shared.iter().flat_map(|of| of.iter().flatten().flatten()).collect::<BTreeSet<_>>().len();
        let votes: Vec<(usize, Vec<Votes>)> = shared.iter().map(|of| votes(of)).collect();
        let shares: Vec<[f64; 2]> =
            votes.iter().filter(|(_, votes)| !votes.is_empty()).map(|(_, of)| share(of)).collect();
        let [accepted, all] = [0, 1].map(|of: usize| shares.iter().map(|share| share[of]).sum::<f64>());
        let pairs = (0..annotators).flat_map(|a| (a + 1..annotators).map(move |b| (a, b)));
        Some(Self {
            records: shared.len(),
            without_codes: shared.len() - shares.len(),
            codes,
            mean: ratio(shares.iter().map(|[accepted, all]| accepted / all).sum(), shares.len() as f64),
            pooled: ratio(accepted, all),
            cohen: pairs.map(|(a, b)| (a, b, cohen(&shared, (a, b), codes))).collect(),
            fleiss: fleiss(votes.iter().filter(|(of, _)| *of == annotators), annotators, codes),
            krippendorff: krippendorff(&votes, codes),
        })
    }
}

/// Returns the entities whose codes at least two annotators gave a record, as the first of those marked them.
///
/// # Source
/// The paper, section on annotation: a code of the test set is kept if two of three annotators gave it.
pub fn merge<'a>(annotators: &[&'a [Entity]]) -> Vec<&'a Entity> {
    let mut givers: BTreeMap<&IcdCode, BTreeSet<usize>> = BTreeMap::new();
    for (annotator, entities) in annotators.iter().enumerate() {
        for code in entities.iter().filter_map(|entity| entity.code.as_ref()) {
            givers.entry(code).or_default().insert(annotator);
        }
    }
    let is_of_first = |annotator: usize, entity: &Entity| {
        let givers = entity.code.as_ref().and_then(|code| givers.get(code));
        givers.is_some_and(|givers| givers.len() > 1 && givers.first() == Some(&annotator))
    };
    let kept = annotators
        .iter()
        .enumerate()
        .flat_map(|(annotator, entities)| entities.iter().filter(move |entity| is_of_first(annotator, entity)));
    let mut kept: Vec<&Entity> = kept.collect();
    kept.sort_by_key(|entity| (entity.span.start_byte(), entity.span.end_byte()));
    kept
}

/// Returns how many annotated a record, and the votes on each code that one of them gave.
fn votes<T: Ord>(record: &[Given<T>]) -> (usize, Vec<Votes>) {
    let annotators = record.iter().flatten().count();
    let mut yes: BTreeMap<&T, usize> = BTreeMap::new();
    record.iter().flatten().flatten().for_each(|code| *yes.entry(code).or_default() += 1);
    (annotators, yes.into_values().map(|yes| Votes { annotators, yes }).collect())
}

/// Returns how many codes at least two gave, and how many there are.
fn share(votes: &[Votes]) -> [f64; 2] {
    [votes.iter().filter(|votes| votes.yes > 1).count() as f64, votes.len() as f64]
}

/// Returns `1 − observed / expected` disagreement; `None` where none is expected.
fn beyond_chance(observed: f64, expected: f64) -> Option<f64> {
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

fn cohen<T: Ord>(records: &[&Vec<Given<T>>], (a, b): (usize, usize), codes: usize) -> Option<f64> {
    let (mut decisions, mut yes, mut differ) = (0.0, [0.0; 2], 0.0);
    for record in records {
        let (Some(first), Some(second)) = (record.get(a)?.as_ref(), record.get(b)?.as_ref()) else { continue };
        decisions += codes as f64;
        yes[0] += first.len() as f64;
        yes[1] += second.len() as f64;
        differ += first.symmetric_difference(second).count() as f64;
    }
    let [first, second] = yes.map(|yes| ratio(yes, decisions));
    beyond_chance(ratio(differ, decisions), first * (1.0 - second) + second * (1.0 - first))
}

fn fleiss<'a>(records: impl Iterator<Item = &'a (usize, Vec<Votes>)>, annotators: usize, codes: usize) -> Option<f64> {
    let (mut decisions, mut yes, mut differ) = (0.0, 0.0, 0.0);
    for (_, votes) in records {
        decisions += codes as f64;
        for votes in votes {
            yes += votes.yes as f64;
            differ += (2 * votes.yes * (votes.annotators - votes.yes)) as f64;
        }
    }
    let share = ratio(yes, decisions * annotators as f64);
    let pairs = (annotators * annotators.saturating_sub(1)) as f64;
    beyond_chance(ratio(differ / pairs, decisions), 2.0 * share * (1.0 - share))
}

fn krippendorff(records: &[(usize, Vec<Votes>)], codes: usize) -> Option<f64> {
    let (mut values, mut yes, mut differ) = (0.0, 0.0, 0.0);
    for (annotators, votes) in records {
        values += (annotators * codes) as f64;
        for Votes { annotators, yes: of } in votes {
            yes += *of as f64;
            differ += (2 * of * (annotators - of)) as f64 / (*annotators as f64 - 1.0);
        }
    }
    beyond_chance(ratio(differ, values), ratio(2.0 * yes * (values - yes), values * (values - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Span;

    fn given(codes: &[&'static str]) -> Given<&'static str> {
        Some(codes.iter().copied().collect())
    }

    fn close(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} is not {expected}");
    }

    #[test]
    fn shares_and_coefficients_are_those_of_the_formulas() {
        // Codes a, b, c. Record 1: a by all, b by one. Record 2: c by two. Record 3: nobody gave one.
        let records = [
            vec![given(&["a"]), given(&["a"]), given(&["a", "b"])],
            vec![given(&["c"]), given(&["c"]), given(&[])],
            vec![given(&[]), given(&[]), given(&[])],
        ];
        let found = Agreement::of(&records).unwrap();
        assert_eq!((found.records, found.without_codes, found.codes), (3, 1, 3));
        // Record 1: 1 of 2. Record 2: 1 of 1. Mean 3/4, pooled 2/3.
        assert!((found.mean - 0.75).abs() < 1e-12 && (found.pooled - 2.0 / 3.0).abs() < 1e-12);
        // 9 decisions. First and second are the same: κ = 1. First and third: 2 and 2 yes, 2 differ.
        // Expected disagreement 2 · 2/9 · 7/9 = 28/81; κ = 1 − (2/9)/(28/81) = 1 − 18/28.
        close(found.cohen[0].2, 1.0);
        assert_eq!((found.cohen[1].0, found.cohen[1].1), (0, 2));
        close(found.cohen[1].2, 1.0 - 18.0 / 28.0);
        // Fleiss: 6 of 27 yes, so 2 · 6/27 · 21/27 expected; ordered pairs that differ: a 0, b 2·1·2 = 4, c 2·2·1 = 4, of 9 · 6.
        close(found.fleiss, 1.0 - (8.0 / 54.0) / (2.0 * 6.0 / 27.0 * 21.0 / 27.0));
        // Krippendorff: the same disagreement, (8 / 2) / 27, against 2 · 6 · 21 / (27 · 26).
        close(found.krippendorff, 1.0 - (4.0 / 27.0) / (2.0 * 6.0 * 21.0 / (27.0 * 26.0)));
    }

    #[test]
    fn a_code_is_kept_where_two_gave_it_as_the_first_marked_it() {
        let text = "gastritis, asthma, gout";
        let entity = |from: usize, to: usize, code: &str| Entity {
            span: Span::new(text, from, to).unwrap(),
            code: (!code.is_empty()).then(|| code.parse().unwrap()),
        };
        let first = [entity(11, 17, "J45.9"), entity(0, 9, "K29.7")];
        let second = [entity(0, 9, "K29.6"), entity(12, 17, "J45.9"), entity(19, 23, "M10.9")];
        let third = [entity(19, 22, "M10.9"), entity(0, 9, ""), entity(0, 3, "M10.9"), entity(0, 9, "K29.5")];
        let kept = merge(&[&first, &second, &third]);
        let told: Vec<_> = kept.iter().map(|one| (one.span.slice(text), one.code.as_ref().unwrap().as_str())).collect();
        assert_eq!(told, [("asthma", "J45.9"), ("gout", "M10.9")]);
        assert!(merge(&[&first, &[]]).is_empty());
    }

    #[test]
    fn records_that_some_did_not_annotate_count_among_the_others() {
        let records = [
            vec![given(&["a"]), given(&["a"]), None],
            vec![given(&["a"]), None, None],
            vec![given(&["a"]), given(&["b"]), given(&["b"])],
        ];
        let found = Agreement::of(&records).unwrap();
        assert_eq!((found.records, found.codes), (2, 2));
        // Records 1 and 3: 1 of 1 and 1 of 2.
        assert!((found.mean - 0.75).abs() < 1e-12, "{}", found.mean);
        // First and second: 4 decisions, 2 yes each, 2 differ, expected 1/2: κ = 0. Second and third share record 3 alone: κ = 1.
        close(found.cohen[0].2, 0.0);
        close(found.cohen[2].2, 1.0);
        // 4 + 6 values, 5 yes; they differ on a and b of record 3: 2 · 2 / 2 each. D = 4/10 against 2 · 5 · 5 / 90.
        close(found.krippendorff, 1.0 - 0.4 / (50.0 / 90.0));
        assert_eq!(Agreement::of(&records[1..2]), None);
        assert_eq!(Agreement::of::<&str>(&[]), None);
        let all = [vec![given(&["a"]), given(&["a"])]];
        let found = Agreement::of(&all).unwrap();
        assert_eq!((found.mean, found.fleiss, found.krippendorff), (1.0, None, None));
    }
}
