//! The folder that an index is written into: made beside it, then put in its place in one go.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{MANIFEST_FILE, Manifest, ROWS_FILE, VECTORS_FILE};
use crate::{
    config::Encoder,
    error::{Error, Result},
};

/// Name of the n-gram encoder's file in an index folder.
pub const ENCODER_FILE: &str = "encoder.bin";
/// Name of the folder in an index folder that holds a small BERT.
pub const BERT_FOLDER: &str = "encoder";

/// An index folder in the making.
#[derive(Debug)]
pub struct IndexFolder {
    target: PathBuf,
    stage: TempDir,
}

impl IndexFolder {
    /// Starts a folder that will be `target`. If an index is there, it is replaced at the end, until when it can be used; other files
    /// beside it stay.
    ///
    /// # Errors
    /// - [`Error::Write`] if nothing can be written beside `target`, or it holds something that is no index of ours.
    pub fn stage(target: &Path) -> Result<Self> {
        let failed = |e| Error::write(target, e);
        // Behind a link the folder itself is replaced.
        let target = if target.exists() { target.canonicalize().map_err(failed)? } else { target.to_owned() };
        strangers(&target)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let (prefix, builder) = (format!(".{name}-"), builder.permissions(permissions()));
        let stage = builder.prefix(&prefix).tempdir_in(parent).map_err(failed)?;
        Ok(Self { target, stage })
    }

    /// Returns where to write.
    pub fn path(&self) -> &Path {
        self.stage.path()
    }

    /// Tells whether `path` lies in what will be replaced.
    pub fn replaces(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| path.starts_with(&self.target))
    }

    /// Puts the folder in its place: a reader sees the index before or this one.
    ///
    /// # Errors
    /// - [`Error::Write`] if that fails; what was there is then untouched.
    pub fn commit(self) -> Result<()> {
        let put = || -> io::Result<()> {
            if !self.target.exists() {
                return fs::rename(self.stage.path(), &self.target);
            }
            for file in strangers(&self.target).map_err(io::Error::other)? {
                fs::copy(&file, self.stage.path().join(file.file_name().unwrap_or_default()))?;
            }
            exchange(self.stage.path(), &self.target) // the stage, now what was there before, goes when it is dropped
        };
        put().map_err(|e| Error::write(&self.target, e))
    }
}

/// Lists the files in a folder that are not the index's; none where there is no folder.
///
/// # Errors
/// - [`Error::Write`] if it is not empty and no index, or holds a folder that is not the index's.
fn strangers(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>(),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
    .map_err(|e| Error::write(folder, e))?;
    let refuse =
        |path: &Path, reason: &str| Err(Error::write(path, io::Error::new(ErrorKind::DirectoryNotEmpty, reason)));
    if !entries.is_empty() && !folder.join(MANIFEST_FILE).exists() {
        return refuse(folder, "it holds files, but no index");
    }
    let holds_bert = Manifest::load(folder).is_ok_and(|manifest| {
        matches!(manifest.encoder.kind, Encoder::Bert | Encoder::Hybrid) && manifest.encoder.model.is_none()
    });
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        [MANIFEST_FILE, VECTORS_FILE, ROWS_FILE, ENCODER_FILE].iter().any(|ours| name == *ours)
            || holds_bert && name == BERT_FOLDER
    };
    let strangers: Vec<PathBuf> = entries.into_iter().filter(|path| !is_ours(path)).collect();
    match strangers.iter().find(|path| !path.is_file()) {
        Some(path) => refuse(path, "it is not the index's"),
        None => Ok(strangers),
    }
}

/// Exchanges two folders at once.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Exchanges two folders; between two of the steps `other` is gone for a moment.
#[cfg(not(target_os = "linux"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let aside = one.join("before");
    fs::rename(other, &aside)?;
    let new = other.with_extension("new");
    fs::rename(one, &new)?;
    fs::rename(&new, other)?;
    fs::rename(other.join("before"), one)
}

/// Rights of an ordinary new folder.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_index_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("thesis");
        fs::create_dir_all(folder.join(BERT_FOLDER)).unwrap();
        fs::write(folder.join(BERT_FOLDER).join("model.safetensors"), "mine").unwrap();
        let told = IndexFolder::stage(&folder).unwrap_err();
        assert!(told.to_string().contains("no index") && told.hint().unwrap().contains("--output"), "{told}");
        // Beside the manifest of an n-gram index an encoder is none of the index's.
        fs::write(folder.join(MANIFEST_FILE), include_str!("../../indexes/default/manifest.toml")).unwrap();
        let told = IndexFolder::stage(&folder).unwrap_err().to_string();
        assert!(told.contains("thesis/encoder") && told.contains("not the index's"), "{told}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no stage is left");
    }

    #[test]
    fn an_index_is_replaced_at_once_and_files_beside_it_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("index");
        let stage = IndexFolder::stage(&folder).unwrap();
        fs::write(stage.path().join(MANIFEST_FILE), "old").unwrap();
        stage.commit().unwrap();
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        let stage = IndexFolder::stage(&folder).unwrap();
        assert!(stage.replaces(&folder.join("notes.txt")) && !stage.replaces(root.path()));
        fs::write(stage.path().join(MANIFEST_FILE), "new").unwrap();
        assert_eq!(fs::read_to_string(folder.join(MANIFEST_FILE)).unwrap(), "old");
        stage.commit().unwrap();
        assert_eq!(fs::read_to_string(folder.join(MANIFEST_FILE)).unwrap(), "new");
        assert_eq!(fs::read_to_string(folder.join("notes.txt")).unwrap(), "mine");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
