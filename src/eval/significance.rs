//! Whether a difference may be chance, and how great one must be to be seen: counts of each document under two systems come in, p-values
//! leave.

use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{
    bootstrap::{Interval, SplitMix64},
    metrics::{DocumentCounts, Figures, Metrics},
};

/// Share of differences as great as the smallest detectable one that a comparison finds.
pub const POWER: f64 = 0.8;
/// Differences are called real below this p-value.
pub const LEVEL: f64 = 0.05;
/// Quantile of the normal distribution that the ends of a 95 % interval lie at.
const INTERVAL: f64 = 1.959_964;

/// A paired permutation test: if two systems were the same, it would not matter whose result of a document is called whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    /// How many times documents' results are swapped, each by the toss of a coin; 10,000 is usual.
    pub rounds: usize,
    /// Start of the random numbers: the same seed gives the same p-values on every machine.
    pub seed: u64,
}

impl Permutation {
    /// Returns for each figure the two-sided p-value of the difference; each pair holds a document's counts under the first and the second
    /// system. `None` without documents or rounds.
    ///
    /// Where the documents that differ can be swapped in no more ways than there are rounds, each way is taken once, and the value is exact;
    /// else the least possible one is `1 / (rounds + 1)`. Where a toss gives the very same difference it counts as being as great.
    ///
    /// # Source
    /// Approximate randomisation: Noreen, *Computer-Intensive Methods for Testing Hypotheses*, 1989; Yeh, 2000,
    /// <https://aclanthology.org/C00-2137/>.
    pub fn p_values(self, pairs: &[(DocumentCounts, DocumentCounts)]) -> Option<Figures<f64>> {
        if pairs.is_empty() || self.rounds == 0 {
            return None;
        }
        let found = difference(pairs.iter().map(|(first, second)| [first, second]));
        let changed = pairs.iter().filter(|(first, second)| first != second).count();
        let ways = 1usize.checked_shl(changed as u32).filter(|&ways| ways <= self.rounds);
        let is_as_great = |round: usize| {
            let mut random = SplitMix64::new(self.seed.wrapping_add(round as u64));
            let (mut coins, mut tosses) = (round as u64, 0);
            let tossed = pairs.iter().map(|(first, second)| {
                if first == second {
                    return [first, second];
                }
                if ways.is_none() && tosses % 64 == 0 {
                    coins = random.next();
                }
                tosses += 1;
                if coins >> ((tosses - 1) % 64) & 1 == 0 { [first, second] } else { [second, first] }
            });
            let of_round = difference(tossed);
            // Sums in another order differ in the last digits.
            std::array::from_fn(|figure| u32::from(of_round[figure].abs() >= found[figure].abs() - 1e-12))
        };
        let add = |a: [u32; 14], b: [u32; 14]| std::array::from_fn(|figure| a[figure] + b[figure]);
        let as_great =
            |rounds: usize| (0..rounds).into_par_iter().map(is_as_great).reduce(|| [0; 14], add).map(f64::from);
        Some(Figures::from_values(match ways {
            Some(ways) => as_great(ways).map(|count| count / ways as f64),
            None => as_great(self.rounds).map(|count| (count + 1.0) / (self.rounds as f64 + 1.0)),
        }))
    }
}

/// Returns by how much each figure of the second system is higher.
fn difference<'a>(pairs: impl Iterator<Item = [&'a DocumentCounts; 2]>) -> [f64; 14] {
    let (first, second): (Vec<_>, Vec<_>) = pairs.map(|[first, second]| (first, second)).unzip();
    let [first, second] = [first, second].map(|of| Metrics::of(of).figures().values());
    std::array::from_fn(|figure| second[figure] - first[figure])
}

/// Raises p-values so that among all tests together a false finding is as rare as in one.
///
/// # Source
/// Holm, 1979, <https://www.jstor.org/stable/4615733>.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut raised, mut highest) = (vec![0.0; p_values.len()], 0.0f64);
    for (rank, at) in order.into_iter().enumerate() {
        highest = highest.max((p_values.len() - rank) as f64 * p_values[at]).min(1.0);
        raised[at] = highest;
    }
    raised
}

/// Returns the smallest true difference that a comparison on as many such documents would have shown in [`POWER`] of all cases, by the
/// interval of the difference that was found, where it is one of so many comparisons (Bonferroni; Holm's rule shows it a little sooner).
///
/// # Source
/// Two-sided test of a normal mean: the quantiles of 1 − level / 2 and of the power, times the standard error; the error is taken from the
/// width of the 95 % interval.
pub fn smallest_detectable(interval: Interval, comparisons: usize) -> f64 {
    let quantile = |share: f64| Normal::standard().inverse_cdf(share);
    let error = (interval.upper - interval.lower) / (2.0 * INTERVAL);
    error * (quantile(1.0 - LEVEL / (2 * comparisons.max(1)) as f64) + quantile(POWER))
}

