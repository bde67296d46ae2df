//! Tables of appointments: a Parquet, CSV or JSONL file comes in, appointments leave one by one; and the way back.

mod cell;
mod csv;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
mod write;

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::Serialize;

use self::cell::Cell;
pub use self::write::Writer;
use super::appointment::{Appointment, Sex};
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 1 << 18;
/// Oldest age believed, in years.
const MOST_YEARS: i128 = 120;

/// A table's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// An object a line
    Jsonl,
    /// Columns with names, separated by commas, semicolons or tabs
    Csv,
    /// Parquet
    Parquet,
}

impl TableFormat {
    /// Guesses the format by a file's name.
    ///
    /// # Errors
    /// - [`Error::Setting`] if the name ends otherwise.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase().as_str() {
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "csv" | "tsv" => Ok(Self::Csv),
            "parquet" | "pq" => Ok(Self::Parquet),
            _ => Err(Error::Setting {
                key: "table".into(),
                expected: "a file that ends in .parquet, .csv, .tsv or .jsonl".into(),
                got: path.display().to_string(),
            }),
        }
    }

    /// Returns how names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// What an appointment consists of, in the order of [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Patient,
    Time,
    Age,
    Sex,
    Complaints,
    Tests,
    Conclusion,
    Codes,
}

/// Every field with the name of its column, and whether a table must have it.
const FIELDS: [(Field, &str, bool); 9] = [
    (Field::Id, "id", false),
    (Field::Patient, "patient", true),
    (Field::Time, "date", true),
    (Field::Age, "age", false),
    (Field::Sex, "sex", false),
    (Field::Complaints, "complaints", true),
    (Field::Tests, "tests", true),
    (Field::Conclusion, "conclusion", true),
    (Field::Codes, "codes", true),
];

/// Names of a table's columns. A text may lie in several: they are joined by line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Columns([Vec<String>; FIELDS.len()]);

impl Default for Columns {
    fn default() -> Self {
        Self(FIELDS.map(|(_, name, _)| vec![name.to_owned()]))
    }
}

impl Columns {
    /// Changes some names: `complaints=жалобы,анамнез`.
    ///
    /// # Errors
    /// - [`Error::Setting`] if one is no such pair.
    pub fn renamed(pairs: &[String]) -> Result<Self> {
        let mut columns = Self::default();
        for pair in pairs {
            let wrong = || Error::Setting {
                key: "column".into(),
                expected: format!("FIELD=COLUMN, with a field of {}", FIELDS.map(|(_, name, _)| name).join(", ")),
                got: pair.clone(),
            };
            let (field, names) = pair.split_once('=').ok_or_else(wrong)?;
            let at = FIELDS.iter().position(|(_, name, _)| *name == field).ok_or_else(wrong)?;
            let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
            let is_text = matches!(FIELDS[at].0, Field::Complaints | Field::Tests | Field::Conclusion);
            if names.iter().any(String::is_empty) || (names.len() > 1 && !is_text) {
                return Err(wrong());
            }
            columns.0[at] = names;
        }
        Ok(columns)
    }

    /// Finds the columns in a table's header; each field gets the places of its columns, none if it may be left out and is.
    fn places(&self, header: &[&str], path: &Path) -> Result<Places> {
        let mut places = Places::default();
        for (at, (_, _, is_needed)) in FIELDS.iter().enumerate() {
            for name in &self.0[at] {
                match header.iter().position(|column| column.trim() == name) {
                    Some(place) => places[at].push(place),
                    None if !is_needed && self.0[at] == Self::default().0[at] => {}
                    None => {
                        return Err(Error::Parse {
                            what: "table",
                            path: path.to_owned(),
                            line: 1,
                            expected: format!("a column `{name}`"),
                            got: format!("columns {}", header.join(", ")),
                        });
                    }
                }
            }
        }
        Ok(places)
    }
}

/// Places of each field's columns.
type Places = [Vec<usize>; FIELDS.len()];

/// A row's cells, field by field.
type Row = [Cell; FIELDS.len()];

/// A format's reader. An item is an error if one row cannot be read; the reader goes on with the next.
trait Rows: Send {
    fn next_row(&mut self) -> Option<Result<Row>>;

    /// Says where the last row is: its line, or its number.
    fn line(&self) -> usize;
}

/// The appointments of a table, in its order.
pub struct Appointments {
    rows: Box<dyn Rows>,
    path: PathBuf,
    number: u64,
}

