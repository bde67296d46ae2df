//! What a resample has in common with the next: records come in once, measures of any draw of them leave.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Judged, Multilabel, is_present, mean, ranking, weighted_f1};
use crate::eval::metrics::{Counts, ratio};

/// What became of a class that is right for a record or was chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Found,
    Wrong,
    Missed,
}

impl Outcome {
    pub(super) fn add_to(self, counts: &mut Counts, times: usize) {
        *match self {
            Self::Found => &mut counts.true_positives,
            Self::Wrong => &mut counts.false_positives,
            Self::Missed => &mut counts.false_negatives,
        } += times;
    }
}

/// Returns the classes that are right for a record or were chosen.
pub(super) fn outcomes(record: &Judged) -> impl Iterator<Item = (u32, Outcome)> + '_ {
    let is_in = |set: &[u32], class| set.binary_search(&class).is_ok();
    let of_gold = record.gold.iter().map(move |&class| match is_in(&record.chosen, class) {
        true => (class, Outcome::Found),
        false => (class, Outcome::Missed),
    });
    let wrong = record.chosen.iter().filter(move |class| !is_in(&record.gold, **class));
    of_gold.chain(wrong.map(|&class| (class, Outcome::Wrong)))
}

/// One record's part in each measure.
#[derive(Debug)]
struct Part {
    outcomes: Vec<(u32, Outcome)>,
    /// Precision among the 1, 3 and 5 likeliest; `None` without a right class.
    precision: Option<[f64; 3]>,
    is_exact: bool,
}

impl Part {
    fn of(record: &Judged, classes: usize) -> Self {
        let has_gold = !record.gold.is_empty();
        Self {
            outcomes: outcomes(record).filter(|(class, _)| (*class as usize) < classes).collect(),
            precision: has_gold.then(|| [1, 3, 5].map(|k| ranking::precision_at(record, k))),
            is_exact: record.gold == record.chosen,
        }
    }
}

/// Records ready to be measured in any draw.
#[derive(Debug)]
pub(super) struct Prepared<'w> {
    parts: Vec<Part>,
    /// Of each class that is right for some record.
    ranked: Vec<ranking::Ranked>,
    weights: &'w [f64],
}

impl<'w> Prepared<'w> {
    pub(super) fn new<'a>(records: impl IntoIterator<Item = &'a Judged>, weights: &'w [f64]) -> Self {
        let records: Vec<&Judged> = records.into_iter().collect();
        let mut right = vec![Vec::new(); weights.len()];
        for (number, record) in records.iter().enumerate() {
            for &class in &record.gold {
                if let Some(right) = right.get_mut(class as usize) {
                    right.push(number as u32);
                }
            }
        }
        let present = right.into_par_iter().enumerate().filter(|(_, right)| !right.is_empty());
        let ranked = present.map(|(class, right): (usize, Vec<u32>)| {
            let of_class = |record: &&Judged| record.probabilities.get(class).copied().unwrap_or(0.0);
            ranking::Ranked::new(&records.iter().map(of_class).collect::<Vec<_>>(), &right)
        });
        let ranked = ranked.collect();
        let parts = records.par_iter().map(|record| Part::of(record, weights.len())).collect();
        Self { parts, ranked, weights }
    }

    /// Measures a draw in which each record occurs so many `times`; without them, each once.
    pub(super) fn measure(&self, times: Option<&[u32]>) -> Multilabel {
        let times = &*self.times(times);
        let counts = self.counts(times);
        let all = counts.iter().fold(Counts::default(), |mut sum, &counts| {
            sum.add(counts);
            sum
        });
        let present = || counts.iter().filter(|counts| is_present(counts));
        let [precision_at_1, precision_at_3, precision_at_5] = self.precision(times);
        Multilabel {
            weighted_f1: weighted_f1(&counts, self.weights),
            weighted_f1_all: mean(counts.iter().zip(self.weights.iter().copied())),
            micro_f1: all.score().f1,
            macro_f1: mean(present().map(|counts| (counts, 1.0))),
            precision_at_1,
            precision_at_3,
            precision_at_5,
            mean_average_precision: self.mean_average_precision(times),
            exact_match: self.exact_match(times),
        }
    }

    /// Returns the weighted F1 of [`Self::measure`] alone.
    pub(super) fn weighted_f1(&self, times: Option<&[u32]>) -> f64 {
        weighted_f1(&self.counts(&self.times(times)), self.weights)
    }

    fn times<'t>(&self, times: Option<&'t [u32]>) -> Cow<'t, [u32]> {
        times.map_or_else(|| Cow::Owned(vec![1; self.parts.len()]), Cow::Borrowed)
    }

    fn counts(&self, times: &[u32]) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.weights.len()];
        for (part, &times) in self.parts.iter().zip(times).filter(|(_, times)| **times > 0) {
            for &(class, outcome) in &part.outcomes {
                outcome.add_to(&mut counts[class as usize], times as usize);
            }
        }
        counts
    }

    fn precision(&self, times: &[u32]) -> [f64; 3] {
        let (mut sums, mut records) = ([0.0; 3], 0.0);
        for (part, &times) in self.parts.iter().zip(times) {
            let Some(precision) = part.precision else { continue };
            records += f64::from(times);
            sums.iter_mut().zip(precision).for_each(|(sum, one)| *sum += f64::from(times) * one);
        }
        sums.map(|sum| ratio(sum, records))
    }

    fn mean_average_precision(&self, times: &[u32]) -> f64 {
        let classes = self.ranked.iter().filter_map(|ranked| ranked.average_precision(times));
        let (sum, present) = classes.fold((0.0, 0.0), |(sum, present), one| (sum + one, present + 1.0));
        ratio(sum, present)
    }

    fn exact_match(&self, times: &[u32]) -> f64 {
        let exact = self.parts.iter().zip(times).filter(|(part, _)| part.is_exact).map(|(_, &times)| times);
        ratio(f64::from(exact.sum::<u32>()), f64::from(times.iter().sum::<u32>()))
    }
}
