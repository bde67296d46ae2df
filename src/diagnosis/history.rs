//! Histories: a patient's appointments come in, in any order, and leave in the order of time, their codes read.

use std::path::Path;

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    appointment::{Appointment, Sex, time},
    leak,
    notation::{self, Reading},
};
use crate::{
    catalog::Catalog,
    error::{Error, Result},
    icd::IcdCode,
};

/// A patient's appointments in the order of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Whose it is.
    pub patient: String,
    /// Sex.
    pub sex: Option<Sex>,
    /// What the patient's records are used for.
    pub part: Part,
    /// The appointments; those of one time stand in the table's order.
    pub visits: Vec<Visit>,
}

/// An appointment within a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// Name, unique within the history.
    pub id: String,
    /// When it was.
    #[serde(with = "time")]
    pub time: NaiveDateTime,
    /// Age in years.
    pub age: Option<u8>,
    /// Complaints and anamnesis.
    pub complaints: String,
    /// Tests and examinations.
    pub tests: String,
    /// The doctor's conclusion.
    pub conclusion: String,
    /// Codes that the doctor typed, each once.
    pub codes: Vec<IcdCode>,
}

/// What records are used for; all of a patient's for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// To learn from.
    Train,
    /// To choose checkpoints and thresholds on.
    Validation,
    /// To measure on.
    Test,
}

/// How patients are spread over the parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Share of patients to choose on.
    pub validation: f64,
    /// Share of patients to measure on.
    pub test: f64,
    /// Seed.
    pub seed: u64,
}

impl Split {
    /// Returns a patient's part, which does not depend on who else is there.
    pub fn part(&self, patient: &str) -> Part {
        let place = xxh3_64_with_seed(patient.as_bytes(), self.seed) as f64 / u64::MAX as f64;
        match place {
            place if place < self.test => Part::Test,
            place if place < self.test + self.validation => Part::Validation,
            _ => Part::Train,
        }
    }
}

/// What was met in appointments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Rows of the table that could not be read; left out.
    pub rejected: u64,
    /// Patients.
    pub patients: u64,
    /// Their appointments.
    pub appointments: u64,
    /// Codes that were written otherwise than in the catalogue, and put right.
    pub codes_repaired: u64,
    /// Codes that the catalogue does not have; kept.
    pub codes_unknown: u64,
    /// What is no code, or any of several; left out.
    pub codes_unreadable: u64,
    /// Appointments without a code.
    pub without_codes: u64,
    /// Appointments without complaints and tests.
    pub without_texts: u64,
    /// Appointments without a conclusion.
    pub without_conclusion: u64,
    /// Ages and sexes that are given, but in no way that could be read; left out.
    pub unread: u64,
    /// Patients of two sexes; the first counts.
    pub two_sexes: u64,
    /// Appointments at the time of the one before.
    pub same_time: u64,
    /// Ids that a patient has twice: `#` and a number are added.
    pub same_id: u64,
    /// Appointments whose complaints or tests held their own conclusion or codes, which were cut out.
    pub leaks: u64,
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.rejected += other.rejected;
        self.patients += other.patients;
        self.appointments += other.appointments;
        self.codes_repaired += other.codes_repaired;
        self.codes_unknown += other.codes_unknown;
        self.codes_unreadable += other.codes_unreadable;
        self.without_codes += other.without_codes;
        self.without_texts += other.without_texts;
        self.without_conclusion += other.without_conclusion;
        self.unread += other.unread;
        self.two_sexes += other.two_sexes;
        self.same_time += other.same_time;
        self.same_id += other.same_id;
        self.leaks += other.leaks;
    }
}

impl Faults {
    /// Sees that a table holds an appointment at all.
    ///
    /// # Errors
    /// - [`Error::Parse`] if it holds none.
    pub fn check(&self, table: &Path) -> Result<()> {
        if self.appointments > 0 {
            return Ok(());
        }
        let got = format!("none, and {} rows that cannot be read", self.rejected);
        Err(Error::Parse { what: "table", path: table.to_owned(), line: 1, expected: "appointments".into(), got })
    }

    /// Tells what was met and what became of it, each kind of which there was any: a count and what it counts.
    pub fn told(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.rejected, "rows that could not be read: left out"),
            (self.codes_repaired, "codes in another notation: put right"),
            (self.codes_unknown, "codes that the catalogue does not have: kept"),
            (self.codes_unreadable, "codes that could be any or none: left out"),
            (self.without_codes, "appointments without a code"),
            (self.without_texts, "appointments without complaints and tests"),
            (self.without_conclusion, "appointments without a conclusion"),
            (self.unread, "ages (0 to 120 years) and sexes that could not be read: left out"),
            (self.two_sexes, "patients of two sexes: the first counts"),
            (self.same_time, "appointments at the time of the one before, which is no past of theirs"),
            (self.same_id, "ids that a patient has twice: a number added"),
            (self.leaks, "appointments that held their own conclusion or codes in complaints or tests: cut out"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }
}