impl Appointments {
    /// Opens a table.
    ///
    /// # Errors
    /// - [`Error::Read`]; [`Error::Parse`] if it lacks a column, or has one of another type; [`Error::NotBuilt`] for Parquet in a build
    ///   without.
    pub fn open(path: &Path, columns: &Columns) -> Result<Self> {
        let open = || -> Result<Box<dyn BufRead + Send>> {
            let file = File::open(path).map_err(|e| Error::read(path, e))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
        };
        let rows: Box<dyn Rows> = match TableFormat::of(path)? {
            TableFormat::Jsonl => Box::new(jsonl::Jsonl::new(open()?, path, columns)),
            TableFormat::Csv => Box::new(csv::Csv::open(open()?, path, columns)?),
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => Box::new(parquet::Parquet::open(path, columns)?),
            #[cfg(not(feature = "parquet"))]
            TableFormat::Parquet => {
                return Err(Error::NotBuilt { engine: "reading Parquet", feature: "parquet" });
            }
        };
        Ok(Self { rows, path: path.to_owned(), number: 0 })
    }

    fn appointment(&self, row: Row) -> Result<Appointment> {
        let wrong = |field: &str, expected: &str| Error::Parse {
            what: "table",
            path: self.path.clone(),
            line: self.rows.line(),
            expected: format!("{expected} as `{field}`"),
            got: "something else".into(), // which may be a patient's
        };
        let [id, patient, time, age, sex, complaints, tests, conclusion, codes] = row;
        let name = |cell: Cell| cell.text().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let id = name(id).unwrap_or_else(|| self.number.to_string());
        let patient = name(patient).ok_or_else(|| wrong("patient", "a name or number"))?;
        let time = time.time().ok_or_else(|| wrong("date", "a date such as 2021-03-05 or 2021-03-05T10:30"))?;
        let is_given = [&age, &sex].map(Cell::is_given);
        let age = age.whole().filter(|age| (0..=MOST_YEARS).contains(age)).map(|age| age as u8);
        let sex = sex.text().and_then(|sex| Sex::read(&sex));
        let is_read = [age.is_some(), sex.is_some()];
        Ok(Appointment {
            id,
            patient,
            time,
            age,
            sex,
            complaints: complaints.text().unwrap_or_default(),
            tests: tests.text().unwrap_or_default(),
            conclusion: conclusion.text().unwrap_or_default(),
            codes: codes.codes(),
            unread_cells: is_given.iter().zip(is_read).map(|(&is_given, is_read)| u8::from(is_given && !is_read)).sum(),
        })
    }
}

