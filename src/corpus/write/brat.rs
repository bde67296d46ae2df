//! brat folder: `ID.txt` and `ID.ann` for each document, offsets in characters of that text.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Lookup, WriteOptions, Writer};
use crate::{
    corpus::{
        brat::{LABEL, RESOURCE, on_one_line},
        file_name,
        offsets::Offsets,
    },
    data::{Coded, Coding, Document, Span},
    error::{Error, Result},
};

/// Writes a brat folder.
pub(super) struct Brat {
    folder: PathBuf,
    resume: bool,
    lookup: Lookup,
}

impl Brat {
    /// Opens a folder, new or empty of annotations unless it is to be continued.
    pub(super) fn open(folder: &Path, options: &WriteOptions) -> Result<Self> {
        let check = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let annotated = |name: &std::ffi::OsStr| Path::new(name).extension().is_some_and(|ending| ending == "ann");
            for entry in fs::read_dir(folder)? {
                if !options.resume && annotated(&entry?.file_name()) {
                    let reason = "the folder holds annotations already";
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
                }
            }
            Ok(())
        };
        check().map_err(|e| Error::write(folder, e))?;
        Ok(Self { folder: folder.to_owned(), resume: options.resume, lookup: options.lookup.clone() })
    }

    /// Path of a document's file.
    fn path(&self, id: &str, ending: &str) -> Result<PathBuf> {
        let name = file_name::encode(id).ok_or_else(|| {
            Error::write(
                &self.folder,
                io::Error::new(io::ErrorKind::InvalidFilename, "an id is too long for a file name"),
            )
        })?;
        Ok(self.folder.join(name + ending))
    }

    fn annotation(&self, document: &Document, codings: &[Coding]) -> String {
        let offsets = Offsets::new(&document.text);
        let mut lines = String::new();
        for (number, coding) in (1..).zip(codings) {
            // An entry that does not stand in the text is annotated at 0 0, as the paper's authors did.
            let place = |span: Span| (offsets.char(span.start_byte()), offsets.char(span.end_byte()));
            let (start, end) = coding.span.map_or((0, 0), place);
            let quote = coding.span.map_or("", |span| span.slice(&document.text));
            let quote: String = quote.chars().map(on_one_line).collect();
            let _ = writeln!(lines, "T{number}\t{LABEL} {start} {end}\t{quote}");
            if let Some(code) = &coding.code {
                let row = (self.lookup)(code).map_or(0, |entry| entry.row);
                let _ = writeln!(lines, "N{number}\tReference T{number} {RESOURCE}:{row}\t{code}");
            }
        }
        lines
    }
}

impl Writer for Brat {
    fn is_done(&self, id: &str) -> bool {
        self.resume && self.path(id, ".ann").is_ok_and(|path| path.exists())
    }

    fn write(&mut self, document: &Document, coded: &Coded) -> Result<()> {
        let annotation = self.path(&document.id, ".ann")?;
        if annotation.exists() {
            let reason = "a document of this id was written before";
            return Err(Error::write(&annotation, io::Error::new(io::ErrorKind::AlreadyExists, reason)));
        }
        replace(&self.path(&document.id, ".txt")?, &document.text)?;
        replace(&annotation, &self.annotation(document, &coded.codings))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Writes a file beside its place and renames it. No sync: what matters is that a kill leaves no half of a file.
fn replace(path: &Path, content: &str) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    fs::write(&partial, content).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        let _ = fs::remove_file(&partial);
        Error::write(path, error)
    })
}
