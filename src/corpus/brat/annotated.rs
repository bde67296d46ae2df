//! Gold annotation for training: a brat folder comes in, documents with spans that fit and codes that parse leave, and a
//! report of all that had to be put right.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    vec::IntoIter,
};

use super::{
    super::{
        folder::{self, Files},
        offsets::Offsets,
        report::{Fault, RepairReport},
    },
    LABEL, RESOURCE,
    align::{Found, place},
    code,
    standoff::{Content, EntityLine, parse},
};
use crate::{
    data::{AnnotatedDocument, Document, Entity, Span},
    error::{Error, Result},
    icd::IcdCode,
};

/// Reads an annotated brat folder, one document after another in natural order of their ids.
///
/// An item is an error if that document cannot be read; those after it can. Nothing of an annotation is dropped without
/// being counted in [`report`](Self::report); `debug` logs name file and line of each fault.
#[derive(Debug)]
pub struct AnnotatedReader {
    files: IntoIter<Files>,
    labels: Vec<String>,
    report: RepairReport,
}

impl AnnotatedReader {
    /// Lists a folder.
    ///
    /// # Errors
    /// - [`Error::Read`] if the folder cannot be read or holds no `.ann` file.
    pub fn open(path: &Path) -> Result<Self> {
        let files = folder::list(path)?;
        if !files.iter().any(|file| file.has_annotation) {
            return Err(folder::nothing_in(path, ".ann"));
        }
        Ok(Self { files: files.into_iter(), labels: vec![LABEL.into()], report: RepairReport::default() })
    }

    /// Takes entities of these types instead of [`LABEL`]: `DISO` in NEREL-BIO, for example.
    pub fn with_labels(self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { labels: labels.into_iter().map(Into::into).collect(), ..self }
    }

    /// Returns what was read and repaired so far.
    pub fn report(&self) -> &RepairReport {
        &self.report
    }

    fn read(&mut self, files: &Files) -> Result<AnnotatedDocument> {
        let (text_path, annotation_path) = (files.text(), files.annotation());
        let missing = |path: &Path| Error::read(path, std::io::ErrorKind::NotFound.into());
        if !files.has_text {
            self.report.add(Fault::MissingText);
            return Err(missing(&text_path));
        }
        if !files.has_annotation {
            self.report.add(Fault::MissingAnnotation);
            return Err(missing(&annotation_path));
        }
        let mut read = |path: &Path| {
            folder::read_text(path).inspect_err(|error| {
                self.report.add(if folder::is_not_utf8(error) { Fault::InvalidUtf8 } else { Fault::Unreadable });
            })
        };
        let (text, annotation) = (read(&text_path)?, read(&annotation_path)?);
        let id = files.id.clone().unwrap_or_else(|| text_path.display().to_string());
        if text.starts_with('\u{feff}') {
            self.report.add(Fault::ByteOrderMark);
        }
        let mut repair =
            Repair { report: &mut self.report, path: &annotation_path, labels: &self.labels, targets: HashMap::new() };
        let entities = repair.entities(&text, &annotation);
        self.report.documents += 1;
        self.report.entities += entities.len() as u64;
        Ok(AnnotatedDocument { document: Document { id, text }, entities })
    }
}

impl Iterator for AnnotatedReader {
    type Item = Result<AnnotatedDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        let files = self.files.next()?;
        Some(self.read(&files))
    }
}

/// Reads a whole annotated folder. A document that cannot be read is counted in the report and logged, not returned.
///
/// # Errors
/// - [`Error::Read`] if the folder cannot be read, holds no `.ann` file, or none of its documents can be read.
pub fn load(path: &Path) -> Result<(Vec<AnnotatedDocument>, RepairReport)> {
    let mut reader = AnnotatedReader::open(path)?;
    let mut documents = Vec::new();
    let mut first_error = None;
    for document in reader.by_ref() {
        match document {
            Ok(document) => documents.push(document),
            Err(error) => {
                tracing::warn!("{error}");
                first_error = first_error.or(Some(error));
            }
        }
    }
    match first_error {
        Some(error) if documents.is_empty() => Err(error),
        _ => Ok((documents, reader.report)),
    }
}

/// An entity on its way: notes may still come.
struct Marked<'a> {
    line: EntityLine<'a>,
    number: usize,
    code: Option<IcdCode>,
    notes: usize,
}

/// Puts one document's annotation right.
struct Repair<'r, 'a> {
    report: &'r mut RepairReport,
    path: &'r Path,
    labels: &'r [String],
    /// Index of the entity that an id means here; `None` for one of another type.
    targets: HashMap<&'a str, Option<usize>>,
}

