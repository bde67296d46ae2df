//! The documents of an experiment with what is right: a corpus comes in, and is kept in the run's folder, so that results can be looked at
//! where the corpus is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settings::{CorpusSettings, Mentions, Split};
use crate::{
    artifact,
    corpus::{Offsets, RepairReport, brat},
    data::{AnnotatedDocument, Document, Match, Mention, Span},
    error::{Error, Result},
    eval::metrics::Annotation,
    ner::Recognised,
    pipeline::Pipeline,
};

/// A document and its gold annotation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldDocument {
    /// Name, unique within the corpus.
    pub id: String,
    /// Text.
    pub text: String,
    /// Coded entities, put right as for training, in file order.
    pub gold: Vec<GoldEntity>,
}

/// A coded entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldEntity {
    /// First character.
    pub start_char: usize,
    /// One past the last.
    pub end_char: usize,
    /// Its code.
    pub code: String,
}

/// The documents of an experiment, and how often each code was seen in training.
#[derive(Debug, Clone, PartialEq)]
pub struct Gold {
    /// In order.
    pub documents: Vec<GoldDocument>,
    /// Entities of each code in the documents that were trained on; `None` where these are not known.
    pub trained: Option<BTreeMap<String, usize>>,
}

/// File of the documents in a run's folder.
pub const DOCUMENTS: &str = "documents.jsonl";
/// File of the training counts.
const TRAINED: &str = "trained.json";

impl Gold {
    /// Reads a corpus; also returns what was put right in it.
    ///
    /// # Errors
    /// - [`Error::Read`] if a folder cannot be read or holds no annotation; [`Error::Setting`] if no document is left.
    pub fn of(settings: &CorpusSettings) -> Result<(Self, RepairReport)> {
        let (all, report) = brat::load(&settings.gold)?;
        let is_taken = |(place, annotated): &(usize, AnnotatedDocument)| {
            settings.split.is_none_or(|Split { modulo, remainder }| {
                number(&annotated.document.id).unwrap_or(*place as u64) % modulo == remainder
            })
        };
        let (mut taken, others): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(is_taken);
        taken.truncate(settings.limit.unwrap_or(usize::MAX));
        if taken.is_empty() {
            let (key, got) = ("corpus.split".into(), format!("none in {}", settings.gold.display()));
            return Err(Error::Setting { key, expected: "a part that has documents".into(), got });
        }
        let trained = match &settings.train {
            Some(folder) => Some(counts(brat::load(folder)?.0.iter())),
            None => settings.split.map(|_| counts(others.iter().map(|(_, other)| other))),
        };
        Ok((Self { documents: taken.into_iter().map(|(_, annotated)| annotated.into()).collect(), trained }, report))
    }

    /// Writes both into a run's folder.
    ///
    /// # Errors
    /// - [`Error::Write`] if that fails.
    pub fn write(&self, folder: &Path) -> Result<()> {
        artifact::write_atomic(&folder.join(DOCUMENTS), &self.lines())?;
        match &self.trained {
            None => match std::fs::remove_file(folder.join(TRAINED)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::write(folder, error)),
                _ => Ok(()),
            },
            Some(trained) => {
                artifact::write_atomic(&folder.join(TRAINED), &serde_json::to_vec(trained).unwrap_or_default())
            }
        }
    }

    /// Reads both from a run's folder.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`] with the line.
    pub fn load(folder: &Path) -> Result<Self> {
        let documents = lines(&folder.join(DOCUMENTS))?.collect::<Result<_>>()?;
        let path = folder.join(TRAINED);
        let trained = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            bytes => {
                let bytes = bytes.map_err(|e| Error::read(&path, e))?;
                Some(serde_json::from_slice(&bytes).map_err(|e| parse(&path, e.line(), &e))?)
            }
        };
        Ok(Self { documents, trained })
    }

    /// Returns a hash of texts and annotation.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(self.lines()))
    }

    /// Returns a hash of the training counts.
    pub fn trained_sha256(&self) -> Option<String> {
        let json = serde_json::to_vec(self.trained.as_ref()?).unwrap_or_default();
        Some(format!("{:x}", Sha256::digest(json)))
    }

    fn lines(&self) -> Vec<u8> {
        let line = |document| serde_json::to_vec(document).unwrap_or_default();
        self.documents.iter().flat_map(|document| [line(document), vec![b'\n']]).flatten().collect()
    }
}

impl GoldDocument {
    /// Returns the text as the pipeline takes it.
    pub fn document(&self) -> Document {
        Document { id: self.id.clone(), text: self.text.clone() }
    }

