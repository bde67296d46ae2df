//! Codes that people vouch for: a file comes in, the codes of the appointments to measure on leave.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    dataset::Dataset,
    notation::{self, Reading},
};
use crate::{
    catalog::Catalog,
    data::CodeSet,
    error::{Error, Result},
};

/// Codes by appointment.
#[derive(Debug, Default)]
pub struct Manual {
    /// By id; the same id may be of several patients.
    codes: HashMap<String, Vec<Entry>>,
    path: PathBuf,
    /// Codes that could not be read or are not in the catalogue.
    pub left_out: u64,
    /// Appointments that a dataset does not have: see [`Self::find_in`].
    pub unfound: u64,
}

/// The codes of an appointment.
#[derive(Debug)]
struct Entry {
    patient: Option<String>,
    codes: CodeSet,
    line: usize,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Name,
    patient: Option<Name>,
    codes: Vec<String>,
}

/// A name, which many tables have as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(serde_json::Number),
}

impl Name {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Manual {
    /// Reads a file with a line `{"id": …, "patient": …, "codes": […]}` for each appointment; ids that no two patients share need no patient.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::Parse`] with the line; an appointment twice is an error, too, and a file without a code.
    pub fn load(path: &Path, catalog: &Catalog) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let mut manual = Self { path: path.to_owned(), ..Self::default() };
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let expected = r#"{"id": "…", "patient": "…", "codes": ["K29.5", …]}, each appointment once"#;
            // The parser's own words may hold the line's text.
            let read: Line = serde_json::from_str(text)
                .map_err(|e| manual.wrong(line, expected, &format!("an error at column {}", e.column())))?;
            let codes = manual.read(&read.codes, catalog);
            let entry = Entry { patient: read.patient.map(Name::text), codes, line };
            let there = manual.codes.entry(read.id.text()).or_default();
            let is_same =
                |other: &Entry| other.patient.is_none() || entry.patient.is_none() || other.patient == entry.patient;
            if let Some(before) = there.iter().find(|other| is_same(other)).map(|other| other.line) {
                let got = format!("an appointment that stands in line {before} already");
                return Err(manual.wrong(line, expected, &got));
            }
            there.push(entry);
        }
        let has_codes = manual.codes.values().flatten().any(|entry| !entry.codes.is_empty());
        let got = || format!("none, and {} that are not in the catalogue", manual.left_out);
        if has_codes { Ok(manual) } else { Err(manual.wrong(1, "codes of the catalogue", &got())) }
    }

    fn wrong(&self, line: usize, expected: &str, got: &str) -> Error {
        Error::Parse { what: "manual codes", path: self.path.clone(), line, expected: expected.into(), got: got.into() }
    }

    /// Looks the appointments up in a dataset, and counts those that it does not have.
    ///
    /// # Errors
    /// - [`Error::Parse`] if it has none of them, or an id that is given without a patient belongs to several; those of the dataset.
    pub fn find_in(&mut self, dataset: &Dataset) -> Result<()> {
        let mut found = 0;
        let mut patients: HashMap<String, usize> = HashMap::new();
        let mut of_several = BTreeSet::new();
        for (number, history) in dataset.histories()?.enumerate() {
            let history = history?;
            for visit in &history.visits {
                let Some(entry) = self.find(&history.patient, &visit.id) else { continue };
                found += 1;
                if entry.patient.is_none() && *patients.entry(visit.id.clone()).or_insert(number) != number {
                    of_several.insert(entry.line);
                }
            }
        }
        if let Some(&line) = of_several.first() {
            let got = format!("an id alone, here and in {} further lines", of_several.len() - 1);
            return Err(self.wrong(line, "the patient of each id that several patients have", &got));
        }
        if found == 0 {
            return Err(self.wrong(1, "appointments of the table, by id and patient", "none that it has"));
        }
        self.unfound = self.len().saturating_sub(found) as u64;
        Ok(())
    }

    fn read(&mut self, codes: &[String], catalog: &Catalog) -> CodeSet {
        let read = |code: &String| match notation::read(code, catalog) {
            Reading::AsWritten(code) | Reading::Repaired(code) => Some(code),
            Reading::Unknown(_) | Reading::Unreadable => None,
        };
        let known: Vec<_> = codes.iter().filter_map(read).collect();
        self.left_out += (codes.len() - known.len()) as u64;
        known.into_iter().collect()
    }

    /// Tells what could not be used: a count and what it counts.
    pub fn told(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.unfound, "appointments with manual codes were not found among the records."),
            (self.left_out, "manual codes could not be read or are not in the catalogue."),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }

    /// Returns the codes of a patient's appointment, if it is among them.
    pub fn codes(&self, patient: &str, id: &str) -> Option<&CodeSet> {
        self.find(patient, id).map(|entry| &entry.codes)
    }

    fn find(&self, patient: &str, id: &str) -> Option<&Entry> {
        self.codes.get(id)?.iter().find(|entry| entry.patient.as_deref().is_none_or(|of| of == patient))
    }

    fn len(&self) -> usize {
        self.codes.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appointments_are_found_by_id_and_patient_and_faults_are_told() {
        let catalog = Catalog::shipped().unwrap();
        let load = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Manual::load(file.path(), &catalog)
        };
        let manual = load("{\"id\":\"1\",\"patient\":\"a\",\"codes\":[\"k295\",\"гастрит\"]}\n\n{\"id\":\"1\",\"patient\":\"b\",\"codes\":[]}\n{\"id\":\"2\",\"codes\":[\"I10\"]}\n")
            .unwrap();
        let codes =
            |patient, id| manual.codes(patient, id).map(|codes| codes.iter().map(|c| c.as_str()).collect::<Vec<_>>());
        assert_eq!((codes("a", "1"), codes("b", "1"), codes("c", "1")), (Some(vec!["K29.5"]), Some(vec![]), None));
        assert_eq!((codes("z", "2"), manual.len(), manual.left_out), (Some(vec!["I10"]), 3, 1));
        let by_number = load("{\"id\":7,\"patient\":9007199254740993,\"codes\":[\"I10\"]}").unwrap();
        assert!(by_number.codes("9007199254740993", "7").is_some());
        for (text, line) in [
            ("{\"id\":\"1\",\"codes\":[]}\n{\"id\":\"1\",\"codes\":[]}", 2),
            ("{\"id\":1}", 1),
            ("{\"id\":[1],\"codes\":[\"I10\"]}", 1),
        ] {
            let told = load(text).unwrap_err().to_string();
            assert!(told.contains(&format!(":{line}: expected")), "{told}");
        }
    }
}
