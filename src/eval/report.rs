//! Figures for people and programs: metrics and intervals come in, a table or JSON leaves.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::{
    bootstrap::Interval,
    metrics::{Counts, Figures, Matching, Metrics, Score},
};

/// Everything `noso eval` says. Serialises to the documented JSON, keys in that order; displays as a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    ner: Row,
    ner_linking: Row,
    code_assignment: Row,
    document_recall: Recall,
    documents: usize,
    #[serde(skip)]
    matching: Matching,
    #[serde(skip)]
    complete: [usize; 2],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    precision: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision_interval: Option<Interval>,
    recall: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_interval: Option<Interval>,
    f1: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    f1_interval: Option<Interval>,
    accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_interval: Option<Interval>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Recall {
    ner: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ner_interval: Option<Interval>,
    code_assignment: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_assignment_interval: Option<Interval>,
}

impl Report {
    /// Lays out metrics that were counted under `matching`, with their intervals where there are any.
    pub fn new(metrics: &Metrics, intervals: Option<&Figures<Interval>>, matching: Matching) -> Self {
        let figures = metrics.figures();
        let recall = intervals.map(|of| of.document_recall);
        Self {
            ner: Row::new(figures.ner, intervals.map(|of| of.ner), metrics.counts.ner),
            ner_linking: Row::new(figures.ner_linking, intervals.map(|of| of.ner_linking), metrics.counts.ner_linking),
            code_assignment: Row::new(
                figures.code_assignment,
                intervals.map(|of| of.code_assignment),
                metrics.counts.code_assignment,
            ),
            document_recall: Recall {
                ner: figures.document_recall.ner,
                ner_interval: recall.map(|of| of.ner),
                code_assignment: figures.document_recall.code_assignment,
                code_assignment_interval: recall.map(|of| of.code_assignment),
            },
            documents: metrics.documents,
            matching,
            complete: [metrics.all_spans_found, metrics.all_codes_found],
        }
    }
}

impl Row {
    fn new(score: Score<f64>, intervals: Option<Score<Interval>>, counts: Counts) -> Self {
        Self {
            precision: score.precision,
            precision_interval: intervals.map(|of| of.precision),
            recall: score.recall,
            recall_interval: intervals.map(|of| of.recall),
            f1: score.f1,
            f1_interval: intervals.map(|of| of.f1),
            accuracy: score.accuracy,
            accuracy_interval: intervals.map(|of| of.accuracy),
            counts,
        }
    }

    fn cells(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            cell(self.precision, self.precision_interval),
            cell(self.recall, self.recall_interval),
            cell(self.f1, self.f1_interval),
            cell(self.accuracy, self.accuracy_interval),
            self.counts.true_positives.to_string(),
            self.counts.false_positives.to_string(),
            self.counts.false_negatives.to_string(),
        ]
    }
}

fn cell(figure: f64, interval: Option<Interval>) -> String {
    match interval {
        None => format!("{figure:.4}"),
        Some(Interval { lower, upper }) => format!("{figure:.4}\n{lower:.4}–{upper:.4}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matching = match self.matching {
            Matching::Strict => "strict",
            Matching::Relaxed => "relaxed",
        };
        let header = [matching, "precision", "recall", "F1", "accuracy", "TP", "FP", "FN"];
        let rows = vec![
            self.ner.cells("NER"),
            self.ner_linking.cells("NER + linking"),
            self.code_assignment.cells("code assignment"),
        ];
        writeln!(f, "{}", table(&header, rows))?;
        let recall = &self.document_recall;
        let line = |figure, interval| cell(figure, interval).replace('\n', ", ");
        let [spans, codes] = self.complete;
        writeln!(f, "{} documents. Document recall (all gold found, extra predictions ignored):", self.documents)?;
        writeln!(f, "  spans {} ({spans} documents)", line(recall.ner, recall.ner_interval))?;
        write!(f, "  codes {} ({codes} documents)", line(recall.code_assignment, recall.code_assignment_interval))
    }
}

/// Lays out rows under a header, the first column left, the others right.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
