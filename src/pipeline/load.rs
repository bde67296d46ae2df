//! From settings to running stages: the one place that knows which engine a name stands for.

use std::{path::Path, sync::Arc};

use super::Pipeline;
use crate::{
    catalog::{Abbreviations, Catalog},
    config::{Encoder, NerConfig, NerEngine, PipelineConfig, RerankConfig, RerankEngine, RetrievalConfig},
    data::Origin,
    embed::{Embed, ngram::NgramEncoder},
    error::Result,
    index::{Index, IndexSettings, SourceRow},
    ner::{Ner, crf::CrfNer},
    rerank::{
        Rerank,
        nearest::{Nearest, NearestModel},
    },
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Name of the encoder file in an index folder.
pub const ENCODER_FILE: &str = "encoder.bin";
/// Power of the cosine in the vote that orders candidates (`experiments/LOG.md`, Linking).
const VOTE_POWER: f32 = 8.0;

impl Pipeline {
    /// Loads every model that `config` names, or the shipped one where it names none.
    ///
    /// # Errors
    /// Those of reading models, index and catalogue, and [`crate::Error::Encoder`] if index and encoder do not belong together.
    pub fn load(config: &PipelineConfig) -> Result<Self> {
        // The recogniser shares nothing with the rest, and start-up is what a user waits for.
        let (ner, linking) = rayon::join(
            || load_ner(&config.ner),
            || {
                let encoder = load_encoder(&config.retrieval)?;
                Ok((load_retriever(&config.retrieval, &encoder)?, load_rerank(&config.rerank, &encoder)?))
            },
        );
        let (retriever, rerank) = linking?;
        let decision = config.decision;
        Ok(Self {
            ner: ner?,
            retriever,
            rerank,
            decision,
            min_probability: config.ner.min_probability,
            chunk_documents: super::CHUNK_DOCUMENTS,
        })
    }
}

fn load_ner(config: &NerConfig) -> Result<Box<dyn Ner>> {
    match config.engine {
        NerEngine::Crf => Ok(Box::new(match &config.model {
            Some(path) => CrfNer::load(path)?,
            None => CrfNer::shipped()?,
        })),
    }
}

fn load_rerank(config: &RerankConfig, encoder: &Arc<dyn Embed>) -> Result<Box<dyn Rerank>> {
    match config.engine {
        RerankEngine::Nearest => {
            let model = match &config.model {
                Some(path) => NearestModel::load(path)?,
                None => NearestModel::shipped()?,
            };
            // A user's index may come with an encoder of its own, but the model reads vectors of the one it was trained with.
            let mut encoders = vec![encoder.clone()];
            if encoder.fingerprint() != model.encoder {
                encoders.push(Arc::new(NgramEncoder::shipped()?));
            }
            Ok(Box::new(Nearest::new(model, &encoders, config.candidates)))
        }
    }
}

/// Loads index and catalogue.
///
/// # Errors
/// Those of reading them, and [`crate::Error::Encoder`] if index and encoder do not belong together.
pub fn load_retriever(config: &RetrievalConfig, encoder: &Arc<dyn Embed>) -> Result<Retriever> {
    let retriever = load_indexes(config, encoder)?;
    Ok(match &config.abbreviations {
        None => retriever,
        Some(name) if name.as_os_str() == "shipped" => retriever.with_abbreviations(Abbreviations::shipped()),
        Some(path) => retriever.with_abbreviations(Abbreviations::load(path)?),
    })
}

fn load_indexes(config: &RetrievalConfig, encoder: &Arc<dyn Embed>) -> Result<Retriever> {
    let index = Arc::new(match &config.index {
        Some(folder) => Index::load(folder)?,
        None => Index::shipped()?,
    });
    let settings = RetrievalSettings { neighbours: config.neighbours, vote_power: VOTE_POWER };
    let Some(path) = &config.catalog else {
        let indexes = vec![SearchedIndex { index, titles: true }];
        return Retriever::new(encoder.clone(), indexes, Arc::new(Catalog::shipped()?), false, settings);
    };
    // A catalogue of the user's own: its wordings are indexed on the spot and replace the index's; the index's mentions stay, as
    // far as their codes are in the catalogue.
    let catalog = Arc::new(Catalog::load(path)?);
    let own = IndexSettings { factory: "SQ8".into(), ..IndexSettings::default() };
    let titles = Arc::new(Index::build(&catalog_rows(&catalog), encoder.as_ref(), own)?);
    let indexes = vec![SearchedIndex { index: titles, titles: true }, SearchedIndex { index, titles: false }];
    Retriever::new(encoder.clone(), indexes, catalog, true, settings)
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
