//! Where records go: standard output, a device, or a file that takes its name when it is complete.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::super::ids::IdSet;
use crate::error::{Error, Result};

const STDOUT: &str = "(standard output)";

/// What is whole in an interrupted output.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Ids of the documents that are complete.
    pub ids: IdSet,
    /// Length of the records of these, in bytes: what follows is torn.
    pub length: u64,
    /// Columns of a table's header, if it is whole.
    pub columns: Option<usize>,
}

/// Finds what is whole in an interrupted output. An error of reading ends what is whole.
pub(crate) type Scan = fn(BufReader<File>) -> io::Result<Done>;

/// An output that takes whole records.
#[derive(Debug)]
pub(crate) enum Sink {
    Stdout,
    /// A device, pipe or socket: nothing to rename or continue.
    Device(File, PathBuf),
    Partial(Partial),
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    /// Name of the complete file.
    path: PathBuf,
    partial: PathBuf,
    /// Bytes of whole records.
    length: u64,
}

impl Sink {
    /// Opens an output. With `resume`, also tells what an earlier run completed.
    pub(crate) fn open(path: Option<&Path>, resume: Option<Scan>) -> Result<(Self, Done)> {
        let Some(path) = path else { return Ok((Self::Stdout, Done::default())) };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::write(path, io::Error::new(io::ErrorKind::IsADirectory, "the output is a folder")))
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(|e| Error::write(path, e))?;
                Ok((Self::Device(file, path.to_owned()), Done::default()))
            }
            _ => {
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()); // of a link, its target
                let (partial, done) = Partial::open(&path, resume).map_err(|e| Error::write(&path, e))?;
                Ok((Self::Partial(partial), done))
            }
        }
    }

    /// Tells whether it is a file, which can be continued.
    #[cfg(feature = "neural")]
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::Partial(_))
    }

    /// Tells whether nothing was written yet, in this run or the one it continues.
    pub(crate) fn is_empty(&self) -> bool {
        !matches!(self, Self::Partial(partial) if partial.length > 0)
    }

    /// Writes one or more whole records.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<()> {
        match self {
            Self::Stdout => {
                let mut output = io::stdout().lock();
                output.write_all(records).and_then(|()| output.flush()).map_err(|e| Error::write(STDOUT, e))
            }
            Self::Device(file, path) => file.write_all(records).map_err(|e| Error::write(path, e)),
            Self::Partial(partial) => partial.append(records).map_err(|e| Error::write(&partial.partial, e)),
        }
    }

    /// Gives a file its name.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Stdout | Self::Device(..) => Ok(()),
            Self::Partial(Partial { file, path, partial, .. }) => {
                file.sync_all().and_then(|()| fs::rename(&partial, &path)).map_err(|e| Error::write(&path, e))
            }
        }
    }
}

impl Partial {
    fn open(path: &Path, resume: Option<Scan>) -> io::Result<(Self, Done)> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let is_copy = resume.is_some() && !partial.exists() && path.exists();
        if is_copy {
            // The earlier run was completed, perhaps over a shorter input. A copy that is cut short is only read again.
            fs::copy(path, &partial)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial)?;
        // Held until the process ends. A file system without locks leaves it to the user not to run two at once.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another run is writing it"));
        }
        let done = match resume {
            Some(scan) => scan(BufReader::new(file.try_clone()?))?,
            None => Done::default(),
        };
        file.rewind()?;
        // A copy is of an output that had its end; a first record that broke off has no line feed.
        let is_whole = || BufReader::new(&file).bytes().any(|byte| byte.is_ok_and(|byte| byte == b'\n'));
        if resume.is_some() && done.length == 0 && file.metadata()?.len() > 0 && (is_copy || is_whole()) {
            if is_copy {
                fs::remove_file(&partial)?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no output of such a run"));
        }
        file.set_len(done.length)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file, path: path.to_owned(), partial, length: done.length }, done))
    }

    /// Appends, and on failure takes back what was written in part.
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(records) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error);
        }
        self.length += records.len() as u64;
        Ok(())
    }
}
