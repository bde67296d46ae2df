//! Patients: a disease model comes in, a life with its diseases, and the visits that they lead to, leave.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime};
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson};

use super::{
    SimulateSettings,
    disease::{Disease, Rate},
};
use crate::diagnosis::Sex;

/// Ages at the first day, in years.
const AGES: std::ops::RangeInclusive<f64> = 18.0..=85.0;
/// Share of women among the patients of a polyclinic.
const WOMEN: f64 = 0.58;
/// Most that a disease can be made likelier by others.
const MOST: f64 = 0.95;
/// Years before the first day in which a chronic disease began, if it did not within the simulation: as many as these on average.
const YEARS_BEFORE: f64 = 10.0;
/// Doctors' hours, and how long an appointment takes, in minutes.
const HOURS: std::ops::Range<u32> = 8..19;
const SLOT_MINUTES: u32 = 15;
/// Days that are tried for a visit in its season.
const TRIES: usize = 100;
const DAYS_A_YEAR: f64 = 365.25;

/// A patient's sex, birth, and diseases.
pub struct Life {
    pub sex: Sex,
    born: NaiveDate,
    /// Chronic diseases, by place in the model, and the day from which on each is known.
    chronic: Vec<(usize, NaiveDate)>,
}

/// A visit to a doctor.
pub struct Visit {
    pub time: NaiveDateTime,
    /// Diseases told, by place in the model; the first is its reason.
    pub diseases: Vec<usize>,
}

impl Life {
    /// Draws a life.
    pub fn draw(diseases: &[Disease], settings: &SimulateSettings, rng: &mut ChaCha8Rng) -> Self {
        let sex = if rng.random_bool(WOMEN) { Sex::Female } else { Sex::Male };
        // The old come more often than they are many.
        let (first, second) = (rng.random_range(AGES), rng.random_range(AGES));
        let age = first.max(second);
        let born = settings.start - Days::new((age * DAYS_A_YEAR) as u64);
        let days = f64::from(settings.years) * DAYS_A_YEAR;
        let mut chronic: Vec<(usize, NaiveDate)> = Vec::new();
        // One disease raises another whichever is drawn first.
        let mut order: Vec<usize> = (0..diseases.len()).collect();
        order.shuffle(rng);
        for at in order {
            let Rate::Share(share) = diseases[at].rate else { continue };
            let factor = diseases[at].factor(age + f64::from(settings.years), sex == Sex::Female);
            let raised = raised(&diseases[at], chronic.iter().map(|(other, _)| &diseases[*other]));
            if !rng.random_bool((share * factor * raised).clamp(0.0, MOST)) {
                continue;
            }
            let within = f64::from(settings.years) / (f64::from(settings.years) + YEARS_BEFORE);
            let began = if rng.random_bool(within) { rng.random_range(0.0..days) } else { 0.0 };
            chronic.push((at, settings.start + Days::new(began as u64)));
        }
        Self { sex, born, chronic }
    }

    /// Returns the age on a day, in years.
    pub fn age_at(&self, day: NaiveDate) -> u8 {
        day.years_since(self.born).unwrap_or(0).min(120) as u8
    }

    /// Draws the visits, in the order of time.
    pub fn visits(&self, diseases: &[Disease], settings: &SimulateSettings, rng: &mut ChaCha8Rng) -> Vec<Visit> {
        let mut visits = Vec::new();
        for (at, disease) in diseases.iter().enumerate() {
            let began = self.chronic.iter().find(|(other, _)| *other == at).map(|(_, began)| *began);
            let yearly = match (disease.rate, began) {
                (Rate::Share(_), Some(_)) => settings.visits,
                (Rate::Share(_), None) => continue,
                (Rate::Yearly(episodes), _) => {
                    let middle = settings.start + Days::new((f64::from(settings.years) * DAYS_A_YEAR / 2.0) as u64);
                    let factor = disease.factor(f64::from(self.age_at(middle)), self.sex == Sex::Female);
                    episodes * factor * raised(disease, self.chronic.iter().map(|(other, _)| &diseases[*other]))
                }
            };
            let mean = yearly * f64::from(settings.years);
            let count = Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(rng)) as usize;
            for _ in 0..count {
                let time = in_season(disease, settings, rng);
                if began.is_none_or(|began| began <= time.date()) {
                    visits.push(Visit { time, diseases: vec![at] });
                }
            }
        }
        visits.sort_by_key(|visit| visit.time);
        for visit in &mut visits {
            let known =
                self.chronic.iter().filter(|(at, began)| *at != visit.diseases[0] && *began <= visit.time.date());
            let told: Vec<usize> =
                known.filter(|_| rng.random_bool(settings.told_besides)).map(|(at, _)| *at).collect();
            visit.diseases.extend(told);
        }
        visits
    }
}

/// Returns by what other diseases multiply a disease's rate.
fn raised<'a>(disease: &Disease, others: impl Iterator<Item = &'a Disease>) -> f64 {
    others.filter_map(|other| other.raises.get(&disease.code)).product()
}

/// Draws a time within a disease's season.
fn in_season(disease: &Disease, settings: &SimulateSettings, rng: &mut ChaCha8Rng) -> NaiveDateTime {
    let days = (f64::from(settings.years) * DAYS_A_YEAR) as u64;
    let most = 1.0 + disease.season.map_or(0.0, |season| season.strength);
    let mut day = settings.start;
    for _ in 0..TRIES {
        day = settings.start + Days::new(rng.random_range(0..days));
        if rng.random_bool((disease.of_month(day.month()) / most).clamp(0.0, 1.0)) {
            break;
        }
    }
    let slot = rng.random_range(HOURS.start * 60 / SLOT_MINUTES..HOURS.end * 60 / SLOT_MINUTES) * SLOT_MINUTES;
    day.and_time(NaiveTime::from_hms_opt(slot / 60, slot % 60, 0).unwrap_or_default())
}
