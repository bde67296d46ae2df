//! Our figures beside published ones: a file of these and runs come in, a table for each table of the paper leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use comfy_table::Table;
use serde::Deserialize;
use serde_json::Value;

use super::{
    folder::{METRICS, RunManifest, cell_path, json},
    written::{decimal, table},
};
use crate::error::{Error, Result, line_at};

/// Published figures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Rows of tables.
    pub rows: Vec<PublishedRow>,
}

/// A row of one or more tables.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    /// What experiments call it by.
    pub name: String,
    /// Numbers of the tables that it stands in.
    pub tables: Vec<u8>,
    /// Whole codes.
    #[serde(default)]
    pub strict: TaskRow,
    /// Codes cut to three characters.
    #[serde(default)]
    pub relaxed: TaskRow,
}

/// Figures of a row by task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRow {
    /// Precision, recall, F1, accuracy.
    pub ner: Option<[f64; 4]>,
    /// The same.
    pub ner_linking: Option<[f64; 4]>,
    /// The same.
    pub codes: Option<[f64; 4]>,
    /// Accuracy at 1 and at 5.
    pub linking: Option<[f64; 2]>,
}

/// Tables whose figures are of codes cut to three characters.
const RELAXED: [u8; 2] = [11, 12];
/// What stands in place of figures.
const NOT_RUN: &str = "not run";
/// Table that has both, in one.
const BOTH: u8 = 6;

impl Published {
    /// Reads a file.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`] with the line.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        toml::from_str(&text).map_err(|e| Error::Parse {
            what: "published figures",
            path: path.to_owned(),
            line: e.span().map_or(1, |span| line_at(&text, span.start)),
            expected: "[[rows]] with name, tables, and figures by task".into(),
            got: e.message().into(),
        })
    }
}

/// What became of a row.
enum Ours {
    /// Its `metrics.json`, and whether a small model stood in for its own.
    Run(Value, bool),
    /// Why it was not run.
    NotRun(String),
}

/// Lays out every table with the paper's figures and those of the runs; rows that no run has are told as not run.
///
/// # Errors
/// - [`Error::Read`], [`Error::Parse`] if a run is not whole.
pub fn beside_paper<P: AsRef<Path>>(published: &Published, runs: &[P]) -> Result<Vec<(u8, Table)>> {
    let mut ours: BTreeMap<String, Ours> = BTreeMap::new();
    for run in runs.iter().map(AsRef::as_ref) {
        let manifest = RunManifest::load(run)?;
        for cell in manifest.cells {
            let Some(name) = cell.paper else { continue };
            let found = match &cell.folder {
                Some(folder) => Ours::Run(json(&cell_path(run, folder).join(METRICS))?, manifest.stand_in),
                None => Ours::NotRun(match (cell.needs, cell.failure) {
                    (Some(needs), _) => format!("needs {needs}"),
                    (None, Some(failure)) => failure,
                    (None, None) => "the run was stopped".into(),
                }),
            };
            ours.entry(name).or_insert(found);
        }
    }
    let numbers: BTreeSet<u8> = published.rows.iter().flat_map(|row| row.tables.iter().copied()).collect();
    Ok(numbers.into_iter().map(|number| (number, of_table(number, published, &ours))).collect())
}

fn of_table(number: u8, published: &Published, ours: &BTreeMap<String, Ours>) -> Table {
    let rows = published.rows.iter().filter(|row| row.tables.contains(&number)).flat_map(|row| {
        let kinds: &[(&str, TaskRow)] = match number {
            BOTH => &[("strict", row.strict), ("relaxed", row.relaxed)],
            _ if RELAXED.contains(&number) => &[("relaxed", row.relaxed)],
            _ => &[("strict", row.strict)],
        };
        let of_row = ours.get(&row.name);
        let lines = kinds.iter().flat_map(|(matching, figures)| tasks(matching, figures, of_row));
        // A row's name and why it was not run are told once.
        let once = |(at, [task, paper, ours]): (usize, [String; 3])| {
            let ours = if at > 0 && ours.starts_with(NOT_RUN) { String::new() } else { ours };
            vec![if at == 0 { row.name.clone() } else { String::new() }, task, paper, ours]
        };
        lines.enumerate().map(once).collect::<Vec<_>>()
    });
    table(&["row", "task", "paper", "ours"], rows)
}

/// Writes task, the paper's figures and ours, for each task that the paper gives.
fn tasks(matching: &str, figures: &TaskRow, ours: Option<&Ours>) -> Vec<[String; 3]> {
    const SCORE: [&str; 4] = ["precision", "recall", "f1", "accuracy"];
    let score = |task: &str| SCORE.map(|key| format!("/{matching}/{task}/{key}")).to_vec();
    let ranks = ["acc@1", "acc@5"].map(|key| format!("/linking/{matching}/{key}")).to_vec();
    let given = [
        ("NER", figures.ner.map(|of| of.to_vec()), score("ner")),
        ("NER + linking", figures.ner_linking.map(|of| of.to_vec()), score("ner_linking")),
        ("codes", figures.codes.map(|of| of.to_vec()), score("code_assignment")),
        ("linking @1, @5", figures.linking.map(|of| of.to_vec()), ranks),
    ];
    let written = |numbers: &[f64]| numbers.iter().map(|&number| decimal(number, 3)).collect::<Vec<_>>().join(" / ");
    let row = |(task, paper, pointers): (&str, Option<Vec<f64>>, Vec<String>)| {
        let ours = match ours {
            None => NOT_RUN.to_owned(),
            Some(Ours::NotRun(why)) => format!("{NOT_RUN}: {why}"),
            Some(Ours::Run(metrics, stand_in)) => {
                let at = |pointer: &String| metrics.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
                let star = if *stand_in { " †" } else { "" };
                written(&pointers.iter().map(at).collect::<Vec<_>>()) + star
            }
        };
        Some([format!("{task}, {matching}"), written(&paper?), ours])
    };
    given.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_figures_are_read_and_rows_without_a_run_are_told() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/paper.toml");
        let published = Published::load(&path).unwrap();
        let tables = beside_paper::<&Path>(&published, &[]).unwrap();
        assert_eq!(tables.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 6, 7, 8, 9, 10, 11, 12]);
        let rows = |number| published.rows.iter().filter(|row| row.tables.contains(&number)).count();
        assert_eq!([3, 6, 7, 8, 9, 10, 11, 12].map(rows), [10, 24, 12, 6, 10, 10, 10, 10]);
        assert!(tables[0].1.to_string().contains("not run"));
        // Accuracy is F / (2 − F): what was copied wrongly would break it.
        for row in &published.rows {
            for of in [row.strict, row.relaxed]
                .into_iter()
                .flat_map(|task| [task.ner, task.ner_linking, task.codes])
                .flatten()
            {
                let [.., f1, accuracy] = of;
                assert!((accuracy - f1 / (2.0 - f1)).abs() < 0.003, "{}: {of:?}", row.name);
            }
        }
    }
}
