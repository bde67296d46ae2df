//! Annotated corpora for tests: texts and codes come in, brat folders leave.

use std::{fs, path::Path};

/// Writes a record: its text, and words of it with their codes.
pub fn record(folder: &Path, id: &str, text: &str, marked: &[(&str, &str)]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{id}.txt")), text).unwrap();
    let line = |(number, (words, code)): (usize, &(&str, &str))| {
        let start = text[..text.find(words).unwrap()].chars().count();
        let end = start + words.chars().count();
        format!("T{number}\ticd_code {start} {end}\t{words}\nN{number}\tReference T{number} ICD_codes:1\t{code}\n")
    };
    let lines: String = (1..).zip(marked).map(line).collect();
    fs::write(folder.join(format!("{id}.ann")), lines).unwrap();
}