    /// Returns the places of the entities as mentions to link, each once.
    pub fn mentions(&self) -> Vec<Mention> {
        let offsets = Offsets::new(&self.text);
        let mention = |span: Span| Mention {
            span,
            text: span.slice(&self.text).to_owned(),
            matched: Match::Exact,
            probability: 1.0,
        };
        self.gold
            .iter()
            .filter_map(|entity| entity.span(&offsets))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(mention)
            .collect()
    }

    /// Returns the annotation as it is scored.
    pub fn annotations(&self) -> Vec<Annotation<'_>> {
        self.gold.iter().map(GoldEntity::annotation).collect()
    }
}

impl GoldEntity {
    /// Returns its place in the text that the offsets are for; `None` if it has none there.
    pub fn span(&self, offsets: &Offsets<'_>) -> Option<Span> {
        let [start, end] = [self.start_char, self.end_char].map(|char| offsets.byte(char));
        Span::new(offsets.text(), start?, end?).ok()
    }

    fn annotation(&self) -> Annotation<'_> {
        Annotation { start: self.start_char as i64, end: self.end_char as i64, code: &self.code }
    }
}

impl Mentions {
    /// Finds the mentions of some documents that are to be linked: by the first half of a pipeline, or in the annotation.
    pub fn of(self, documents: &[GoldDocument], pipeline: &Pipeline) -> Vec<Result<Recognised>> {
        match self {
            Self::Own => pipeline.recognise(&documents.iter().map(GoldDocument::document).collect::<Vec<_>>()),
            Self::Gold => documents.iter().map(|document| Ok(document.mentions().into())).collect(),
        }
    }
}

impl From<AnnotatedDocument> for GoldDocument {
    fn from(AnnotatedDocument { document, entities }: AnnotatedDocument) -> Self {
        let offsets = Offsets::new(&document.text);
        let entity = |entity: &crate::data::Entity| {
            let [start_char, end_char] =
                [entity.span.start_byte(), entity.span.end_byte()].map(|byte| offsets.char(byte));
            Some(GoldEntity { start_char, end_char, code: entity.code.as_ref()?.to_string() })
        };
        let gold = entities.iter().filter_map(entity).collect();
        Self { id: document.id, text: document.text, gold }
    }
}

/// Reads a file of JSON objects, one a line.
///
/// # Errors
/// - [`Error::Read`] if it cannot be opened; each item [`Error::Parse`] or [`Error::Read`].
pub(super) fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<T>> + use<T>> {
    let file = std::fs::File::open(path).map_err(|e| Error::read(path, e))?;
    let path = path.to_owned();
    Ok((1..).zip(BufReader::new(file).lines()).map(move |(number, line)| {
        let line = line.map_err(|e| Error::read(&path, e))?;
        serde_json::from_str(&line).map_err(|e| parse(&path, number, &e))
    }))
}

/// What serde_json says of a value could quote it, so only the kind of fault is told.
pub(super) fn parse(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    let got = match error.classify() {
        serde_json::error::Category::Data => "another shape of JSON",
        _ => "no whole JSON",
    };
    Error::Parse {
        what: "run",
        path: path.into(),
        line,
        expected: "what `noso experiment run` wrote".into(),
        got: got.into(),
    }
}

/// Returns the number that an id's digits make.
fn number(id: &str) -> Option<u64> {
    id.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
}

fn counts<'a>(corpus: impl Iterator<Item = &'a AnnotatedDocument>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for code in corpus.flat_map(|annotated| &annotated.entities).filter_map(|entity| entity.code.as_ref()) {
        *counts.entry(code.to_string()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Entity;

    #[test]
    fn documents_come_back_from_a_folder_with_characters_as_offsets() {
        let text = "ИБС. Гастрит";
        let entity = Entity { span: Span::new(text, 8, 22).unwrap(), code: Some("K29.7".parse().unwrap()) };
        let bare = Entity { code: None, ..entity.clone() };
        let document = Document { id: "7".into(), text: text.into() };
        let annotated = AnnotatedDocument { document, entities: vec![entity, bare] };
        let trained = Some(counts([&annotated].into_iter()));
        let gold = Gold { documents: vec![annotated.into()], trained };
        assert_eq!(gold.documents[0].gold, [GoldEntity { start_char: 5, end_char: 12, code: "K29.7".into() }]);
        let folder = tempfile::tempdir().unwrap();
        gold.write(folder.path()).unwrap();
        assert_eq!(Gold::load(folder.path()).unwrap(), gold);
        std::fs::write(folder.path().join(DOCUMENTS), "{\"id\": \"7\"}\n").unwrap();
        let told = Gold::load(folder.path()).unwrap_err().to_string();
        assert!(told.contains("documents.jsonl:1") && !told.contains("ИБС"), "{told}");
    }

    #[test]
    fn a_number_is_made_of_an_ids_digits() {
        assert_eq!(["12", "note-7", "x"].map(number), [Some(12), Some(7), None]);
    }
}