impl<'a> Repair<'_, 'a> {
    fn add(&mut self, fault: Fault, line: usize) {
        tracing::debug!(path = %self.path.display(), line, "{}", fault.label());
        self.report.add(fault);
    }

    fn entities(&mut self, text: &str, annotation: &'a str) -> Vec<Entity> {
        let marked = self.marked(annotation);
        let offsets = Offsets::new(text);
        let mut entities: Vec<(usize, Entity)> = Vec::with_capacity(marked.len());
        for Marked { line, number, code, notes } in marked {
            match notes {
                0 => self.add(Fault::NoCode, number),
                1 => {}
                _ => self.add(Fault::SeveralCodes, number),
            }
            if let Some(span) = self.span(&offsets, &line, number) {
                entities.push((number, Entity { span, code }));
            }
        }
        self.overlaps(entities)
    }

    fn marked(&mut self, annotation: &'a str) -> Vec<Marked<'a>> {
        let mut marked: Vec<Marked<'a>> = Vec::new();
        for line in parse(annotation) {
            match line.content {
                Content::Entity(entity) => {
                    let wanted = self.labels.iter().any(|label| label == entity.label);
                    if !wanted {
                        self.add(Fault::OtherType, line.number);
                    }
                    if self.targets.insert(entity.id, wanted.then_some(marked.len())).is_some() {
                        self.add(Fault::DuplicateEntityId, line.number);
                    }
                    if wanted {
                        marked.push(Marked { line: entity, number: line.number, code: None, notes: 0 });
                    }
                }
                Content::Note { target, resource, code, .. } => {
                    self.note(&mut marked, line.number, (target, resource, code))
                }
                Content::Other => self.add(Fault::OtherAnnotation, line.number),
                Content::Blank => self.add(Fault::BlankLine, line.number),
                Content::Malformed => self.add(Fault::MalformedLine, line.number),
            }
        }
        marked
    }

    /// Gives an entity its code. The last of several counts, as in the paper's evaluator; a later one that is no code
    /// does not.
    fn note(&mut self, marked: &mut [Marked<'_>], number: usize, (target, resource, written): (&str, &str, &str)) {
        let Some(&index) = self.targets.get(target) else {
            return self.add(Fault::NoteWithoutEntity, number);
        };
        let Some(entity) = index.and_then(|index| marked.get_mut(index)) else { return };
        if resource != RESOURCE {
            return self.add(Fault::OtherNote, number);
        }
        entity.notes += 1;
        match code::parse(written) {
            Some((code, repaired)) => {
                entity.code = Some(code);
                if repaired {
                    self.add(Fault::MisspeltCode, number);
                }
            }
            None => self.add(Fault::BrokenCode, number),
        }
    }

    fn span(&mut self, offsets: &Offsets<'_>, line: &EntityLine<'_>, number: usize) -> Option<Span> {
        if line.continued > 0 {
            self.add(Fault::ContinuedQuote, number);
        }
        if line.pieces > 1 {
            self.add(Fault::Discontinuous, number);
            // Its quoted text leaves out what stands between the pieces, so the offsets decide if they can.
            if let Some((span, _)) = place(offsets, line.start_char, line.end_char, "") {
                return Some(span);
            }
        }
        if line.end_char <= line.start_char {
            self.add(Fault::EmptySpan, number);
        } else if usize::try_from(line.end_char).ok().and_then(|end| offsets.byte(end)).is_none() {
            self.add(Fault::OffsetsPastEnd, number);
        }
        let Some((span, found)) = place(offsets, line.start_char, line.end_char, line.quote) else {
            self.add(Fault::Unplaceable, number);
            return None;
        };
        match found {
            Found::AtOffsets => {}
            Found::Elsewhere => self.add(Fault::ShiftedSpan, number),
            Found::OtherBlanks => self.add(Fault::BlanksDiffer, number),
            Found::Edited => self.add(Fault::EditedQuote, number),
            Found::ByOffsetsOnly => self.add(Fault::NoQuote, number),
        }
        Some(span)
    }

    /// Counts entities that share characters; leaves out those that say the same twice.
    fn overlaps(&mut self, entities: Vec<(usize, Entity)>) -> Vec<Entity> {
        let mut seen: HashSet<(Span, Option<IcdCode>)> = HashSet::new();
        let mut kept: Vec<(usize, Entity)> = Vec::with_capacity(entities.len());
        for (number, entity) in entities {
            if seen.insert((entity.span, entity.code.clone())) {
                kept.push((number, entity));
            } else {
                self.add(Fault::DuplicateEntity, number);
            }
        }
        let mut sorted: Vec<(Span, usize)> = kept.iter().map(|(number, entity)| (entity.span, *number)).collect();
        sorted.sort_by_key(|(span, number)| (span.start_byte(), std::cmp::Reverse(span.end_byte()), *number));
        let mut widest: Option<Span> = None;
        for (span, number) in sorted {
            match widest {
                Some(outer) if outer == span => self.add(Fault::DuplicateSpan, number),
                Some(outer) if outer.contains(span) => self.add(Fault::NestedSpan, number),
                Some(outer) if outer.overlaps(span) => self.add(Fault::OverlappingSpan, number),
                _ => {}
            }
            if widest.is_none_or(|outer| span.end_byte() > outer.end_byte()) {
                widest = Some(span);
            }
        }
        kept.into_iter().map(|(_, entity)| entity).collect()
    }
}
