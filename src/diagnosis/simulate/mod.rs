//! Made-up outpatient histories: a disease model and a seed come in, appointments leave, each with the codes that were true.
//!
//! Patients fall ill by age, sex, season and what else they have ([`disease`]), come for one disease and tell of others, and doctors write
//! conclusions in a style of their own (`wording`) and type codes with faults of their own (`doctor`). A patient's history depends on
//! the seed and the patient's number alone, so any part of a simulation can be made at any time, on any number of threads.

pub mod disease;
mod doctor;
pub mod folder;
mod patient;
mod wording;

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use self::doctor::Faults;
use self::{
    disease::Disease,
    doctor::Doctor,
    patient::{Life, Visit},
    wording::{Style, phrase},
};
use super::Appointment;
use crate::{
    error::{Result, check_setting},
    icd::IcdCode,
};

/// Most complaints of the disease that a patient comes for.
const MOST_COMPLAINTS: usize = 3;
/// Chance that a disease told besides brings a complaint, and a test.
const COMPLAINT_BESIDES: f64 = 0.5;
const TEST_BESIDES: f64 = 0.4;
/// Chance of a complaint that belongs to none of the patient's diseases.
const STRAY_COMPLAINT: f64 = 0.1;
/// Chance that the past of the disease is told.
const ANAMNESIS: f64 = 0.8;
/// What stands between two diagnoses of a conclusion.
const BETWEEN: [&str; 6] = [". ", ", ", "; ", "\n", ". Соп.: ", " + "];

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateSettings {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// First day.
    pub start: NaiveDate,
    /// Years, from 1.
    pub years: u32,
    /// Appointments a year for each chronic disease.
    pub visits: f64,
    /// Chance that an appointment tells of a chronic disease that is not its reason.
    pub told_besides: f64,
    /// Doctors, from 1.
    pub doctors: usize,
    /// Words of five letters or more with a typing error, as a share of them.
    pub typos: f64,
    /// Words of nine letters or more cut to a stump with a full stop, as a share of them.
    pub stumps: f64,
    /// How doctors' codes go wrong.
    pub faults: Faults,
}

impl Default for SimulateSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            start: NaiveDate::from_ymd_opt(2017, 1, 1).unwrap_or_default(),
            years: 5,
            visits: 1.2,
            told_besides: 0.35,
            doctors: 60,
            typos: 0.08,
            stumps: 0.2,
            faults: Faults::default(),
        }
    }
}

impl SimulateSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        let share = |key: &str, value: f64| check_setting((0.0..=1.0).contains(&value), key, "from 0 to 1", value);
        check_setting((1..=100).contains(&self.years), "years", "from 1 to 100", self.years)?;
        check_setting((0.0..=100.0).contains(&self.visits), "visits", "from 0 to 100", self.visits)?;
        check_setting(self.doctors > 0, "doctors", "from 1", self.doctors)?;
        share("told_besides", self.told_besides)?;
        share("typos", self.typos)?;
        share("stumps", self.stumps)?;
        let Faults { omission, habit, unspecified, sibling, notation } = self.faults;
        for (key, value) in [
            ("omission", omission),
            ("habit", habit),
            ("unspecified", unspecified),
            ("sibling", sibling),
            ("notation", notation),
        ] {
            share(&format!("faults.{key}"), value)?;
        }
        Ok(())
    }
}

/// An appointment, and the codes of the diagnoses in its conclusion.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// What a hospital's table would hold.
    pub appointment: Appointment,
    /// What was true, that of its reason first.
    pub truth: Vec<IcdCode>,
}

/// Makes histories.
pub struct Simulator {
    diseases: Vec<Disease>,
    doctors: Vec<Doctor>,
    settings: SimulateSettings,
}

impl Simulator {
    /// Puts diseases and settings together; the doctors' habits are drawn here.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) as [`SimulateSettings::check`], and if there is no disease.
    pub fn new(diseases: Vec<Disease>, settings: SimulateSettings) -> Result<Self> {
        settings.check()?;
        check_setting(!diseases.is_empty(), "diseases", "a disease at least", "none")?;
        let drawn = |number| Doctor::draw(&diseases, &settings, &mut generator(!settings.seed, number));
        let doctors = (0..settings.doctors as u64).map(drawn).collect();
        Ok(Self { diseases, doctors, settings })
    }

    /// Makes the history of a patient, in the order of time; may be empty, for the healthy.
    pub fn patient(&self, number: u64) -> Vec<Simulated> {
        let mut rng = generator(self.settings.seed, number);
        let life = Life::draw(&self.diseases, &self.settings, &mut rng);
        let visits = life.visits(&self.diseases, &self.settings, &mut rng);
        (1..).zip(&visits).map(|(at, visit)| self.appointment((number, at), &life, visit, &mut rng)).collect()
    }

    fn appointment(&self, (patient, at): (u64, usize), life: &Life, visit: &Visit, rng: &mut ChaCha8Rng) -> Simulated {
        let doctor = &self.doctors[rng.random_range(0..self.doctors.len())];
        let style = Style { typos: self.settings.typos, stumps: self.settings.stumps };
        let told: Vec<&Disease> = visit.diseases.iter().map(|&at| &self.diseases[at]).collect();
        let appointment = Appointment {
            unread_cells: 0,
            id: format!("{patient}-{at}"),
            patient: patient.to_string(),
            time: visit.time,
            age: Some(life.age_at(visit.time.date())),
            sex: Some(life.sex),
            complaints: style.write(&self.complaints(&told, rng), rng),
            tests: style.write(&tests(&told, rng), rng),
            conclusion: style.write(&doctor.conclusion(&visit.diseases, &self.diseases, rng), rng),
            codes: doctor.codes(&visit.diseases, &self.diseases, &self.settings.faults, rng),
        };
        Simulated { appointment, truth: told.iter().map(|disease| disease.code.clone()).collect() }
    }

    fn complaints(&self, told: &[&Disease], rng: &mut ChaCha8Rng) -> String {
        let reason = told[0];
        let count = rng.random_range(1..=MOST_COMPLAINTS);
        let mut all: Vec<String> =
            reason.complaints.choose_multiple(rng, count).map(|complaint| complaint.to_owned()).collect();
        for disease in &told[1..] {
            if rng.random_bool(COMPLAINT_BESIDES) {
                all.extend(disease.complaints.choose(rng).cloned());
            }
        }
        if rng.random_bool(STRAY_COMPLAINT) {
            all.extend(self.diseases.choose(rng).and_then(|disease| disease.complaints.choose(rng)).cloned());
        }
        let past = if rng.random_bool(ANAMNESIS) { reason.anamnesis.choose(rng) } else { None };
        let past = past.map(|past| format!(". Анамнез: {past}")).unwrap_or_default();
        phrase(&format!("{}{past}", all.join(", ")), rng)
    }
}

fn tests(told: &[&Disease], rng: &mut ChaCha8Rng) -> String {
    let count = rng.random_range(0..=2);
    let mut all: Vec<&str> = told[0].tests.choose_multiple(rng, count).map(String::as_str).collect();
    for disease in &told[1..] {
        if rng.random_bool(TEST_BESIDES) {
            all.extend(disease.tests.choose(rng).map(String::as_str));
        }
    }
    phrase(&all.join("; "), rng)
}

/// Makes the generator of one patient or doctor: near numbers give unlike streams.
fn generator(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}
