//! Scores into probabilities: held-out (score, correct) pairs come in, a monotone [`Calibrator`] leaves.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A non-decreasing map from a score to the probability that the answer with this score is right.
///
/// Fit it on answers whose scores were made without seeing them (held out or cross-fitted).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Calibrator {
    /// Piecewise linear between knots, flat outside them.
    Isotonic(Vec<Knot>),
    /// Logistic curve `1 / (1 + exp(-(slope · score + intercept)))`.
    Platt {
        /// Never negative.
        slope: f64,
        /// Log-odds at score 0.
        intercept: f64,
    },
}

/// A corner of an isotonic curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knot {
    /// Score; ascending along the curve.
    pub score: f64,
    /// Probability in `[0, 1]`; never falls along the curve.
    pub probability: f64,
}

impl Calibrator {
    /// Fits the non-decreasing curve with the least squared error to `(score, correct)` pairs.
    ///
    /// Equal scores are pooled; each pooled block keeps its lowest and highest score as knots. Pairs whose score is not
    /// finite are left out. On the pairs themselves the squared error is at most that of any other non-decreasing map,
    /// the score itself included.
    ///
    /// # Errors
    /// - [`Error::Training`] if no pair has a finite score.
    ///
    /// # Source
    /// Pool adjacent violators: Ayer et al., 1955; for calibration: Zadrozny and Elkan, 2002,
    /// <https://doi.org/10.1145/775047.775151>.
    pub fn fit_isotonic(pairs: &[(f64, bool)]) -> Result<Self> {
        let mut blocks: Vec<Block> = Vec::new();
        for (score, correct) in sorted_finite(pairs)? {
            match blocks.last_mut() {
                Some(last) if last.highest == score => last.add(correct),
                _ => blocks.push(Block { lowest: score, highest: score, right: f64::from(correct), weight: 1.0 }),
            }
        }
        let pooled = pool_adjacent_violators(blocks);
        let mut knots = Vec::with_capacity(2 * pooled.len());
        for block in pooled {
            knots.push(Knot { score: block.lowest, probability: block.mean() });
            if block.highest > block.lowest {
                knots.push(Knot { score: block.highest, probability: block.mean() });
            }
        }
        Ok(Self::Isotonic(knots))
    }

    /// Fits a logistic curve to `(score, correct)` pairs by maximum likelihood with Platt's softened targets.
    ///
    /// Where right answers have lower scores than wrong ones the slope is set to 0, so the curve never falls. Pairs whose
    /// score is not finite are left out.
    ///
    /// # Errors
    /// - [`Error::Training`] if no pair has a finite score.
    ///
    /// # Source
    /// Platt, 1999; the Newton iteration with backtracking of Lin, Lin and Weng, 2007,
    /// <https://doi.org/10.1007/s10994-007-5018-6>.
    pub fn fit_platt(pairs: &[(f64, bool)]) -> Result<Self> {
        let pairs = sorted_finite(pairs)?;
        let right = pairs.iter().filter(|(_, correct)| *correct).count() as f64;
        let wrong = pairs.len() as f64 - right;
        let (high, low) = ((right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0));
        let targets: Vec<(f64, f64)> =
            pairs.iter().map(|&(s, correct)| (s, if correct { high } else { low })).collect();
        let start = ((right + 1.0) / (wrong + 1.0)).ln();
        let (slope, intercept) = fit_logistic(&targets, start);
        if slope > 0.0 {
            return Ok(Self::Platt { slope, intercept });
        }
        let mean = targets.iter().map(|(_, target)| target).sum::<f64>() / targets.len() as f64;
        Ok(Self::Platt { slope: 0.0, intercept: (mean / (1.0 - mean)).ln() })
    }

    /// Returns the probability for `score`, in `[0, 1]`; 0 for a score that is not a number.
    pub fn probability(&self, score: f64) -> f64 {
        if score.is_nan() {
            return 0.0;
        }
        let value = match self {
            Self::Isotonic(knots) => interpolate(knots, score),
            Self::Platt { slope, .. } if *slope == 0.0 && score.is_infinite() => return self.probability(0.0),
            Self::Platt { slope, intercept } => logistic(slope * score + intercept),
        };
        value.clamp(0.0, 1.0)
    }
}

/// Scores that share one probability.
struct Block {
    lowest: f64,
    highest: f64,
    right: f64,
    weight: f64,
}

impl Block {
    fn add(&mut self, correct: bool) {
        self.right += f64::from(correct);
        self.weight += 1.0;
    }

    fn mean(&self) -> f64 {
        self.right / self.weight
    }
}

fn pool_adjacent_violators(blocks: Vec<Block>) -> Vec<Block> {
    let mut pooled: Vec<Block> = Vec::with_capacity(blocks.len());
    for mut block in blocks {
        while let Some(last) = pooled.pop_if(|last| last.mean() >= block.mean()) {
            block.lowest = last.lowest;
            block.right += last.right;
            block.weight += last.weight;
        }
        pooled.push(block);
    }
    pooled
}

fn sorted_finite(pairs: &[(f64, bool)]) -> Result<Vec<(f64, bool)>> {
    let mut sorted: Vec<_> = pairs.iter().copied().filter(|(score, _)| score.is_finite()).collect();
    if sorted.is_empty() {
        return Err(Error::Training { what: "calibrator", reason: "no answer with a finite score".into() });
    }
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(sorted)
}

