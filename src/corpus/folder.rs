//! Lists a folder of documents: the names are held in memory, the contents are read one by one.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{file_name, ids::natural_order};
use crate::error::{Error, Result};

/// A document's files: the text, its annotation, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// Id that the file name without its ending stands for; `None` if it is not UTF-8.
    pub id: Option<String>,
    /// Path of both without their ending.
    stem: PathBuf,
    pub has_text: bool,
    pub has_annotation: bool,
}

impl Files {
    pub(super) fn text(&self) -> PathBuf {
        with_ending(&self.stem, ".txt")
    }

    pub(super) fn annotation(&self) -> PathBuf {
        with_ending(&self.stem, ".ann")
    }
}

fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Lists the `.txt` and `.ann` files directly in `folder`, one entry an id, in natural order. Hidden files are passed over.
pub(super) fn list(folder: &Path) -> Result<Vec<Files>> {
    let mut names: Vec<(PathBuf, bool)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::read(folder, e))? {
        let name = entry.map_err(|e| Error::read(folder, e))?.file_name();
        let path = Path::new(&name);
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let is_annotation = path.extension().is_some_and(|ending| ending == "ann");
        if !hidden
            && (is_annotation || path.extension().is_some_and(|ending| ending == "txt"))
            && let Some(stem) = path.file_stem()
        {
            names.push((PathBuf::from(stem), is_annotation));
        }
    }
    names.sort_by(|(a, _), (b, _)| natural_order(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b)));
    let mut files: Vec<Files> = Vec::with_capacity(names.len());
    for (stem, is_annotation) in names {
        let path = folder.join(&stem);
        if files.last().is_none_or(|last| last.stem != path) {
            let id = stem.to_str().map(file_name::decode);
            files.push(Files { id, stem: path, has_text: false, has_annotation: false });
        }
        if let Some(last) = files.last_mut() {
            last.has_annotation |= is_annotation;
            last.has_text |= !is_annotation;
        }
    }
    Ok(files)
}

/// Error for a folder that holds nothing to read.
pub(super) fn nothing_in(folder: &Path, wanted: &str) -> Error {
    Error::read(folder, io::Error::new(ErrorKind::NotFound, format!("the folder holds no {wanted} file")))
}

/// Reads a whole file as UTF-8, its bytes untouched.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::read(path, e))?;
    text_of(bytes, path, None)
}

/// Checks that `bytes` are UTF-8. `record` is the record's line and its first byte in the file; without it, `bytes` are the file.
pub(super) fn text_of(bytes: Vec<u8>, path: &Path, record: Option<(u64, u64)>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let (line, offset) = match record {
            Some((line, start)) => (line, start + at as u64),
            None => (1 + e.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() as u64, at as u64),
        };
        let reason = format!("line {line} is not UTF-8 (byte 0x{:02X} at offset {offset})", e.as_bytes()[at]);
        Error::read(path, io::Error::new(ErrorKind::InvalidData, reason))
    })
}

/// Tells whether an error says that something is not UTF-8.
pub(super) fn is_not_utf8(error: &Error) -> bool {
    matches!(error, Error::Read { source, .. } if source.kind() == ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_files_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.txt", "9.txt", "9.ann", ".9.ann.partial", ".x.txt", "read.me", "11.ann", "a.b.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let files = list(folder.path()).unwrap();
        let seen: Vec<_> =
            files.iter().map(|file| (file.id.as_deref().unwrap(), file.has_text, file.has_annotation)).collect();
        assert_eq!(seen, [("9", true, true), ("10", true, false), ("11", false, true), ("a.b", true, false)]);
        assert_eq!(files[3].text(), folder.path().join("a.b.txt"));
    }

    #[test]
    fn invalid_utf8_is_named_by_line_and_offset() {
        let error = text_of(b"ab\nc\xFFd".to_vec(), Path::new("a.txt"), None).unwrap_err();
        assert_eq!(error.to_string(), "failed to read a.txt: line 2 is not UTF-8 (byte 0xFF at offset 4)");
        assert!(error.hint().unwrap().contains("iconv"));
        let error = text_of(b"c\xFFd".to_vec(), Path::new("a.txt"), Some((7, 100))).unwrap_err();
        assert!(error.to_string().ends_with("line 7 is not UTF-8 (byte 0xFF at offset 101)"));
    }
}
