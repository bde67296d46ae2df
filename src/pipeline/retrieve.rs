//! From the settings of retrieval to a running [`Retriever`]: encoder, index and catalogue, held against one another.

use std::{path::Path, sync::Arc};

use super::catalog_rows;
#[cfg(feature = "neural")]
use crate::embed::{bert::BertEncoder, hub_id};
use crate::{
    catalog::{Abbreviations, Catalog},
    config::{Encoder, EncoderConfig, RetrievalConfig},
    embed::{Embed, hybrid::HybridEncoder, ngram::NgramEncoder},
    error::{Error, Result},
    index::{BERT_FOLDER, ENCODER_FILE, EncoderRecord, Index, IndexSettings, Manifest},
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

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
        vote_power: config.vote_power,
        unit: config.unit,
        fusion: config.fusion,
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
    // A hybrid is a BERT, too.
    let fits = |asked| asked == record.kind || (asked, record.kind) == (Encoder::Bert, Encoder::Hybrid);
    if let Some(asked) = config.encoder.filter(|&asked| !fits(asked)) {
        let index = folder.map_or_else(|| "the shipped index".into(), |folder| folder.display().to_string());
        let expected = format!("{}, which built {index}; or another index (`noso index build`)", record.kind);
        return Err(Error::Setting { key: "retrieval.encoder".into(), expected, got: asked.to_string() });
    }
    match record.kind {
        Encoder::Ngram => Ok(load_ngram(folder, config.encoder_model.as_deref().map(Path::new))?),
        Encoder::Bert => load_recorded_bert(config, &record),
        Encoder::Hybrid => {
            let dense = load_recorded_bert(config, &record)?;
            let weight = record.weight.unwrap_or_default();
            Ok(Arc::new(HybridEncoder::new(dense, load_ngram(folder, None)?, weight)?))
        }
    }
}

/// Loads n-grams: the file given, else the index's, else the shipped ones.
fn load_ngram(folder: Option<&Path>, file: Option<&Path>) -> Result<Arc<NgramEncoder>> {
    let in_index = folder.map(|folder| folder.join(ENCODER_FILE)).filter(|file| file.is_file());
    Ok(Arc::new(match file.map(Path::to_owned).or(in_index) {
        Some(path) => NgramEncoder::load(&path)?,
        None => NgramEncoder::shipped()?,
    }))
}

/// Loads the BERT given, else the one in the index folder, else the one the index names, to be used as when the index was built.
fn load_recorded_bert(config: &RetrievalConfig, record: &EncoderRecord) -> Result<Arc<dyn Embed>> {
    let inside = config.index.as_ref().map(|folder| folder.join(BERT_FOLDER)).filter(|folder| folder.is_dir());
    let inside = inside.map(|folder| folder.display().to_string());
    let model = config.encoder_model.clone().or(inside).or_else(|| record.model.clone()).ok_or_else(|| {
        let name = config.index.as_ref().map_or_else(|| "(shipped)".into(), |folder| folder.display().to_string());
        Error::Artifact { what: "index", name, reason: format!("its encoder is gone: the folder {BERT_FOLDER}/ in it") }
    })?;
    load_bert(&EncoderConfig {
        model: Some(model),
        preset: None,
        pooling: record.pooling,
        normalise: record.normalise,
        lowercase: record.lowercase,
        max_tokens: record.max_tokens,
        batch_tokens: config.batch_tokens,
        device: config.device,
    })
    .map(|(bert, _)| bert)
}

/// Loads a BERT or XLM-RoBERTa; tells with it how its vectors are made, for an index's manifest.
///
/// # Errors
/// Those of reading it; [`Error::NotBuilt`] in a build without the feature `neural`.
#[cfg(feature = "neural")]
pub fn load_bert(config: &EncoderConfig) -> Result<(Arc<dyn Embed>, EncoderRecord)> {
    let bert = BertEncoder::load(config)?;
    let made = bert.settings();
    let record = EncoderRecord {
        kind: Encoder::Bert,
        model: config.model.clone().or_else(|| config.preset.and_then(hub_id).map(str::to_owned)),
        pooling: Some(made.pooling),
        normalise: Some(made.normalise),
        lowercase: Some(made.lowercase),
        max_tokens: Some(made.max_tokens),
        ..EncoderRecord::default()
    };
    Ok((Arc::new(bert), record))
}

/// Says that this build has no BERT.
///
/// # Errors
/// - [`Error::NotBuilt`], always.
#[cfg(not(feature = "neural"))]
pub fn load_bert(_: &EncoderConfig) -> Result<(Arc<dyn Embed>, EncoderRecord)> {
    Err(Error::NotBuilt { engine: "the BERT encoder", feature: "neural" })
}
