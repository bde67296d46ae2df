//! How a model's logits become probabilities and chosen codes: held-out records come in, calibrators and thresholds leave.

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    eval::{calibrator::Calibrator, multilabel::Judged},
};

/// Probabilities are told apart in so many steps where thresholds are chosen.
const STEPS: usize = 200;
/// Held-out records with a class, and without it, that it takes to give it a calibrator or threshold of its own.
const LEAST_CASES: usize = 20;
/// Threshold where there is nothing to choose it on.
const EVEN: f64 = 0.5;
/// Takes logits as they are.
const IDENTITY: Calibrator = Calibrator::Platt { slope: 1.0, intercept: 0.0 };
/// Slope of a logistic curve from which on the rounding of sums, about 1e-6 of a logit, would show in probabilities. Those of trained models lie
/// between 0.4 and 4.
const STEEPEST: f64 = 1000.0;

/// Which thresholds are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Thresholds {
    /// One, by the F1 of all classes, each weighted by its cases.
    #[default]
    Global,
    /// One for each class with enough cases, by its own F1; the global one for the others.
    PerClass,
}

/// A held-out record: a logit a class, and the classes that are right, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// One a class.
    pub logits: Vec<f32>,
    /// Right classes.
    pub gold: Vec<u32>,
}

/// Calibrators and thresholds, one a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    calibrators: Vec<Calibrator>,
    /// A class is chosen whose probability reaches its threshold.
    thresholds: Vec<f64>,
}

impl Decision {
    /// Takes logits as they are, and what is likelier than not.
    pub fn plain(classes: usize) -> Self {
        Self { calibrators: vec![IDENTITY; classes], thresholds: vec![EVEN; classes] }
    }

    /// Fits logistic curves and chooses thresholds; without a record it is the plain one. A class with few cases shares the curve of all.
    ///
    /// # Errors
    /// - [`Error::Training`](crate::Error::Training) if no logit is finite.
    pub fn fit(records: &[Scored], classes: usize, kind: Thresholds) -> Result<Self> {
        if records.is_empty() || classes == 0 {
            return Ok(Self::plain(classes));
        }
        let mut of_classes: Vec<Vec<(f64, bool)>> = vec![Vec::with_capacity(records.len()); classes];
        for record in records {
            for (class, (pairs, &logit)) in of_classes.iter_mut().zip(&record.logits).enumerate() {
                pairs.push((f64::from(logit), record.gold.binary_search(&(class as u32)).is_ok()));
            }
        }
        let shared = Calibrator::fit_platt(&of_classes.concat()).map(|curve| trusted(curve, &IDENTITY))?;
        let own = |pairs: &Vec<(f64, bool)>| match has_cases(pairs) {
            true => Calibrator::fit_platt(pairs).map(|curve| trusted(curve, &shared)),
            false => Ok(shared.clone()),
        };
        let calibrators = of_classes.iter().map(own).collect::<Result<Vec<_>>>()?;
        let thresholds = thresholds(&of_classes, &calibrators, kind);
        Ok(Self { calibrators, thresholds })
    }

    /// Returns the probability of each class.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        logits.iter().zip(&self.calibrators).map(|(&logit, curve)| curve.probability(f64::from(logit)) as f32).collect()
    }

    /// Returns the classes whose probability reaches their threshold, ascending.
    pub fn choose(&self, probabilities: &[f32]) -> Vec<u32> {
        let reaches = |(&probability, &threshold): (&f32, &f64)| f64::from(probability) >= threshold;
        let classes = probabilities.iter().zip(&self.thresholds).enumerate();
        classes.filter(|(_, pair)| reaches(*pair)).map(|(class, _)| class as u32).collect()
    }

    /// Holds a record's logits against its gold.
    pub fn judge(&self, record: &Scored) -> Judged {
        let probabilities = self.probabilities(&record.logits);
        Judged { gold: record.gold.clone(), chosen: self.choose(&probabilities), probabilities }
    }

    /// Returns the number of classes; `None` if a part of it is missing.
    pub fn classes(&self) -> Option<usize> {
        Some(self.thresholds.len()).filter(|&classes| classes == self.calibrators.len())
    }
}

/// Returns a curve, or another where it is too steep: it would tell apart what differs by the rounding of sums alone.
fn trusted(curve: Calibrator, other: &Calibrator) -> Calibrator {
    match curve {
        Calibrator::Platt { slope, .. } if slope > STEEPEST => other.clone(),
        curve => curve,
    }
}

fn has_cases(pairs: &[(f64, bool)]) -> bool {
    let right = pairs.iter().filter(|(_, right)| *right).count();
    right >= LEAST_CASES && pairs.len() - right >= LEAST_CASES
}

/// Right and wrong records of a class, by the step that their probability reaches.
type Steps = [[u32; 2]; STEPS + 1];

