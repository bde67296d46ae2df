//! Which cells are looked at: folders of runs and cells come in, the cells leave, each with a name that tells it from the others.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    experiment::{
        folder::{CellFolder, RunManifest},
        gold::DOCUMENTS,
    },
};

/// Cells that results are read from.
pub(in crate::experiment) struct Found {
    /// A run with their documents.
    pub run: PathBuf,
    /// The cells, each with a name that tells it from the others.
    pub cells: Vec<(String, CellFolder)>,
    /// Which cells of the runs are missing, and whether pipelines are chosen on documents that are there to report on.
    pub warnings: Vec<String>,
}

impl Found {
    /// Finds the cells of runs, and single cells.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`] if one is not whole; [`Error::Setting`] if there is none, or they are on different documents.
    pub fn of<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let (mut cells, mut warnings) = (Vec::new(), Vec::new());
        for path in paths.iter().map(AsRef::as_ref) {
            if !path.join(DOCUMENTS).exists() {
                cells.push(CellFolder::load(path)?);
                continue;
            }
            let manifest = RunManifest::load(path)?;
            cells.extend(manifest.cells(path)?);
            let missing = manifest.cells.iter().filter_map(|cell| Some((&cell.name, cell.not_run()?)));
            warnings.extend(missing.map(|(name, why)| format!("{name} was not run: {why}")));
        }
        if cells.is_empty() {
            let got = warnings.into_iter().next().unwrap_or_else(|| "none".into());
            return Err(different("a run with cells that were run", got));
        }
        let runs: BTreeSet<&Path> = cells.iter().map(CellFolder::run).collect();
        let runs = runs.into_iter().map(|run| Ok((run, RunManifest::load(run)?))).collect::<Result<Vec<_>>>()?;
        on_same_documents(&runs)?;
        let run = cells[0].run().to_owned();
        let scored = runs.iter().filter_map(|(_, manifest)| manifest.scored_on_dev).max();
        warnings.extend(scored.and_then(warning_of_choosing));
        Ok(Self { run, cells: named(cells), warnings })
    }
}

/// Returns what to say of so many pipelines that were scored on documents which are there to report on.
pub fn warning_of_choosing(scored: usize) -> Option<String> {
    let warning = format!(
        "{scored} different pipelines were scored on these documents so far. Whoever takes the best of them overrates it: choose on a tune \
         split (corpus.role), and report that one choice here"
    );
    (scored > 1).then_some(warning)
}

/// Refuses runs that are on different documents.
fn on_same_documents(runs: &[(&Path, RunManifest)]) -> Result<()> {
    let differs = |two: &[(&Path, RunManifest)]| two[0].1.documents_sha256 != two[1].1.documents_sha256;
    match runs.windows(2).find(|two| differs(two)) {
        None => Ok(()),
        Some(two) => {
            let got = format!("others in {} than in {}", two[1].0.display(), two[0].0.display());
            Err(different("runs on the same documents with the same annotation", got))
        }
    }
}

/// Names cells so that each is told from the others.
fn named(cells: Vec<CellFolder>) -> Vec<(String, CellFolder)> {
    let is_one_run = cells.iter().map(CellFolder::run).collect::<BTreeSet<_>>().len() == 1;
    let named = |cell: CellFolder| {
        let run = cell.run().file_name().unwrap_or_default().to_string_lossy();
        let name = if is_one_run { cell.manifest.name.clone() } else { format!("{run}: {}", cell.manifest.name) };
        (name, cell)
    };
    let mut cells: Vec<(String, CellFolder)> = cells.into_iter().map(named).collect();
    let names: Vec<String> = cells.iter().map(|(name, _)| name.clone()).collect();
    for (name, cell) in &mut cells {
        // Such as two wordings of one prompt file.
        if names.iter().filter(|other| *other == name).count() > 1 {
            *name += &format!(" ({})", cell.manifest.identity.sha256.chars().take(8).collect::<String>());
        }
    }
    cells
}

fn different(expected: &str, got: String) -> Error {
    Error::Setting { key: "runs".into(), expected: expected.into(), got }
}
