//! Vector indexes: coded texts and an encoder come in, an [`Index`] leaves that finds the texts nearest to a query.
//!
//! A folder on disk holds `manifest.toml`, `vectors.faiss` (FAISS's own format) and `rows.bin` (the texts' hashes, codes and
//! origins). Each distinct text is one vector.

mod faiss;
mod manifest;
mod rows;

use std::{collections::HashMap, path::Path};

use self::{faiss::FaissIndex, manifest::sha256};
pub use self::{
    faiss::{Metric, available},
    manifest::{FORMAT, Manifest},
    rows::{Entry, Row, SourceRow},
};
use crate::{
    artifact,
    embed::Embed,
    error::{Error, Result},
};

const MANIFEST_FILE: &str = "manifest.toml";
const VECTORS_FILE: &str = "vectors.faiss";
const ROWS_FILE: &str = "rows.bin";
/// Texts that are encoded together while building.
const ENCODE_BATCH: usize = 4096;

/// How an index is built.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSettings {
    /// FAISS factory string. Default `HNSW8,SQ8`: a graph over vectors of one byte a dimension.
    pub factory: String,
    /// How near two vectors are. Default inner product.
    pub metric: Metric,
    /// HNSW only: candidates that a search keeps in view. Default 160.
    pub ef_search: u32,
    /// Whether the texts of mentions are kept, so that a search can show them. Default yes.
    pub keep_mention_text: bool,
    /// What the rows were read from, for people.
    pub sources: Vec<String>,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self {
            factory: "HNSW8,SQ8".into(),
            metric: Metric::Ip,
            ef_search: 160,
            keep_mention_text: true,
            sources: Vec::new(),
        }
    }
}

/// A row that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Number of the entry.
    pub entry: usize,
    /// Inner product (higher is nearer) or squared distance (lower is nearer), as the index's metric says.
    pub score: f32,
}

/// Texts with their codes, searchable by vector and by exact normalised text.
pub struct Index {
    name: String,
    manifest: Manifest,
    faiss: FaissIndex,
    entries: Vec<Entry>,
    places: HashMap<u64, usize>,
}

impl Index {
    /// Encodes `sources` and builds an index over them. Equal inputs give equal bytes.
    ///
    /// # Errors
    /// - [`Error::Training`] if no source has any text; [`Error::Faiss`] if FAISS refuses the factory string; those of the encoder.
    pub fn build(sources: &[SourceRow], encoder: &dyn Embed, settings: IndexSettings) -> Result<Self> {
        let (entries, texts) = rows::group(sources, settings.keep_mention_text);
        if entries.is_empty() {
            return Err(Error::Training { what: "an index", reason: "no row has a text".into() });
        }
        let mut vectors = Vec::with_capacity(texts.len() * encoder.dim());
        for batch in texts.chunks(ENCODE_BATCH) {
            let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
            vectors.extend(encoder.embed(&batch)?);
        }
        let mut faiss = FaissIndex::new(encoder.dim(), &settings.factory, settings.metric)?;
        faiss.train_and_add(&vectors)?;
        let manifest = Manifest {
            format: FORMAT,
            encoder: encoder.fingerprint().to_owned(),
            factory: settings.factory,
            metric: settings.metric,
            ef_search: settings.ef_search,
            dim: encoder.dim(),
            entries: entries.len(),
            rows: entries.iter().map(|entry| entry.rows.len()).sum(),
            vectors_sha256: String::new(),
            rows_sha256: String::new(),
            sources: settings.sources,
        };
        Self::assemble("(new)".into(), manifest, faiss, entries)
    }

