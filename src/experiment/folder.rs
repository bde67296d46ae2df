//! A run's folder: what is written where, and how it is read again.
//!
//! ```text
//! manifest.json            the experiment, the corpus, the program, and the cells in order
//! documents.jsonl          texts and gold annotation; trained.json: how often each code was seen in training
//! cells/NAME-HASH/         a cell; its folder appears when it is whole
//!   manifest.json          settings, files, prompts and models with their hashes, hashes of what was predicted
//!   predictions.jsonl      codings with candidates, and every prompt, raw answer and rejected piece
//!   brat/                  the same annotation for `noso eval` and for people
//!   metrics.json           figures with intervals
//!   timings.json           seconds and calls; all that differs when the same is run again
//! ```

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{cells::Cell, gold::parse, identity::Identity, scored::PREDICTIONS, settings::ExperimentSettings};
use crate::{
    artifact,
    config::PipelineConfig,
    error::{Error, Result},
};

/// File in a run's folder and in a cell's.
pub const MANIFEST: &str = "manifest.json";
/// File of a cell's figures.
pub const METRICS: &str = "metrics.json";
/// File of a cell's seconds and calls.
pub const TIMINGS: &str = "timings.json";
/// Folder of a cell's brat files.
pub const BRAT: &str = "brat";
/// Folder of the cells.
const CELLS: &str = "cells";

/// Where a run's results come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// Version of the program.
    pub noso: String,
    /// Git commit that it was built from.
    pub commit: String,
    /// System and processor architecture.
    pub machine: String,
    /// What was asked for.
    pub experiment: ExperimentSettings,
    /// Whether the model that ships was asked in place of the ones named.
    pub stand_in: bool,
    /// Hash of texts and gold annotation.
    pub documents_sha256: String,
    /// Hash of how often each code was seen in training; `None` where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_sha256: Option<String>,
    /// Documents.
    pub documents: usize,
    /// Different pipelines that were scored on these documents by the end of the run, where they are there to report on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored_on_dev: Option<usize>,
    /// The cells, in the order of the grid.
    pub cells: Vec<ListedCell>,
    /// Hash of all above.
    #[serde(default)]
    pub sha256: String,
}

/// A cell of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedCell {
    /// What it is called.
    pub name: String,
    /// Its folder in `cells/`; `None` where it could not be run.
    pub folder: Option<String>,
    /// Hash of its manifest, which holds those of its predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Row of a table of published figures that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper: Option<String>,
    /// What a user must have for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

impl ListedCell {
    /// Lists a cell that was not run yet.
    pub fn of(cell: &Cell) -> Self {
        Self {
            name: cell.name.clone(),
            folder: None,
            manifest_sha256: None,
            failure: None,
            paper: cell.paper.clone(),
            needs: cell.needs.clone(),
        }
    }

    /// Returns why there are no results, if there are none.
    pub fn not_run(&self) -> Option<&str> {
        let why = self.failure.as_deref().unwrap_or("not yet, or the run was stopped");
        self.folder.is_none().then_some(why)
    }

    /// Says where in a run's folder its results are.
    pub(super) fn is_in(&mut self, run: &Path, folder: String) -> Result<()> {
        self.manifest_sha256 = Some(artifact::sha256_of_file(&cell_path(run, &folder).join(MANIFEST))?);
        self.folder = Some(folder);
        Ok(())
    }
}

impl CellManifest {
    /// Names the files in the cell's folder that are not as they were written.
    pub(super) fn changed_files(&self, cell: &Path) -> Vec<&'static str> {
        let hashes =
            [(PREDICTIONS, &self.predictions_sha256), (BRAT, &self.brat_sha256), (METRICS, &self.metrics_sha256)];
        let is_changed = |(name, hash): &(&str, &String)| sha256(&cell.join(name)).ok().as_ref() != Some(hash);
        hashes.into_iter().filter(is_changed).map(|(name, _)| name).collect()
    }
}

