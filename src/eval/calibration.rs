//! How far a confidence can be trusted: (confidence, correct) pairs come in, error and risk figures leave.
//!
//! A pair whose confidence is not a number is left out everywhere here.

use serde::{Deserialize, Serialize};

/// How pairs are laid into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binning {
    /// This many intervals `[i/n, (i+1)/n)`, the last one closed; values outside `[0, 1]` go to the nearest.
    EqualWidth(usize),
    /// This many bins of about equally many pairs; equal confidences share a bin.
    EqualMass(usize),
}

/// A row of a reliability table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lowest confidence in the bin.
    pub lowest: f64,
    /// Highest confidence in the bin.
    pub highest: f64,
    /// Pairs in the bin; never 0.
    pub count: usize,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of correct pairs, in `[0, 1]`.
    pub accuracy: f64,
}

/// Lays pairs into bins by confidence, ascending; empty bins are left out.
pub fn reliability(pairs: &[(f64, bool)], binning: Binning) -> Vec<Bin> {
    let sorted = sorted(pairs);
    let bins = match binning {
        Binning::EqualWidth(bins) | Binning::EqualMass(bins) => bins.max(1),
    };
    let mut table = Vec::with_capacity(bins);
    let mut rest = sorted.as_slice();
    for bin in 1..=bins {
        let end = match binning {
            Binning::EqualWidth(_) => {
                rest.partition_point(|(confidence, _)| bin == bins || (confidence * bins as f64).floor() < bin as f64)
            }
            Binning::EqualMass(_) => {
                let taken = sorted.len() - rest.len();
                end_with_ties(rest, (bin * sorted.len() / bins).saturating_sub(taken))
            }
        };
        let (inside, after) = rest.split_at(end);
        table.extend(summarise(inside));
        rest = after;
    }
    table
}

/// Returns the mean gap between confidence and accuracy over bins, weighted by their counts: in `[0, 1]`, lower is better.
///
/// 0 for no pairs.
///
/// # Source
/// Naeini, Cooper and Hauskrecht, 2015; Guo et al., 2017, <https://arxiv.org/abs/1706.04599>, section 2 (15 equal-width bins).
pub fn expected_calibration_error(pairs: &[(f64, bool)], binning: Binning) -> f64 {
    let table = reliability(pairs, binning);
    let total: usize = table.iter().map(|bin| bin.count).sum();
    if total == 0 {
        return 0.0;
    }
    table.iter().map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs()).sum::<f64>() / total as f64
}

/// What remains if only answers at least this confident are given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CoveragePoint {
    /// Lowest confidence that is answered.
    pub threshold: f64,
    /// Share of pairs answered, in `(0, 1]`.
    pub coverage: f64,
    /// Share of wrong ones among those answered, in `[0, 1]`.
    pub risk: f64,
}

/// Returns one point for each distinct confidence, from the surest answers alone to all answers.
///
/// # Source
/// El-Yaniv and Wiener, 2010, <https://www.jmlr.org/papers/v11/el-yaniv10a.html>.
pub fn risk_coverage(pairs: &[(f64, bool)]) -> Vec<CoveragePoint> {
    let sorted = sorted(pairs);
    let mut curve: Vec<CoveragePoint> = Vec::new();
    let mut wrong = 0usize;
    for (answered, &(confidence, correct)) in (1usize..).zip(sorted.iter().rev()) {
        wrong += usize::from(!correct);
        curve.pop_if(|last| last.threshold == confidence);
        curve.push(CoveragePoint {
            threshold: confidence,
            coverage: answered as f64 / sorted.len() as f64,
            risk: wrong as f64 / answered as f64,
        });
    }
    curve
}

/// Returns the mean risk over all coverages: in `[0, 1]`, lower is better; 0 for an empty curve.
///
/// Each point's risk counts for the coverage it adds, so answers of equal confidence share the risk of their group.
///
/// # Source
/// Geifman, Uziel and El-Yaniv, 2019, <https://arxiv.org/abs/1805.08206>, section 2 (AURC).
pub fn area_under_risk_coverage(curve: &[CoveragePoint]) -> f64 {
    let mut before = 0.0;
    let mut area = 0.0;
    for point in curve {
        area += (point.coverage - before) * point.risk;
        before = point.coverage;
    }
    area
}

