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
        sha256, write_json,
    },
    gold::Gold,
    identity::Identity,
    scored::{PREDICTIONS, Scored, predictions},
    settings::{ExperimentSettings, Role},
    stages::Stages,
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
        let mut manifest = self.manifest(documents_sha256);
        let mut outcome = RunOutcome::default();
        let mut left = self.find_done(folder, &mut manifest, watch, &mut outcome)?;
        let done = manifest.cells(folder)?;
        self.note_scored(&mut manifest, &done)?;
        manifest.write(folder)?;
        left.sort_by_cached_key(|&at| serde_json::to_string(&self.cells[at].config.llm).unwrap_or_default());
        let mut pool = ModelPool::new(self.cache.clone(), self.settings.memory_bytes(), false);
        for at in left {
            if watch.is_stopped() {
                outcome.interrupted = true;
                break;
            }
            let done = self.cell(&self.cells[at], folder, &manifest.documents_sha256, &mut pool, watch, &mut outcome);
            // Those of a cell that did not come to its end.
            outcome.count(&pool.take_counts());
            match done {
                Ok(name) => {
                    outcome.computed += 1;
                    self.note_scored(&mut manifest, &[CellFolder::load(&cell_path(folder, &name))?])?;
                    manifest.cells[at].is_in(folder, name)?;
                    // What is done can be looked at while the others are on their way.
                    manifest.write(folder)?;
                }
                Err(error @ (Error::Write { .. } | Error::Cache { .. })) => return Err(error),
                Err(Error::Interrupted { .. }) => outcome.interrupted = true,
                Err(error) => {
                    outcome.failed += 1;
                    let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                    watch.warn(&format!("{}: {error}{hint}", self.cells[at].name));
                    manifest.cells[at].failure = Some(error.to_string());
                }
            }
        }
        outcome.unlisted = unlisted(&cell_path(folder, ""), &manifest.cells)?;
        outcome.scored_on_dev = manifest.scored_on_dev;
        manifest.write(folder)?;
        Ok(outcome)
    }

    /// Lists the cells whose results are there; returns the numbers of the others.
    fn find_done(
        &self,
        folder: &Path,
        manifest: &mut RunManifest,
        watch: &mut dyn RunWatch,
        outcome: &mut RunOutcome,
    ) -> Result<Vec<usize>> {
        let before = RunManifest::load(folder).ok();
        manifest.scored_on_dev = before.as_ref().and_then(|before| before.scored_on_dev);
        let mut left = Vec::new();
        for (at, cell) in self.cells.iter().enumerate() {
            match self.identity(cell, &manifest.documents_sha256) {
                Ok(identity) if self.is_done(cell, &identity, folder, before.as_ref()) => {
                    watch.cell(&cell.name, None);
                    outcome.kept += 1;
                    manifest.cells[at].is_in(folder, cell_name(cell, &identity))?;
                }
                Err(error @ Error::Cache { .. }) => return Err(error),
                // One without identity fails in its turn, and is told then.
                _ => left.push(at),
            }
        }
        Ok(left)
    }

    /// Counts the pipelines of some cells among the different ones that were scored on these documents.
    fn note_scored(&self, manifest: &mut RunManifest, cells: &[CellFolder]) -> Result<()> {
        let choices = cells.iter().map(|CellFolder { manifest, .. }| manifest.identity.choice(&manifest.pipeline));
        // A limit leaves the same first document.
        let corpus = format!("{:x}", Sha256::digest(self.gold.documents.first().map_or("", |document| &document.text)));
        let scored = self.cache.note_scored(&corpus, &choices.collect())?;
        if self.settings.corpus.role == Role::Dev {
            // Another cache may know of fewer.
            manifest.scored_on_dev = manifest.scored_on_dev.max(Some(scored));
        }
        Ok(())
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
        sweep(folder)
    }

    fn manifest(&self, documents_sha256: String) -> RunManifest {
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
            cells: self.cells.iter().map(ListedCell::of).collect(),
            sha256: String::new(),
        }
    }

    /// Returns what a cell is made from.
    ///
    /// # Errors
    /// Those of [`Identity::of`].
    pub fn identity(&self, cell: &Cell, documents_sha256: &str) -> Result<Identity> {
        Identity::of(cell, documents_sha256, self.settings.corpus.mentions, &self.cache)
    }

    /// Tells whether the results of a cell are there, as they were written; `before` is the manifest of the run that wrote them. A cell in
    /// which documents failed is tried again.
    pub fn is_done(&self, cell: &Cell, identity: &Identity, folder: &Path, before: Option<&RunManifest>) -> bool {
        let name = cell_name(cell, identity);
        let path = cell_path(folder, &name);
        let listed = before.and_then(|before| before.cells.iter().find(|listed| listed.folder.as_ref() == Some(&name)));
        let is_as_listed = |listed: &ListedCell| {
            let hash = artifact::sha256_of_file(&path.join(MANIFEST)).ok();
            listed.manifest_sha256 == hash
        };
        let is_same = |CellFolder { manifest, .. }: CellFolder| {
            manifest.identity == *identity
                && (&manifest.name, &manifest.values, &manifest.row) == (&cell.name, &cell.values, &cell.row)
                && manifest.failures.is_empty()
                && manifest.resamples == self.settings.resamples
                && manifest.changed_files(&path).is_empty()
        };
        listed.is_none_or(is_as_listed) && CellFolder::load(&path).is_ok_and(is_same)
    }

    /// Computes a cell; returns the name of its folder.
    fn cell(
        &self,
        cell: &Cell,
        folder: &Path,
        documents_sha256: &str,
        pool: &mut ModelPool,
        watch: &mut dyn RunWatch,
        outcome: &mut RunOutcome,
    ) -> Result<String> {
        // What it asks with is looked for before anything is loaded.
        self.identity(cell, documents_sha256)?;
        watch.cell(&cell.name, Some(2 * self.gold.documents.len()));
        let models = Models::made_by(&cell.config, |settings, adapter| pool.get(settings, adapter))?;
        let pipeline = Arc::new(Pipeline::with_models(&cell.config, &models)?);
        // Now also of the files that came from the hub.
        let identity = self.identity(cell, documents_sha256)?;
        let name = cell_name(cell, &identity);
        let path = cell_path(folder, &name);
        // Not in its place before it is whole.
        let partial = cell_path(folder, &format!(".{name}{PARTIAL}"));
        let mut coding = Coding::new(&pipeline, &partial)?;
        let stages = Stages::new(&cell.config, &identity, &pipeline, &self.cache);
        coding.run(self, &stages, &models, pool, watch)?;
        let timings = Timings { calls: pool.take_counts(), ..coding.timings() };
        outcome.count(&timings.calls);
        outcome.failed_documents += coding.failures.len();
        write_json(&partial.join(TIMINGS), &timings)?;
        let failures = coding.finish()?;
        self.describe(cell, identity, &pipeline, failures, &partial)?;
        remove(&path)?;
        fs::rename(&partial, &path).map_err(|e| Error::write(&path, e))?;
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
        let hash = |name: &str| sha256(&partial.join(name));
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
            metrics_sha256: hash(METRICS)?,
            resamples: self.settings.resamples,
        };
        write_json(&partial.join(MANIFEST), &manifest)
    }
}

/// Counts the cells in a run's folder that are not listed.
fn unlisted(cells: &Path, listed: &[ListedCell]) -> Result<usize> {
    let entries = fs::read_dir(cells).map_err(|e| Error::read(cells, e))?;
    let is_listed =
        |name: &std::ffi::OsStr| listed.iter().any(|cell| cell.folder.as_ref().is_some_and(|one| name == one.as_str()));
    Ok(entries.flatten().map(|entry| entry.file_name()).filter(|name| !is_listed(name) && !is_partial(name)).count())
}

/// Removes what a run that was killed left of cells and files on their way.
fn sweep(run: &Path) -> Result<()> {
    let cells = cell_path(run, "");
    let entries = fs::read_dir(&cells).map_err(|e| Error::read(&cells, e))?;
    entries.flatten().filter(|entry| is_partial(&entry.file_name())).try_for_each(|entry| remove(&entry.path()))?;
    artifact::sweep_staged(run);
    Ok(())
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