impl Iterator for Appointments {
    type Item = Result<Appointment>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next_row()?;
        self.number += 1;
        Some(row.and_then(|row| self.appointment(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::simulate::{SimulateSettings, Simulator, disease};

    fn appointments() -> Vec<Appointment> {
        let simulator = Simulator::new(disease::shipped().unwrap(), SimulateSettings::default()).unwrap();
        let mut all: Vec<Appointment> =
            (0..20).flat_map(|number| simulator.patient(number)).map(|one| one.appointment).collect();
        all[0].age = None;
        all[1].sex = None;
        all[2].complaints = "с \"кавычками\"; и,\r\nдвумя строками".into();
        all[3].codes.clear();
        all
    }

    #[test]
    fn tables_of_every_format_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let all = appointments();
        for name in ["a.jsonl", "a.csv", "a.parquet"] {
            let path = folder.path().join(name);
            if cfg!(not(feature = "parquet")) && name == "a.parquet" {
                continue;
            }
            let mut writer = Writer::create(&path).unwrap();
            all.iter().for_each(|one| writer.write(one).unwrap());
            writer.finish().unwrap();
            let back: Vec<Appointment> =
                Appointments::open(&path, &Columns::default()).unwrap().collect::<Result<_>>().unwrap();
            assert!(back == all, "{name}");
        }
    }

    #[test]
    fn columns_have_the_names_that_the_hospital_gave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(
            &path,
            "\u{feff}карта;дата;жалобы;анамнез;обследования;диагноз;МКБ;пол\n7;05.03.2021;кашель;2 дня;;ОРВИ;J06.9, j20.9 К29,5;ж\n;05.03.2021;а;б;в;г;;\n8;вчера;а;б;в;г;;\n9;2021-03-06;а;б\n9;2021-03-06;а;б;в;г;;м\n",
        )
        .unwrap();
        let names = [
            "patient=карта",
            "date=дата",
            "complaints=жалобы,анамнез",
            "tests=обследования",
            "conclusion=диагноз",
            "codes=МКБ",
            "sex=пол",
        ];
        let columns = Columns::renamed(&names.map(str::to_owned)).unwrap();
        let rows: Vec<Result<Appointment>> = Appointments::open(&path, &columns).unwrap().collect();
        let first = rows[0].as_ref().unwrap();
        assert_eq!((first.id.as_str(), first.patient.as_str(), first.complaints.as_str()), ("1", "7", "кашель\n2 дня"));
        assert_eq!(
            (first.sex, first.age, first.codes.as_slice()),
            (Some(Sex::Female), None, ["J06.9", "j20.9", "К29,5"].map(str::to_owned).as_slice())
        );
        for (row, expected) in [
            (1, "a.csv:3: expected a name or number as `patient`"),
            (2, "a.csv:4: expected a date"),
            (3, "a.csv:5: expected 8 columns as in the header, got 4"),
        ] {
            let told = rows[row].as_ref().unwrap_err().to_string();
            assert!(told.contains(expected) && !told.contains("вчера"), "{told}");
        }
        assert_eq!(rows[4].as_ref().unwrap().id, "5");

        let told = Appointments::open(&path, &Columns::default()).err().unwrap().to_string();
        assert!(told.contains("a column `patient`") && told.contains("карта"), "{told}");
        for wrong in ["patients=a", "patient", "patient=", "patient=a,b"] {
            assert!(Columns::renamed(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_of_json_that_break_off_are_told_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let good = r#"{"patient": 7, "date": "2021-03-05", "age": 61.0, "conclusion": "ОРВИ", "codes": ["J06.9"], "more": null}"#;
        std::fs::write(&path, format!("{good}\n\n{{\"patient\": 7, \"da\n[1]\n{{\"date\": \"2021-03-05\"}}\n{good}\n"))
            .unwrap();
        let rows: Vec<Result<Appointment>> = Appointments::open(&path, &Columns::default()).unwrap().collect();
        let told: Vec<String> = rows.iter().filter_map(|row| row.as_ref().err().map(ToString::to_string)).collect();
        for (told, line) in told.iter().zip([3, 4, 5]) {
            assert!(told.contains(&format!("a.jsonl:{line}: ")), "{told}");
        }
        assert_eq!((told.len(), rows.len()), (3, 5));
        assert_eq!(rows[0].as_ref().unwrap().age, Some(61));
    }

    #[test]
    fn a_damaged_page_ends_the_table_and_is_told_once() {
        if cfg!(not(feature = "parquet")) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut writer = Writer::create(&path).unwrap();
        appointments().iter().for_each(|appointment| writer.write(appointment).unwrap());
        writer.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle - 200..middle + 200].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&path, bytes).unwrap();
        let rows: Vec<Result<Appointment>> =
            Appointments::open(&path, &Columns::default()).unwrap().take(100_000).collect();
        let told: Vec<String> = rows.iter().filter_map(|row| row.as_ref().err().map(ToString::to_string)).collect();
        assert!(told.len() == 1 && told[0].contains("or another compression"), "{told:?}");
    }

    #[test]
    fn numbers_of_patients_stay_as_they_are_and_ages_that_are_none_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Appointments::open(&path, &Columns::default()).unwrap().collect::<Result<Vec<_>>>().unwrap()
        };
        // Apart by one where numbers with a point have no more digits.
        let patients = ["9007199254740993", "9007199254740992", "12345678901234567890"];
        let line = |patient| {
            format!("{{\"patient\": {patient}, \"id\": {patient}, \"date\": \"2021-03-05\", \"age\": 61.9}}\n")
        };
        let rows = read("a.jsonl", &patients.map(line).concat());
        for (row, patient) in rows.iter().zip(patients) {
            assert_eq!(
                (row.patient.as_str(), row.id.as_str(), row.age, row.unread_cells),
                (patient, patient, Some(61), 0)
            );
        }
        let head = "patient,date,complaints,tests,conclusion,codes,age,sex\n";
        let rows =
            read("a.csv", &format!("{head}7 ,2021-03-05,,,,,nan,ж\n 7,2021-03-05,,,,,300,?\n7,2021-03-05,,,,,,\n"));
        let told: Vec<_> = rows.iter().map(|row| (row.patient.as_str(), row.age, row.unread_cells)).collect();
        assert_eq!(told, [("7", None, 1), ("7", None, 2), ("7", None, 0)]);
    }
}
