//! The cells of a run side by side: their figures come in, a table leaves.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;

use super::folder::{METRICS, RunManifest, json};
use crate::error::Result;

/// Lays out F1 of the three tasks, with the interval of code assignment, for each cell of a run in the order of the grid.
///
/// # Errors
/// - [`crate::error::Error::Read`], [`crate::error::Error::Parse`] if the folder is not whole.
pub fn leaderboard(run: &Path) -> Result<Table> {
    let manifest = RunManifest::load(run)?;
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "cell",
        "NER",
        "NER + linking",
        "codes",
        "95 % interval",
        "codes, relaxed",
        "questions",
    ]);
    for cell in manifest.cells(run)? {
        let figures: Value = json(&cell.path.join(METRICS))?;
        let at = |pointer: &str| figures.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let f1 = |of: &str| format!("{:.3}", at(&format!("{of}/f1")));
        let interval = [0, 1].map(|end| at(&format!("/strict/code_assignment/f1_interval/{end}")));
        table.add_row([
            cell.manifest.name.clone(),
            f1("/strict/ner"),
            f1("/strict/ner_linking"),
            f1("/strict/code_assignment"),
            format!("{:.3}–{:.3}", interval[0], interval[1]),
            f1("/relaxed/code_assignment"),
            figures.pointer("/asked/questions").map_or_else(String::new, Value::to_string),
        ]);
    }
    for cell in manifest.cells.iter().filter(|cell| cell.failure.is_some()) {
        table.add_row([&format!("{}: could not be run", cell.name), "–", "–", "–", "–", "–", "–"]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    Ok(table)
}