fn interpolate(knots: &[Knot], score: f64) -> f64 {
    let above = knots.partition_point(|knot| knot.score <= score);
    match (above.checked_sub(1).and_then(|below| knots.get(below)), knots.get(above)) {
        (Some(low), Some(high)) => {
            let share = (score - low.score) / (high.score - low.score);
            // min: rounding must not lift a point above its right neighbour.
            (low.probability + share * (high.probability - low.probability)).min(high.probability)
        }
        (Some(only), None) | (None, Some(only)) => only.probability,
        (None, None) => 0.0,
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Minimises the cross-entropy of `(score, target)` pairs; returns slope and intercept.
fn fit_logistic(targets: &[(f64, f64)], start: f64) -> (f64, f64) {
    const MAX_STEPS: usize = 100;
    const RIDGE: f64 = 1e-12; // keeps the Hessian invertible where all scores are equal
    let (mut slope, mut intercept) = (0.0, start);
    let mut loss = cross_entropy(targets, slope, intercept);
    for _ in 0..MAX_STEPS {
        let (mut g_slope, mut g_intercept) = (0.0, 0.0);
        let (mut h_slope, mut h_both, mut h_intercept) = (RIDGE, 0.0, RIDGE);
        for &(score, target) in targets {
            let p = logistic(slope * score + intercept);
            let (error, curve) = (p - target, p * (1.0 - p));
            g_slope += error * score;
            g_intercept += error;
            h_slope += curve * score * score;
            h_both += curve * score;
            h_intercept += curve;
        }
        let determinant = h_slope * h_intercept - h_both * h_both;
        let d_slope = -(h_intercept * g_slope - h_both * g_intercept) / determinant;
        let d_intercept = -(h_slope * g_intercept - h_both * g_slope) / determinant;
        let halvings = std::iter::successors(Some(1.0f64), |step| Some(step / 2.0)).take(40);
        let better = halvings
            .map(|step| (slope + step * d_slope, intercept + step * d_intercept))
            .map(|(s, i)| (s, i, cross_entropy(targets, s, i)))
            .find(|(_, _, new)| *new < loss);
        let Some((s, i, new)) = better else { break };
        (slope, intercept, loss) = (s, i, new);
    }
    (slope, intercept)
}

fn cross_entropy(targets: &[(f64, f64)], slope: f64, intercept: f64) -> f64 {
    let loss = |x: f64, target: f64| x.max(0.0) - x * target + (-x.abs()).exp().ln_1p();
    targets.iter().map(|&(score, target)| loss(slope * score + intercept, target)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotonic_pools_by_hand() {
        // Scores 1..5, right 0 1 0 1 1: the pair (1, 0) at scores 2 and 3 falls, so it is pooled to 1/2.
        let pairs = [(1.0, false), (2.0, true), (3.0, false), (4.0, true), (5.0, true)];
        let fit = Calibrator::fit_isotonic(&pairs).unwrap();
        // Blocks 0 | 1/2 1/2 | 1 1: half way between scores 1 and 2 lies 1/4, between 3 and 4 lies 3/4.
        for (score, want) in [(0.0, 0.0), (1.0, 0.0), (1.5, 0.25), (2.0, 0.5), (2.7, 0.5), (3.5, 0.75), (9.0, 1.0)] {
            assert_eq!(fit.probability(score), want, "score {score}");
        }
    }

    #[test]
    fn platt_finds_the_log_odds_by_hand() {
        // Score 0: 1 of 4 right, score 1: 3 of 4 right; so 4 right, 4 wrong, targets 5/6 and 1/6.
        // Mean target at 0: (5/6 + 3/6)/4 = 1/3, at 1: 2/3; intercept ln(1/2), slope ln 2 - ln(1/2) = 2 ln 2.
        let pairs: Vec<_> = (0..8).map(|n| (f64::from(n / 4), if n < 4 { n == 0 } else { n != 4 })).collect();
        let Calibrator::Platt { slope, intercept } = Calibrator::fit_platt(&pairs).unwrap() else { panic!("kind") };
        assert!((intercept - 0.5f64.ln()).abs() < 1e-6, "{intercept}");
        assert!((slope - 2.0 * 2f64.ln()).abs() < 1e-6, "{slope}");
    }

    #[test]
    fn never_falls_where_scores_mislead() {
        let pairs = [(0.0, true), (0.0, true), (1.0, false), (1.0, false)];
        for fit in [Calibrator::fit_platt(&pairs).unwrap(), Calibrator::fit_isotonic(&pairs).unwrap()] {
            assert!((fit.probability(-5.0) - 0.5).abs() < 1e-12 && (fit.probability(5.0) - 0.5).abs() < 1e-12);
            assert!((fit.probability(f64::INFINITY) - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn refuses_nothing_and_survives_what_is_no_number() {
        assert!(Calibrator::fit_isotonic(&[]).is_err() && Calibrator::fit_platt(&[(f64::NAN, true)]).is_err());
        let fit = Calibrator::fit_isotonic(&[(0.3, true)]).unwrap();
        assert_eq!((fit.probability(f64::NAN), fit.probability(0.1), fit.probability(0.9)), (0.0, 1.0, 1.0));
        assert_eq!(Calibrator::Isotonic(Vec::new()).probability(0.5), 0.0);
    }
}
