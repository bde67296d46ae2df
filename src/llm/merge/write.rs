//! Writing a merged model: a model and updates come in, a finished folder leaves, or none.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Error as IoError, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    Progress, base,
    update::{Precision, Update},
};
use crate::{
    error::{Error, Result},
    shard::Shard,
};

/// Bytes read, changed and written at a time.
const BLOCK_BYTES: usize = 8 << 20;
/// Ending of a folder that is being written.
const PARTIAL: &str = ".partial";

/// Copies one weight file and changes it on the way, in one pass and a few megabytes of memory.
pub(super) struct ShardWriter<'a> {
    source: (PathBuf, File),
    target: (PathBuf, File),
    progress: Progress<'a>,
}

impl<'a> ShardWriter<'a> {
    /// Opens the shard and makes a file of the same name in `to`.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Write`] if that fails.
    pub fn new(shard: &Shard, to: &Path, progress: Progress<'a>) -> Result<Self> {
        let (source, target) = (shard.path.clone(), to.join(base::name(shard)));
        let read = File::open(&source).map_err(|e| Error::read(&source, e))?;
        let write = File::create_new(&target).map_err(|e| Error::write(&target, e))?;
        Ok(Self { source: (source, read), target: (target, write), progress })
    }

    /// Writes the file. Returns the name of a weight that got infinite or undefined numbers, at which it stopped.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Write`] if that fails, or the file has become shorter meanwhile.
    pub fn run(mut self, shard: &Shard, updates: &BTreeMap<String, (Precision, Update)>) -> Result<Option<String>> {
        let mut at = 0;
        for name in shard.names() {
            let (Some((precision, update)), Some(place)) = (updates.get(&name), shard.place(&name)) else { continue };
            self.copy(place.start - at)?;
            at = place.end;
            if !self.add(*precision, update)? {
                return Ok(Some(name));
            }
        }
        self.copy(shard.bytes - at)?;
        self.target.1.sync_all().map_err(|e| Error::write(&self.target.0, e))?;
        Ok(None)
    }

    /// Copies within the kernel where it can.
    fn copy(&mut self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let block = left.min(BLOCK_BYTES as u64);
            let copied = std::io::copy(&mut (&self.source.1).take(block), &mut self.target.1)
                .map_err(|e| Error::write(&self.target.0, e))?;
            if copied < block {
                return Err(Error::read(&self.source.0, IoError::from(ErrorKind::UnexpectedEof)));
            }
            (self.progress)(block);
            left -= block;
        }
        Ok(())
    }

    fn add(&mut self, precision: Precision, update: &Update) -> Result<bool> {
        let [rows, columns] = update.shape();
        let row_bytes = columns * precision.bytes();
        let block_rows = (BLOCK_BYTES / row_bytes.max(1)).clamp(1, rows.max(1));
        let mut block = vec![0; block_rows * row_bytes];
        for first_row in (0..rows).step_by(block_rows) {
            let block = &mut block[..block_rows.min(rows - first_row) * row_bytes];
            self.source.1.read_exact(block).map_err(|e| Error::read(&self.source.0, e))?;
            if !update.add(precision, first_row, block) {
                return Ok(false);
            }
            self.target.1.write_all(block).map_err(|e| Error::write(&self.target.0, e))?;
            (self.progress)(block.len() as u64);
        }
        Ok(true)
    }
}

/// Lets `write` fill a folder beside `folder`, then renames it: there is a finished folder or none.
///
/// # Errors
/// - [`Error::Write`] if `folder` exists and is not empty, or cannot be made; those of `write`.
pub(super) fn publish(folder: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |e| Error::write(folder, e);
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed(IoError::new(ErrorKind::AlreadyExists, "the folder is not empty")));
    }
    let folder = std::path::absolute(folder).map_err(failed)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.with_file_name(format!(".{name}.{}{PARTIAL}", std::process::id()));
    std::fs::create_dir_all(&partial).map_err(failed)?;
    let done = write(&partial).and_then(|()| std::fs::rename(&partial, &folder).map_err(failed));
    if done.is_err() {
        // The error at hand tells more than one from cleaning up.
        let _ = std::fs::remove_dir_all(&partial);
    }
    done
}

/// Removes what crashed processes left in `cache`. Only for the holder of its lock.
///
/// # Errors
/// - [`Error::Write`] if that fails.
pub(super) fn sweep(cache: &Path) -> Result<()> {
    for entry in std::fs::read_dir(cache).map_err(|e| Error::read(cache, e))?.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().ends_with(PARTIAL) && path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(|e| Error::write(&path, e))?;
        }
    }
    Ok(())
}

/// Waits until no other thread or process merges into `cache`; the lock lasts as long as the file is open.
///
/// # Errors
/// - [`Error::Write`] if the folder or the lock cannot be made.
pub(super) fn lock(cache: &Path) -> Result<File> {
    let path = cache.join(".lock");
    let make = || {
        std::fs::create_dir_all(cache)?;
        let file = File::options().create(true).append(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    make().map_err(|e| Error::write(&path, e))
}
