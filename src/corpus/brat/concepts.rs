//! Words for UMLS concepts: brat folders whose entities refer to UMLS come in (RuCCoN, NEREL-BIO), terms leave.
//!
//! ```text
//! T2 ⇥ DISO 116 139 ⇥ респираторной инфекцией
//! N2 ⇥ Reference T2 UMLS:C0035243 ⇥ респираторной инфекцией     its concept, and the concept's name
//! ```

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    super::{
        folder,
        report::{Fault, RepairReport},
    },
    on_one_line,
    standoff::{Content, parse},
};
use crate::{
    data::{ConceptId, ConceptTerm},
    error::{Error, Result},
};

/// Entity types of RuCCoN and NEREL-BIO that name diagnoses and findings.
pub const DIAGNOSIS_LABELS: [&str; 5] = ["Disease", "Symptom", "DISO", "FINDING", "INJURY_POISONING"];
/// Terminology in the notes that give an entity its concept.
const RESOURCE: &str = "UMLS";
/// How RuCCoN and NEREL-BIO write that no concept fits.
const NONE_FITS: [&str; 6] = ["", "cuiless", "null", "nulll", "unknown", "no"];

/// Reads the terms of a folder and of the folders in it, in natural order: each entity's words, and where they differ the name
/// that the note gives its concept. Entities of types other than `labels` are passed over.
///
/// Words are taken as quoted, so no `.txt` is needed. Of several concepts of one entity each gets its term.
///
/// # Errors
/// - [`Error::Read`] if a folder cannot be read or there is no `.ann` file. A file that cannot be read is counted and logged.
pub fn load_concepts<S: AsRef<str>>(path: &Path, labels: &[S]) -> Result<(Vec<ConceptTerm>, RepairReport)> {
    let mut folders = Vec::new();
    list_folders(path, &mut folders)?;
    let (mut terms, mut report) = (Vec::new(), RepairReport::default());
    for files in folders.iter().map(|folder| folder::list(folder)).collect::<Result<Vec<_>>>()?.concat() {
        if !files.has_annotation {
            continue;
        }
        match folder::read_text(&files.annotation()) {
            Ok(text) => {
                report.documents += 1;
                read(&text, labels, &mut terms, &mut report);
            }
            Err(error) => {
                tracing::warn!("{error}");
                report.add(if folder::is_not_utf8(&error) { Fault::InvalidUtf8 } else { Fault::Unreadable });
            }
        }
    }
    if report.documents == 0 { Err(folder::nothing_in(path, ".ann")) } else { Ok((terms, report)) }
}

/// Lists a folder and all below it. Links to folders are not followed, so no circle is walked.
fn list_folders(path: &Path, folders: &mut Vec<PathBuf>) -> Result<()> {
    folders.push(path.to_owned());
    let mut below = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::read(path, e))? {
        let entry = entry.map_err(|e| Error::read(path, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below.push(entry.path());
        }
    }
    below.sort();
    below.iter().try_for_each(|folder| list_folders(folder, folders))
}

fn read<S: AsRef<str>>(file: &str, labels: &[S], terms: &mut Vec<ConceptTerm>, report: &mut RepairReport) {
    let lines = parse(file);
    let mut quotes: HashMap<&str, Option<&str>> = HashMap::new();
    for line in &lines {
        match &line.content {
            Content::Entity(entity) => {
                let wanted = labels.iter().any(|label| label.as_ref() == entity.label);
                if entity.continued > 0 {
                    report.add(Fault::ContinuedQuote);
                }
                if !wanted {
                    report.add(Fault::OtherType);
                } else {
                    report.entities += 1;
                }
                if quotes.insert(entity.id, wanted.then_some(entity.quote)).is_some() {
                    report.add(Fault::DuplicateEntityId);
                }
            }
            Content::Malformed => report.add(Fault::MalformedLine),
            Content::Other => report.add(Fault::OtherAnnotation),
            Content::Blank => report.add(Fault::BlankLine),
            Content::Note { .. } => {}
        }
    }
    for line in &lines {
        let Content::Note { target, resource, code, name } = &line.content else { continue };
        match quotes.get(target) {
            None => report.add(Fault::NoteWithoutEntity),
            Some(None) => {}
            Some(Some(_)) if *resource != RESOURCE => report.add(Fault::OtherNote),
            Some(Some(quote)) => match concept(code) {
                Ok(Some(concept)) => add(quote, *name, concept, terms),
                Ok(None) => report.add(Fault::NoConcept),
                Err(_) => report.add(Fault::BrokenConcept),
            },
        }
    }
}

