//! UMLS: `MRCONSO.RRF`, the table of concept names, comes in line by line; the ICD codes and the Russian names of concepts leave.
//!
//! The file is licensed to each user and never part of Noso: <https://www.nlm.nih.gov/research/umls>.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::Path,
};

use super::ConceptMap;
use crate::{
    data::{ConceptId, ConceptTerm},
    error::{Error, Result},
    icd::IcdCode,
};

/// Columns of a row, each ended by `|`.
const COLUMNS: usize = 18;
/// Places of the columns CUI, LAT, SAB, CODE, STR and SUPPRESS.
const PLACES: [usize; 6] = [0, 1, 11, 13, 14, 16];
/// Language of the names that are kept.
const LANGUAGE: &str = "RUS";

/// What Noso takes from UMLS.
#[derive(Debug, Clone, Default)]
pub struct Umls {
    /// From concepts to the codes of the ICD-10 atoms that share them.
    pub map: ConceptMap,
    /// Russian names, in file order.
    pub russian: Vec<ConceptTerm>,
    /// What was read.
    pub report: RowReport,
}

/// Counts of the rows of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowReport {
    /// All rows.
    pub rows: u64,
    /// Rows with another number of columns, or whose first column is no concept: left out.
    pub malformed: u64,
    /// Rows that UMLS marks as obsolete or suppressed: left out.
    pub suppressed: u64,
    /// ICD-10 rows whose code is none (a chapter's heading, for example): left out.
    pub not_a_code: u64,
}

impl fmt::Display for RowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, malformed, suppressed, not_a_code } = self;
        write!(f, "{rows} rows, {malformed} malformed, {suppressed} suppressed, {not_a_code} of ICD-10 without a code")
    }
}

impl Umls {
    /// Reads a file of any size in constant memory but for what is kept; bytes that are no UTF-8 are replaced.
    ///
    /// ICD-10 atoms are those of `ICD10` and its editions (`ICD10CM`, `ICD10AM`, …), not of procedures (`ICD10PCS`).
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be read; [`Error::Parse`] if more than half of the first thousand rows are none of MRCONSO.
    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| Error::read(path, e))?;
        let (mut umls, mut line) = (Self::default(), Vec::new());
        let mut reader = BufReader::with_capacity(1 << 20, file);
        while reader.read_until(b'\n', &mut line).map_err(|e| Error::read(path, e))? > 0 {
            umls.add(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            line.clear();
            umls.check(path, umls.report.rows == 1000)?;
        }
        umls.check(path, true)?;
        Ok(umls)
    }

    fn check(&self, path: &Path, due: bool) -> Result<()> {
        let RowReport { rows, malformed, .. } = self.report;
        if !due || rows > 1000 || (rows > 0 && malformed * 2 <= rows) {
            return Ok(());
        }
        Err(Error::Parse {
            what: "UMLS table",
            path: path.into(),
            line: 1,
            expected: format!("rows of MRCONSO.RRF: {COLUMNS} columns, each ended by `|`, the first a concept"),
            got: format!("{malformed} other rows among the first {rows}"),
        })
    }

    fn add(&mut self, row: &str) {
        self.report.rows += 1;
        let columns: Vec<&str> = row.strip_suffix('|').unwrap_or(row).split('|').collect();
        let concept = columns.first().and_then(|id| id.parse::<ConceptId>().ok());
        let (COLUMNS, Some(concept)) = (columns.len(), concept) else {
            self.report.malformed += 1;
            return;
        };
        let [_, language, source, code, name, suppress] = PLACES.map(|place| columns[place]);
        if matches!(suppress, "O" | "E" | "Y") {
            self.report.suppressed += 1;
            return;
        }
        if source.starts_with("ICD10") && !source.starts_with("ICD10PCS") {
            match code.parse::<IcdCode>() {
                Ok(code) => self.map.add(concept, code),
                Err(_) => self.report.not_a_code += 1,
            }
        }
        if language == LANGUAGE && !name.trim().is_empty() {
            self.russian.push(ConceptTerm { text: name.trim().to_owned(), concept });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(concept: &str, language: &str, source: &str, code: &str, name: &str, suppress: &str) -> String {
        format!("{concept}|{language}|P|L1|PF|S1|Y|A1||||{source}|PT|{code}|{name}|0|{suppress}|256|\n")
    }

    fn load(text: &str) -> Result<Umls> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Umls::load(file.path())
    }

    #[test]
    fn icd_atoms_give_codes_and_russian_atoms_give_names() {
        let text = [
            row("C0020538", "ENG", "ICD10", "I10", "Essential hypertension", "N"),
            row("C0020538", "ENG", "ICD10CM", "I10", "Hypertension", "N"),
            row("C0020538", "RUS", "MSHRUS", "D006973", "ГИПЕРТЕНЗИЯ", "N"),
            row("C0020538", "RUS", "MDRRUS", "1", "Старое имя", "O"),
            row("C0029877", "ENG", "ICD10", "H60-H95.9", "Ear", "N"),
            row("C0029877", "ENG", "ICD10AM", "H66.9", "Otitis media", "N"),
            row("C0029877", "ENG", "ICD10PCS", "00", "Something done", "N"),
            "half a row|RUS|\n".into(),
            row("CUI", "RUS", "MSHRUS", "D1", "Без понятия", "N"),
            row("C0000099", "ENG", "ICD10", "Chapter IX", "Heading", "N"),
        ]
        .concat();
        let umls = load(&text).unwrap();
        let codes = |id: &str| umls.map.codes(id.parse().unwrap()).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (codes("C0020538"), codes("C0029877")),
            (vec!["I10".into()], vec!["H60-H95.9".into(), "H66.9".into()])
        );
        assert_eq!(umls.russian.iter().map(|term| term.text.as_str()).collect::<Vec<_>>(), ["ГИПЕРТЕНЗИЯ"]);
        assert_eq!(umls.report, RowReport { rows: 10, malformed: 2, suppressed: 1, not_a_code: 1 });
    }

    #[test]
    fn another_file_is_refused() {
        for text in ["", "code\ttitle\nI10\tГипертония\n"] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains("MRCONSO.RRF"), "{error}");
        }
        assert!(Umls::load(Path::new("no such file")).is_err());
    }
}
