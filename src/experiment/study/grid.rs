//! Doctors of every quality against coders of every quality: a sweep comes in, tables of differences and where they turn leave.

use serde::Serialize;
use statrs::{
    distribution::{ContinuousCDF, StudentsT},
    statistics::Statistics,
};

use super::{
    measured::EVEN_THRESHOLD,
    outcome::{Better, Outcome, Sweep, SweepPoint},
    written::{decimal, signed},
};

/// A difference of weighted F1 that colours a cell in full.
const FULL: f64 = 0.1;

/// A table.
#[derive(Debug, Serialize)]
pub(super) struct Grid {
    /// What is compared.
    measure: &'static str,
    /// Coders: F1 of the labels and of the model.
    columns: Vec<[String; 2]>,
    rows: Vec<Row>,
    /// Where the finding turns.
    sentence: String,
    /// How great a difference chance explains.
    chance: String,
}

/// Doctors of one quality.
#[derive(Debug, Serialize)]
struct Row {
    /// F1 of the labels and of the model.
    head: [String; 2],
    cells: Vec<Cell>,
}

/// What a coder's labels are worth above the doctors'.
#[derive(Debug, Serialize)]
struct Cell {
    difference: String,
    better: Better,
    /// Per cent.
    shade: u8,
}

/// Labels of one quality and what a model learnt from them, by one measure.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    label_f1: f64,
    f1: f64,
}

impl Grid {
    /// Lays out what a study swept, a table a measure.
    pub(super) fn all(outcome: &Outcome) -> Vec<Self> {
        let of = |sweep: &Sweep| {
            let chosen = Self::of(sweep, "weighted F1, thresholds chosen", |point| point.weighted_f1, &outcome.runs);
            [Self::of(sweep, EVEN_THRESHOLD, |point| point.even_f1, &outcome.even_runs), chosen]
        };
        outcome.sweep.iter().flat_map(of).collect()
    }

    /// Lays out a sweep by one measure; `runs` are the measure of models that differ by their seeds alone, original and linked.
    fn of(sweep: &Sweep, measure: &'static str, f1: fn(&SweepPoint) -> f64, runs: &[[f64; 2]]) -> Self {
        let learnt = |points: &[SweepPoint]| {
            let mut points: Vec<&SweepPoint> = points.iter().collect();
            points.sort_by(|a, b| a.share.total_cmp(&b.share));
            points.into_iter().map(|point| Learnt { label_f1: point.label_f1, f1: f1(point) }).collect::<Vec<_>>()
        };
        let (doctors, coders, chance) = (learnt(&sweep.original), learnt(&sweep.linked), chance(runs));
        let head = |of: &Learnt| [decimal(of.label_f1, 2), decimal(of.f1, 3)];
        let cell = |doctors: &Learnt, coder: &Learnt| {
            let difference = coder.f1 - doctors.f1;
            let shade = (100.0 * (difference.abs() / FULL).min(1.0)) as u8;
            let known = Some(difference).filter(|_| chance.is_none_or(|chance| difference.abs() > chance));
            Cell { difference: signed(difference, 3), better: Better::of(known), shade }
        };
        let row = |doctors: &Learnt| Row {
            head: head(doctors),
            cells: coders.iter().map(|coder| cell(doctors, coder)).collect(),
        };
        Self {
            measure,
            columns: coders.iter().map(head).collect(),
            rows: doctors.iter().map(row).collect(),
            sentence: coders.last().map(|coder| sentence(*coder, &doctors, chance)).unwrap_or_default(),
            chance: told(chance),
        }
    }
}

/// Returns what the difference between two single models of equal labels stays below in 95 of 100 cases, by how far models of one label set
/// differ from seed to seed (Student's t); `None` where there is one of each.
fn chance(runs: &[[f64; 2]]) -> Option<f64> {
    let freedom = 2.0 * (runs.len() as f64 - 1.0);
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let variance = [0, 1].map(|set: usize| runs.iter().map(|run| run[set]).variance()).mean();
    Some(student.inverse_cdf(0.975) * (2.0 * variance).sqrt())
}

fn told(chance: Option<f64>) -> String {
    match chance {
        Some(chance) => format!(
            "By how far models of the same labels differ from seed to seed, a difference of up to {} may be chance (95 %); such cells have no colour.",
            decimal(chance, 3)
        ),
        None => "How far models of the same labels differ from seed to seed is not known of a single run, so small differences may be chance.".to_owned(),
    }
}

