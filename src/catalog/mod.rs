//! ICD catalogues: a dictionary file comes in, a [`Catalog`] of codes with titles leaves, and a list of what was wrong in it.

mod abbreviations;
mod readers;
mod tree;
mod vocabulary;

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

pub use abbreviations::Abbreviations;
pub use tree::Branch;
pub use vocabulary::{ConceptMap, Coverage, RowReport, Umls};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    error::{Error, Result},
    icd::IcdCode,
};

/// A code of the classification with its wordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The code.
    pub code: IcdCode,
    /// Its title.
    pub title: Arc<str>,
    /// Further wordings.
    pub synonyms: Vec<String>,
    /// Line of the file it was read from, from 1.
    pub line: usize,
}

/// Where a code stands in the classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One of the 22 chapters, such as `I00-I99`.
    Chapter,
    /// A range of categories within a chapter, such as `I20-I25`.
    Block,
    /// Three characters, such as `I21`.
    Category,
    /// More than three characters, such as `I21.0`.
    Subdivision,
    /// A number outside the classification, such as `00`.
    Administrative,
}

/// Ranges of the chapters of ICD-10.
///
/// # Source
/// <https://icd.who.int/browse10/2019/en>.
const CHAPTERS: [&str; 22] = [
    "A00-B99", "C00-D48", "D50-D89", "E00-E90", "F00-F99", "G00-G99", "H00-H59", "H60-H95", "I00-I99", "J00-J99",
    "K00-K93", "L00-L99", "M00-M99", "N00-N99", "O00-O99", "P00-P96", "Q00-Q99", "R00-R99", "S00-T98", "V01-Y98",
    "Z00-Z99", "U00-U85",
];

impl Level {
    /// Tells where `code` stands.
    pub fn of(code: &IcdCode) -> Self {
        match code.as_str() {
            text if CHAPTERS.contains(&text) => Self::Chapter,
            _ if code.is_range() => Self::Block,
            text if text.starts_with(|first: char| first.is_ascii_digit()) => Self::Administrative,
            _ if code.is_category() => Self::Category,
            _ => Self::Subdivision,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chapter => "chapters",
            Self::Block => "blocks",
            Self::Category => "categories",
            Self::Subdivision => "subdivisions",
            Self::Administrative => "outside the classification",
        })
    }
}

/// A line of a catalogue that could not be taken as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What is wrong with a catalogue's line, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// The code has no valid form: the line was left out.
    MalformedCode(String),
    /// The code stood earlier: the first one counts.
    Duplicate {
        /// The code.
        code: IcdCode,
        /// Line of the first one.
        first_line: usize,
    },
    /// The code has no title: the line was left out.
    EmptyTitle(IcdCode),
    /// The line breaks the file's format: it was left out.
    Malformed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            ProblemKind::MalformedCode(code) => write!(f, "`{code}` is no ICD-10 code, left out"),
            ProblemKind::Duplicate { code, first_line } => {
                write!(f, "{code} stands on line {first_line} already, the first one counts")
            }
            ProblemKind::EmptyTitle(code) => write!(f, "{code} has no title, left out"),
            ProblemKind::Malformed(reason) => write!(f, "{reason}, left out"),
        }
    }
}

/// A dictionary of ICD-10 codes.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
    places: HashMap<IcdCode, usize>,
    problems: Vec<Problem>,
}

