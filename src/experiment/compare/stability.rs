//! How much hangs on a setting that should not matter (a seed, the order of candidates, the wording of a prompt), or on one that should: cells
//! that differ in one axis alone come in, how far their results lie apart leaves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Side;
use crate::eval::metrics::Metrics;

/// How far results lie apart along one axis, on average over the settings of all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stability {
    /// The axis.
    pub axis: String,
    /// Groups of cells that differ in it alone.
    pub groups: usize,
    /// Cells in these groups.
    pub cells: usize,
    /// Standard deviation of the F1 of code assignment within a group.
    pub f1_deviation: f64,
    /// Greatest less least F1 within a group.
    pub f1_range: f64,
    /// Share of documents whose code sets differ between two cells of a group.
    pub changed_documents: f64,
}

/// Finds the axes along which cells differ.
pub(super) fn stability(sides: &[Side]) -> Vec<Stability> {
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in sides.iter().flat_map(|side| &side.cell.manifest.values) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    let f1: Vec<f64> = sides.iter().map(|side| Metrics::of(&side.scored.strict).figures().code_assignment.f1).collect();
    let codes: Vec<Vec<BTreeSet<&str>>> = sides.iter().map(Side::code_sets).collect();
    axes.into_iter().filter_map(|axis| along(axis, sides, &f1, &codes)).collect()
}

fn along(axis: &str, sides: &[Side], f1: &[f64], codes: &[Vec<BTreeSet<&str>>]) -> Option<Stability> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, side) in sides.iter().enumerate() {
        let manifest = &side.cell.manifest;
        let others: Vec<_> = manifest.values.iter().filter(|(key, _)| key != axis).collect();
        groups.entry(format!("{} {:?} {others:?}", side.cell.run().display(), manifest.row)).or_default().push(at);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().filter(|cells| cells.len() > 1).collect();
    let of_group = |cells: &Vec<usize>| {
        let f1: Vec<f64> = cells.iter().map(|&at| f1[at]).collect();
        let mean = f1.iter().sum::<f64>() / f1.len() as f64;
        let variance = f1.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (f1.len() - 1) as f64;
        let (least, most) = f1.iter().fold((f64::MAX, f64::MIN), |(least, most), &one| (least.min(one), most.max(one)));
        let pairs = cells.iter().enumerate().flat_map(|(place, &a)| cells[place + 1..].iter().map(move |&b| (a, b)));
        let changed = |(a, b): (usize, usize)| {
            let different = codes[a].iter().zip(&codes[b]).filter(|(one, other)| one != other).count();
            different as f64 / codes[a].len().max(1) as f64
        };
        let changed: Vec<f64> = pairs.map(changed).collect();
        [variance.sqrt(), most - least, changed.iter().sum::<f64>() / changed.len() as f64]
    };
    if groups.is_empty() {
        return None;
    }
    let all: Vec<[f64; 3]> = groups.iter().map(of_group).collect();
    let mean = |of: usize| all.iter().map(|group| group[of]).sum::<f64>() / all.len() as f64;
    Some(Stability {
        axis: axis.to_owned(),
        groups: groups.len(),
        cells: groups.iter().map(Vec::len).sum(),
        f1_deviation: mean(0),
        f1_range: mean(1),
        changed_documents: mean(2),
    })
}