    /// Reads an index folder.
    ///
    /// # Errors
    /// - [`Error::Read`] if a file is missing; [`Error::Artifact`] if one is damaged or of another version.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(|e| Error::read(path, e))
        };
        let (manifest, vectors, rows) = (read(MANIFEST_FILE)?, read(VECTORS_FILE)?, read(ROWS_FILE)?);
        let name = folder.display().to_string();
        Self::from_parts(&name, &String::from_utf8_lossy(&manifest), &vectors, &rows)
    }

    /// Returns the index that ships with Noso.
    ///
    /// # Errors
    /// None as released; a test reads it.
    pub fn shipped() -> Result<Self> {
        Self::from_parts(
            "(shipped)",
            include_str!("../../indexes/default/manifest.toml"),
            include_bytes!("../../indexes/default/vectors.faiss"),
            include_bytes!("../../indexes/default/rows.bin"),
        )
    }

    /// Puts an index together from the contents of its three files; `name` is what messages call it.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if one is damaged, does not fit the others, or is of another version.
    pub fn from_parts(name: &str, manifest: &str, vectors: &[u8], rows: &[u8]) -> Result<Self> {
        let broken = |reason: String| Error::Artifact { what: "index", name: name.into(), reason };
        let manifest = Manifest::parse(name, manifest)?;
        for (file, bytes, expected) in
            [(VECTORS_FILE, vectors, &manifest.vectors_sha256), (ROWS_FILE, rows, &manifest.rows_sha256)]
        {
            if sha256(bytes) != *expected {
                return Err(broken(format!(
                    "the checksum of {file} does not match manifest.toml: the file is damaged"
                )));
            }
        }
        let entries: Vec<Entry> = artifact::open(rows::KIND, name, rows)?;
        let faiss = FaissIndex::from_bytes(vectors).map_err(|e| broken(format!("{VECTORS_FILE}: {e}")))?;
        if !(1..=65_536).contains(&manifest.ef_search) || faiss.metric() != Some(manifest.metric) {
            return Err(broken(format!(
                "{MANIFEST_FILE}: ef_search is out of range or metric is not that of {VECTORS_FILE}"
            )));
        }
        if faiss.len() != entries.len() || faiss.dim() != manifest.dim {
            let (vectors, dim) = (faiss.len(), faiss.dim());
            return Err(broken(format!(
                "{VECTORS_FILE} holds {vectors} vectors of {dim} dimensions for {} entries of {}",
                entries.len(),
                manifest.dim
            )));
        }
        Self::assemble(name.into(), manifest, faiss, entries)
    }

    fn assemble(name: String, manifest: Manifest, mut faiss: FaissIndex, entries: Vec<Entry>) -> Result<Self> {
        if manifest.factory.contains("HNSW") {
            faiss.set_parameter("efSearch", f64::from(manifest.ef_search))?;
        }
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.hash, place)).collect();
        Ok(Self { name, manifest, faiss, entries, places })
    }

    /// Writes the index to `folder`: the manifest last, so a folder with a manifest is whole.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let vectors = self.faiss.to_bytes()?;
        let rows = artifact::seal(rows::KIND, &self.entries)?;
        let manifest =
            Manifest { vectors_sha256: sha256(&vectors), rows_sha256: sha256(&rows), ..self.manifest.clone() };
        let toml = toml::to_string(&manifest).map_err(|e| Error::Artifact {
            what: "index",
            name: self.name.clone(),
            reason: e.to_string(),
        })?;
        artifact::write_atomic(&folder.join(VECTORS_FILE), &vectors)?;
        artifact::write_atomic(&folder.join(ROWS_FILE), &rows)?;
        artifact::write_atomic(&folder.join(MANIFEST_FILE), toml.as_bytes())
    }

    /// Refuses an encoder other than the one that built the index.
    ///
    /// # Errors
    /// - [`Error::Encoder`] with both fingerprints.
    pub fn check_encoder(&self, encoder: &dyn Embed) -> Result<()> {
        if self.manifest.encoder == encoder.fingerprint() {
            return Ok(());
        }
        Err(Error::Encoder {
            name: self.name.clone(),
            built_with: self.manifest.encoder.clone(),
            searched_with: encoder.fingerprint().to_owned(),
        })
    }

    /// Finds the `k` entries nearest to each query, nearest first.
    ///
    /// `queries` is row-major `(n, dim)`, f32, rows of unit length. Returns `n` lists of at most `k` hits.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if `queries` is no whole number of rows.
    pub fn search(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Hit>>> {
        let k = k.min(self.entries.len());
        let (scores, rows) = self.faiss.search(queries, k)?;
        let hit = |(&score, &row): (&f32, &i64)| {
            usize::try_from(row).ok().filter(|&row| row < self.entries.len()).map(|entry| Hit { entry, score })
        };
        let pairs: Vec<_> = scores.iter().zip(&rows).map(hit).collect();
        Ok(pairs.chunks(k.max(1)).map(|hits| hits.iter().flatten().copied().collect()).collect())
    }

    /// Finds the entry whose normalised text has this hash.
    pub fn exact(&self, hash: u64) -> Option<usize> {
        self.places.get(&hash).copied()
    }

    /// Returns all entries; a hit's number is a place here.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the manifest. Its checksums are empty until the index is saved.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
