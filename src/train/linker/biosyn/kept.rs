//! Candidates of an epoch on disk, so that a run resumed within an epoch goes on with the same.

use std::path::{Path, PathBuf};

use crate::{
    artifact,
    error::{Error, Result},
    train::linker::candidates::KIND,
};

/// A folder with the candidates of each epoch so far.
pub(super) struct KeptCandidates {
    folder: PathBuf,
    /// Whether what an earlier run kept there is to go.
    fresh: bool,
}

impl KeptCandidates {
    /// Takes a folder; what an earlier run that is not `resume`d kept there goes before the first epoch.
    pub fn new(folder: &Path, resume: bool) -> Self {
        Self { folder: folder.to_owned(), fresh: !resume }
    }

    fn file(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("candidates-{epoch}.bin"))
    }

    /// Deletes all candidates.
    ///
    /// # Errors
    /// - [`Error::Write`] if a file cannot be deleted.
    pub fn forget(&mut self) -> Result<()> {
        for file in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with("candidates-") {
                std::fs::remove_file(file.path()).map_err(|e| Error::write(file.path(), e))?;
            }
        }
        self.fresh = false;
        Ok(())
    }

    /// Returns the names that each mention is held against in an epoch; `None` if they are not known yet.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if they are damaged, or not those of as many `mentions` and `names`.
    pub fn read(&mut self, epoch: usize, mentions: usize, names: usize) -> Result<Option<Vec<Vec<u32>>>> {
        if self.fresh {
            self.forget()?;
        }
        let file = self.file(epoch);
        if !file.exists() {
            return Ok(None);
        }
        let found: Vec<Vec<u32>> = artifact::load(KIND, &file)?;
        if found.len() == mentions && found.iter().flatten().all(|&name| (name as usize) < names) {
            return Ok(Some(found));
        }
        let reason = "they are those of other mentions or names".into();
        Err(Error::Artifact { what: KIND.name, name: file.display().to_string(), reason })
    }

    /// Keeps the candidates of an epoch until the run ends: the checkpoint that it may go on from can lie many epochs back.
    ///
    /// # Errors
    /// - [`Error::Write`] if a file cannot be written.
    pub fn write(&self, epoch: usize, found: &Vec<Vec<u32>>) -> Result<()> {
        artifact::write_atomic(&self.file(epoch), &artifact::seal(KIND, found)?)
    }
}
