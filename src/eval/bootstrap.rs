//! How far chance in the choice of documents moves a figure: counts of each document come in, intervals leave.

use rayon::prelude::*;
use serde::{Serialize, Serializer};

use super::metrics::{DocumentCounts, Figures, Metrics};

/// Draws held at once.
const DRAWS: usize = 256;
/// Documents drawn in all resamples together that are affordable, and resamples that are taken in any case.
const ALL_DRAWS: usize = 200_000_000;
const LEAST: usize = 200;

/// The middle 95 % of the resampled figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// 2.5th percentile.
    pub lower: f64,
    /// 97.5th percentile.
    pub upper: f64,
}

impl Serialize for Interval {
    /// Writes `[lower, upper]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.lower, self.upper].serialize(serializer)
    }
}

/// By how much a second system is better than a first one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Second minus first, over all documents.
    pub value: f64,
    /// 95 % interval of it; chance alone is an unlikely cause where it leaves out 0.
    pub interval: Interval,
}

/// Draws documents with replacement, as many as there are, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// How many times all documents are drawn; 10,000 is usual.
    pub resamples: usize,
    /// Start of the random numbers: the same seed gives the same intervals on every machine.
    pub seed: u64,
}

impl Bootstrap {
    /// Seed used where none is given.
    pub const DEFAULT_SEED: u64 = 20_100;

    /// Makes a bootstrap with the default seed.
    pub fn new(resamples: usize) -> Self {
        Self { resamples, seed: Self::DEFAULT_SEED }
    }

    /// Returns how many resamples, of so many at most, are taken of so many documents: a large corpus needs fewer for the same steadiness.
    pub fn affordable(resamples: usize, documents: usize) -> usize {
        resamples.min(ALL_DRAWS / documents.max(1)).max(LEAST)
    }

    /// Returns a 95 % percentile interval for each figure, or `None` without documents or resamples.
    ///
    /// # Source
    /// Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13 (percentile interval; between two
    /// resampled values the percentile is interpolated linearly).
    pub fn intervals(self, documents: &[DocumentCounts]) -> Option<Figures<Interval>> {
        let figures = |draw: &[usize]| Metrics::of(draw.iter().map(|&n| &documents[n])).figures().values();
        self.percentiles(documents.len(), figures).map(Figures::from_values)
    }

    /// Compares two systems on the same documents: each pair holds a document's counts under the first and the second.
    ///
    /// Both are drawn together, so what makes a document hard for both cancels out. `None` without documents or resamples.
    ///
    /// # Source
    /// Paired bootstrap: Koehn, 2004, <https://aclanthology.org/W04-3250/>.
    pub fn difference(self, pairs: &[(DocumentCounts, DocumentCounts)]) -> Option<Figures<Difference>> {
        let gain = |draw: &[usize]| {
            let first = Metrics::of(draw.iter().map(|&n| &pairs[n].0)).figures().values();
            let second = Metrics::of(draw.iter().map(|&n| &pairs[n].1)).figures().values();
            std::array::from_fn(|figure| second[figure] - first[figure])
        };
        let intervals: [Interval; 14] = self.percentiles(pairs.len(), gain)?;
        let values = gain(&(0..pairs.len()).collect::<Vec<_>>());
        let both = |figure: usize| Difference { value: values[figure], interval: intervals[figure] };
        Some(Figures::from_values(std::array::from_fn(both)))
    }