impl History {
    /// Puts a patient's appointments, at least one, in the order of time, reads their codes, and cuts out of complaints and tests what gives
    /// the answer away.
    pub fn new(mut appointments: Vec<Appointment>, split: &Split, catalog: &Catalog) -> (Self, Faults) {
        let mut faults = Faults { patients: 1, appointments: appointments.len() as u64, ..Faults::default() };
        appointments.sort_by_key(|appointment| appointment.time);
        let patient = appointments.first().map(|first| first.patient.clone()).unwrap_or_default();
        let mut sexes = appointments.iter().filter_map(|appointment| appointment.sex);
        let sex = sexes.next();
        faults.two_sexes += u64::from(sexes.any(|other| Some(other) != sex));
        let mut visits: Vec<Visit> = Vec::with_capacity(appointments.len());
        for appointment in appointments {
            let Appointment { mut id, time, age, complaints, tests, conclusion, codes, unread_cells, .. } = appointment;
            faults.unread += u64::from(unread_cells);
            faults.same_time += u64::from(visits.last().is_some_and(|before| before.time == time));
            if visits.iter().any(|visit| visit.id == id) {
                faults.same_id += 1;
                id = format!("{id}#{}", visits.len() + 1);
            }
            let codes = read_codes(&codes, catalog, &mut faults);
            let (complaints, cut) = leak::cut(&complaints, &conclusion, &codes);
            let (tests, cut_too) = leak::cut(&tests, &conclusion, &codes);
            faults.leaks += u64::from(cut || cut_too);
            faults.without_codes += u64::from(codes.is_empty());
            faults.without_texts += u64::from(complaints.trim().is_empty() && tests.trim().is_empty());
            faults.without_conclusion += u64::from(conclusion.trim().is_empty());
            visits.push(Visit { id, time, age, complaints, tests, conclusion, codes });
        }
        let part = split.part(&patient);
        (Self { patient, sex, part, visits }, faults)
    }

    /// Returns how many appointments lie before one in time. One at the same time is not before it: it may be the same again.
    pub fn earlier(&self, at: usize) -> usize {
        self.visits.partition_point(|visit| visit.time < self.visits[at].time)
    }
}

fn read_codes(typed: &[String], catalog: &Catalog, faults: &mut Faults) -> Vec<IcdCode> {
    let mut codes = Vec::with_capacity(typed.len());
    for text in typed {
        let code = match notation::read(text, catalog) {
            Reading::AsWritten(code) => code,
            Reading::Repaired(code) => {
                faults.codes_repaired += 1;
                code
            }
            Reading::Unknown(code) => {
                faults.codes_unknown += 1;
                code
            }
            Reading::Unreadable => {
                faults.codes_unreadable += 1;
                continue;
            }
        };
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::appointment::read_time;

    fn appointment(id: &str, time: &str, codes: &[&str]) -> Appointment {
        Appointment {
            id: id.into(),
            patient: "7".into(),
            time: read_time(time).unwrap(),
            age: None,
            sex: match id {
                "b" => Some(Sex::Female),
                "a" => Some(Sex::Male),
                _ => None,
            },
            complaints: format!("жалоба {id}"),
            tests: String::new(),
            conclusion: format!("вывод {id}"),
            codes: codes.iter().map(|&code| code.to_owned()).collect(),
            unread_cells: u8::from(id == "c"),
        }
    }

    const SPLIT: Split = Split { validation: 0.1, test: 0.2, seed: 1 };

    #[test]
    fn appointments_come_into_the_order_of_time_and_what_was_met_is_counted() {
        let rows = vec![
            appointment("c", "2021-03-05T10:00", &["I252", "И25.2", "гастрит"]),
            appointment("a", "2020-01-01", &["J159"]),
            appointment("b", "2021-03-05T10:00", &[]),
            appointment("a", "2019-01-01", &["K29.5", "K29.5"]),
        ];
        let (history, faults) = History::new(rows, &SPLIT, &Catalog::shipped().unwrap());
        let ids: Vec<&str> = history.visits.iter().map(|visit| visit.id.as_str()).collect();
        assert_eq!((ids, history.sex), (vec!["a", "a#2", "c", "b"], Some(Sex::Male)));
        let codes: Vec<Vec<&str>> =
            history.visits.iter().map(|visit| visit.codes.iter().map(IcdCode::as_str).collect()).collect();
        assert_eq!(codes, [vec!["K29.5"], vec!["J15.9"], vec!["I25.2"], vec![]]);
        let expected = Faults {
            patients: 1,
            appointments: 4,
            codes_repaired: 2,
            codes_unknown: 1,
            codes_unreadable: 1,
            without_codes: 1,
            same_time: 1,
            same_id: 1,
            unread: 1,
            two_sexes: 1,
            ..Faults::default()
        };
        assert_eq!(faults, expected);
        assert_eq!((0..4).map(|at| history.earlier(at)).collect::<Vec<_>>(), [0, 1, 2, 2]);
    }

    #[test]
    fn patients_are_spread_as_asked_and_stay_where_they_are() {
        let parts: Vec<Part> = (0..10_000).map(|number| SPLIT.part(&number.to_string())).collect();
        let share = |part: Part| parts.iter().filter(|&&other| other == part).count() as f64 / 10_000.0;
        assert!((share(Part::Test) - 0.2).abs() < 0.02 && (share(Part::Validation) - 0.1).abs() < 0.02);
        assert_eq!(SPLIT.part("17"), parts[17]);
    }
}
