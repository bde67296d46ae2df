//! Codes that people vouch for: a file comes in, the codes of the appointments to measure on leave.

use std::{
    collections::HashMap,
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
    codes: HashMap<String, Vec<(Option<String>, CodeSet)>>,
    path: PathBuf,
    /// Codes that could not be read or are not in the catalogue.
    pub left_out: u64,
    /// Appointments that a dataset does not have: see [`Self::find_in`].
    pub unfound: u64,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    patient: Option<String>,
    codes: Vec<String>,
}

impl Manual {
    /// Reads a file with a line `{"id": …, "patient": …, "codes": […]}` for each appointment; ids that no two patients share need no patient.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::Parse`] with the line; an appointment twice is an error, too, and a file without a code.
    pub fn load(path: &Path, catalog: &Catalog) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let mut manual = Self { path: path.to_owned(), ..Self::default() };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |got: String| Error::Parse {
                what: "manual codes",
                path: path.to_owned(),
                line: number + 1,
                expected: r#"{"id": "…", "patient": "…", "codes": ["K29.5", …]}, each appointment once"#.into(),
                got,
            };
            // The parser's own words may hold the line's text.
            let line: Line =
                serde_json::from_str(line).map_err(|e| wrong(format!("an error at column {}", e.column())))?;
            let codes = manual.read(&line.codes, catalog);
            let there = manual.codes.entry(line.id).or_default();
            if there.iter().any(|(patient, _)| patient.is_none() || line.patient.is_none() || *patient == line.patient)
            {
                return Err(wrong("an appointment that stands above already".into()));
            }
            there.push((line.patient, codes));
        }
        let has_codes = manual.codes.values().flatten().any(|(_, codes)| !codes.is_empty());
        let got = || format!("none, and {} that are not in the catalogue", manual.left_out);
        if has_codes { Ok(manual) } else { Err(manual.wrong("codes of the catalogue", &got())) }
    }

    fn wrong(&self, expected: &str, got: &str) -> Error {
        Error::Parse {
            what: "manual codes",
            path: self.path.clone(),
            line: 1,
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// Looks the appointments up in a dataset, and counts those that it does not have.
    ///
    /// # Errors
    /// - [`Error::Parse`] if it has none of them, or an id that is given without a patient belongs to several; those of the dataset.
    pub fn find_in(&mut self, dataset: &Dataset) -> Result<()> {
        let (mut found, mut of_several) = (0, 0);
        let mut patients: HashMap<String, usize> = HashMap::new();
        for (number, history) in dataset.histories()?.enumerate() {
            let history = history?;
            for visit in &history.visits {
                let Some((patient, _)) = self.find(&history.patient, &visit.id) else { continue };
                found += 1;
                if patient.is_none() {
                    of_several += usize::from(*patients.entry(visit.id.clone()).or_insert(number) != number);
                }
            }
        }
        if of_several > 0 {
            return Err(self.wrong("the patient of each id that several patients have", "ids alone"));
        }
        if found == 0 {
            return Err(self.wrong("appointments of the table, by id and patient", "none that it has"));
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

    /// Returns the codes of a patient's appointment, if it is among them.
    pub fn codes(&self, patient: &str, id: &str) -> Option<&CodeSet> {
        self.find(patient, id).map(|(_, codes)| codes)
    }

    fn find(&self, patient: &str, id: &str) -> Option<&(Option<String>, CodeSet)> {
        self.codes.get(id)?.iter().find(|(of, _)| of.as_deref().is_none_or(|of| of == patient))
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
        for (text, line) in [("{\"id\":\"1\",\"codes\":[]}\n{\"id\":\"1\",\"codes\":[]}", 2), ("{\"id\":1}", 1)] {
            let told = load(text).unwrap_err().to_string();
            assert!(told.contains(&format!(":{line}: expected")), "{told}");
        }
    }
}
