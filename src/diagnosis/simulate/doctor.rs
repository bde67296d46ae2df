//! Doctors: the diseases of an appointment come in, a conclusion and the codes that were typed leave.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{BETWEEN, SimulateSettings, disease::Disease, wording::phrase};
use crate::icd::IcdCode;

/// Chance that a doctor calls a disease what this doctor calls it mostly.
const FAVOURITE: f64 = 0.7;
/// Chance that a conclusion begins in lower case throughout.
const LOWER_CASE: f64 = 0.2;

/// How the codes that doctors type go wrong, as chances from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// That a diagnosis beside the first gets no code.
    pub omission: f64,
    /// That a doctor always types one wrong code for a disease.
    pub habit: f64,
    /// That the unspecified code is typed.
    pub unspecified: f64,
    /// That a code is typed that the disease is taken for.
    pub sibling: f64,
    /// That a code is written in another notation: without its point, in lower case, with a Cyrillic letter.
    pub notation: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { omission: 0.6, habit: 0.3, unspecified: 0.2, sibling: 0.1, notation: 0.02 }
    }
}

impl Faults {
    /// Doctors without any.
    pub const NONE: Self = Self { omission: 0.0, habit: 0.0, unspecified: 0.0, sibling: 0.0, notation: 0.0 };
}

/// A doctor's ways with each disease of the model.
pub struct Doctor {
    ways: Vec<Way>,
}

struct Way {
    /// Place of the name that is used mostly.
    name: usize,
    /// The wrong code that is always typed.
    habit: Option<IcdCode>,
}

impl Doctor {
    /// Draws a doctor.
    pub fn draw(diseases: &[Disease], settings: &SimulateSettings, rng: &mut ChaCha8Rng) -> Self {
        let way = |disease: &Disease| {
            let others: Vec<&IcdCode> = disease.siblings.iter().chain([&disease.unspecified]).collect();
            let (is_habit, habit) = (happens(settings.faults.habit, rng), others.choose(rng));
            Way {
                name: rng.random_range(0..disease.names.len()),
                habit: habit.filter(|_| is_habit).map(|&code| code.clone()),
            }
        };
        Self { ways: diseases.iter().map(way).collect() }
    }

    /// Writes the conclusion.
    pub fn conclusion(&self, told: &[usize], diseases: &[Disease], rng: &mut ChaCha8Rng) -> String {
        let mut text = String::new();
        for &at in told {
            let names = &diseases[at].names;
            let usual = rng.random_bool(FAVOURITE);
            let name = if usual { self.ways[at].name } else { rng.random_range(0..names.len()) };
            if !text.is_empty() {
                text += BETWEEN[rng.random_range(0..BETWEEN.len())];
            }
            text += &phrase(&names[name], rng);
        }
        if rng.random_bool(LOWER_CASE) { text.to_lowercase() } else { text }
    }

    /// Types the codes.
    pub fn codes(&self, told: &[usize], diseases: &[Disease], faults: &Faults, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut codes: Vec<IcdCode> = Vec::new();
        for (place, &at) in told.iter().enumerate() {
            let disease = &diseases[at];
            // All are drawn each time, so that one fault's rate changes none of the others here. How many codes come of it moves what is drawn
            // for later appointments.
            let [omitted, unspecified, sibling] =
                [faults.omission, faults.unspecified, faults.sibling].map(|chance| happens(chance, rng));
            let taken_for = disease.siblings.choose(rng);
            let code = match &self.ways[at].habit {
                Some(habit) => habit,
                None if unspecified => &disease.unspecified,
                None if sibling => taken_for.unwrap_or(&disease.code),
                None => &disease.code,
            };
            if (place == 0 || !omitted) && !codes.contains(code) {
                codes.push(code.clone());
            }
        }
        codes.iter().map(|code| in_another_notation(code, faults.notation, rng)).collect()
    }
}

/// Draws whether a fault happens. What always happens is drawn, too: what is drawn next is the same for every chance.
fn happens(chance: f64, rng: &mut ChaCha8Rng) -> bool {
    if chance < 1.0 {
        return rng.random_bool(chance);
    }
    let _: u64 = rng.random();
    true
}

fn in_another_notation(code: &IcdCode, chance: f64, rng: &mut ChaCha8Rng) -> String {
    let (is_other, kind) = (happens(chance, rng), rng.random_range(0..3));
    let code = code.as_str();
    match kind {
        _ if !is_other => code.to_owned(),
        0 => code.replace('.', ""),
        1 => code.to_lowercase(),
        _ => code.replace('K', "К").replace('E', "Е").replace('H', "Н").replace('I', "И"),
    }
}
