//! The folder that a training writes its model into, from the first check to the last file.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{checkpoint, history::LOSSES_FILE, run::Place};
use crate::{
    artifact,
    error::{Error, Result},
};

/// Where the run's own files lie within the model's folder.
const RUN_FOLDER: &str = "training";

/// A folder that is claimed for one run: the model comes to lie in it at the end, the run's own files in `training/` within.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    run: PathBuf,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    resume: bool,
    /// The run's folder, locked as long as this lives.
    _held: File,
}

impl ModelFolder {
    /// Claims a folder, made where it does not exist. With `resume` the run in it goes on, or begins where there is none.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written, another run works in it, or it holds a run that is not resumed, or
    ///   anything that no run in it belongs to.
    pub fn claim(path: &Path, resume: bool) -> Result<Self> {
        let run = path.join(RUN_FOLDER);
        let refuse = |path: &Path, kind: ErrorKind, reason: &str| Err(Error::write(path, io::Error::new(kind, reason)));
        let made = run.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        fs::create_dir_all(&run).map_err(|e| Error::write(&run, e))?;
        let held = artifact::hold(&run)?;
        let claimed = Self { path: path.to_owned(), run, made, resume, _held: held };
        if claimed.has_checkpoint() && !resume {
            return refuse(&checkpoint::path(&claimed.run), ErrorKind::AlreadyExists, "a run is there already");
        }
        claimed.sweep();
        let other = fs::read_dir(path).map_err(|e| Error::read(path, e))?.flatten().map(|entry| entry.path());
        match other.filter(|other| *other != claimed.run).min() {
            Some(other) if !claimed.has_checkpoint() => {
                refuse(&other, ErrorKind::DirectoryNotEmpty, "it is there already")
            }
            _ => Ok(claimed),
        }
    }

    /// Takes away what a run left half written when it was killed; nobody else writes here now.
    fn sweep(&self) {
        [&self.path, &self.run].into_iter().for_each(|folder| artifact::sweep_staged(folder));
    }

    /// Returns the model's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether a checkpoint is there: what is kept with the run then belongs to it, and the loop may yet refuse to go on.
    pub fn has_checkpoint(&self) -> bool {
        checkpoint::path(&self.run).exists()
    }

    /// Returns where the training loop keeps the run.
    pub fn place(&self) -> Place<'_> {
        Place { folder: &self.run, resume: self.resume }
    }
}

/// Takes away what was made for a run that never began.
impl Drop for ModelFolder {
    fn drop(&mut self) {
        let said = |file: PathBuf| file.metadata().is_ok_and(|file| file.len() > 0);
        let began = said(self.run.join(LOSSES_FILE)) || self.has_checkpoint();
        if began || self.made.first() != Some(&self.run) {
            return;
        }
        let _ = fs::remove_dir_all(&self.run);
        // A folder around it that holds anything else stays.
        self.made[1..].iter().try_for_each(fs::remove_dir).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path, resume: bool) -> String {
        let error = ModelFolder::claim(path, resume).unwrap_err();
        format!("{error} ({})", error.hint().unwrap_or_default())
    }

    #[test]
    fn neither_a_model_nor_a_run_is_written_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/model");
        let claimed = ModelFolder::claim(&path, false).unwrap();
        assert!(refusal(&path, true).contains("another run"), "{}", refusal(&path, true));
        fs::write(claimed.place().folder.join("checkpoint.safetensors"), "").unwrap();
        drop(claimed);
        assert!(refusal(&path, false).contains("--resume"));
        fs::write(path.join("config.json"), "").unwrap();
        assert!(refusal(&path, false).contains("--resume"));
        fs::write(path.join(RUN_FOLDER).join(".tmp7Kq"), "half").unwrap();
        assert!(ModelFolder::claim(&path, true).unwrap().place().resume);
        assert!(!path.join(RUN_FOLDER).join(".tmp7Kq").exists());

        fs::remove_dir_all(path.join(RUN_FOLDER)).unwrap();
        for resume in [false, true] {
            let told = refusal(&path, resume);
            assert!(told.contains("config.json: it is there already (choose another folder"), "{told}");
        }
    }

    #[test]
    fn a_run_that_never_began_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("runs/model");
        let claimed = ModelFolder::claim(&path, true).unwrap();
        fs::write(claimed.place().folder.join("manifest.json"), "").unwrap();
        drop(claimed);
        assert!(!root.path().join("runs").exists());
        fs::create_dir(root.path().join("runs")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("notes.txt"), "").unwrap();
        assert!(refusal(&path, false).contains("notes.txt: it is there already"));
        assert!(path.join("notes.txt").exists() && !path.join(RUN_FOLDER).exists());
    }
}