impl Catalog {
    /// Reads a catalogue file by its ending: `.yaml`/`.yml` (`code: title`), `.tsv` or `.csv` with a header line,
    /// `.jsonl`/`.ndjson` (objects with `code`, `title` and optionally `synonyms`).
    ///
    /// Columns are found by name: `code`, `title` and optionally `synonyms` (separated by `;`), or their Russian names.
    ///
    /// # Errors
    /// - [`Error::Read`] if the file cannot be read or is not UTF-8; [`Error::Parse`] if it has no code column, another
    ///   ending, or no usable line at all. A single bad line is a [`Problem`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let catalog = Self::parse(path, &text)?;
        if catalog.entries.is_empty() {
            let first = catalog.problems.first().map_or("an empty file".into(), Problem::to_string);
            let expected = "at least one line with a code and a title".into();
            return Err(Error::Parse { what: "catalogue", path: path.into(), line: 1, expected, got: first });
        }
        Ok(catalog)
    }

    /// Returns the catalogue that ships with Noso.
    ///
    /// # Errors
    /// None as released; a test reads it.
    pub fn shipped() -> Result<Self> {
        Self::parse(Path::new("(shipped)/catalog.tsv"), include_str!("../../indexes/default/catalog.tsv"))
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut catalog = Self::default();
        readers::read(path, text.trim_start_matches('\u{feff}'), |line, read| match read {
            Ok((code, title, synonyms)) => catalog.add(line, &code, &title, synonyms),
            Err(reason) => catalog.problems.push(Problem { line, kind: ProblemKind::Malformed(reason) }),
        })?;
        Ok(catalog)
    }

    fn add(&mut self, line: usize, code: &str, title: &str, synonyms: Vec<String>) {
        let problem = match code.trim().parse::<IcdCode>() {
            Err(_) => ProblemKind::MalformedCode(code.into()),
            Ok(code) if title.trim().is_empty() => ProblemKind::EmptyTitle(code),
            Ok(code) => match self.places.get(&code) {
                Some(&place) => ProblemKind::Duplicate { code, first_line: self.entries[place].line },
                None => {
                    self.places.insert(code.clone(), self.entries.len());
                    self.entries.push(CatalogEntry { code, title: title.trim().into(), synonyms, line });
                    return;
                }
            },
        };
        self.problems.push(Problem { line, kind: problem });
    }

    /// Finds a code's entry.
    pub fn get(&self, code: &IcdCode) -> Option<&CatalogEntry> {
        self.row(code).map(|row| &self.entries[row])
    }

    /// Returns a code's place in the file, from 0, as brat notes name it.
    pub fn row(&self, code: &IcdCode) -> Option<usize> {
        self.places.get(code).copied()
    }

    /// Returns a code's title, or that of its category, or an empty one.
    pub fn title(&self, code: &IcdCode) -> Arc<str> {
        let group = || code.group().parse().ok().and_then(|group| self.get(&group));
        self.get(code).or_else(group).map_or_else(|| "".into(), |entry| entry.title.clone())
    }

    /// Returns a hash of all codes, titles and synonyms.
    pub fn fingerprint(&self) -> String {
        let mut hash = Xxh3::new();
        for entry in &self.entries {
            for field in
                [entry.code.as_str(), &entry.title].into_iter().chain(entry.synonyms.iter().map(String::as_str))
            {
                hash.update(field.as_bytes());
                hash.update(&[0]);
            }
        }
        format!("{:016x}", hash.digest())
    }

    /// Returns all entries in file order.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// Returns what was wrong in the file, in file order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Counts the entries at a level.
    pub fn count(&self, level: Level) -> usize {
        self.entries.iter().filter(|entry| Level::of(&entry.code) == level).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str, text: &str) -> Catalog {
        Catalog::parse(Path::new(file), text).unwrap()
    }

    #[test]
    fn all_formats_give_the_same_catalogue() {
        let tsv =
            parse("c.tsv", "code\ttitle\tsynonyms\nJ00\tОстрый назофарингит\tнасморк; ринит острый\nJ00-J06\tОРИ\t\n");
        let csv = parse(
            "c.csv",
            "\u{feff}Название,Код,synonyms\nОстрый назофарингит,J00,насморк;ринит острый\n\"ОРИ\",J00-J06,\n",
        );
        let jsonl = parse(
            "c.jsonl",
            "{\"code\":\"J00\",\"title\":\"Острый назофарингит\",\"synonyms\":[\"насморк\",\"ринит острый\"]}\n\n{\"code\":\"J00-J06\",\"title\":\"ОРИ\"}",
        );
        for catalog in [&tsv, &csv, &jsonl] {
            assert_eq!(catalog.entries()[0].synonyms, ["насморк", "ринит острый"]);
            assert_eq!(&*catalog.entries()[1].title, "ОРИ");
            assert!(catalog.problems().is_empty());
        }
        let yaml = parse("c.yaml", "# note\nJ00: Острый\n  назофарингит\n'00': Без диагноза\n");
        assert_eq!(&*yaml.entries()[0].title, "Острый назофарингит");
        assert_eq!(yaml.entries()[1].line, 4);
    }

    #[test]
    fn bad_lines_are_reported_with_their_numbers_and_the_rest_is_kept() {
        let text =
            "code\ttitle\nJ00\tНасморк\nсто\tЧто-то\nJ00\tДругой\nJ01\t\nJ02\tФарингит\tлишнее\tполе\nJ03\tАнгина\n";
        let catalog = parse("c.tsv", text);
        assert_eq!(catalog.entries().len(), 2);
        let told: Vec<String> = catalog.problems().iter().map(Problem::to_string).collect();
        assert_eq!(
            told,
            [
                "line 3: `сто` is no ICD-10 code, left out",
                "line 4: J00 stands on line 2 already, the first one counts",
                "line 5: J01 has no title, left out",
                "line 6: expected 2 columns, got 4, left out",
            ]
        );
    }

    #[test]
    fn yaml_duplicates_are_found() {
        let catalog = parse("c.yml", "A00: Холера\nA01: Тиф\nA00: Ещё холера\n");
        assert_eq!(catalog.problems()[0].to_string(), "line 3: A00 stands on line 1 already, the first one counts");
    }

    #[test]
    fn a_missing_column_or_unknown_ending_is_an_error() {
        let error = Catalog::parse(Path::new("c.csv"), "kod,name\n1,2\n").unwrap_err().to_string();
        assert!(error.contains("kod, name"), "{error}");
        assert!(Catalog::parse(Path::new("c.doc"), "").is_err());
    }

    #[test]
    fn levels_and_titles() {
        let level = |code: &str| Level::of(&code.parse().unwrap());
        assert_eq!(level("A00-B99"), Level::Chapter);
        assert_eq!(level("A00-A09"), Level::Block);
        assert_eq!(level("A00"), Level::Category);
        assert_eq!(level("S22.3.0"), Level::Subdivision);
        assert_eq!(level("00"), Level::Administrative);
        let catalog = parse("c.yaml", "A00: Холера\n");
        assert_eq!(&*catalog.title(&"A00.9".parse().unwrap()), "Холера");
        assert_eq!(&*catalog.title(&"B00.9".parse().unwrap()), "");
    }
}
