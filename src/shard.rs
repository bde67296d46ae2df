//! A file of weights in safetensors format: its header is read at once, its tensors where and when somebody wants them.

use std::{
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::tensor::{Metadata, TensorInfo};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::error::{Error, Result};

/// Key in an adapter's file, among what is said of it, of the [`model_hash`] of the model it was trained on.
pub(crate) const BASE_HASH: &str = "noso_base_hash";
/// Bytes hashed at a time.
const HASH_BLOCK_BYTES: usize = 1 << 20;
/// Longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The header of a file whose length fits it.
pub(crate) struct Shard {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    #[cfg_attr(not(feature = "llm"), allow(dead_code))]
    pub bytes: u64,
    /// Where the numbers begin.
    data_start: u64,
    metadata: Metadata,
}

impl Shard {
    /// Reads the header. Returns the open file, too.
    ///
    /// # Errors
    /// - [`Error::Read`]; [`Error::Artifact`] with the file's own name if it is something else or cut short: the first tensor is named that
    ///   is not whole.
    pub fn open(path: &Path) -> Result<(Self, File)> {
        let damaged = |reason: String| broken(path, reason);
        let unread = |e| Error::read(path, e);
        let mut file = File::open(path).map_err(unread)?;
        let bytes = file.metadata().map_err(unread)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| damaged("the file is cut short".into()))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES.min(bytes - 8) {
            return Err(damaged("it is no safetensors file, or is cut short".into()));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(unread)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(format!("its header: {e}")))?;
        let shard = Self { path: path.to_owned(), bytes, data_start: 8 + header_bytes, metadata };
        let expected = shard.data_start + shard.metadata.data_len() as u64;
        match expected == bytes {
            true => Ok((shard, file)),
            false => {
                let cut = shard.names().into_iter().find(|name| shard.place(name).is_some_and(|at| at.end > bytes));
                let cut = cut.map(|name| format!(", `{name}` is cut short")).unwrap_or_default();
                Err(damaged(format!("expected {expected} bytes, got {bytes}{cut}")))
            }
        }
    }

    /// Returns type and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Returns the names of all tensors, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Returns which bytes of the file a tensor's numbers are.
    pub fn place(&self, name: &str) -> Option<Range<u64>> {
        let (start, end) = self.info(name)?.data_offsets;
        Some(self.data_start + start as u64..self.data_start + end as u64)
    }
}

/// Says what is wrong with a file; its folder is for the caller to name.
pub(crate) fn broken(path: &Path, reason: String) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Error::Artifact { what: "weights", name, reason }
}
/// Hashes a file with XXH3-128; `progress` hears of every byte.
///
/// # Errors
/// - [`Error::Read`].
pub(crate) fn hash(path: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<u128> {
    let mut file = File::open(path).map_err(|e| Error::read(path, e))?;
    let (mut hash, mut block) = (Xxh3::new(), vec![0; HASH_BLOCK_BYTES]);
    loop {
        let read = file.read(&mut block).map_err(|e| Error::read(path, e))?;
        if read == 0 {
            return Ok(hash.digest128());
        }
        hash.update(&block[..read]);
        progress(read as u64);
    }
}

/// Names a model by the names and hashes of its weight files, in whatever order.
pub(crate) fn model_hash<'a>(files: impl Iterator<Item = (&'a str, u128)>) -> String {
    let mut lines: Vec<String> = files.map(|(name, hash)| format!("{name} {hash:032x}\n")).collect();
    lines.sort_unstable();
    format!("{:032x}", xxh3_128(lines.concat().as_bytes()))
}
