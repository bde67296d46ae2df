//! Vector indexes: coded texts and an encoder come in, an [`Index`] leaves that finds the texts nearest to a query.
//!
//! A folder on disk holds `manifest.toml`, `vectors.faiss` (FAISS's own format) and `rows.bin` (the texts' hashes, codes and
//! origins). Each distinct text is one vector.

mod build;
mod factory;
mod faiss;
mod folder;
mod fusion;
mod manifest;
mod rows;

use std::{collections::HashMap, path::Path};

pub use self::{
    build::IndexSettings,
    factory::check_factory,
    faiss::{Metric, available},
    folder::{BERT_FOLDER, ENCODER_FILE, IndexFolder},
    fusion::reciprocal_ranks,
    manifest::{EncoderRecord, FORMAT, IndexSource, Manifest, SourceKind},
    rows::{Entry, Row, SourceRow},
};
use self::{
    faiss::FaissIndex,
    manifest::{MANIFEST_FILE, sha256},
};
use crate::{
    artifact::{self, sha256_of_file},
    embed::Embed,
    error::{Error, Result},
};

const VECTORS_FILE: &str = "vectors.faiss";
const ROWS_FILE: &str = "rows.bin";

/// A row that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Number of the entry.
    pub entry: usize,
    /// How near it is, higher is nearer: the inner product, or `1 − d²/2` of the distance `d`. Both are the cosine of vectors of
    /// unit length.
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
    /// Reads an index folder.
    ///
    /// # Errors
    /// - [`Error::Read`] if a file is missing; [`Error::Artifact`] if one is damaged or of another version.
    pub fn load(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        let manifest = Manifest::load(folder)?;
        let path = folder.join(ROWS_FILE);
        let rows = std::fs::read(&path).map_err(|e| Error::read(path, e))?;
        let vectors = folder.join(VECTORS_FILE);
        let checksums = [(VECTORS_FILE, sha256_of_file(&vectors)?), (ROWS_FILE, sha256(&rows))];
        Self::checked(&name, manifest, checksums, || FaissIndex::read(&vectors), &rows)
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
        let checksums = [(VECTORS_FILE, sha256(vectors)), (ROWS_FILE, sha256(rows))];
        Self::checked(name, Manifest::parse(name, manifest)?, checksums, || FaissIndex::from_bytes(vectors), rows)
    }

    /// Holds the parts of a saved index against its manifest. `checksums` are those of its two other files.
    fn checked(
        name: &str,
        manifest: Manifest,
        checksums: [(&str, String); 2],
        vectors: impl FnOnce() -> Result<FaissIndex>,
        rows: &[u8],
    ) -> Result<Self> {
        let broken = |reason: String| Error::Artifact { what: "index", name: name.into(), reason };
        for ((file, found), expected) in checksums.into_iter().zip([&manifest.vectors_sha256, &manifest.rows_sha256]) {
            if found != *expected {
                let reason = format!("the checksum of {file} does not match manifest.toml: the file is damaged");
                return Err(broken(reason));
            }
        }
        let entries: Vec<Entry> = artifact::open(rows::KIND, name, rows)?;
        let faiss = vectors().map_err(|e| broken(format!("{VECTORS_FILE}: {e}")))?;
        if faiss.metric() != Some(manifest.metric) {
            return Err(broken(format!("the metric in manifest.toml is not that of {VECTORS_FILE}")));
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
        for (kind, parameter, value) in [("HNSW", "efSearch", manifest.ef_search), ("IVF", "nprobe", manifest.nprobe)] {
            if !(1..=65_536).contains(&value) {
                let reason = format!("{parameter} is {value}, expected 1 to 65536");
                return Err(Error::Artifact { what: "index", name, reason });
            }
            if manifest.factory.contains(kind) {
                faiss.set_parameter(parameter, f64::from(value))?;
            }
        }
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.hash, place)).collect();
        Ok(Self { name, manifest, faiss, entries, places })
    }

    /// Writes the index to `folder`: the manifest last, so a folder with a manifest is whole.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        let vectors = folder.join(VECTORS_FILE);
        // FAISS writes the file itself, so that a large index is not copied in memory.
        let staged = tempfile::Builder::new().permissions(artifact::permissions()).tempfile_in(folder);
        let staged = staged.map_err(|e| Error::write(folder, e))?.into_temp_path();
        self.faiss.write(&staged)?;
        let vectors_sha256 = sha256_of_file(&staged)?;
        staged.persist(&vectors).map_err(|e| Error::write(&vectors, e.error))?;
        let rows = artifact::seal(rows::KIND, &self.entries)?;
        artifact::write_atomic(&folder.join(ROWS_FILE), &rows)?;
        Manifest { vectors_sha256, rows_sha256: sha256(&rows), ..self.manifest.clone() }.save(folder)
    }

    /// Refuses an encoder other than the one that built the index.
    ///
    /// # Errors
    /// - [`Error::Encoder`] with both fingerprints.
    pub fn check_encoder(&self, encoder: &dyn Embed) -> Result<()> {
        let built_with = &self.manifest.encoder.fingerprint;
        if built_with == encoder.fingerprint() {
            return Ok(());
        }
        Err(Error::Encoder {
            name: self.name.clone(),
            built_with: built_with.clone(),
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
            let score = match self.manifest.metric {
                Metric::Ip => score,
                Metric::L2 => 1.0 - score / 2.0,
            };
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

    /// Returns the folder it was read from, or what stands for one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the manifest. Its checksums are empty until the index is saved.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