    /// Draws `documents` numbers again and again and returns the interval of each of `N` figures of a draw; `None` without
    /// documents or resamples.
    ///
    /// Draws are made one after another and measured side by side: the intervals are the same on any number of cores.
    pub fn percentiles<const N: usize>(
        self,
        documents: usize,
        figures: impl Fn(&[usize]) -> [f64; N] + Sync,
    ) -> Option<[Interval; N]> {
        if documents == 0 || self.resamples == 0 {
            return None;
        }
        let mut random = SplitMix64::new(self.seed);
        let mut draws = vec![vec![0; documents]; self.resamples.min(DRAWS)];
        let mut resampled: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(self.resamples));
        let mut left = self.resamples;
        while left > 0 {
            draws.truncate(left);
            left -= draws.len();
            draws.iter_mut().flatten().for_each(|place| *place = random.below(documents));
            for of_draw in draws.par_iter().map(|draw| figures(draw)).collect::<Vec<_>>() {
                resampled.iter_mut().zip(of_draw).for_each(|(values, value)| values.push(value));
            }
        }
        Some(resampled.map(|mut values| {
            values.sort_by(f64::total_cmp);
            Interval { lower: percentile(&values, 0.025), upper: percentile(&values, 0.975) }
        }))
    }
}

/// Returns the value that lies after a `share` of the `sorted` ones (ascending), between two of them in proportion; 0
/// where there is none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let value = |place: f64| sorted.get(place as usize).copied().unwrap_or(0.0);
    let (low, high) = (value(place.floor()), value(place.ceil()));
    low + (high - low) * place.fract()
}

/// A small random number generator.
///
/// # Source
/// Steele, Lea and Flood, 2014, <https://doi.org/10.1145/2660193.2660195>; the bounded draw is Lemire's multiply and
/// shift, <https://arxiv.org/abs/1805.10941>, whose bias for so few documents is below 2⁻⁴⁰.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::Counts;

    fn document(true_positives: usize, false_positives: usize, false_negatives: usize) -> DocumentCounts {
        let counts = Counts { true_positives, false_positives, false_negatives };
        DocumentCounts { ner: counts, ner_linking: counts, code_assignment: counts }
    }

    #[test]
    fn splitmix_gives_the_published_numbers() {
        // The first outputs for seed 1234567, as commonly used to check an implementation.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn percentile_by_hand() {
        // Place of 2.5 % among 5 values: 0.025 · 4 = 0.1, so 1 + 0.1 · (2 - 1).
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.025) - 1.1).abs() < 1e-12);
        assert_eq!(percentile(&[7.0], 0.975), 7.0);
    }

    #[test]
    fn equals_the_binomial_where_it_is_known() {
        // 100 documents, half of them right: document recall is a mean of 100 coin flips, sd = sqrt(0.25 / 100) = 0.05,
        // so its 95 % interval is about 0.5 ± 1.96 · 0.05 = [0.402, 0.598].
        let documents: Vec<_> = (0..100).map(|n| document(n % 2, 0, 1 - n % 2)).collect();
        let interval = Bootstrap::new(4000).intervals(&documents).unwrap().document_recall.ner;
        assert!((interval.lower - 0.40).abs() <= 0.015 && (interval.upper - 0.60).abs() <= 0.015, "{interval:?}");
    }

    #[test]
    fn a_system_differs_from_itself_by_nothing_and_from_a_worse_one_by_something() {
        let same: Vec<_> = (0..50).map(|n| (document(n % 3, 1, n % 2), document(n % 3, 1, n % 2))).collect();
        let zero = Difference { value: 0.0, interval: Interval { lower: 0.0, upper: 0.0 } };
        assert_eq!(Bootstrap::new(200).difference(&same).unwrap().values(), [zero; 14]);
        let better: Vec<_> = (0..50).map(|n| (document(1, n % 4, 1), document(2, n % 4, 0))).collect();
        let gain = Bootstrap::new(200).difference(&better).unwrap().code_assignment.recall;
        // Recall is 1/2 for the first and 1 for the second in each document, so in each resample too.
        assert_eq!((gain.value, gain.interval.lower, gain.interval.upper), (0.5, 0.5, 0.5));
    }

    #[test]
    fn nothing_to_draw_gives_nothing() {
        assert_eq!(Bootstrap::new(100).intervals(&[]), None);
        assert_eq!(Bootstrap::new(0).intervals(&[document(1, 0, 0)]), None);
    }
}