/// Returns how many documents must differ for a permutation test to call any difference real, where it is one of so many comparisons: of `k`
/// that all differ the one way, two tosses of `2^k` are as great.
pub fn least_changed(comparisons: usize) -> usize {
    let is_enough = |changed: &usize| comparisons.max(1) as f64 * 0.5_f64.powi(*changed as i32 - 1) < LEVEL;
    (1..).find(is_enough).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{bootstrap::Bootstrap, metrics::Counts};

    fn document(true_positives: usize, false_positives: usize, false_negatives: usize) -> DocumentCounts {
        let counts = Counts { true_positives, false_positives, false_negatives };
        DocumentCounts { ner: counts, ner_linking: counts, code_assignment: counts }
    }

    /// Documents of three gold codes, each found by a system with its own probability.
    fn drawn(random: &mut SplitMix64, documents: usize, quality: [f64; 2]) -> Vec<(DocumentCounts, DocumentCounts)> {
        let mut one = |quality: f64| {
            let found = (0..3).filter(|_| (random.next() as f64 / u64::MAX as f64) < quality).count();
            document(found, 3 - found, 3 - found)
        };
        (0..documents).map(|_| (one(quality[0]), one(quality[1]))).collect()
    }

    #[test]
    fn few_changed_documents_can_show_nothing() {
        // 2 / 2^6 = 0.03; of ten comparisons 10 · 2 / 2^9 = 0.039.
        assert_eq!((least_changed(1), least_changed(10)), (6, 9));
        let interval = Interval { lower: -0.1, upper: 0.1 };
        // 0.1 / 1.96 · (1.96 + 0.842), and with the quantile of 1 − 0.05 / 20, 2.807.
        assert!((smallest_detectable(interval, 1) - 0.142_94).abs() < 1e-4);
        assert!((smallest_detectable(interval, 10) - 0.186_15).abs() < 1e-4);
    }

    #[test]
    fn few_documents_give_the_exact_p_value() {
        // 4 documents, each found by the second system alone. Of 16 tosses 2 are as great: all the one way or the other; p = 1/8.
        let pairs = vec![(document(0, 0, 1), document(1, 0, 0)); 4];
        let p = |rounds| Permutation { rounds, seed: 1 }.p_values(&pairs).unwrap().code_assignment.recall;
        assert_eq!(p(16), 0.125);
        let more = [pairs.clone(), vec![(document(1, 1, 1), document(1, 1, 1)); 3]].concat();
        assert_eq!(Permutation { rounds: 20_000, seed: 1 }.p_values(&more).unwrap().code_assignment.recall, 0.125);
        assert!((p(15) - 0.125).abs() < 0.2 && p(15) != 0.125, "{}", p(15));
        let same = vec![(document(1, 0, 1), document(1, 0, 1)); 4];
        assert_eq!(Permutation { rounds: 99, seed: 1 }.p_values(&same).unwrap().values(), [1.0; 14]);
        assert_eq!(Permutation { rounds: 0, seed: 1 }.p_values(&same), None);
        assert_eq!(Permutation { rounds: 9, seed: 1 }.p_values(&[]), None);
    }

    #[test]
    fn p_values_are_uniform_where_systems_are_equal_and_small_where_not() {
        let mut random = SplitMix64::new(7);
        let mut p = |quality| {
            let pairs = drawn(&mut random, 60, quality);
            Permutation { rounds: 199, seed: 3 }.p_values(&pairs).unwrap().code_assignment.f1
        };
        let mut equal: Vec<f64> = (0..400).map(|_| p([0.5, 0.5])).collect();
        equal.sort_by(f64::total_cmp);
        // Kolmogorov's distance of 400 uniform values stays below 1.63 / 20 in 99 of 100 cases; ties add up to 1 / 200.
        let distance = equal.iter().zip(1..).map(|(p, n)| (p - f64::from(n) / 400.0).abs()).fold(0.0, f64::max);
        assert!(distance < 1.63 / 20.0 + 0.02, "{distance}");
        assert!((0..20).all(|_| p([0.4, 0.7]) < 0.01));
    }

    #[test]
    fn intervals_hold_the_truth_at_their_rate_and_a_detectable_difference_is_found_as_often_as_said() {
        let mut random = SplitMix64::new(11);
        let (mut held, mut found, draws) = (0, 0, 400);
        // Recall of the second system is higher by 0.1.
        for _ in 0..draws {
            let pairs = drawn(&mut random, 120, [0.5, 0.6]);
            let recall = Bootstrap::new(200).difference(&pairs).unwrap().code_assignment.recall;
            held += usize::from((recall.interval.lower..=recall.interval.upper).contains(&0.1));
            found += usize::from(recall.interval.lower > 0.0);
        }
        // 95 % of 400 are 380, with a standard deviation of 4.4; a percentile interval of 200 resamples is a little short.
        assert!((360..=395).contains(&held), "{held}");
        // The standard error of the difference is √(0.25 / 360 + 0.24 / 360) = 0.0369: 2.8 of it are 0.103, so about 78 % are found.
        assert!((280..=340).contains(&found), "{found}");
        let pairs = drawn(&mut random, 120, [0.5, 0.6]);
        let least =
            smallest_detectable(Bootstrap::new(2000).difference(&pairs).unwrap().code_assignment.recall.interval, 1);
        assert!((least - 0.103).abs() < 0.015, "{least}");
    }

    #[test]
    fn holm_multiplies_by_the_tests_that_are_left() {
        let raised = holm(&[0.01, 0.04, 0.03, 0.005]);
        // In order: 4 · 0.005 = 0.02, 3 · 0.01 = 0.03, 2 · 0.03 = 0.06, 1 · 0.04 but not below the one before.
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(raised.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{raised:?}");
        assert_eq!(holm(&[0.7, 0.6]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
