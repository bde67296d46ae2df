//! Building: coded texts, an encoder and settings come in, an [`Index`] leaves.

use super::{
    EncoderRecord, FORMAT, Index, IndexSource, Manifest, Metric, SourceRow,
    factory::{check_factory, unfit},
    faiss::FaissIndex,
    rows::{self, Entry},
};
use crate::{
    embed::Embed,
    error::{Error, Result},
};

/// Texts that are encoded together.
const ENCODE_BATCH: usize = 1024;
/// Most texts whose vectors are held at a time, and from which a factory learns its clusters and ranges.
const TRAIN_ROWS: usize = 1 << 17;

/// How an index is built.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSettings {
    /// FAISS factory string. Default `HNSW8,SQ8`: a graph over vectors of one byte a dimension.
    pub factory: String,
    /// How near two vectors are. Default inner product.
    pub metric: Metric,
    /// HNSW only: candidates that a search keeps in view, 1 to 65536. Default 160.
    pub ef_search: u32,
    /// IVF only: clusters that a search looks through, 1 to 65536. Default 16.
    pub nprobe: u32,
    /// Threads of the build. More than one makes graphs sooner, but never twice the same. Default 1.
    pub threads: u16,
    /// Whether the texts of mentions are kept, so that a search can show them. Default yes.
    pub keep_mention_text: bool,
    /// Where the encoder is found again; its fingerprint is filled in.
    pub encoder: EncoderRecord,
    /// What the rows were read from.
    pub sources: Vec<IndexSource>,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self {
            factory: "HNSW8,SQ8".into(),
            metric: Metric::Ip,
            ef_search: 160,
            nprobe: 16,
            threads: 1,
            keep_mention_text: true,
            encoder: EncoderRecord::default(),
            sources: Vec::new(),
        }
    }
}

impl Index {
    /// Encodes `sources` and builds an index over them. Equal inputs give equal bytes.
    ///
    /// # Errors
    /// As [`Index::build_watched`].
    pub fn build(sources: &[SourceRow], encoder: &dyn Embed, settings: IndexSettings) -> Result<Self> {
        Self::build_watched(sources, encoder, settings, &mut |_, _| ())
    }

    /// Builds like [`Index::build`] and tells `watch` how many texts of how many are encoded.
    ///
    /// No more than 131,072 vectors are held beside the index; of more texts an even sample is encoded twice, from which the
    /// factory learns.
    ///
    /// # Errors
    /// - [`Error::Training`] if no source has any text; [`Error::Setting`] if the factory does not fit; those of the encoder.
    pub fn build_watched(
        sources: &[SourceRow],
        encoder: &dyn Embed,
        settings: IndexSettings,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (entries, texts) = rows::group(sources, settings.keep_mention_text);
        if entries.is_empty() {
            let from = settings.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
            let reason = format!("no row has a text (read from: {from})");
            return Err(Error::Training { what: "an index", reason });
        }
        let IndexSettings { factory, metric, threads, .. } = &settings;
        check_factory(factory, *metric, encoder.dim(), entries.len())?;
        let mut faiss = FaissIndex::new(encoder.dim(), factory, *metric)?;
        let filled = fill(&mut faiss, &texts, encoder, *threads, watch);
        filled.map_err(|e| unfit(factory, encoder.dim(), e))?;
        Self::of_vectors(faiss, entries, encoder, settings)
    }

    /// Puts the parts together; row `n` of `faiss` is the vector of `entries[n]`.
    fn of_vectors(
        faiss: FaissIndex,
        entries: Vec<Entry>,
        encoder: &dyn Embed,
        settings: IndexSettings,
    ) -> Result<Self> {
        let manifest = Manifest {
            format: FORMAT,
            factory: settings.factory,
            metric: settings.metric,
            ef_search: settings.ef_search,
            nprobe: settings.nprobe,
            dim: encoder.dim(),
            entries: entries.len(),
            rows: entries.iter().map(|entry| entry.rows.len()).sum(),
            vectors_sha256: String::new(),
            rows_sha256: String::new(),
            encoder: EncoderRecord { fingerprint: encoder.fingerprint().to_owned(), ..settings.encoder },
            sources: settings.sources,
        };
        Self::assemble("(new)".into(), manifest, faiss, entries)
    }
}

/// Encodes the texts, lets the index learn from them where it needs to, and adds them in their order.
fn fill(
    faiss: &mut FaissIndex,
    texts: &[String],
    encoder: &dyn Embed,
    threads: u16,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let mut done = 0;
    let mut encode = |texts: &[&str]| -> Result<Vec<f32>> {
        let mut vectors = Vec::with_capacity(texts.len() * encoder.dim());
        for batch in texts.chunks(ENCODE_BATCH) {
            vectors.extend(encoder.embed(batch)?);
            done += batch.len();
            watch(done, texts.len().max(done));
        }
        Ok(vectors)
    };
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    if all.len() <= TRAIN_ROWS {
        let vectors = encode(&all)?;
        faiss.train(&vectors, threads)?;
        return faiss.add(&vectors, threads);
    }
    if !faiss.is_trained() {
        let sample: Vec<&str> = (0..TRAIN_ROWS).map(|n| all[n * all.len() / TRAIN_ROWS]).collect();
        faiss.train(&encode(&sample)?, threads)?;
    }
    all.chunks(TRAIN_ROWS).try_for_each(|some| faiss.add(&encode(some)?, threads))
}
