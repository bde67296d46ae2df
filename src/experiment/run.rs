//! Runs an experiment: cells come in, a folder with their results leaves. What was done before is not done again.

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    cache::Cache,
    calls::{Calls, ModelPool},
    cells::Cell,
    coding::{Coding, Timings},
    folder::{
        BRAT, CellFolder, CellManifest, ListedCell, MANIFEST, METRICS, RunManifest, TIMINGS, cell_name, cell_path,
        write_json,
    },
    gold::Gold,
    identity::Identity,
    scored::{PREDICTIONS, Scored, predictions},
    settings::{ExperimentSettings, Role},
};
use crate::{
    artifact,
    error::{Error, Result},
    icd::IcdCode,
    pipeline::{Models, Pipeline},
};

/// How the names of folders end that are not whole yet.
const PARTIAL: &str = ".partial";

/// Hears how a run goes on.
pub trait RunWatch {
    /// A cell begins, with so many documents to go through both halves of its pipeline; `None` if it was done before.
    fn cell(&mut self, name: &str, documents: Option<usize>);
    /// So many documents went through one half.
    fn documents(&mut self, count: usize);
    /// Something is to be told.
    fn warn(&mut self, message: &str);
    /// Whether the run is to stop after what is in work.
    fn is_stopped(&self) -> bool;
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// Cells that were computed.
    pub computed: usize,
    /// Cells whose results were there.
    pub kept: usize,
    /// Cells that could not be run.
    pub failed: usize,
    /// Documents that failed in cells that were computed.
    pub failed_documents: usize,
    /// Questions that language models were asked.
    pub asked: u64,
    /// Questions whose answers were known.
    pub reused: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Cells of earlier runs in the folder that are not of this grid.
    pub unlisted: usize,
    /// Different pipelines that were scored on these documents so far, as far as the cache knows, where they are there to report on.
    pub scored_on_dev: Option<usize>,
}

impl RunOutcome {
    fn count(&mut self, calls: &Calls) {
        self.asked += calls.asked;
        self.reused += calls.reused;
    }
}

/// An experiment that is ready to run.
pub struct Run<'a> {
    /// What was asked for.
    pub settings: &'a ExperimentSettings,
    /// The grid.
    pub cells: &'a [Cell],
    /// The documents.
    pub gold: &'a Gold,
    /// Answers that are known.
    pub cache: Arc<Cache>,
    /// System and processor architecture.
    pub machine: &'a str,
    /// Whether the model that ships is asked in place of the ones named.
    pub stand_in: bool,
}

