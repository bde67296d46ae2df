//! What an index is made of: catalogues, annotated documents and vocabularies come in, coded texts leave.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::{
    catalog::{Catalog, ConceptMap},
    corpus::annotator,
    data::{AnnotatedDocument, ConceptTerm, Origin},
    error::{Error, Result},
    index::{IndexSource, SourceKind, SourceRow},
};

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

/// Lists the coded entities of documents, nested ones included; `block` is the number of records that one annotator coded.
pub fn mention_rows(documents: &[AnnotatedDocument], block: u32) -> Vec<SourceRow> {
    let mut rows = Vec::new();
    for document in documents {
        let origin = Origin::Mention { annotator: annotator(&document.document.id, block) };
        for entity in &document.entities {
            if let Some(code) = &entity.code {
                let text = entity.span.slice(&document.document.text).to_owned();
                rows.push(SourceRow { text, code: code.clone(), origin });
            }
        }
    }
    rows
}

/// Lists the terms whose concept has a code, once for each of its codes.
pub fn vocabulary_rows(terms: &[ConceptTerm], map: &ConceptMap) -> Vec<SourceRow> {
    let coded = |term: &'_ ConceptTerm| {
        let row =
            |code: &_| SourceRow { text: term.text.clone(), code: Clone::clone(code), origin: Origin::Vocabulary };
        map.codes(term.concept).map(row).collect::<Vec<_>>()
    };
    terms.iter().flat_map(coded).collect()
}

/// Describes a catalogue for an index's manifest; `path` is the user's file, none for the shipped one.
///
/// # Errors
/// - [`Error::Read`] if the path cannot be resolved.
pub fn catalog_source(catalog: &Catalog, path: Option<&Path>) -> Result<IndexSource> {
    let absolute = path.map(|path| path.canonicalize().map_err(|e| Error::read(path, e))).transpose()?;
    Ok(IndexSource {
        kind: SourceKind::Catalogue,
        name: path.map_or_else(|| "shipped".into(), file_name),
        path: absolute,
        rows: catalog.entries().iter().map(|entry| 1 + entry.synonyms.len()).sum(),
        fingerprint: catalog.fingerprint(),
    })
}

/// Describes the rows that were read from `path`.
pub fn rows_source(kind: SourceKind, path: &Path, rows: &[SourceRow]) -> IndexSource {
    let mut hash = Xxh3::new();
    for field in rows.iter().flat_map(|row| [row.text.as_str(), row.code.as_str()]) {
        hash.update(field.as_bytes());
        hash.update(&[0]);
    }
    let fingerprint = format!("{:016x}", hash.digest());
    IndexSource { kind, name: file_name(path), path: None, rows: rows.len(), fingerprint }
}

/// The last part of a path: where a corpus lies on this machine is nobody's business.
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into())
}