/// Says at which quality of the doctors, best first, the coder's labels, as they are, cease to be better.
fn sentence(coder: Learnt, doctors: &[Learnt], chance: Option<f64>) -> String {
    let begin = format!("With the coder as it is (its labels have an F1 of {})", decimal(coder.label_f1, 2));
    let at = |reached: f64| turn(doctors, reached).map(|f1| decimal(f1, 2));
    if let Some(f1) = at(coder.f1) {
        let range = match chance.map(|chance| [at(coder.f1 - chance), at(coder.f1 + chance)]) {
            None => String::new(),
            Some([Some(low), Some(high)]) => format!(" (by chance of the seeds, {low} to {high})"),
            Some([Some(low), None]) => format!(" (by chance of the seeds, from {low} on)"),
            Some([None, Some(high)]) => format!(" (by chance of the seeds, up to {high})"),
            Some([None, None]) => " (by chance of the seeds it may be any of those that were tried)".to_owned(),
        };
        return format!("{begin} its labels teach more than the doctors’ while theirs have an F1 below {f1}{range}.");
    }
    let gains = || doctors.iter().map(|doctors| coder.f1 - doctors.f1);
    let is_sure = gains().all(|gain| gain.abs() > chance.unwrap_or(0.0));
    let doubt = if is_sure { "" } else { ", but not by more than the seeds may explain" };
    match (gains().all(|gain| gain > 0.0), gains().all(|gain| gain < 0.0)) {
        (true, true) => String::new(), // there are none
        (true, _) => format!("{begin} its labels teach more than all of the doctors’ that were tried{doubt}."),
        (_, true) => format!("{begin} its labels teach less than all of the doctors’ that were tried{doubt}."),
        _ => format!("{begin} its labels teach neither always more nor always less than the doctors’."),
    }
}

/// Returns the F1 of doctors' labels, best first, from which on models learn more of them than `reached`; between two models in proportion.
fn turn(doctors: &[Learnt], reached: f64) -> Option<f64> {
    doctors.windows(2).rev().find_map(|pair| {
        let [above, below] = [pair[0], pair[1]];
        let is_between = below.f1 < reached && above.f1 >= reached;
        let share = (reached - below.f1) / (above.f1 - below.f1);
        is_between.then_some(below.label_f1 + share * (above.label_f1 - below.label_f1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(share: f64, label_f1: f64, weighted_f1: f64) -> SweepPoint {
        SweepPoint { share, label_f1, weighted_f1, even_f1: 0.0 }
    }

    fn grid(original: &[SweepPoint], reached: f64, runs: &[[f64; 2]]) -> Grid {
        let sweep = Sweep { records: 9, original: original.to_vec(), linked: vec![point(1.0, 0.6, reached)] };
        Grid::of(&sweep, "F1", |point| point.weighted_f1, runs)
    }

    #[test]
    fn the_finding_turns_between_two_models_in_proportion() {
        let original = [point(0.0, 1.0, 0.5), point(0.5, 0.7, 0.4), point(1.0, 0.4, 0.1)];
        // 0.3 lies two thirds of the way from 0.1 to 0.4: 0.4 + 2/3 · 0.3 = 0.6.
        let found = grid(&original, 0.3, &[]);
        assert!(found.sentence.contains("F1 of 0.60") && found.sentence.contains("below 0.60."), "{}", found.sentence);
        let told: Vec<&str> = found.rows.iter().map(|row| row.cells[0].difference.as_str()).collect();
        assert_eq!(told, ["−0.200", "−0.100", "+0.200"]);
        assert!(grid(&original, 0.6, &[]).sentence.contains("more than all of the doctors’ that were tried."));
        assert!(grid(&original, 0.05, &[]).sentence.contains("less than all of the doctors’ that were tried."));
        assert_eq!(grid(&[], 0.3, &[]).sentence, "");
    }

    #[test]
    fn what_chance_explains_has_no_colour() {
        assert_eq!(chance(&[[0.3, 0.4]]), None);
        // Variances 0.0002 and 0, pooled 0.0001 with two degrees of freedom: 4.303 · √0.0002 = 0.0608.
        let runs = [[0.30, 0.4], [0.32, 0.4]];
        assert!((chance(&runs).unwrap() - 0.0608).abs() < 1e-4);
        let original = [point(0.0, 1.0, 0.35), point(1.0, 0.4, 0.2)];
        let better = |runs| grid(&original, 0.3, runs).rows.iter().map(|row| row.cells[0].better).collect::<Vec<_>>();
        assert_eq!(better(&runs[..]), [Better::Neither, Better::Linked]);
        assert_eq!(better(&runs[..1]), [Better::Original, Better::Linked]);
        // 0.3 and 0.0608 on either side, from 0.2 (of 0.4) to 0.35 (of 1.0): 0.8 − 0.24 = 0.56, and above all that were tried.
        let told = grid(&original, 0.3, &runs).sentence;
        assert!(told.contains("below 0.80 (by chance of the seeds, from 0.56 on)"), "{told}");
        assert!(grid(&original, 0.36, &runs).sentence.contains("but not by more than the seeds"));
    }
}