/// What a cell's results come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellManifest {
    /// What it is called.
    pub name: String,
    /// Each axis and its value here.
    pub values: Vec<(String, String)>,
    /// Name of its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Row of a table of published figures that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper: Option<String>,
    /// What it was made from.
    pub identity: Identity,
    /// The pipeline, every key.
    pub pipeline: PipelineConfig,
    /// Stage and fingerprint of each model, index and catalogue.
    pub models: Vec<(String, String)>,
    /// Gold codes that neither catalogue nor index has.
    pub unknown_codes: BTreeSet<String>,
    /// Documents that failed, and why.
    pub failures: Vec<(String, String)>,
    /// Hash of `predictions.jsonl`.
    pub predictions_sha256: String,
    /// Hash of `brat/`.
    pub brat_sha256: String,
    /// Hash of `metrics.json`.
    pub metrics_sha256: String,
    /// Resamples that were asked for; `metrics.json` has how many were affordable.
    pub resamples: usize,
}

/// A cell's results.
#[derive(Debug, Clone, PartialEq)]
pub struct CellFolder {
    /// Where they are.
    pub path: PathBuf,
    /// What they come from.
    pub manifest: CellManifest,
}

impl RunManifest {
    /// Reads a run's manifest.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`].
    pub fn load(run: &Path) -> Result<Self> {
        json(&run.join(MANIFEST))
    }

    /// Writes it with its hash.
    ///
    /// # Errors
    /// - [`Error::Write`].
    pub fn write(&mut self, run: &Path) -> Result<()> {
        self.sha256 = self.hash();
        write_json(&run.join(MANIFEST), self)
    }

    /// Returns the hash that it should have.
    pub fn hash(&self) -> String {
        let bare = Self { sha256: String::new(), ..self.clone() };
        format!("{:x}", Sha256::digest(serde_json::to_vec(&bare).unwrap_or_default()))
    }

    /// Reads the cells that were run, in order.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`].
    pub fn cells(&self, run: &Path) -> Result<Vec<CellFolder>> {
        let folders = self.cells.iter().filter_map(|cell| cell.folder.as_ref());
        folders.map(|folder| CellFolder::load(&run.join(CELLS).join(folder))).collect()
    }
}

impl CellFolder {
    /// Reads a cell's manifest.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`].
    pub fn load(path: &Path) -> Result<Self> {
        // The run is looked for above it, also from within.
        let path = path.canonicalize().map_err(|e| Error::read(path, e))?;
        Ok(Self { manifest: json(&path.join(MANIFEST))?, path })
    }

    /// Returns the folder of the run that it is part of.
    pub fn run(&self) -> &Path {
        self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."))
    }
}

/// Returns the folder for a cell.
pub fn cell_path(run: &Path, name: &str) -> PathBuf {
    run.join(CELLS).join(name)
}

/// Makes a name for a cell's folder: what it is called, as far as file systems take it, and the start of its hash.
pub fn cell_name(cell: &Cell, identity: &Identity) -> String {
    const LETTERS: usize = 60;
    let mut slug = String::new();
    for letter in cell.name.chars().take(LETTERS) {
        let kept = if letter.is_alphanumeric() || ".=_".contains(letter) { letter } else { '-' };
        if kept != '-' || !slug.ends_with('-') {
            slug.push(kept);
        }
    }
    format!("{}-{}", slug.trim_matches(['-', '.']), &identity.sha256[..8])
}

/// Returns the hash of a file, or of a folder's names and contents.
pub(super) fn sha256(path: &Path) -> Result<String> {
    artifact::sha256_of_tree(path, &artifact::sha256_of_file)
}

/// Reads a file that holds one JSON value.
///
/// # Errors
/// - [`Error::Read`], [`Error::Parse`].
pub fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| parse(path, e.line(), &e))
}

/// Writes a value as JSON for people.
///
/// # Errors
/// - [`Error::Write`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::write(path, e.into()))?;
    bytes.push(b'\n');
    artifact::write_atomic(path, &bytes)
}
