//! Whole texts as documents: those at hand, one file, or the `.txt` files of a folder.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    vec::IntoIter,
};

use super::{Input, Record, Records, STDIN};
use crate::{
    corpus::{
        folder::{self, Files},
        report::{Fault, RepairReport},
    },
    error::{Error, Result},
};

/// Texts at hand, such as a command's arguments.
pub(super) struct Texts {
    texts: IntoIter<String>,
    number: u64,
}

impl Texts {
    pub(super) fn new(texts: Vec<String>) -> Self {
        Self { texts: texts.into_iter(), number: 0 }
    }
}

impl Records for Texts {
    fn next_record(&mut self, _: &mut RepairReport) -> Option<Result<Record>> {
        let text = self.texts.next()?;
        self.number += 1;
        Some(Ok(Record { number: self.number, id: None, text }))
    }
}

/// One file, or standard input, as one document. Its id is the file's name without ending.
pub(super) struct Whole {
    input: Option<Input>,
    path: PathBuf,
}

impl Whole {
    pub(super) fn new(input: Input, path: &Path) -> Self {
        Self { input: Some(input), path: path.to_owned() }
    }

    fn read(&self, mut input: Input) -> Result<Record> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(|e| Error::read(&self.path, e))?;
        let text = folder::text_of(bytes, &self.path, None)?;
        let named = self.path != Path::new(STDIN);
        let id = self.path.file_stem().filter(|_| named).map(|stem| stem.to_string_lossy().into_owned());
        Ok(Record { number: 1, id, text })
    }
}

impl Records for Whole {
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>> {
        let input = self.input.take()?;
        Some(self.read(input).inspect(|record| count_mark(&record.text, report)))
    }
}

/// The texts of a folder, in natural order of their names.
pub(super) struct Folder {
    files: IntoIter<Files>,
    number: u64,
}

impl Folder {
    /// Lists a folder. With `annotated`, an annotation without its text is an error in its place.
    pub(super) fn open(path: &Path, annotated: bool) -> Result<Self> {
        let mut files = folder::list(path)?;
        if !files.iter().any(|files| files.has_text) {
            return Err(folder::nothing_in(path, ".txt"));
        }
        files.retain(|files| annotated || files.has_text);
        Ok(Self { files: files.into_iter(), number: 0 })
    }
}

impl Records for Folder {
    fn next_record(&mut self, report: &mut RepairReport) -> Option<Result<Record>> {
        let files = self.files.next()?;
        self.number += 1;
        let path = files.text();
        let named = files.id.ok_or_else(|| Error::read(&path, io::Error::other("the file's name is not UTF-8")));
        Some(named.and_then(|id| {
            let text = folder::read_text(&path)?;
            count_mark(&text, report);
            Ok(Record { number: self.number, id: Some(id), text })
        }))
    }
}

fn count_mark(text: &str, report: &mut RepairReport) {
    if text.starts_with('\u{feff}') {
        report.add(Fault::ByteOrderMark);
    }
}
