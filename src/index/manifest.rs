//! What an index folder says of itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Metric;
use crate::{
    config::{Encoder, Pooling},
    error::{Error, Result},
};

/// Version of the folder's layout; another version is refused.
pub const FORMAT: u32 = 2;
/// Name of the manifest's file.
pub(super) const MANIFEST_FILE: &str = "manifest.toml";

/// `manifest.toml` of an index folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout ([`FORMAT`]).
    pub format: u32,
    /// FAISS factory string.
    pub factory: String,
    /// How near two vectors are.
    pub metric: Metric,
    /// Candidates that a search in an HNSW graph keeps in view; more is slower and more exact. Ignored by other kinds. This and
    /// `nprobe` may be changed in the file.
    pub ef_search: u32,
    /// Clusters that a search in an IVF index looks through; more is slower and more exact. Ignored by other kinds.
    pub nprobe: u32,
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
    /// The encoder that made the vectors, and where it is found.
    pub encoder: EncoderRecord,
    /// What the rows were read from.
    pub sources: Vec<IndexSource>,
}

/// An encoder and where it is found again. The n-grams of kind `ngram` and `hybrid` lie in the index folder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderRecord {
    /// Kind of encoder.
    pub kind: Encoder,
    /// Fingerprint; the encoder that searches must have it too.
    pub fingerprint: String,
    /// Folder or hub id of a BERT that does not lie in the index folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the vectors of a BERT's tokens become one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether a BERT's vectors are scaled to unit length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalise: Option<bool>,
    /// Whether a BERT is given small letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
    /// Tokens of a text that a BERT reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Share of the BERT in a hybrid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
}

/// What kind of thing rows were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Titles and synonyms of a catalogue.
    Catalogue,
    /// Coded mentions of an annotated corpus.
    Mentions,
    /// Terms of another corpus or terminology, with the codes of their concepts.
    Vocabulary,
}

/// A catalogue, corpus or vocabulary whose texts are in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSource {
    /// What kind of thing it is.
    pub kind: SourceKind,
    /// Its name, for people.
    pub name: String,
    /// Where a user's catalogue was read from; none for the shipped one, and for other kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Number of texts with a code, repeated ones included.
    pub rows: usize,
    /// Hash of them, in hexadecimal digits; of a catalogue [`Catalog::fingerprint`](crate::catalog::Catalog::fingerprint).
    pub fingerprint: String,
}

impl Manifest {
    /// Reads the manifest of an index folder.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if there is none, [`Error::Read`] if there is no such folder; those of [`Manifest::parse`].
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let no_index = || Error::Artifact {
            what: "index",
            name: folder.display().to_string(),
            reason: format!("the folder holds no {MANIFEST_FILE}: it is no index"),
        };
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound if folder.is_dir() => no_index(),
            _ => Error::read(path, e),
        })?;
        Self::parse(&folder.display().to_string(), &String::from_utf8_lossy(&bytes))
    }

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

    /// Writes the manifest into an index folder.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST_FILE);
        let toml = toml::to_string(self).map_err(|e| Error::Artifact {
            what: "index",
            name: path.display().to_string(),
            reason: e.to_string(),
        })?;
        crate::artifact::write_atomic(&path, toml.as_bytes())
    }

    /// Returns the catalogue whose titles are in the index.
    pub fn catalogue(&self) -> Option<&IndexSource> {
        self.sources.iter().find(|source| source.kind == SourceKind::Catalogue)
    }
}

/// Returns the SHA-256 of `bytes` in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
