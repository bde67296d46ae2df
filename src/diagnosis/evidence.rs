//! What weighed most for a code: the weight of each token comes in, appointments and words with theirs leave.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    History,
    input::{InputSettings, Kind, Section, head, past_sections},
    sequence::Place,
};

/// What speaks for a code, the strongest first. Weights are shares of what all words of all appointments, sex and age weigh, for and
/// against: positive ones speak for the code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Appointments.
    pub appointments: Vec<AppointmentWeight>,
    /// Words of the records, without headings and dates of ours.
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
    /// The word as it is written, without punctuation around it.
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
            if place.kind != Kind::Patient {
                *visits.entry(place.visit).or_default() += weight / all;
            }
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
        let mut sections: BTreeMap<usize, Vec<Section>> = BTreeMap::new();
        let mut span = |(place, weight): (Place, f32)| {
            let sections = sections.entry(place.visit).or_insert_with(|| told(history, place.visit, settings));
            let section = sections.iter().find(|section| section.kind == place.kind)?;
            let is_said = !section.heading.contains(&place.bytes.start);
            let text = section.text.get(place.bytes)?.trim_matches(|c: char| !c.is_alphanumeric());
            let (id, text) = (history.visits[place.visit].id.clone(), text.to_owned());
            (is_said && !text.is_empty()).then_some(SpanWeight { id, section: place.kind, text, weight })
        };
        let mut spans: Vec<SpanWeight> = words.into_iter().filter_map(&mut span).collect();
        spans.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        spans.truncate(most);
        Self { appointments, spans }
    }
}

/// Returns what may be told of an appointment, sex and age among it.
fn told(history: &History, at: usize, settings: &InputSettings) -> Vec<Section> {
    [vec![head(history, at)], past_sections(history, at, settings)].concat()
}

fn is_next_piece(word: &Place, place: &Place) -> bool {
    (word.visit, word.kind, word.bytes.end) == (place.visit, place.kind, place.bytes.start)
}