impl Run<'_> {
    /// Computes the cells whose results are not in `folder` yet, those with the same language models after each other.
    ///
    /// A cell that cannot be run does not stop the others. A cell's folder appears when it is whole, so a run that is killed goes on where it
    /// was; answers of language models are kept one by one.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written or another run is writing it; [`Error::Setting`] if it holds a run on other
    ///   documents; [`Error::Cache`].
    pub fn into_folder(&self, folder: &Path, watch: &mut dyn RunWatch) -> Result<RunOutcome> {
        fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        let _held = artifact::hold(folder)?;
        let documents_sha256 = self.gold.sha256();
        self.begin(folder, &documents_sha256)?;
        let mut listed: Vec<ListedCell> = self.cells.iter().map(ListedCell::of).collect();
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        order.sort_by_cached_key(|&at| serde_json::to_string(&self.cells[at].config.llm).unwrap_or_default());
        let mut pool = ModelPool::new(self.cache.clone(), (self.settings.memory_gb * 1e9) as u64, false);
        let mut outcome = RunOutcome::default();
        for at in order {
            if watch.is_stopped() {
                outcome.interrupted = true;
                break;
            }
            let done = self.cell(&self.cells[at], folder, &documents_sha256, &mut pool, watch, &mut outcome);
            // Those of a cell that did not come to its end.
            outcome.count(&pool.take_counts());
            match done {
                Ok(name) => {
                    let manifest = cell_path(folder, &name).join(MANIFEST);
                    listed[at].manifest_sha256 = Some(artifact::sha256_of_file(&manifest)?);
                    listed[at].folder = Some(name);
                }
                Err(error @ (Error::Write { .. } | Error::Cache { .. })) => return Err(error),
                Err(Error::Interrupted { .. }) => outcome.interrupted = true,
                Err(error) => {
                    outcome.failed += 1;
                    let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                    watch.warn(&format!("{}: {error}{hint}", self.cells[at].name));
                    listed[at].failure = Some(error.to_string());
                }
            }
        }
        outcome.unlisted = unlisted(&cell_path(folder, ""), &listed)?;
        let mut manifest = self.manifest(documents_sha256, listed);
        if self.settings.corpus.role == Role::Dev {
            manifest.scored_on_dev = Some(self.scored(&manifest.cells(folder)?)?);
        }
        outcome.scored_on_dev = manifest.scored_on_dev;
        manifest.write(folder)?;
        Ok(outcome)
    }

    /// Counts the different pipelines that were scored on these documents, those of some cells included.
    fn scored(&self, cells: &[CellFolder]) -> Result<usize> {
        let choices = cells.iter().map(|CellFolder { manifest, .. }| manifest.identity.choice(&manifest.pipeline));
        // A limit leaves the same first document.
        let corpus = format!("{:x}", Sha256::digest(self.gold.documents.first().map_or("", |document| &document.text)));
        self.cache.note_scored(&corpus, &choices.collect())
    }

    /// Writes documents and training counts, and holds the folder against what it should be: a run on the same documents, or empty.
    fn begin(&self, folder: &Path, documents_sha256: &str) -> Result<()> {
        let wrong = |got: String| {
            let expected = "a new or empty folder, or one of a run on the same documents".into();
            Err(Error::Setting { key: "output".into(), expected, got })
        };
        let manifest = folder.join(MANIFEST);
        if manifest.exists() {
            let before = RunManifest::load(folder)?.documents_sha256;
            if before != documents_sha256 {
                return wrong(format!("{}, with a run on others", folder.display()));
            }
        } else if fs::read_dir(folder).map_err(|e| Error::read(folder, e))?.next().is_some() {
            return wrong(format!("{}, with other files", folder.display()));
        }
        fs::create_dir_all(cell_path(folder, "")).map_err(|e| Error::write(folder, e))?;
        self.gold.write(folder)?;
        if !manifest.exists() {
            let listed = self.cells.iter().map(ListedCell::of).collect();
            self.manifest(documents_sha256.to_owned(), listed).write(folder)?;
        }
        sweep(&cell_path(folder, ""))
    }

    fn manifest(&self, documents_sha256: String, cells: Vec<ListedCell>) -> RunManifest {
        RunManifest {
            noso: env!("CARGO_PKG_VERSION").into(),
            commit: env!("NOSO_COMMIT").into(),
            machine: self.machine.to_owned(),
            experiment: self.settings.clone(),
            stand_in: self.stand_in,
            documents_sha256,
            trained_sha256: self.gold.trained_sha256(),
            scored_on_dev: None,
            documents: self.gold.documents.len(),
            cells,
        }
    }

    /// Tells whether the results of a cell are there.
    ///
    /// # Errors
    /// Those of [`Identity::of`].
    pub fn is_done(&self, cell: &Cell, folder: &Path, documents_sha256: &str) -> Result<bool> {
        let identity = Identity::of(cell, documents_sha256, self.settings.corpus.mentions, &self.cache)?;
        Ok(is_whole(&cell_path(folder, &cell_name(cell, &identity)), &identity))
    }

    /// Computes a cell if its results are not there; returns the name of its folder.
    fn cell(
        &self,
        cell: &Cell,
        folder: &Path,
        documents_sha256: &str,
        pool: &mut ModelPool,
        watch: &mut dyn RunWatch,
        outcome: &mut RunOutcome,
    ) -> Result<String> {
        let identity = Identity::of(cell, documents_sha256, self.settings.corpus.mentions, &self.cache)?;
        let name = cell_name(cell, &identity);
        let path = cell_path(folder, &name);
        if is_whole(&path, &identity) {
            watch.cell(&cell.name, None);
            outcome.kept += 1;
            return Ok(name);
        }
        watch.cell(&cell.name, Some(2 * self.gold.documents.len()));
        let models = Models::made_by(&cell.config, |settings, adapter| pool.get(settings, adapter))?;
        let pipeline = Arc::new(Pipeline::with_models(&cell.config, &models)?);
        // Now also of the files that came from the hub.
        let identity = Identity::of(cell, documents_sha256, self.settings.corpus.mentions, &self.cache)?;
        let name = cell_name(cell, &identity);
        let path = cell_path(folder, &name);
        // Not in its place before it is whole.
        let partial = cell_path(folder, &format!(".{name}{PARTIAL}"));
        let mut coding = Coding::new(&pipeline, &partial)?;
        coding.run(self, cell, &models, pool, watch)?;
        let timings = Timings { calls: pool.take_counts(), ..coding.timings() };
        outcome.count(&timings.calls);
        outcome.failed_documents += coding.failures.len();
        write_json(&partial.join(TIMINGS), &timings)?;
        let failures = coding.finish()?;
        self.describe(cell, identity, &pipeline, failures, &partial)?;
        remove(&path)?;
        fs::rename(&partial, &path).map_err(|e| Error::write(&path, e))?;
        outcome.computed += 1;
        Ok(name)
    }

    /// Writes figures and manifest of a cell beside its predictions.
    fn describe(
        &self,
        cell: &Cell,
        identity: Identity,
        pipeline: &Pipeline,
        failures: Vec<(String, String)>,
        partial: &Path,
    ) -> Result<()> {
        let unknown_codes = unknown_codes(self.gold, pipeline);
        let figures = Scored::of(self.gold, predictions(partial)?, &unknown_codes)?.figures(self.settings.resamples);
        write_json(&partial.join(METRICS), &figures)?;
        let hash = |name: &str| artifact::sha256_of_tree(&partial.join(name), &artifact::sha256_of_file);
        let manifest = CellManifest {
            name: cell.name.clone(),
            values: cell.values.clone(),
            row: cell.row.clone(),
            paper: cell.paper.clone(),
            pipeline: cell.config.clone(),
            models: pipeline.fingerprints().into_iter().map(|(stage, print)| (stage.to_owned(), print)).collect(),
            identity,
            unknown_codes,
            failures,
            predictions_sha256: hash(PREDICTIONS)?,
            brat_sha256: hash(BRAT)?,
        };
        write_json(&partial.join(MANIFEST), &manifest)
    }
}

