//! What a model is shown: a history and one of its appointments come in, the patient's past and present complaints leave.

use std::{fmt::Write, ops::Range};

use serde::{Deserialize, Serialize};

use super::{History, Sex, history::Visit};

/// What is told of earlier appointments besides complaints and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputSettings {
    /// Their conclusions. Default yes.
    pub conclusions: bool,
    /// Their codes, as doctors typed them. Default yes.
    pub codes: bool,
}

impl Default for InputSettings {
    fn default() -> Self {
        Self { conclusions: true, codes: true }
    }
}

/// What kind of text a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sex, and age at the present appointment.
    Patient,
    /// Complaints and anamnesis.
    Complaints,
    /// Tests and examinations.
    Tests,
    /// A conclusion, of an earlier appointment.
    Conclusion,
    /// Codes, of an earlier appointment.
    Codes,
}

/// A text of an appointment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Place of the appointment in the history.
    pub visit: usize,
    /// Its kind.
    pub kind: Kind,
    /// The text, with its heading; the first of an appointment begins with the date.
    pub text: String,
    /// Bytes of the heading, which no record holds: with the date, or what sex and age are told with.
    pub heading: Range<usize>,
}

/// What a model is shown of a patient at an appointment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Sex and age, which stay when the rest is cut.
    pub head: String,
    /// The sections, oldest first; where they are too long, the first are cut.
    pub sections: Vec<Section>,
}

impl Input {
    /// Puts together what is known at the appointment `at`: everything before it, and its own complaints and tests, never its conclusion
    /// and codes. An appointment at the same time is not before it.
    pub fn of(history: &History, at: usize, settings: &InputSettings) -> Self {
        let mut sections: Vec<Section> =
            (0..history.earlier(at)).flat_map(|visit| past_sections(history, visit, settings)).collect();
        sections.extend(present_sections(history, at));
        Self { head: head(history, at).text, sections }
    }

    /// Returns all of it as one text, a section a line.
    pub fn text(&self) -> String {
        let mut text = self.head.clone();
        for section in &self.sections {
            text.push('\n');
            text += &section.text;
        }
        text
    }
}

/// Tells sex, and age at an appointment.
pub(super) fn head(history: &History, at: usize) -> Section {
    let mut text = match history.sex {
        Some(Sex::Female) => "женщина".to_owned(),
        Some(Sex::Male) => "мужчина".to_owned(),
        None => String::new(),
    };
    let from = text.len();
    let mut heading = from..from;
    if let Some(age) = history.visits[at].age {
        text += if from > 0 { ", возраст " } else { "возраст " };
        heading.end = text.len();
        text += &age.to_string();
    }
    Section { visit: at, kind: Kind::Patient, text, heading }
}

/// Returns what is told of an appointment while it is the present one: the first of its [`past_sections`].
pub(super) fn present_sections(history: &History, at: usize) -> Vec<Section> {
    let visit = &history.visits[at];
    sections(at, visit, &[(Kind::Complaints, &visit.complaints), (Kind::Tests, &visit.tests)])
}

/// Returns what is told of an appointment once it is past.
pub(super) fn past_sections(history: &History, at: usize, settings: &InputSettings) -> Vec<Section> {
    let visit = &history.visits[at];
    let codes: Vec<&str> = visit.codes.iter().map(|code| code.as_str()).collect();
    let told = [
        (Kind::Complaints, visit.complaints.as_str()),
        (Kind::Tests, &visit.tests),
        (Kind::Conclusion, if settings.conclusions { &visit.conclusion } else { "" }),
        (Kind::Codes, if settings.codes { &codes.join(", ") } else { "" }),
    ];
    sections(at, visit, &told)
}

