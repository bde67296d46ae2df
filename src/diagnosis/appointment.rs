//! An appointment, as a row of a table has it.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A visit of a patient to a doctor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Appointment {
    /// Name, unique in its table.
    pub id: String,
    /// Whose it is.
    pub patient: String,
    /// When it was.
    #[serde(with = "time")]
    pub time: NaiveDateTime,
    /// Age in years.
    pub age: Option<u8>,
    /// Sex.
    pub sex: Option<Sex>,
    /// Complaints and anamnesis.
    pub complaints: String,
    /// Tests and examinations.
    pub tests: String,
    /// The doctor's conclusion: the diagnoses, as text.
    pub conclusion: String,
    /// Codes that the doctor typed, as typed.
    pub codes: Vec<String>,
    /// How many of age and sex are given, but in no way that could be read.
    pub unread_cells: u8,
}

/// A patient's sex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
}

impl Sex {
    /// Reads what tables say: `m`, `male`, `м`, `муж`, `1`; `f`, `female`, `w`, `ж`, `жен`, `2`. `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        match text.trim().trim_end_matches('.').to_lowercase().as_str() {
            "m" | "male" | "man" | "м" | "муж" | "мужской" | "1" => Some(Self::Male),
            "f" | "female" | "w" | "woman" | "ж" | "жен" | "женский" | "2" => Some(Self::Female),
            _ => None,
        }
    }
}

/// Reads a time: a date, alone or with hours and minutes, written `2021-03-05`, `2021-03-05T10:30(:00)`, with a blank for the `T`, or
/// `05.03.2021 10:30`. A day alone is its midnight; fractions of a second and zones are left out. `None` for anything else.
pub fn read_time(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let date = ["%Y-%m-%d", "%d.%m.%Y"].iter().find_map(|form| NaiveDate::parse_from_str(date, form).ok())?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN));
    }
    let rest = rest.strip_prefix(['T', ' '])?.trim_start();
    let rest = rest.find(['.', 'Z', '+', '-']).map_or(rest, |end| &rest[..end]).trim_end();
    let time = ["%H:%M:%S", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(rest, form).ok())?;
    Some(date.and_time(time))
}

/// Times as text, to the minute where there are no seconds.
pub(super) mod time {
    use super::{Deserialize, Deserializer, NaiveDateTime, Serializer, de, read_time};

    pub fn serialize<S: Serializer>(time: &NaiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format("%Y-%m-%dT%H:%M:%S"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDateTime, D::Error> {
        read_time(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("a date"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_tables_write_them() {
        let time = |hour, minute, second| {
            NaiveDate::from_ymd_opt(2021, 3, 5).unwrap().and_hms_opt(hour, minute, second).unwrap()
        };
        for (text, expected) in [
            ("2021-03-05", time(0, 0, 0)),
            (" 05.03.2021 ", time(0, 0, 0)),
            ("2021-03-05T10:30", time(10, 30, 0)),
            ("2021-03-05 10:30:07.123+03:00", time(10, 30, 7)),
            ("2021-03-05T10:30:07Z", time(10, 30, 7)),
            ("2021-03-05T10:30:07-03:00", time(10, 30, 7)),
            ("05.03.2021 10:30", time(10, 30, 0)),
        ] {
            assert_eq!(read_time(text), Some(expected), "{text}");
        }
        let wrong = ["", "2021", "2021-13-05", "2021-03-05 25:00", "05/03/2021", "вторник утром", "05.03.2021 - 10:30"];
        for text in
            wrong.into_iter().chain(["2021-03-05-10.30.00", "2021-03-05T", "2021-03-05+03:00", "2021-03-0510:30"])
        {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