/// Tells whether a folder holds all results of a cell, as they were written; one in which documents failed is tried again.
fn is_whole(path: &Path, identity: &Identity) -> bool {
    let is_same = |there: CellFolder| {
        let predictions = artifact::sha256_of_file(&path.join(PREDICTIONS));
        there.manifest.identity == *identity
            && there.manifest.failures.is_empty()
            && predictions.is_ok_and(|hash| hash == there.manifest.predictions_sha256)
            && path.join(METRICS).exists()
    };
    CellFolder::load(path).is_ok_and(is_same)
}

/// Counts the cells in a run's folder that are not listed.
fn unlisted(cells: &Path, listed: &[ListedCell]) -> Result<usize> {
    let entries = fs::read_dir(cells).map_err(|e| Error::read(cells, e))?;
    let is_listed =
        |name: &std::ffi::OsStr| listed.iter().any(|cell| cell.folder.as_ref().is_some_and(|one| name == one.as_str()));
    Ok(entries.flatten().map(|entry| entry.file_name()).filter(|name| !is_listed(name) && !is_partial(name)).count())
}

/// Removes what a run that was killed left of cells on their way.
fn sweep(cells: &Path) -> Result<()> {
    let entries = fs::read_dir(cells).map_err(|e| Error::read(cells, e))?;
    entries.flatten().filter(|entry| is_partial(&entry.file_name())).try_for_each(|entry| remove(&entry.path()))
}

fn is_partial(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name.as_encoded_bytes().ends_with(PARTIAL.as_bytes())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::write(folder, error)),
        _ => Ok(()),
    }
}

/// Returns the gold codes that neither catalogue nor index has.
fn unknown_codes(gold: &Gold, pipeline: &Pipeline) -> BTreeSet<String> {
    let known = pipeline.retriever().known_codes();
    let codes = gold.documents.iter().flat_map(|document| &document.gold).map(|entity| &entity.code);
    let is_known = |code: &String| code.parse::<IcdCode>().is_ok_and(|code| known.contains(&code));
    codes.filter(|code| !is_known(code)).cloned().collect()
}
