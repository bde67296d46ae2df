//! A comparison as tables for people.

use std::fmt::{self, Display, Formatter};

use comfy_table::Table;

use super::{Against, Breakdown, Compared, Comparison, Figure, Group, ScoreOf, Stability, TaskFigures};
use crate::{
    eval::{
        bootstrap::Difference,
        significance::{LEVEL, least_changed},
    },
    experiment::written::{decimal, signed, table},
};

/// Cells that a table of groups has columns for.
const COLUMNS: usize = 6;

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some((baseline, others)) = self.cells.split_first() else { return Ok(()) };
        writeln!(f, "{} documents; baseline: {}\n\n{}", self.documents, baseline.name, figures(&self.cells))?;
        for other in others {
            writeln!(f, "\n{}\n{}", other.name, differences(other, others.len()))?;
            writeln!(f, "{}", finding(other, others.len()))?;
        }
        writeln!(f, "\nWhat became of the gold codes\n{}", losses(&self.cells))?;
        for breakdown in &self.breakdowns {
            writeln!(f, "\nF1 of {}, by {}\n{}", breakdown.task, breakdown.by, groups(breakdown, &self.cells))?;
        }
        if !self.stability.is_empty() {
            writeln!(f, "\nHow much hangs on each axis, all others being equal\n{}", self.axes())?;
        }
        write!(
            f,
            "\nIntervals: paired bootstrap over documents, {0} resamples (groups: {1}). p: paired permutation test, {0} rounds, exact where few documents differ; Holm: over \
             comparisons: {2}. Detectable: the smallest true difference that these documents would have shown in four of five cases, \
             among so many cells; none where too few differ. Documents: those that differ. *: {3} documents or more differ and the interval leaves out 0; of so many groups one in twenty \
             would by chance.",
            self.resamples,
            self.resamples.min(1000),
            others.len(),
            least_changed(1),
        )
    }
}

impl Comparison {
    fn axes(&self) -> Table {
        let row = |of: &Stability| {
            vec![
                of.axis.clone(),
                of.cells.to_string(),
                of.groups.to_string(),
                decimal(of.f1_deviation, 4),
                decimal(of.f1_range, 4),
                format!("{:.1} %", 100.0 * of.changed_documents),
            ]
        };
        let header = ["axis", "cells", "groups", "F1, deviation", "F1, range", "documents with other codes"];
        table(&header, self.stability.iter().map(row))
    }
}

/// Lays out P / R / F1 / accuracy of the three tasks.
fn figures(cells: &[Compared]) -> Table {
    let four = |score: &ScoreOf<Figure>| {
        [score.precision, score.recall, score.f1, score.accuracy].map(|figure| decimal(figure.value, 3)).join(" / ")
    };
    let rows = |cell: &Compared| {
        let failed = if cell.failed > 0 { format!(" ({} documents failed)", cell.failed) } else { String::new() };
        let row = |kind: &str, name: String, TaskFigures { ner, ner_linking, code_assignment }: &TaskFigures| {
            vec![name, kind.to_owned(), four(ner), four(ner_linking), four(code_assignment)]
        };
        [row("strict", cell.name.clone() + &failed, &cell.strict), row("relaxed", String::new(), &cell.relaxed)]
    };
    table(&["cell", "", "NER: P / R / F1 / accuracy", "NER + linking", "codes"], cells.iter().flat_map(rows))
}

/// Lays out the differences of F1 from the baseline.
fn differences(cell: &Compared, comparisons: usize) -> Table {
    let f1 = [
        ("NER", cell.strict.ner.f1),
        ("NER + linking", cell.strict.ner_linking.f1),
        ("codes", cell.strict.code_assignment.f1),
        ("NER + linking, relaxed", cell.relaxed.ner_linking.f1),
        ("codes, relaxed", cell.relaxed.code_assignment.f1),
    ];
    let row = |(name, Figure { value, against }): (&str, Figure)| {
        let Against { difference, p_value, p_holm, smallest_detectable, changed_documents } = against?;
        let detectable = if changed_documents < least_changed(comparisons) { f64::NAN } else { smallest_detectable };
        let Difference { value: by, interval } = difference;
        Some(vec![
            name.to_owned(),
            decimal(value - by, 3),
            decimal(value, 3),
            signed(by, 3),
            format!("{} to {}", signed(interval.lower, 3), signed(interval.upper, 3)),
            decimal(p_value, 4),
            decimal(p_holm, 4),
            decimal(detectable, 3),
            changed_documents.to_string(),
        ])
    };
    let header = ["F1", "baseline", "here", "difference", "95 % interval", "p", "p, Holm", "detectable", "documents"];
    table(&header, f1.into_iter().filter_map(row))
}

/// Says in a sentence what the main figure shows, of so many comparisons.
fn finding(cell: &Compared, comparisons: usize) -> String {
    let Some(against) = cell.strict.code_assignment.f1.against else { return String::new() };
    let Against { difference, p_holm, smallest_detectable, changed_documents, .. } = against;
    let by = signed(difference.value, 3);
    let least = least_changed(comparisons);
    match (p_holm < LEVEL, difference.value > 0.0) {
        _ if changed_documents == 0 => "No difference: every document has as many right and wrong codes.".to_owned(),
        _ if changed_documents < least => format!(
            "Too few documents differ to tell: F1 of codes {by}, by {changed_documents}; {least} that all differ the one way would have to."
        ),
        (true, true) => format!("Better: F1 of codes {by}, more than chance explains."),
        (true, false) => format!("Worse: F1 of codes {by}, more than chance explains."),
        (false, _) => format!(
            "No difference that chance could not explain: F1 of codes {by}; one of about {} would have been seen in four of five cases.",
            decimal(smallest_detectable, 3)
        ),
    }
}

fn losses(cells: &[Compared]) -> Table {
    let row = |Compared { name, losses, .. }: &Compared| {
        let all = (losses.found + losses.missed()).max(1) as f64;
        let share = |count: usize| format!("{count} ({:.1} %)", 100.0 * count as f64 / all);
        let parts = [losses.found, losses.not_in_catalogue, losses.ner, losses.retrieval, losses.reranking];
        [name.clone()].into_iter().chain(parts.map(share)).collect()
    };
    let header = ["cell", "found", "not in catalogue", "lost at NER", "at retrieval", "at re-ranking"];
    table(&header, cells.iter().map(row))
}

/// Lays out groups by cells; a star where enough documents differ and the interval of the difference leaves out 0.
fn groups(breakdown: &Breakdown, cells: &[Compared]) -> Table {
    let shown = cells.len().min(COLUMNS);
    let mut header = vec![breakdown.by.to_owned(), "gold".to_owned(), "baseline".to_owned()];
    header.extend(cells[1..shown].iter().map(|cell| cell.name.clone()));
    let row = |group: &Group| {
        let mut row = vec![group.name.clone(), group.gold.to_string()];
        row.extend(group.f1.first().map(|&f1| decimal(f1, 3)));
        let differences = group.differences.iter().zip(&group.changed_documents);
        for (&f1, (Difference { value, interval }, &changed)) in group.f1[1..shown].iter().zip(differences) {
            let is_beyond = changed >= least_changed(1) && (interval.lower > 0.0 || interval.upper < 0.0);
            let star = if is_beyond { "*" } else { "" };
            row.push(format!("{} ({}){star}", decimal(f1, 3), signed(*value, 3)));
        }
        row
    };
    table(&header, breakdown.groups.iter().map(row))
}