fn sorted(pairs: &[(f64, bool)]) -> Vec<(f64, bool)> {
    let mut sorted: Vec<_> = pairs.iter().copied().filter(|(confidence, _)| !confidence.is_nan()).collect();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted
}

/// Moves `end` right past pairs that share the confidence of the one before it.
fn end_with_ties(pairs: &[(f64, bool)], end: usize) -> usize {
    let Some(last) = end.checked_sub(1).and_then(|last| pairs.get(last)) else { return 0 };
    pairs.partition_point(|(confidence, _)| *confidence <= last.0)
}

fn summarise(pairs: &[(f64, bool)]) -> Option<Bin> {
    let (first, last) = (pairs.first()?, pairs.last()?);
    let right = pairs.iter().filter(|(_, correct)| *correct).count();
    let total: f64 = pairs.iter().map(|(confidence, _)| confidence).sum();
    Some(Bin {
        lowest: first.0,
        highest: last.0,
        count: pairs.len(),
        confidence: total / pairs.len() as f64,
        accuracy: right as f64 / pairs.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(f64, bool); 4] = [(0.9, true), (0.2, false), (0.9, false), (0.4, true)];

    #[test]
    fn equal_width_by_hand() {
        // Two bins: {0.2, 0.4} mean 0.3, accuracy 1/2; {0.9, 0.9} mean 0.9, accuracy 1/2.
        // ECE = 2/4 · |0.5 - 0.3| + 2/4 · |0.5 - 0.9| = 0.1 + 0.2 = 0.3.
        assert!((expected_calibration_error(&PAIRS, Binning::EqualWidth(2)) - 0.3).abs() < 1e-12);
        // Ten bins: 0.2 wrong, gap 0.2; 0.4 right, gap 0.6; 0.9 twice, gap 0.4: (0.2 + 0.6 + 2 · 0.4) / 4 = 0.4.
        assert!((expected_calibration_error(&PAIRS, Binning::EqualWidth(10)) - 0.4).abs() < 1e-12);
    }

    #[test]
    fn equal_mass_keeps_ties_together() {
        let pairs = [(0.1, false), (0.5, true), (0.5, false), (0.5, true), (0.9, true)];
        let counts =
            |bins| reliability(&pairs, Binning::EqualMass(bins)).iter().map(|bin| bin.count).collect::<Vec<_>>();
        // Cuts at 5/2 = 2 pairs: the second bin starts after the last 0.5.
        assert_eq!(counts(2), [4, 1]);
        // Cuts at 1, 3 and 5 pairs.
        assert_eq!(counts(3), [1, 3, 1]);
        assert_eq!(counts(100), [1, 3, 1]);
    }

    #[test]
    fn risk_coverage_by_hand() {
        // Sure first: 0.9 (1 of 2 wrong, coverage 1/2), 0.4 (1 of 3, 3/4), 0.2 (2 of 4, 1).
        let curve = risk_coverage(&PAIRS);
        let points: Vec<_> = curve.iter().map(|p| (p.threshold, p.coverage, p.risk)).collect();
        assert_eq!(points, [(0.9, 0.5, 0.5), (0.4, 0.75, 1.0 / 3.0), (0.2, 1.0, 0.5)]);
        // Area = 1/2 · 1/2 + 1/4 · 1/3 + 1/4 · 1/2 = 11/24.
        assert!((area_under_risk_coverage(&curve) - 11.0 / 24.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_no_numbers() {
        for binning in [Binning::EqualWidth(10), Binning::EqualMass(10), Binning::EqualWidth(0), Binning::EqualMass(0)]
        {
            assert_eq!(expected_calibration_error(&[], binning), 0.0);
            assert_eq!(expected_calibration_error(&[(f64::NAN, true)], binning), 0.0);
            assert_eq!(expected_calibration_error(&[(1.0, true), (0.0, false)], binning), 0.0);
        }
        assert_eq!(area_under_risk_coverage(&risk_coverage(&[])), 0.0);
    }
}
