//! Annotation exactly as written, for evaluation: `.ann` files come in, character offsets and code strings leave.

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{
        folder,
        offsets::Offsets,
        report::{Fault, RepairReport},
    },
    annotated::AnnotatedReader,
    standoff::{Content, parse},
};
use crate::{
    data::Span,
    error::{Error, Result},
};

/// Entities of a folder, as the evaluator compares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCorpus {
    /// By document id: first character, one past the last, and the code, in order of the entities' first lines. A
    /// document without entities has an empty list.
    pub documents: BTreeMap<String, Vec<(i64, i64, String)>>,
    /// What was left out, and why.
    pub report: RepairReport,
}

/// Reads the `.ann` files of a folder as the paper's evaluator does: nothing is repaired, no `.txt` is needed, any string
/// is a code. Of several entities with one id, and of several notes for one entity, the last counts; entities without
/// a code or with offset −1 are left out, and counted.
///
/// # Errors
/// - [`Error::Read`] if the folder or one of its `.ann` files cannot be read, or there is none: a score over a part of
///   the documents would be wrong.
///
/// # Source
/// Evaluation script of RuCCoD: <https://github.com/auto-icd-coding/ruccod>.
pub fn read_raw(path: &Path) -> Result<RawCorpus> {
    let mut corpus = RawCorpus { documents: BTreeMap::new(), report: RepairReport::default() };
    for files in folder::list(path)?.into_iter().filter(|files| files.has_annotation) {
        let path = files.annotation();
        let file = folder::read_text(&path)?;
        let Some(id) = files.id else {
            return Err(Error::read(path, std::io::Error::other("the file's name is not UTF-8")));
        };
        let entities = document(&file, &mut corpus.report);
        corpus.report.documents += 1;
        corpus.report.entities += entities.len() as u64;
        if corpus.documents.insert(id, entities).is_some() {
            return Err(Error::read(path, std::io::Error::other("another file's name stands for the same id")));
        }
    }
    if corpus.documents.is_empty() { Err(folder::nothing_in(path, ".ann")) } else { Ok(corpus) }
}

/// Lists all codes that the notes of each document give, trimmed, also where an entity has several; nothing is repaired.
///
/// # Errors
/// As [`read_raw`].
pub fn written_codes(path: &Path) -> Result<Vec<Vec<String>>> {
    let files = folder::list(path)?.into_iter().filter(|files| files.has_annotation);
    let documents = files.map(|files| {
        let file = folder::read_text(&files.annotation())?;
        let codes = parse(&file).into_iter().filter_map(|line| match line.content {
            Content::Note { code, .. } => Some(code.trim().to_owned()),
            _ => None,
        });
        Ok(codes.collect())
    });
    let documents = documents.collect::<Result<Vec<_>>>()?;
    if documents.is_empty() { Err(folder::nothing_in(path, ".ann")) } else { Ok(documents) }
}

/// Reads a folder's annotation put right as for training, in the same form: spans found again, codes parsed. Entities without a code are left
/// out, and counted.
///
/// # Errors
/// - [`Error::Read`] if the folder or one of its documents cannot be read, or there is none.
pub fn read_repaired(path: &Path) -> Result<RawCorpus> {
    let mut reader = AnnotatedReader::open(path)?;
    let mut documents = BTreeMap::new();
    for annotated in reader.by_ref() {
        let annotated = annotated?;
        let offsets = Offsets::new(&annotated.document.text);
        let place = |span: Span| (offsets.char(span.start_byte()) as i64, offsets.char(span.end_byte()) as i64);
        let coded = annotated.entities.iter().filter_map(|entity| {
            let (start, end) = place(entity.span);
            Some((start, end, entity.code.as_ref()?.to_string()))
        });
        documents.insert(annotated.document.id.clone(), coded.collect());
    }
    Ok(RawCorpus { documents, report: reader.report().clone() })
}

struct Raw<'a> {
    id: &'a str,
    start_char: i64,
    end_char: i64,
    code: Option<&'a str>,
}

fn document(file: &str, report: &mut RepairReport) -> Vec<(i64, i64, String)> {
    let mut entities: Vec<Raw<'_>> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    let mut notes: Vec<(&str, &str)> = Vec::new();
    for line in parse(file) {
        match line.content {
            Content::Entity(entity) => {
                let raw = Raw { id: entity.id, start_char: entity.start_char, end_char: entity.end_char, code: None };
                match index.get(raw.id) {
                    Some(&at) => {
                        report.add(Fault::DuplicateEntityId);
                        entities[at] = raw;
                    }
                    None => {
                        index.insert(raw.id, entities.len());
                        entities.push(raw);
                    }
                }
            }
            Content::Note { target, code, .. } => notes.push((target, code)),
            Content::Other => report.add(Fault::OtherAnnotation),
            Content::Blank => report.add(Fault::BlankLine),
            Content::Malformed => report.add(Fault::MalformedLine),
        }
    }
    for (target, code) in notes {
        let Some(&at) = index.get(target) else {
            report.add(Fault::NoteWithoutEntity);
            continue;
        };
        if entities[at].code.replace(code).is_some() {
            report.add(Fault::SeveralCodes);
        }
    }
    entities.into_iter().filter_map(|entity| compared(entity, report)).collect()
}

fn compared(entity: Raw<'_>, report: &mut RepairReport) -> Option<(i64, i64, String)> {
    if entity.start_char == -1 || entity.end_char == -1 {
        report.add(Fault::EmptySpan);
        return None;
    }
    let Some(code) = entity.code else {
        report.add(Fault::NoCode);
        return None;
    };
    Some((entity.start_char, entity.end_char, code.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entity_and_the_last_note_count_and_nothing_is_repaired() {
        let file = "T1\ticd_code 3 9\tне то\nN1\tReference T1 ICD_codes:0\t К29\nN2\tReference T1 ICD_codes:0\tZZ \n\
                    T2\ticd_code -1 4\tx\nN3\tReference T2 ICD_codes:0\tI10\nT3\ticd_code 7 8\ty\n\
                    T1\ticd_code 5 2\tпоследний\nN4\tReference T9 ICD_codes:0\tI10\n";
        let mut report = RepairReport::default();
        assert_eq!(document(file, &mut report), [(5, 2, "ZZ ".to_owned())]);
        assert_eq!(report.count(Fault::NoCode), 1);
        assert_eq!(report.count(Fault::EmptySpan), 1);
        assert_eq!(report.count(Fault::NoteWithoutEntity), 1);
    }
}
