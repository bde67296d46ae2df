//! The cells of a run side by side: their figures come in, a table leaves.

use std::path::Path;

use comfy_table::Table;
use serde_json::Value;

use super::{
    folder::{METRICS, RunManifest, json},
    settings::Mentions,
    written::{decimal, table},
};
use crate::error::Result;

/// Lays out F1 of the three tasks, with the interval of code assignment, for each cell of a run in the order of the grid; where gold mentions
/// were linked, accuracy at ranks.
///
/// # Errors
/// - [`crate::error::Error::Read`], [`crate::error::Error::Parse`] if the folder is not whole.
pub fn leaderboard(run: &Path) -> Result<Table> {
    let manifest = RunManifest::load(run)?;
    let mut rows = Vec::new();
    for cell in manifest.cells(run)? {
        let figures: Value = json(&cell.path.join(METRICS))?;
        let at = |pointer: &str| figures.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let f1 = |of: &str| decimal(at(&format!("{of}/f1")), 3);
        if manifest.experiment.corpus.mentions == Mentions::Gold {
            let shares = ["strict", "relaxed"].map(|matching| {
                ["acc@1", "acc@5", "acc@15"]
                    .map(|rank| decimal(at(&format!("/linking/{matching}/{rank}")), 3))
                    .join(" / ")
            });
            rows.push([cell.manifest.name.clone()].into_iter().chain(shares).collect());
            continue;
        }
        let [lower, upper] = [0, 1].map(|end| at(&format!("/strict/code_assignment/f1_interval/{end}")));
        rows.push(vec![
            cell.manifest.name.clone(),
            f1("/strict/ner"),
            f1("/strict/ner_linking"),
            f1("/strict/code_assignment"),
            format!("{} to {}", decimal(lower, 3), decimal(upper, 3)),
            f1("/relaxed/code_assignment"),
            figures.pointer("/asked/questions").map_or_else(String::new, Value::to_string),
        ]);
    }
    let failed = manifest.cells.iter().filter(|cell| cell.failure.is_some());
    rows.extend(failed.map(|cell| vec![format!("{}: could not be run", cell.name)]));
    let header: &[&str] = match manifest.experiment.corpus.mentions {
        Mentions::Own => &["F1 of", "NER", "NER + linking", "codes", "95 % interval", "codes, relaxed", "questions"],
        Mentions::Gold => &["linking of gold mentions", "accuracy at 1 / 5 / 15", "relaxed"],
    };
    Ok(table(header, rows))
}
