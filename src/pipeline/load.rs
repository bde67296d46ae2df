//! From settings to running stages: the one place that knows which engine a name stands for.

use std::{path::Path, sync::Arc};

use crate::{
    catalog::Catalog,
    config::{Encoder, RetrievalConfig},
    data::Origin,
    embed::{Embed, ngram::NgramEncoder},
    error::Result,
    index::{Index, IndexSettings, SourceRow},
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Name of the encoder file in an index folder.
pub const ENCODER_FILE: &str = "encoder.bin";
/// Power of the cosine in the vote that orders candidates (`experiments/LOG.md`, Linking).
const VOTE_POWER: f32 = 8.0;

/// Loads encoder, index and catalogue.
///
/// # Errors
/// Those of reading them, and [`crate::Error::Encoder`] if index and encoder do not belong together.
pub fn load_retriever(config: &RetrievalConfig) -> Result<Retriever> {
    let encoder = load_encoder(config)?;
    let index = Arc::new(match &config.index {
        Some(folder) => Index::load(folder)?,
        None => Index::shipped()?,
    });
    let settings =
        RetrievalSettings { neighbours: config.neighbours, candidates: config.candidates, vote_power: VOTE_POWER };
    let Some(path) = &config.catalog else {
        let indexes = vec![SearchedIndex { index, titles: true }];
        return Retriever::new(encoder, indexes, Arc::new(Catalog::shipped()?), false, settings);
    };
    // A catalogue of the user's own: its wordings are indexed on the spot and replace the index's; the index's mentions stay, as
    // far as their codes are in the catalogue.
    let catalog = Arc::new(Catalog::load(path)?);
    let own = IndexSettings { factory: "SQ8".into(), ..IndexSettings::default() };
    let titles = Arc::new(Index::build(&catalog_rows(&catalog), encoder.as_ref(), own)?);
    let indexes = vec![SearchedIndex { index: titles, titles: true }, SearchedIndex { index, titles: false }];
    Retriever::new(encoder, indexes, catalog, true, settings)
}

/// Loads the encoder that belongs to the configured index.
///
/// # Errors
/// Those of reading its file.
pub fn load_encoder(config: &RetrievalConfig) -> Result<Arc<dyn Embed>> {
    let in_index = config.index.as_deref().map(|folder: &Path| folder.join(ENCODER_FILE)).filter(|file| file.is_file());
    match config.encoder {
        Encoder::Ngram => Ok(Arc::new(match config.encoder_model.clone().or(in_index) {
            Some(path) => NgramEncoder::load(&path)?,
            None => NgramEncoder::shipped()?,
        })),
    }
}

/// Lists a catalogue's titles and synonyms as rows of an index.
pub fn catalog_rows(catalog: &Catalog) -> Vec<SourceRow> {
    let mut rows = Vec::new();
    for entry in catalog.entries() {
        let code = || entry.code.clone();
        rows.push(SourceRow { text: entry.title.to_string(), code: code(), origin: Origin::Title });
        let synonyms = entry.synonyms.iter();
        rows.extend(synonyms.map(|text| SourceRow { text: text.clone(), code: code(), origin: Origin::Synonym }));
    }
    rows
}
