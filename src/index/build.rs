//! Building: coded texts, an encoder and settings come in, an [`Index`] leaves.

use super::{
    EncoderRecord, FORMAT, Index, IndexSource, Manifest, Metric, SourceRow,
    faiss::FaissIndex,
    rows::{self, Entry},
};
use crate::{
    embed::Embed,
    error::{Error, Result},
};

/// Texts that are encoded together.
const ENCODE_BATCH: usize = 4096;
/// Most texts whose vectors are held at a time, and from which a factory learns its clusters and ranges.
const TRAIN_ROWS: usize = 1 << 17;
/// Texts a cluster below which FAISS warns that it cannot learn well.
const ROWS_A_CLUSTER: usize = 39;

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
    /// - [`Error::Training`] if no source has any text, or fewer have than an IVF factory has clusters; [`Error::Faiss`] if FAISS
    ///   refuses the factory string; those of the encoder.
    pub fn build_watched(
        sources: &[SourceRow],
        encoder: &dyn Embed,
        settings: IndexSettings,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (entries, texts) = rows::group(sources, settings.keep_mention_text);
        check(&settings, entries.len())?;
        let mut faiss = FaissIndex::new(encoder.dim(), &settings.factory, settings.metric)?;
        fill(&mut faiss, &texts, encoder, settings.threads, watch)?;
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

fn check(settings: &IndexSettings, texts: usize) -> Result<()> {
    let refused = |reason: String| Err(Error::Training { what: "an index", reason });
    if texts == 0 {
        return refused("no row has a text".into());
    }
    let Some(clusters) = clusters(&settings.factory) else { return Ok(()) };
    let most = texts / ROWS_A_CLUSTER;
    if texts < clusters {
        let factory = &settings.factory;
        return refused(format!(
            "{factory} asks for {clusters} clusters, but there are only {texts} texts; up to {most} can be learned from them"
        ));
    }
    if clusters > most {
        tracing::warn!("{clusters} clusters for {texts} texts: more than {most} are poorly learned");
    }
    Ok(())
}

/// Reads the number of clusters out of a factory string such as `IVF256,Flat`.
fn clusters(factory: &str) -> Option<usize> {
    let (_, rest) = factory.split_once("IVF")?;
    rest[..rest.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_read_out_of_the_factory() {
        let cases =
            [("IVF256,Flat", Some(256)), ("PCA64,IVF1024_HNSW32,SQ8", Some(1024)), ("HNSW8,SQ8", None), ("IVF", None)];
        for (factory, expected) in cases {
            assert_eq!(clusters(factory), expected, "{factory}");
        }
    }
}
