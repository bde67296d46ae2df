//! Doctors of every quality against coders of every quality: a sweep comes in, a table of differences and where they turn leaves.

use serde::Serialize;
use statrs::{
    distribution::{ContinuousCDF, StudentsT},
    statistics::Statistics,
};

use super::{
    outcome::{Better, Sweep, SweepPoint},
    written::{decimal, signed},
};

/// A difference of weighted F1 that colours a cell in full.
const FULL: f64 = 0.1;

/// The table.
#[derive(Debug, Serialize)]
pub(super) struct Grid {
    /// Training records of each model.
    records: u64,
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

impl Grid {
    /// Lays out a sweep; `runs` are weighted F1 of models that differ by their seeds alone, original and linked.
    pub(super) fn of(sweep: &Sweep, runs: &[[f64; 2]]) -> Self {
        let chance = chance(runs);
        let head = |point: &SweepPoint| [decimal(point.label_f1, 2), decimal(point.weighted_f1, 3)];
        let cell = |doctors: &SweepPoint, coder: &SweepPoint| {
            let difference = coder.weighted_f1 - doctors.weighted_f1;
            let shade = (100.0 * (difference.abs() / FULL).min(1.0)) as u8;
            let known = Some(difference).filter(|_| chance.is_none_or(|chance| difference.abs() > chance));
            Cell { difference: signed(difference, 3), better: Better::of(known), shade }
        };
        let row = |doctors: &SweepPoint| Row {
            head: head(doctors),
            cells: sweep.linked.iter().map(|coder| cell(doctors, coder)).collect(),
        };
        Self {
            records: sweep.records,
            columns: sweep.linked.iter().map(head).collect(),
            rows: sweep.original.iter().map(row).collect(),
            sentence: sentence(sweep, chance),
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

/// Says at which quality of the doctors the coder's labels, as they are, cease to be better.
fn sentence(sweep: &Sweep, chance: Option<f64>) -> String {
    let by_share = |a: &&SweepPoint, b: &&SweepPoint| a.share.total_cmp(&b.share);
    let Some(coder) = sweep.linked.iter().max_by(by_share) else { return String::new() };
    let mut doctors: Vec<&SweepPoint> = sweep.original.iter().collect();
    doctors.sort_by(|a, b| a.label_f1.total_cmp(&b.label_f1));
    let begin = format!("With the coder as it is (its labels have an F1 of {})", decimal(coder.label_f1, 2));
    match turn(&doctors, coder.weighted_f1) {
        Some(f1) => {
            let at = |reached: f64| turn(&doctors, reached).map(|f1| decimal(f1, 2));
            let range = match chance.map(|chance| [at(coder.weighted_f1 - chance), at(coder.weighted_f1 + chance)]) {
                None => String::new(),
                Some([Some(low), Some(high)]) => format!(" (by chance of the seeds, {low} to {high})"),
                Some([Some(low), None]) => format!(" (by chance of the seeds, from {low} on)"),
                Some([None, Some(high)]) => format!(" (by chance of the seeds, up to {high})"),
                Some([None, None]) => " (by chance of the seeds it may be any of those that were tried)".to_owned(),
            };
            let f1 = decimal(f1, 2);
            format!("{begin} its labels teach more than the doctors’ while theirs have an F1 below {f1}{range}.")
        }
        None if doctors.is_empty() => String::new(),
        None if doctors.iter().all(|point| point.weighted_f1 < coder.weighted_f1) => {
            format!("{begin} its labels teach more than all of the doctors’ that were tried.")
        }
        None if doctors.iter().all(|point| point.weighted_f1 > coder.weighted_f1) => {
            format!("{begin} its labels teach less than all of the doctors’ that were tried.")
        }
        None => format!("{begin} its labels teach neither always more nor always less than the doctors’."),
    }
}

/// Returns the F1 of doctors' labels, worst first, from which on models learn more of them than `reached`; between two models in proportion.
fn turn(doctors: &[&SweepPoint], reached: f64) -> Option<f64> {
    doctors.windows(2).find_map(|pair| {
        let [below, above] = [pair[0], pair[1]];
        let is_between = below.weighted_f1 < reached && above.weighted_f1 >= reached;
        let share = (reached - below.weighted_f1) / (above.weighted_f1 - below.weighted_f1);
        is_between.then_some(below.label_f1 + share * (above.label_f1 - below.label_f1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(share: f64, label_f1: f64, weighted_f1: f64) -> SweepPoint {
        SweepPoint { share, label_f1, weighted_f1 }
    }

    #[test]
    fn the_finding_turns_between_two_models_in_proportion() {
        let original = vec![point(0.0, 1.0, 0.5), point(0.5, 0.7, 0.4), point(1.0, 0.4, 0.1)];
        let sweep = |reached| Sweep { records: 9, original: original.clone(), linked: vec![point(1.0, 0.6, reached)] };
        // 0.3 lies two thirds of the way from 0.1 to 0.4: 0.4 + 2/3 · 0.3 = 0.6.
        let grid = Grid::of(&sweep(0.3), &[]);
        assert!(grid.sentence.contains("F1 of 0.60") && grid.sentence.contains("below 0.60"), "{}", grid.sentence);
        let told: Vec<&str> = grid.rows.iter().map(|row| row.cells[0].difference.as_str()).collect();
        assert_eq!(told, ["−0.200", "−0.100", "+0.200"]);
        assert!(Grid::of(&sweep(0.6), &[]).sentence.contains("more than all"));
        assert!(Grid::of(&sweep(0.05), &[]).sentence.contains("less than all"));
    }

    #[test]
    fn what_chance_explains_has_no_colour() {
        assert_eq!(chance(&[[0.3, 0.4]]), None);
        // Variances 0.0002 and 0, pooled 0.0001 with two degrees of freedom: 4.303 · √0.0002 = 0.0608.
        let runs = [[0.30, 0.4], [0.32, 0.4]];
        assert!((chance(&runs).unwrap() - 0.0608).abs() < 1e-4);
        let sweep = Sweep {
            records: 9,
            original: vec![point(0.0, 1.0, 0.35), point(1.0, 0.4, 0.2)],
            linked: vec![point(1.0, 0.6, 0.3)],
        };
        let better = |runs| Grid::of(&sweep, runs).rows.iter().map(|row| row.cells[0].better).collect::<Vec<_>>();
        assert_eq!(better(&runs), [Better::Neither, Better::Linked]);
        // 0.3 and 0.0608 on either side, from 0.2 (of 0.4) to 0.35 (of 1.0): 0.8 − 0.24 = 0.56, and above all that were tried.
        assert!(Grid::of(&sweep, &runs).sentence.contains("below 0.80 (by chance of the seeds, from 0.56 on)"));
        assert_eq!(better(&runs[..1]), [Better::Original, Better::Linked]);
    }
}
