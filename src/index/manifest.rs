//! What an index folder says of itself.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Metric;
use crate::error::{Error, Result};

/// Version of the folder's layout; another version is refused.
pub const FORMAT: u32 = 1;

/// `manifest.toml` of an index folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout ([`FORMAT`]).
    pub format: u32,
    /// Fingerprint of the encoder that made the vectors.
    pub encoder: String,
    /// FAISS factory string.
    pub factory: String,
    /// How near two vectors are.
    pub metric: Metric,
    /// Candidates that a search in an HNSW graph keeps in view; more is slower and more exact. Ignored by other kinds.
    pub ef_search: u32,
    /// Number of dimensions.
    pub dim: usize,
    /// Number of distinct texts, each one vector.
    pub entries: usize,
    /// Number of (text, code, origin) rows behind them.
    pub rows: usize,
    /// SHA-256 of `vectors.faiss`, in hexadecimal digits.
    pub vectors_sha256: String,
    /// SHA-256 of `rows.bin`, in hexadecimal digits.
    pub rows_sha256: String,
    /// What the rows were read from, for people: corpus, catalogue.
    pub sources: Vec<String>,
}

impl Manifest {
    /// Reads a manifest's TOML. `name` is what messages call the index.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if it is no manifest, or one of another layout version.
    pub fn parse(name: &str, toml: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let broken = |reason: String| Error::Artifact { what: "index", name: name.into(), reason };
        let version: Version = toml::from_str(toml).map_err(|e| broken(format!("manifest.toml: {}", e.message())))?;
        if version.format != FORMAT {
            let reason = format!("it has layout version {}, this noso reads version {FORMAT}", version.format);
            return Err(broken(reason));
        }
        toml::from_str(toml).map_err(|e| broken(format!("manifest.toml: {}", e.message())))
    }
}

/// Returns the SHA-256 of `bytes` in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