/// Returns the texts of an appointment that are not empty.
fn sections(place: usize, visit: &Visit, told: &[(Kind, &str)]) -> Vec<Section> {
    let mut sections = Vec::with_capacity(told.len());
    let mut date = Some(visit.time.date());
    for &(kind, said) in told.iter().filter(|(_, said)| !said.trim().is_empty()) {
        let mut text = String::with_capacity(said.len() + 32);
        if let Some(date) = date.take() {
            let _ = write!(text, "{}. ", date.format("%d.%m.%Y"));
        }
        let heading = match kind {
            Kind::Patient => "",
            Kind::Complaints => "Жалобы: ",
            Kind::Tests => "Обследование: ",
            Kind::Conclusion => "Заключение: ",
            Kind::Codes => "Коды: ",
        };
        text += heading;
        let heading = 0..text.len();
        text += said.trim();
        sections.push(Section { visit: place, kind, text, heading });
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Catalog,
        diagnosis::{
            appointment::read_time,
            history::Split,
            simulate::{SimulateSettings, Simulator, disease},
        },
    };

    const SPLIT: Split = Split { validation: 0.1, test: 0.1, seed: 1 };

    #[test]
    fn nothing_of_the_present_conclusion_and_no_later_word_is_shown() {
        let catalog = Catalog::shipped().unwrap();
        let simulator = Simulator::new(disease::shipped().unwrap(), SimulateSettings::default()).unwrap();
        let mut tried = 0;
        for number in 0..40 {
            let mut appointments: Vec<_> = simulator.patient(number).into_iter().map(|one| one.appointment).collect();
            if appointments.is_empty() {
                continue;
            }
            // Each text and code says whose it is; two appointments are at one time.
            for (at, appointment) in appointments.iter_mut().enumerate() {
                appointment.complaints = format!("жалоба<{at}>");
                appointment.tests = format!("проба<{at}>");
                appointment.conclusion = format!("вывод<{at}>");
                appointment.codes = vec![format!("A{:02}.{}", at / 10 % 100, at % 10)];
            }
            if let [.., before, last] = &mut appointments[..] {
                last.time = before.time;
            }
            let (history, _) = History::new(appointments, &SPLIT, &catalog);
            for at in 0..history.visits.len() {
                let text = Input::of(&history, at, &InputSettings::default()).text();
                for (other, visit) in history.visits.iter().enumerate() {
                    let is_before = visit.time < history.visits[at].time;
                    assert_eq!(text.contains(&visit.conclusion), is_before, "{other} at {at}");
                    assert_eq!(text.contains(visit.codes[0].as_str()), is_before, "{other} at {at}");
                    assert_eq!(text.contains(&visit.complaints), is_before || other == at);
                    assert_eq!(text.contains(&visit.tests), is_before || other == at);
                    tried += 1;
                }
                let bare = Input::of(&history, at, &InputSettings { conclusions: false, codes: false }).text();
                assert!(!bare.contains("Заключение") && !bare.contains("Коды"));
            }
        }
        assert!(tried > 1000);
    }

    #[test]
    fn the_newest_comes_last_under_headings() {
        let visit = |day: &str, complaints: &str, codes: &[&str]| Visit {
            id: day.into(),
            time: read_time(day).unwrap(),
            age: Some(61),
            complaints: complaints.into(),
            tests: String::new(),
            conclusion: "ОРВИ".into(),
            codes: codes.iter().map(|code| code.parse().unwrap()).collect(),
        };
        let visits = vec![visit("2020-01-02", "кашель", &["J06.9"]), visit("2021-03-05", " насморк ", &[])];
        let part = SPLIT.part("7");
        let history = History { patient: "7".into(), sex: Some(Sex::Female), part, visits };
        let input = Input::of(&history, 1, &InputSettings::default());
        assert_eq!(
            input.text(),
            "женщина, возраст 61\n02.01.2020. Жалобы: кашель\nЗаключение: ОРВИ\nКоды: J06.9\n05.03.2021. Жалобы: насморк"
        );
        let kinds: Vec<(usize, Kind)> = input.sections.iter().map(|section| (section.visit, section.kind)).collect();
        assert_eq!(kinds, [(0, Kind::Complaints), (0, Kind::Conclusion), (0, Kind::Codes), (1, Kind::Complaints)]);
        assert_eq!(Input::of(&history, 0, &InputSettings::default()).sections.len(), 1);
    }
}
