//! What weighed most for a code: the weight of each token comes in, appointments and words with theirs leave.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    History,
    input::{InputSettings, Kind, Section, past_sections},
    sequence::Place,
};

/// What speaks for a code, the strongest first. Weights are shares of what all words of all appointments weigh, for and against:
/// positive ones speak for the code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Appointments.
    pub appointments: Vec<AppointmentWeight>,
    /// Words.
    pub spans: Vec<SpanWeight>,
}

/// An appointment and how much it weighs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AppointmentWeight {
    /// Its id.
    pub id: String,
    /// Share, negative where it speaks against the code.
    pub weight: f32,
}

/// A word and how much it weighs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpanWeight {
    /// Id of the appointment.
    pub id: String,
    /// Section of the appointment.
    pub section: Kind,
    /// The word as it is written.
    pub text: String,
    /// Share, negative where it speaks against the code.
    pub weight: f32,
}

impl Evidence {
    /// Adds up the weights of tokens, of which there are at most `most` words and appointments in the end.
    pub fn gather(history: &History, settings: &InputSettings, tokens: &[(Place, f32)], most: usize) -> Self {
        let all = tokens.iter().map(|(_, weight)| weight.abs()).sum::<f32>().max(f32::MIN_POSITIVE);
        let mut visits: BTreeMap<usize, f32> = BTreeMap::new();
        let mut words: Vec<(Place, f32)> = Vec::new();
        for (place, weight) in tokens {
            *visits.entry(place.visit).or_default() += weight / all;
            match words.last_mut() {
                Some((word, sum)) if is_next_piece(word, place) => {
                    word.bytes.end = place.bytes.end;
                    *sum += weight / all;
                }
                _ => words.push((place.clone(), weight / all)),
            }
        }
        let mut appointments: Vec<AppointmentWeight> = visits
            .into_iter()
            .map(|(at, weight)| AppointmentWeight { id: history.visits[at].id.clone(), weight })
            .collect();
        appointments.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        appointments.truncate(most);
        words.retain(|(place, _)| !place.bytes.is_empty());
        words.sort_by(|a, b| b.1.total_cmp(&a.1));
        words.truncate(most);
        let span = |(place, weight): (Place, f32)| {
            let sections = past_sections(history, place.visit, settings);
            let section = sections.iter().find(|section: &&Section| section.kind == place.kind);
            let text = section.and_then(|section| section.text.get(place.bytes)).unwrap_or_default().to_owned();
            SpanWeight { id: history.visits[place.visit].id.clone(), section: place.kind, text, weight }
        };
        Self { appointments, spans: words.into_iter().map(span).collect() }
    }
}

fn is_next_piece(word: &Place, place: &Place) -> bool {
    (word.visit, word.kind, word.bytes.end) == (place.visit, place.kind, place.bytes.start)
}