/// Reads what stands after `UMLS:`; `None` where it says that nothing fits. A doubled `UMLS:` is forgiven.
fn concept(written: &str) -> Result<Option<ConceptId>> {
    let bare = written.trim_start_matches("UMLS:").trim();
    if NONE_FITS.contains(&bare.to_lowercase().as_str()) { Ok(None) } else { bare.parse().map(Some) }
}

fn add(quote: &str, name: Option<&str>, concept: ConceptId, terms: &mut Vec<ConceptTerm>) {
    let written = quote.chars().map(on_one_line).collect::<String>();
    let written = written.trim();
    let name = name.map(str::trim).filter(|name| *name != written);
    let texts = [Some(written), name].into_iter().flatten().filter(|text| !text.is_empty());
    terms.extend(texts.map(|text| ConceptTerm { text: text.to_owned(), concept }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faulty_references_are_counted_and_the_rest_is_kept() {
        let file = "T1\tDISO 0 5\tгрипп\nT2\tDISO 6 12\tкашель\nсухой\nT3\tCHEM 0 3\tйод\nT4\tDisease 0 4\tотит\n\
            N1\tReference T1 UMLS:C0021400\tГрипп человека\nN2\tReference T2 UMLS:UMLS:C0010200\tкашель\n\
            N3\tReference T3 UMLS:C0021968\tйод\nN4\tReference T4 UMLS:CUILESS\tотит\nN5\tReference T4 UMLS:C002103\tотит\n\
            N6\tReference T9 UMLS:C0021400\tгрипп\nN7\tReference T4 UMLS:\t\nN8\tReference T4 MESH:C1\tотит\nкакая-то строка\n";
        let (mut terms, mut report) = (Vec::new(), RepairReport::default());
        read(file, &DIAGNOSIS_LABELS, &mut terms, &mut report);
        let seen: Vec<_> = terms.iter().map(|term| format!("{} {}", term.concept, term.text)).collect();
        assert_eq!(seen, ["C0021400 грипп", "C0021400 Грипп человека", "C0010200 кашель сухой", "C0010200 кашель"]);
        let counts = [
            (Fault::NoConcept, 2),
            (Fault::BrokenConcept, 1),
            (Fault::OtherType, 1),
            (Fault::NoteWithoutEntity, 1),
            (Fault::OtherNote, 1),
            (Fault::ContinuedQuote, 1),
            (Fault::MalformedLine, 1),
        ];
        for (fault, count) in counts {
            assert_eq!(report.count(fault), count, "{fault:?}");
        }
    }

    #[test]
    fn folders_within_folders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("main/0")).unwrap();
        let note = "T1\tDisease 0 4\tотит\nN1\tReference T1 UMLS:C0029877\tотит\n";
        std::fs::write(folder.path().join("main/0/1.ann"), note).unwrap();
        std::fs::write(folder.path().join("main/2.ann"), [0xff]).unwrap();
        let (terms, report) = load_concepts(folder.path(), &DIAGNOSIS_LABELS).unwrap();
        assert_eq!((terms.len(), report.documents, report.count(Fault::InvalidUtf8)), (1, 1, 1));
        assert!(load_concepts(&folder.path().join("main/none"), &DIAGNOSIS_LABELS).is_err());
    }
}
