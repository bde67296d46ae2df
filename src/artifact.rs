//! Files that Noso makes for itself (models, index rows): a value comes in, sealed bytes leave, and the way back.
//!
//! Layout: 8 bytes `NOSO` + kind, `u32` version, `u64` payload length, 16 bytes XXH3-128 of the payload (all little-endian),
//! then the payload in postcard encoding. A damaged or foreign file is an error that says which of these is wrong.

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};

const HEADER_BYTES: usize = 8 + 4 + 8 + 16;

/// What a file holds.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Name for messages, such as `CRF model`.
    pub name: &'static str,
    /// Four letters in the header.
    pub tag: [u8; 4],
    /// Version of the layout; another version is refused.
    pub version: u32,
}

/// Seals `value` with a header and a checksum. Equal values give equal bytes.
///
/// # Errors
/// - [`Error::Artifact`] if the value cannot be encoded.
pub fn seal<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>> {
    let payload = postcard::to_stdvec(value).map_err(|e| broken(kind, "(new)", e.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(b"NOSO");
    bytes.extend_from_slice(&kind.tag);
    bytes.extend_from_slice(&kind.version.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&xxh3_128(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Checks header and checksum of `bytes` and decodes the value. `name` is what messages call the file.
///
/// # Errors
/// - [`Error::Artifact`] if the file is of another kind or version, cut short, or damaged.
pub fn open<T: DeserializeOwned>(kind: Kind, name: &str, bytes: &[u8]) -> Result<T> {
    let (header, payload) =
        bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| broken(kind, name, "the file is cut short".into()))?;
    if header[..4] != *b"NOSO" || header[4..8] != kind.tag {
        return Err(broken(kind, name, "the file is something else".into()));
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if version != kind.version {
        let reason = format!("it has version {version}, this noso reads version {}", kind.version);
        return Err(broken(kind, name, reason));
    }
    let length = header[12..20].iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    if length != payload.len() as u64 {
        return Err(broken(kind, name, format!("expected {length} bytes of content, got {}", payload.len())));
    }
    if header[20..36] != xxh3_128(payload).to_le_bytes() {
        return Err(broken(kind, name, "the checksum does not match: the file is damaged".into()));
    }
    postcard::from_bytes(payload).map_err(|e| broken(kind, name, e.to_string()))
}

/// Reads and opens a file.
///
/// # Errors
/// - [`Error::Read`] if it cannot be read; those of [`open`].
pub fn load<T: DeserializeOwned>(kind: Kind, path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    open(kind, &path.display().to_string(), &bytes)
}

/// How the names of files begin that are not whole yet.
pub(crate) const STAGED: &str = ".tmp";

/// Writes `bytes` beside `path`, then renames: a reader sees the old file or the new one, never a half.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written or the disk is full; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = stage_beside(path)?;
    let write = || -> std::io::Result<()> {
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Error::write(path, e))
}

/// Opens a file beside `path`, to be written and then renamed to it; it goes with the value.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub(crate) fn stage_beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    stage_as(STAGED, path)
}

/// Does the same with another beginning of the name: where a run may be writing its folder, [`sweep_staged`] leaves it alone.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub(crate) fn stage_as(prefix: &str, path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stage = || {
        std::fs::create_dir_all(folder)?;
        tempfile::Builder::new().prefix(prefix).permissions(permissions()).tempfile_in(folder)
    };
    stage().map_err(|e| Error::write(path, e))
}

/// Takes away what a run left half written in a folder when it was killed; nobody else may be writing there.
pub(crate) fn sweep_staged(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_staged = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().starts_with(STAGED);
    files.filter(is_staged).for_each(|file| drop(std::fs::remove_file(file.path())));
}

/// Locks a folder for one run, as long as the value lives.
///
/// # Errors
/// - [`Error::Write`] if another run holds it, or it cannot be opened.
pub(crate) fn hold(folder: &Path) -> Result<File> {
    let held = File::open(folder).map_err(|e| Error::write(folder, e))?;
    match held.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::write(folder, io::Error::new(ErrorKind::ResourceBusy, "another run is writing it")))
        }
        // Some file systems know no locks.
        Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => Err(Error::write(folder, e)),
        _ => Ok(held),
    }
}

/// Returns the SHA-256 of a file of any size in hexadecimal digits.
///
/// # Errors
/// - [`Error::Read`] if it cannot be read.
pub(crate) fn sha256_of_file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(|e| Error::read(path, e))?;
    io::copy(&mut file, &mut hash).map_err(|e| Error::read(path, e))?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Returns the SHA-256 of a file as `of_file` gives it, or of the names and contents of a folder's files, at any depth.
///
/// # Errors
/// - [`Error::Read`] if something cannot be read; those of `of_file`.
pub(crate) fn sha256_of_tree(path: &Path, of_file: &dyn Fn(&Path) -> Result<String>) -> Result<String> {
    if !path.is_dir() {
        return of_file(path);
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::read(path, e))?;
    let names = entries.map(|entry| Ok(entry.map_err(|e| Error::read(path, e))?.file_name()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_encoded_bytes());
        hash.update(sha256_of_tree(&path.join(&name), of_file)?);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Rights of an ordinary new file: read for all, subject to the user's umask.
#[cfg(unix)]
pub(crate) fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

fn broken(kind: Kind, name: &str, reason: String) -> Error {
    Error::Artifact { what: kind.name, name: name.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { name: "test file", tag: *b"TEST", version: 3 };

    #[test]
    fn comes_back_as_it_went() {
        let value = vec![(1u32, -0.5f32), (7, 2.0)];
        let bytes = seal(KIND, &value).unwrap();
        assert_eq!(open::<Vec<(u32, f32)>>(KIND, "t", &bytes).unwrap(), value);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = seal(KIND, &vec![1u32, 2, 3]).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(open::<Vec<u32>>(KIND, "t", &damaged).is_err(), "byte {at}");
            assert!(open::<Vec<u32>>(KIND, "t", &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