fn thresholds(of_classes: &[Vec<(f64, bool)>], calibrators: &[Calibrator], kind: Thresholds) -> Vec<f64> {
    let count = |(pairs, curve): (&Vec<(f64, bool)>, &Calibrator)| -> Steps {
        let mut steps = [[0; 2]; STEPS + 1];
        for &(logit, right) in pairs {
            let step = ((curve.probability(logit) as f32 as f64) * STEPS as f64).floor() as usize;
            steps[step.min(STEPS)][usize::from(!right)] += 1;
        }
        steps
    };
    let curves: Vec<[f64; STEPS + 1]> =
        of_classes.iter().zip(calibrators).map(count).map(|steps| f1_by_step(&steps)).collect();
    let cases: Vec<f64> =
        of_classes.iter().map(|pairs| pairs.iter().filter(|(_, right)| *right).count() as f64).collect();
    let weighted = |step: usize| curves.iter().zip(&cases).map(|(curve, cases)| curve[step] * cases).sum::<f64>();
    let global = best(weighted);
    let own = |(pairs, curve): (&Vec<(f64, bool)>, &[f64; STEPS + 1])| match kind {
        Thresholds::PerClass if has_cases(pairs) => best(|step| curve[step]),
        _ => global,
    };
    of_classes.iter().zip(&curves).map(own).collect()
}

/// Returns the threshold of the step from 1 on with the highest value; of equal ones that nearest to an even chance.
fn best(value: impl Fn(usize) -> f64) -> f64 {
    let threshold = |step: usize| step as f64 / STEPS as f64;
    let nearness = |step: usize| -(threshold(step) - EVEN).abs();
    let order = |a: &usize, b: &usize| value(*a).total_cmp(&value(*b)).then(nearness(*a).total_cmp(&nearness(*b)));
    threshold((1..=STEPS).max_by(order).unwrap_or(STEPS / 2))
}

/// Returns a class's F1 if what reaches each step is chosen.
fn f1_by_step(steps: &Steps) -> [f64; STEPS + 1] {
    let cases: u32 = steps.iter().map(|[right, _]| right).sum();
    let (mut right, mut wrong, mut curve) = (0, 0, [0.0; STEPS + 1]);
    for step in (0..=STEPS).rev() {
        right += steps[step][0];
        wrong += steps[step][1];
        // 2 TP / (2 TP + FP + FN), and TP + FN are the cases.
        curve[step] = f64::from(2 * right) / f64::from((right + wrong + cases).max(1));
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes: the first is right where its logit is above 0, the second above 2.
    fn records() -> Vec<Scored> {
        let logit = |number: i32| (number % 80 - 40) as f32 / 10.0 + 0.05;
        let record = |number: i32| {
            let logits = vec![logit(number), logit(number * 7)];
            let gold = (0..2).filter(|&class| logits[class as usize] > [0.0, 2.0][class as usize]).collect();
            Scored { logits, gold }
        };
        (0..400).map(record).collect()
    }

    #[test]
    fn thresholds_of_classes_find_each_class_its_own_border() {
        let records = records();
        let own = Decision::fit(&records, 2, Thresholds::PerClass).unwrap();
        let right = records.iter().filter(|record| own.judge(record).chosen == record.gold).count();
        assert_eq!(right, 400);
        // The curves are each class's own, so both borders lie at an even chance, and one threshold does, too.
        let global = Decision::fit(&records, 2, Thresholds::Global).unwrap();
        assert_eq!(global.thresholds[0], global.thresholds[1]);
        let right = records.iter().filter(|record| global.judge(record).chosen == record.gold).count();
        assert!(right > 380, "{right}");
    }

    #[test]
    fn a_class_that_occurs_once_shares_the_curve_of_all() {
        let mut records = records();
        records.iter_mut().for_each(|record| {
            record.logits.push(-3.0);
            record.gold.retain(|&class| class < 2);
        });
        records[7].gold.push(2);
        let decision = Decision::fit(&records, 3, Thresholds::PerClass).unwrap();
        let probabilities = decision.probabilities(&records[7].logits);
        assert!(probabilities[2] > 0.0 && probabilities[2] < 0.5, "{probabilities:?}");
        assert_eq!(Decision::fit(&[], 3, Thresholds::Global).unwrap(), Decision::plain(3));
    }

    #[test]
    fn what_differs_by_rounding_is_not_told_apart() {
        // A class whose logits hardly differ, and by chance just where it is right: its own curve would be steep.
        let mut records = records();
        for (number, record) in records.iter_mut().enumerate() {
            let is_right = number % 10 == 0;
            record.logits.push(-3.0 + if is_right { 2e-5 } else { 0.0 });
            if is_right {
                record.gold.push(2);
            }
        }
        let decision = Decision::fit(&records, 3, Thresholds::PerClass).unwrap();
        let probability = |logit: f32| decision.probabilities(&[0.0, 0.0, logit])[2];
        assert!((probability(-3.0) - probability(-3.0 + 2e-5)).abs() < 1e-3);
    }

    #[test]
    fn f1_by_hand() {
        let mut steps = [[0; 2]; STEPS + 1];
        steps[150] = [3, 1];
        steps[50] = [1, 5];
        let curve = f1_by_step(&steps);
        // From step 51 on 3 of 4 cases are chosen and 1 wrong: 6 / (3 + 1 + 4). Below, all: 8 / (4 + 6 + 4).
        assert_eq!((curve[151], curve[150], curve[51], curve[50]), (0.0, 0.75, 0.75, 8.0 / 14.0));
        assert_eq!(best(|step| curve[step]), EVEN);
    }
}
