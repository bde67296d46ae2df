//! From the settings of retrieval to a running [`Retriever`]: encoder, index and catalogue, held against one another.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::catalog_rows;
use crate::{
    catalog::{Abbreviations, Catalog},
    config::{Encoder, RetrievalConfig},
    embed::{Embed, hybrid::HybridEncoder, ngram::NgramEncoder},
    error::{Error, Result},
    index::{EncoderRecord, Index, IndexSettings, Manifest},
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Name of the n-gram encoder's file in an index folder.
pub const ENCODER_FILE: &str = "encoder.bin";
/// Name of the folder in an index folder that holds a small BERT.
pub const BERT_FOLDER: &str = "encoder";

/// Loads index and catalogue.
///
/// # Errors
/// Those of reading them; [`Error::Encoder`] if index and encoder do not belong together; [`Error::CatalogChanged`] if the index
/// is of a catalogue file that has changed since.
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
    // Before anything is encoded with it.
    index.check_encoder(encoder.as_ref())?;
    let settings = RetrievalSettings {
        neighbours: config.neighbours,
        unit: config.unit,
        fusion: config.fusion,
        ..RetrievalSettings::default()
    };
    let Some(path) = &config.catalog else {
        let catalog = Arc::new(catalog_of(&index)?);
        let indexes = vec![SearchedIndex { index, titles: true }];
        return Retriever::new(encoder.clone(), indexes, catalog, false, settings);
    };
    let catalog = Arc::new(Catalog::load(path)?);
    if index.manifest().catalogue().is_some_and(|source| source.fingerprint == catalog.fingerprint()) {
        let indexes = vec![SearchedIndex { index, titles: true }];
        return Retriever::new(encoder.clone(), indexes, catalog, true, settings);
    }
    // A catalogue other than the index's: its wordings are indexed on the spot and replace the index's; the index's mentions
    // stay, as far as their codes are in the catalogue.
    let own = IndexSettings { factory: "SQ8".into(), ..IndexSettings::default() };
    let titles = Arc::new(Index::build(&catalog_rows(&catalog), encoder.as_ref(), own)?);
    let indexes = vec![SearchedIndex { index: titles, titles: true }, SearchedIndex { index, titles: false }];
    Retriever::new(encoder.clone(), indexes, catalog, true, settings)
}

/// Loads the catalogue that an index was built from, if it is as it was then.
fn catalog_of(index: &Index) -> Result<Catalog> {
    let Some(source) = index.manifest().catalogue() else { return Catalog::shipped() };
    let Some(path) = &source.path else {
        let shipped = Catalog::shipped()?;
        if shipped.fingerprint() != source.fingerprint {
            tracing::warn!(
                "index {}: built from the catalogue of another version of noso; build it again",
                index.name()
            );
        }
        return Ok(shipped);
    };
    if !path.exists() {
        let (name, path) = (index.name(), path.display());
        tracing::warn!("index {name}: its catalogue {path} is gone; titles are shown from the shipped one");
        return Catalog::shipped();
    }
    let catalog = Catalog::load(path)?;
    let found = catalog.fingerprint();
    if found != source.fingerprint {
        let (name, path, built_with) = (index.name().to_owned(), path.clone(), source.fingerprint.clone());
        return Err(Error::CatalogChanged { name, path, built_with, found });
    }
    Ok(catalog)
}

/// Loads the encoder that belongs to the configured index.
///
/// # Errors
/// Those of reading it; [`Error::Setting`] if another kind is asked for than the index was built with.
pub fn load_encoder(config: &RetrievalConfig) -> Result<Arc<dyn Embed>> {
    let folder = config.index.as_deref();
    let record = folder.map(Manifest::load).transpose()?.map(|manifest| manifest.encoder).unwrap_or_default();
    if let Some(asked) = config.encoder.filter(|&asked| asked != record.kind) {
        let index = folder.map_or_else(|| "the shipped index".into(), |folder| folder.display().to_string());
        let expected = format!("{}, which built {index}; or another index (`noso index build`)", record.kind);
        return Err(Error::Setting { key: "retrieval.encoder".into(), expected, got: asked.to_string() });
    }
    let model = config.encoder_model.as_deref();
    match record.kind {
        Encoder::Ngram => load_ngram(folder, model),
        Encoder::Bert => load_recorded_bert(folder, model, &record),
        Encoder::Hybrid => {
            let dense = load_recorded_bert(folder, model, &record)?;
            let weight = record.weight.unwrap_or(0.0);
            Ok(Arc::new(HybridEncoder::new(dense, load_ngram(folder, None)?, weight)?))
        }
    }
}

/// Loads n-grams: the file given, else the index's, else the shipped ones.
fn load_ngram(folder: Option<&Path>, file: Option<&Path>) -> Result<Arc<dyn Embed>> {
    let in_index = folder.map(|folder| folder.join(ENCODER_FILE)).filter(|file| file.is_file());
    Ok(Arc::new(match file.map(Path::to_owned).or(in_index) {
        Some(path) => NgramEncoder::load(&path)?,
        None => NgramEncoder::shipped()?,
    }))
}

/// Loads the BERT given, else the one in the index folder, else the one the index names.
fn load_recorded_bert(folder: Option<&Path>, model: Option<&Path>, record: &EncoderRecord) -> Result<Arc<dyn Embed>> {
    let inside = folder.map(|folder| folder.join(BERT_FOLDER)).filter(|folder| folder.is_dir());
    let path: Option<PathBuf> = model.map(Path::to_owned).or(inside).or_else(|| record.model.clone());
    let path = path.ok_or_else(|| Error::Setting {
        key: "retrieval.encoder_model".into(),
        expected: "the folder or hub id of a BERT".into(),
        got: "none, and the index names none".into(),
    })?;
    load_bert(&path, record.preset.as_deref())
}

/// Loads a BERT or XLM-RoBERTa from a folder or by hub id, to be used as `preset` says.
///
/// # Errors
/// Those of reading it; [`Error::NotBuilt`] in a build without it.
#[cfg(not(feature = "neural"))]
pub fn load_bert(_: &Path, _: Option<&str>) -> Result<Arc<dyn Embed>> {
    Err(Error::NotBuilt { engine: "the BERT encoder", feature: "neural" })
}

/// Loads a BERT or XLM-RoBERTa from a folder or by hub id, to be used as `preset` says.
///
/// # Errors
/// Those of reading it.
#[cfg(feature = "neural")]
pub fn load_bert(_: &Path, _: Option<&str>) -> Result<Arc<dyn Embed>> {
    Err(Error::NotBuilt { engine: "the BERT encoder", feature: "neural" })
}
