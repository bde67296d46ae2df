//! What a model learns from and is measured on: a dataset comes in, tokens and class numbers leave, part by part.

use std::{collections::HashMap, sync::Arc};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    History, Linked, Part,
    dataset::Dataset,
    labels::{Codes, LabelSet},
    leak,
    manual::Manual,
    sequence::{Chart, Reader, Sequence},
};
use crate::{data::CodeSet, error::Result, icd::IcdCode, nn::fit::fingerprint};

/// Histories read at a time.
const CHUNK: usize = 512;

/// Records of a dataset.
pub struct Records {
    /// The codes that are predicted, ascending; a class is its place here.
    pub classes: Vec<IcdCode>,
    charts: Arc<Vec<Chart>>,
    /// To learn from.
    pub train: Vec<Record>,
    /// To choose checkpoints and thresholds on.
    pub validation: Vec<Record>,
    /// To measure on: those that have manual codes.
    pub test: Vec<Record>,
    /// Appointments of the test none of whose manual codes is a class: no model can be right there, and they are not measured on.
    pub unmeasured: usize,
    /// Appointments that held codes which the coder found or people vouch for, in complaints or tests: they are cut out, as those that the
    /// doctor typed were before.
    pub leaks: usize,
}

/// An appointment whose codes are to be predicted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Number of its patient's chart.
    chart: usize,
    /// Place in the chart.
    at: usize,
    labels: [Vec<u32>; 3],
    /// Manual codes that are no classes.
    pub outside: usize,
}

/// Which records are read.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Whose labels must be there; `None`: both sets', so that two models learn from the same appointments.
    pub labels: Option<LabelSet>,
    /// Manual codes of the records to measure on.
    pub manual: Option<&'a Manual>,
    /// Whether all patients with manual codes are measured on and no others, whatever their part.
    pub measure_manual: bool,
}

impl Record {
    /// Returns its classes in a label set, ascending; none where it is not in the set.
    pub fn labels(&self, set: LabelSet) -> &[u32] {
        &self.labels[set as usize]
    }

    /// Returns the number of its history in the dataset, and its place there.
    pub fn place(&self) -> (usize, usize) {
        (self.chart, self.at)
    }
}

impl Records {
    /// Reads a dataset. Appointments without a code of the label sets that are asked for teach nothing and are left out.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::error::Error::Setting) if not even sex and age fit; those of the dataset and the tokenizer.
    pub fn read(dataset: &Dataset, reader: &Reader<'_>, wanted: &Wanted<'_>) -> Result<Self> {
        reader.check()?;
        let codes = match wanted.labels {
            Some(set) => gather(dataset, set)?,
            None => Codes::gather(dataset)?,
        };
        let classes: Vec<IcdCode> = codes.shared.iter().cloned().collect();
        let numbers: HashMap<IcdCode, u32> = classes.iter().cloned().zip(0..).collect();
        let (train, validation, test) = (Vec::new(), Vec::new(), Vec::new());
        let mut records = Self { classes, charts: Arc::default(), train, validation, test, unmeasured: 0, leaks: 0 };
        let mut charts = Vec::new();
        let mut pairs = pairs(dataset, wanted.labels)?;
        loop {
            let mut some: Vec<(History, Linked)> = pairs.by_ref().take(CHUNK).collect::<Result<_>>()?;
            if some.is_empty() {
                records.charts = Arc::new(charts);
                return Ok(records);
            }
            records.leaks +=
                some.par_iter_mut().map(|(history, linked)| cut_codes(history, linked, wanted.manual)).sum::<usize>();
            let read = some.par_iter().map(|(history, _)| reader.chart(history)).collect::<Result<Vec<_>>>()?;
            for ((history, linked), number) in some.iter().zip(charts.len()..) {
                let sets = codes.label_sets(history, linked);
                let sets = sets.map(|set| set.iter().map(|codes| classes_of(codes, &numbers).0).collect());
                records.add(history, number, sets, wanted, &numbers);
            }
            charts.extend(read);
        }
    }

    /// Adds the appointments of a history whose chart has a number.
    fn add(
        &mut self,
        history: &History,
        chart: usize,
        sets: [Vec<Vec<u32>>; 2],
        wanted: &Wanted<'_>,
        numbers: &HashMap<IcdCode, u32>,
    ) {
        let [mut original, mut linked] = sets;
        let manual = |id: &str| wanted.manual.and_then(|manual| manual.codes(&history.patient, id));
        let part = match history.part {
            _ if wanted.measure_manual && history.visits.iter().any(|visit| manual(&visit.id).is_some()) => Part::Test,
            Part::Test if wanted.measure_manual => Part::Train,
            part => part,
        };
        for (at, visit) in history.visits.iter().enumerate() {
            let (gold, outside) = manual(&visit.id).map(|codes| classes_of(codes, numbers)).unwrap_or_default();
            let is_tested = !gold.is_empty();
            let labels = [std::mem::take(&mut original[at]), std::mem::take(&mut linked[at]), gold];
            let record = Record { chart, at, labels, outside };
            let teaches = match wanted.labels {
                Some(set) => !record.labels(set).is_empty(),
                None => LabelSet::LEARNT.iter().all(|&set| !record.labels(set).is_empty()),
            };
            match part {
                Part::Train if teaches => self.train.push(record),
                Part::Validation if teaches => self.validation.push(record),
                Part::Test if is_tested => self.test.push(record),
                Part::Test => self.unmeasured += usize::from(record.outside > 0),
                _ => {}
            }
        }
    }

