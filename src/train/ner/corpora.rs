//! What a recogniser is taught from: brat folders with the entity types that count come in, annotated documents leave.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    corpus::{
        RepairReport,
        brat::{self, AnnotatedReader},
    },
    data::AnnotatedDocument,
    error::{Error, Result},
};

/// A brat folder, and which of its entities are mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Folder; if it holds no brat files itself, its sub-folders at any depth are read.
    pub folder: PathBuf,
    /// Entity types, all taken as one: `icd_code` in RuCCoD, `DISO` in NEREL-BIO, `Disease`, `Symptom`, … in RuCCoN.
    pub types: Vec<String>,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    /// Reads `DIR` or `DIR=TYPE,TYPE`; without types, `icd_code` counts.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (folder, types) = match text.rsplit_once('=') {
            Some((folder, types)) if !Path::new(text).exists() => (folder, types),
            _ => (text, brat::LABEL),
        };
        let types = types.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
        Ok(Self { folder: folder.into(), types })
    }
}

impl Source {
    /// Checks that each of the types is found in what was read of this source.
    ///
    /// # Errors
    /// - [`Error::Training`] if there is no entity of one of them; those of reading.
    pub fn check_types(&self, documents: &[AnnotatedDocument]) -> Result<()> {
        let any = |documents: &[AnnotatedDocument]| documents.iter().any(|document| !document.entities.is_empty());
        for kind in &self.types {
            let found = match self.types.len() {
                1 => any(documents),
                _ => any(&read(&self.folder, std::slice::from_ref(kind))?.0),
            };
            if !found {
                let folder = self.folder.display();
                let reason =
                    format!("{folder} has no entity of type `{kind}`; say which types count by {folder}=TYPE,TYPE");
                return Err(Error::Training { what: "the recogniser", reason });
            }
        }
        Ok(())
    }
}

/// Reads a source. Entities of RuCCoD's type without a code are left out: nothing downstream could use them.
///
/// # Errors
/// - [`Error::Read`] if the folder cannot be read or holds no brat file.
pub fn load(source: &Source) -> Result<(Vec<AnnotatedDocument>, RepairReport)> {
    let (mut documents, report) = read(&source.folder, &source.types)?;
    if source.types == [brat::LABEL] {
        documents.iter_mut().for_each(|document| document.entities.retain(|entity| entity.code.is_some()));
    }
    Ok((documents, report))
}

fn read(folder: &Path, types: &[String]) -> Result<(Vec<AnnotatedDocument>, RepairReport)> {
    let mut folders = Vec::new();
    annotated_folders(folder, &mut folders)?;
    if folders.is_empty() {
        folders.push(folder.to_owned()); // its error says what is missing
    }
    let (mut documents, mut report) = (Vec::new(), RepairReport::default());
    for folder in folders {
        let mut reader = AnnotatedReader::open(&folder)?.with_labels(types);
        for document in reader.by_ref() {
            match document {
                Ok(document) => documents.push(document),
                Err(error) => tracing::warn!("{error}"), // counted in the report
            }
        }
        report.merge(reader.report());
    }
    Ok((documents, report))
}

/// Lists the folders with `.ann` files from `folder` down, in order of their names.
fn annotated_folders(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e| Error::read(folder, e);
    let entries: std::io::Result<Vec<_>> = fs::read_dir(folder).map_err(failed)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    if paths.iter().any(|path| path.extension().is_some_and(|ending| ending == "ann")) {
        found.push(folder.to_owned());
        return Ok(());
    }
    paths.iter().filter(|path| path.is_dir() && !path.is_symlink()).try_for_each(|path| annotated_folders(path, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_its_types() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(source("a/b"), Source { folder: "a/b".into(), types: vec!["icd_code".into()] });
        let two = Source { folder: "a".into(), types: vec!["Disease".into(), "Symptom".into()] };
        assert_eq!(source("a=Disease, Symptom,"), two);
    }

    #[test]
    fn folders_below_are_read_and_absent_types_told() {
        let root = tempfile::tempdir().unwrap();
        for (folder, words) in [("b/1", "Отит"), ("a", "Кашель")] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("0.txt"), words).unwrap();
            let kind = if words == "Отит" { "Disease" } else { "Symptom" };
            fs::write(folder.join("0.ann"), format!("T1\t{kind} 0 {}\t{words}\n", words.chars().count())).unwrap();
        }
        let source = |types: &str| format!("{}={types}", root.path().display()).parse::<Source>().unwrap();
        let (documents, report) = load(&source("Disease,Symptom")).unwrap();
        let texts: Vec<&str> = documents.iter().map(|document| document.document.text.as_str()).collect();
        assert_eq!((texts, report.entities), (vec!["Кашель", "Отит"], 2));
        let told = source("Disease,Drug").check_types(&documents).unwrap_err().to_string();
        assert!(told.contains("no entity of type `Drug`"), "{told}");
        assert!(load(&"no/such/folder".parse().unwrap()).is_err());
    }
}
