//! Codes that people vouch for: a file comes in, the codes of the appointments to measure on leave.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::notation::{self, Reading};
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
    /// Codes that could not be read or are not in the catalogue.
    pub left_out: u64,
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
    /// - [`Error::Read`] or [`Error::Parse`] with the line; an appointment twice is an error, too.
    pub fn load(path: &Path, catalog: &Catalog) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let mut manual = Self::default();
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
        Ok(manual)
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
        let of_id = self.codes.get(id)?;
        of_id.iter().find(|(of, _)| of.as_deref().is_none_or(|of| of == patient)).map(|(_, codes)| codes)
    }

    /// Tells whether the codes of an id are given without a patient.
    pub fn is_by_id_alone(&self, id: &str) -> bool {
        self.codes.get(id).is_some_and(|of_id| of_id.iter().any(|(patient, _)| patient.is_none()))
    }

    /// Returns the number of appointments.
    pub fn len(&self) -> usize {
        self.codes.values().map(Vec::len).sum()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
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