    /// Returns the same records with the labels of a set kept in a share of them alone, drawn by the seed, and the manual ones in the others;
    /// of the training records at most `most`.
    pub fn mixed(&self, set: LabelSet, share: f64, most: usize, seed: u64) -> Self {
        let draw = |record: &Record| {
            let bytes = [record.chart as u64, record.at as u64].map(u64::to_le_bytes);
            xxh3_64_with_seed(bytes.as_flattened(), seed)
        };
        let mix = |record: &Record| {
            let mut record = record.clone();
            if draw(&record) as f64 / u64::MAX as f64 >= share {
                record.labels[set as usize] = record.labels(LabelSet::Manual).to_vec();
            }
            record
        };
        let mut train: Vec<Record> = self.train.clone();
        train.sort_by_key(|record| draw(record).reverse_bits());
        train.truncate(most);
        Self {
            classes: self.classes.clone(),
            charts: self.charts.clone(),
            train: train.iter().map(mix).collect(),
            validation: self.validation.iter().map(mix).collect(),
            test: self.test.clone(),
            unmeasured: self.unmeasured,
            leaks: self.leaks,
        }
    }

    /// Keeps some records of the test alone, by their ascending numbers.
    pub fn keep_test(&mut self, numbers: &[usize]) {
        self.test = numbers.iter().filter_map(|&number| self.test.get(number).cloned()).collect();
    }

    /// Returns a hash of all that can be learnt and measured: texts, as tokens, and labels.
    pub fn fingerprint(&self) -> u64 {
        fingerprint((&self.charts, &self.classes, &self.train, &self.validation, &self.test))
    }

    /// Returns how many tokens a record's input has.
    pub fn tokens(&self, record: &Record, reader: &Reader<'_>) -> usize {
        reader.length(&self.charts[record.chart], record.at)
    }

    /// Puts a record's input together.
    ///
    /// # Errors
    /// As [`Reader::sequence`].
    pub fn sequence(&self, record: &Record, reader: &Reader<'_>) -> Result<Sequence<u32>> {
        reader.sequence(&self.charts[record.chart], record.at)
    }

    /// Returns the share of training records with each class, those of both label sets together.
    ///
    /// # Source
    /// The paper, Sec. 5: weights of the weighted F1.
    pub fn weights(&self) -> Vec<f64> {
        let [original, linked] = LabelSet::LEARNT.map(|set| self.counts(set));
        let all = (2 * self.train.len()).max(1) as f64;
        original.iter().zip(linked).map(|(a, b)| (a + b) as f64 / all).collect()
    }

    /// Counts the training records of each class in a label set.
    pub fn counts(&self, set: LabelSet) -> Vec<u64> {
        let mut counts = vec![0; self.classes.len()];
        self.train
            .iter()
            .flat_map(|record| &record.labels[set as usize])
            .for_each(|&class| counts[class as usize] += 1);
        counts
    }
}

/// Cuts the codes that the coder found, and the manual ones, out of complaints and tests; returns the number of appointments that held any.
fn cut_codes(history: &mut History, linked: &Linked, manual: Option<&Manual>) -> usize {
    let mut count = 0;
    for (visit, found) in history.visits.iter_mut().zip(&linked.codes) {
        let manual = manual.and_then(|manual| manual.codes(&history.patient, &visit.id));
        let codes: Vec<IcdCode> = found.iter().chain(manual).flatten().cloned().collect();
        let (complaints, cut) = leak::cut(&visit.complaints, "", &codes);
        let (tests, cut_too) = leak::cut(&visit.tests, "", &codes);
        (visit.complaints, visit.tests) = (complaints, tests);
        count += usize::from(cut || cut_too);
    }
    count
}

/// Histories and their linked codes.
type Pairs = Box<dyn Iterator<Item = Result<(History, Linked)>>>;

/// Goes through histories and linked codes; where doctors' codes alone are asked for, the coder need not have been there.
fn pairs(dataset: &Dataset, set: Option<LabelSet>) -> Result<Pairs> {
    if set != Some(LabelSet::Original) {
        return Ok(Box::new(dataset.labelled()?));
    }
    Ok(Box::new(dataset.histories()?.map(|history| {
        let history = history?;
        let linked = Linked { patient: history.patient.clone(), codes: vec![None; history.visits.len()] };
        Ok((history, linked))
    })))
}

/// Gathers the codes of one label set.
fn gather(dataset: &Dataset, set: LabelSet) -> Result<Codes> {
    let mut shared = CodeSet::new();
    for pair in pairs(dataset, Some(set))? {
        let (history, linked) = pair?;
        match set {
            LabelSet::Original => shared.extend(history.visits.into_iter().flat_map(|visit| visit.codes)),
            _ => shared.extend(linked.codes.into_iter().flatten().flatten()),
        }
    }
    Ok(Codes { shared, alone: [0, 0] })
}

/// Returns the codes that are classes, ascending, and how many are none.
fn classes_of(codes: &CodeSet, numbers: &HashMap<IcdCode, u32>) -> (Vec<u32>, usize) {
    let mut classes: Vec<u32> = codes.iter().filter_map(|code| numbers.get(code).copied()).collect();
    classes.sort_unstable();
    let outside = codes.len() - classes.len();
    (classes, outside)
}
