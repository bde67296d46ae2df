//! What a dataset holds, in the rows of the paper's Table 2.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{History, Sex};
use crate::{data::CodeSet, icd::IcdCode};

/// Statistics of the records of one label set.
///
/// # Source
/// The paper, Table 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Appointments with a code.
    pub records: usize,
    /// Patients with such an appointment.
    pub patients: usize,
    /// Distinct codes.
    pub codes: usize,
    /// Distinct codes a patient: mean and standard deviation.
    pub codes_a_patient: [f64; 2],
    /// Appointments before one in time: quartiles.
    pub earlier: [f64; 3],
    /// Words of an appointment's texts: quartiles.
    pub words: [f64; 3],
    /// Age in years: quartiles; of the appointments that tell it.
    pub age: [f64; 3],
    /// Share of men among the patients whose sex is told.
    pub male: f64,
}

/// Gathers statistics, history by history.
#[derive(Debug, Default)]
pub struct Gatherer {
    records: usize,
    codes: BTreeSet<IcdCode>,
    /// Distinct codes of each patient.
    of_patients: Vec<u32>,
    earlier: Vec<u32>,
    words: Vec<u32>,
    ages: Vec<u32>,
    men: usize,
    of_known_sex: usize,
}

impl Gatherer {
    /// Adds a history with its codes, appointment by appointment; those without a code do not count.
    pub fn add(&mut self, history: &History, codes: &[CodeSet]) {
        let mut own = CodeSet::new();
        for (at, (visit, codes)) in history.visits.iter().zip(codes).enumerate() {
            if codes.is_empty() {
                continue;
            }
            self.records += 1;
            self.earlier.push(history.earlier(at) as u32);
            let texts = [&visit.complaints, &visit.tests, &visit.conclusion];
            self.words.push(texts.iter().map(|text| text.split_whitespace().count() as u32).sum());
            self.ages.extend(visit.age.map(u32::from));
            own.extend(codes.iter().cloned());
        }
        if own.is_empty() {
            return;
        }
        self.of_patients.push(own.len() as u32);
        self.codes.extend(own);
        self.of_known_sex += usize::from(history.sex.is_some());
        self.men += usize::from(history.sex == Some(Sex::Male));
    }

    /// Returns the statistics of all that was added.
    pub fn statistics(self) -> Statistics {
        let count = self.of_patients.len().max(1) as f64;
        let mean = self.of_patients.iter().map(|&codes| f64::from(codes)).sum::<f64>() / count;
        let squares = self.of_patients.iter().map(|&codes| (f64::from(codes) - mean).powi(2)).sum::<f64>();
        Statistics {
            records: self.records,
            patients: self.of_patients.len(),
            codes: self.codes.len(),
            codes_a_patient: [mean, (squares / count).sqrt()],
            earlier: quartiles(self.earlier),
            words: quartiles(self.words),
            age: quartiles(self.ages),
            male: self.men as f64 / self.of_known_sex.max(1) as f64,
        }
    }
}

/// Returns the quartiles, between two values in proportion; zeros where there is none.
fn quartiles(mut values: Vec<u32>) -> [f64; 3] {
    values.sort_unstable();
    [0.25, 0.5, 0.75].map(|share| {
        let place = share * values.len().saturating_sub(1) as f64;
        let value = |at: f64| values.get(at as usize).map_or(0.0, |&value| f64::from(value));
        value(place.floor()) + (value(place.ceil()) - value(place.floor())) * place.fract()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values_in_proportion() {
        assert_eq!(quartiles(vec![4, 1, 3, 2]), [1.75, 2.5, 3.25]);
        assert_eq!((quartiles(vec![7]), quartiles(vec![])), ([7.0; 3], [0.0; 3]));
    }
}
