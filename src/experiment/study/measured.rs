//! What trained models are worth: records and what the models say of them come in, the figures of the page leave.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    outcome::{CodeOutcome, Courses, Measure, Outcome, Reliability, Table2, Transition},
    settings::StudySettings,
};
use crate::{
    catalog::Catalog,
    data::CodeSet,
    diagnosis::{
        Faults,
        dataset::Dataset,
        decision::Scored,
        labels::LabelSet,
        manual::Manual,
        model::{DiagnosisModel, score},
        records::{Record, Records},
        statistics::Gatherer,
    },
    error::{Error, Result},
    eval::{
        bootstrap::{Bootstrap, Difference},
        calibration::{Binning, expected_calibration_error, reliability},
        metrics::Counts,
        multilabel::{Judged, Multilabel, difference, difference_of_weighted_f1, mean_of, per_class, weighted_f1},
    },
    icd::IcdCode,
};

/// Codes of which is told where their records went.
const MOST_TRANSITIONS: usize = 12;
/// Name of weighted F1 where codes are given that are likelier than not.
pub(super) const EVEN_THRESHOLD: &str = "weighted F1, threshold 0.5";
/// Codes below it are not looked at when probabilities are held against what is right: nearly all are, and are wrong.
pub(super) const LIKELY: f64 = 0.1;
/// What became of conclusions that the coder failed on.
const UNCODED: &str = "conclusions could not be coded: their appointments teach neither model.";

/// What a model says of the records of the test.
pub(super) struct Judgement {
    pub judged: Vec<Judged>,
    /// Training step and weighted F1 in the course of training.
    pub course: Vec<[f64; 2]>,
}

/// What was measured. Of two values the first is of the original labels, the second of the linked.
pub(super) struct Measured<'a> {
    /// Judgements of each run's two models.
    runs: &'a [[Judgement; 2]],
    /// Number of each record's patient.
    patients: Vec<usize>,
    weights: Vec<f64>,
    codes: Vec<IcdCode>,
    trained: [Vec<u64>; 2],
    statistics: Table2,
    transitions: Vec<Transition>,
    /// What was met in the manual codes.
    notes: Vec<String>,
    /// Manual codes in all, and of them those that neither model can give.
    gold: [usize; 2],
}

impl<'a> Measured<'a> {
    /// Counts what the models of all runs learnt from and what they are measured on.
    ///
    /// # Errors
    /// Those of the dataset.
    pub fn new(dataset: &Dataset, records: &Records, manual: &Manual, runs: &'a [[Judgement; 2]]) -> Result<Self> {
        let outside: usize = records.test.iter().map(|record| record.outside).sum();
        let inside: usize = records.test.iter().map(|record| record.labels(LabelSet::Manual).len()).sum();
        Ok(Self {
            runs,
            patients: records.test.iter().map(|record| record.place().0).collect(),
            weights: records.weights(),
            codes: records.classes.clone(),
            trained: LabelSet::LEARNT.map(|set| records.counts(set)),
            statistics: statistics(dataset, records, manual)?,
            transitions: transitions(records),
            notes: of_manual(records, manual),
            gold: [inside + outside, outside],
        })
    }

    /// Lays the figures out for the page.
    ///
    /// # Errors
    /// - [`Error::Training`] if there is nothing to compare.
    pub fn outcome(
        self,
        settings: &StudySettings,
        catalog: &Catalog,
        (faults, uncoded): (&Faults, u64),
    ) -> Result<Outcome> {
        let judged = self.of_sets(|judgement| judgement.judged.as_slice());
        let (reached, found) = (self.reached(&judged), self.compare(&judged, settings)?);
        let by_run: Vec<[f64; 2]> = reached[0].iter().zip(&reached[1]).map(|(a, b)| [a[0], b[0]]).collect();
        let [original, linked] = reached.map(|runs| mean_of(&runs));
        let measures = Multilabel::NAMES.iter().zip(original).zip(linked).zip(found);
        let mut measures: Vec<Measure> = measures
            .map(|(((name, original), linked), found)| measure((*name).to_owned(), [original, linked], found))
            .collect();
        let (even, even_runs) = self.even(&judged, settings)?;
        measures.insert(1, even);
        let [original, linked] =
            self.of_sets(|judgement| judgement.course.as_slice()).map(|courses| mean_course(&courses));
        let tested = self.patients.len();
        Ok(Outcome {
            title: settings.title.clone(),
            is_simulated: settings.simulate.is_some(),
            noso: env!("CARGO_PKG_VERSION").into(),
            commit: env!("NOSO_COMMIT").into(),
            machine: String::new(),
            seconds: 0.0,
            settings: toml::to_string(settings).unwrap_or_default(),
            sources: BTreeMap::new(),
            failures: faults.rejected + uncoded,
            notes: [notes(faults, self.gold, tested), self.notes.clone(), counted(&[(uncoded, UNCODED)])].concat(),
            measures,
            runs: by_run,
            even_runs,
            courses: Courses { original, linked },
            reliability: trusted(&judged),
            codes: self.codes_outcome(&judged, catalog),
            statistics: self.statistics,
            transitions: self.transitions,
            sweep: None,
        })
    }

    /// Returns something of each run's models, by label set.
    fn of_sets<T: ?Sized>(&self, of: impl Fn(&'a Judgement) -> &'a T) -> [Vec<&'a T>; 2] {
        [0, 1].map(|set: usize| self.runs.iter().map(|run| of(&run[set])).collect())
    }

    /// Measures every model, by label set and run.
    fn reached<R: AsRef<[Judged]>>(&self, judged: &[Vec<R>; 2]) -> [Vec<[f64; 9]>; 2] {
        let values = |judged: &R| Multilabel::of(judged.as_ref(), &self.weights).values();
        judged.each_ref().map(|runs| runs.iter().map(values).collect())
    }

    /// Measures by how much the models of linked labels are better.
    fn compare<R: AsRef<[Judged]>>(
        &self,
        [first, second]: &[Vec<R>; 2],
        settings: &StudySettings,
    ) -> Result<[Difference; 9]> {
        let bootstrap = Bootstrap::new(settings.resamples);
        difference(first, second, &self.patients, &self.weights, bootstrap).ok_or_else(nothing)
    }

    /// Measures weighted F1 where codes are given that are likelier than not, whatever threshold was chosen; and that of each run.
    fn even(&self, judged: &[Vec<&[Judged]>; 2], settings: &StudySettings) -> Result<(Measure, Vec<[f64; 2]>)> {
        let [first, second] =
            judged.each_ref().map(|runs| runs.iter().copied().map(likelier_than_not).collect::<Vec<_>>());
        let f1 = |records: &Vec<Judged>| weighted_f1(&per_class(records, self.weights.len()), &self.weights);
        let by_run: Vec<[f64; 2]> = first.iter().zip(&second).map(|(a, b)| [f1(a), f1(b)]).collect();
        let bootstrap = Bootstrap::new(settings.resamples);
        let found = difference_of_weighted_f1(&first, &second, &self.patients, &self.weights, bootstrap);
        Ok((measure(EVEN_THRESHOLD.into(), mean_of(&by_run), found.ok_or_else(nothing)?), by_run))
    }

    fn codes_outcome(&self, judged: &[Vec<&[Judged]>; 2], catalog: &Catalog) -> Vec<CodeOutcome> {
        let counted = |judged: &&[Judged]| per_class(*judged, self.codes.len());
        let counts = judged.each_ref().map(|runs| runs.iter().map(counted).collect::<Vec<_>>());
        let f1 = |runs: &[Vec<Counts>], class: usize| {
            runs.iter().map(|counts| counts[class].score().f1).sum::<f64>() / runs.len() as f64
        };
        let outcome = |(class, code): (usize, &IcdCode)| {
            let of_first = &counts[0][0][class];
            CodeOutcome {
                code: code.clone(),
                title: catalog.title(code).to_string(),
                trained: self.trained.each_ref().map(|counts| counts[class]),
                tested: (of_first.true_positives + of_first.false_negatives) as u64,
                f1: counts.each_ref().map(|runs| f1(runs, class)),
            }
        };
        self.codes.iter().enumerate().map(outcome).collect()
    }
}

/// Returns the same records with the codes chosen that are likelier than not.
pub(super) fn likelier_than_not(judged: &[Judged]) -> Vec<Judged> {
    let even = |judged: &Judged| {
        let classes = judged.probabilities.iter().zip(0..).filter(|(probability, _)| **probability >= 0.5);
        Judged { chosen: classes.map(|(_, class)| class).collect(), ..judged.clone() }
    };
    judged.iter().map(even).collect()
}

/// Returns the mean course of trainings, at the steps that all were evaluated at: those of fewer would leap where one ended.
fn mean_course(courses: &[&[[f64; 2]]]) -> Vec<[f64; 2]> {
    let [first, others @ ..] = courses else { return Vec::new() };
    let at = |point: &[f64; 2]| {
        let same = |course: &&[[f64; 2]]| course.iter().find(|other| other[0] == point[0]).copied();
        let points: Option<Vec<[f64; 2]>> = [Some(*point)].into_iter().chain(others.iter().map(same)).collect();
        points.map(|points| mean_of(&points))
    };
    first.iter().filter_map(at).collect()
}

/// Holds the probabilities of each label set's models against what is right.
fn trusted(judged: &[Vec<&[Judged]>; 2]) -> Reliability {
    let pairs = judged.each_ref().map(|runs| runs.iter().copied().flatten().flat_map(pairs).collect::<Vec<_>>());
    let [original, linked] = pairs.each_ref().map(|pairs| reliability(pairs, Binning::EqualWidth(10)));
    let errors = pairs.map(|pairs| expected_calibration_error(&pairs, Binning::EqualWidth(10)));
    Reliability { original, linked, errors }
}

/// Returns the probability of each class that is likely enough, and whether it is right.
fn pairs(judged: &Judged) -> impl Iterator<Item = (f64, bool)> {
    let is_right = |class: u32| judged.gold.binary_search(&class).is_ok();
    let all = judged.probabilities.iter().map(|&probability| f64::from(probability)).zip(0..);
    all.filter(|(probability, _)| *probability >= LIKELY)
        .map(move |(probability, class)| (probability, is_right(class)))
}

fn measure(name: String, [original, linked]: [f64; 2], found: Difference) -> Measure {
    let interval = [found.interval.lower, found.interval.upper];
    Measure { name, original, linked, difference: found.value, interval }
}

fn nothing() -> Error {
    let reason = "there is nothing to compare: no records to measure on, or no resamples".into();
    Error::Training { what: "a study", reason }
}

/// Lets a model predict the records of the test; `batch_tokens` are computed at once on a core.
pub(super) fn judge(records: &Records, model: &DiagnosisModel, batch_tokens: usize) -> Result<Vec<Judged>> {
    let reader = model.reader();
    let tokens = |number: usize| records.tokens(&records.test[number], &reader);
    let sequence = |number: usize| records.sequence(&records.test[number], &reader);
    let logits = score(model.classifier(), records.test.len(), tokens, sequence, batch_tokens)?;
    let gold = records.test.iter().map(|record| record.labels(LabelSet::Manual).to_vec());
    let decision = &model.settings.decision;
    Ok(logits.into_iter().zip(gold).map(|(logits, gold)| decision.judge(&Scored { logits, gold })).collect())
}

/// Gathers the rows of Table 2: of the records that both models learn from, and of those that they are measured on.
fn statistics(dataset: &Dataset, records: &Records, manual: &Manual) -> Result<Table2> {
    let places =
        |records: &[Record]| -> HashSet<(usize, usize)> { records.iter().map(|record| record.place()).collect() };
    let (train, test) = (places(&records.train), places(&records.test));
    let classes: CodeSet = records.classes.iter().cloned().collect();
    let known = |codes: &CodeSet| codes.intersection(&classes).cloned().collect();
    let mut gatherers: [Gatherer; 3] = Default::default();
    for (number, labelled) in dataset.labelled()?.enumerate() {
        let (history, linked) = labelled?;
        let mut sets: [Vec<CodeSet>; 3] = Default::default();
        for (at, (visit, found)) in history.visits.iter().zip(&linked.codes).enumerate() {
            let is_taught = train.contains(&(number, at));
            let is_tested = test.contains(&(number, at));
            let taught = |codes: CodeSet| if is_taught { known(&codes) } else { CodeSet::new() };
            sets[0].push(taught(visit.codes.iter().cloned().collect()));
            sets[1].push(taught(found.clone().unwrap_or_default()));
            let codes = manual.codes(&history.patient, &visit.id).filter(|_| is_tested);
            sets[2].push(codes.cloned().unwrap_or_default());
        }
        gatherers.iter_mut().zip(&sets).for_each(|(gatherer, set)| gatherer.add(&history, set));
    }
    let [original, linked, manual] = gatherers.map(Gatherer::statistics);
    Ok(Table2 { original, linked, manual })
}

/// Counts what the coder found in training records instead of a code that doctors typed.
fn transitions(records: &Records) -> Vec<Transition> {
    let mut all: BTreeMap<u32, (u64, HashMap<u32, u64>)> = BTreeMap::new();
    for record in &records.train {
        let [typed, found] = LabelSet::LEARNT.map(|set| record.labels(set));
        let new: Vec<u32> = found.iter().filter(|class| !typed.contains(class)).copied().collect();
        for class in typed.iter().filter(|class| !found.contains(class)) {
            let (count, to) = all.entry(*class).or_default();
            *count += 1;
            new.iter().for_each(|new| *to.entry(*new).or_default() += 1);
        }
    }
    let code = |class: u32| records.classes[class as usize].clone();
    let transition = |(class, (count, to)): (u32, (u64, HashMap<u32, u64>))| {
        let mut to: Vec<_> = to.into_iter().map(|(class, count)| (code(class), count)).collect();
        to.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Transition { from: code(class), records: count, to }
    };
    let mut all: Vec<Transition> = all.into_iter().map(transition).collect();
    all.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.from.cmp(&b.from)));
    all.truncate(MOST_TRANSITIONS);
    all
}

/// Says what of manual codes and texts could not be used.
fn of_manual(records: &Records, manual: &Manual) -> Vec<String> {
    let told: Vec<(u64, &str)> = manual.told().collect();
    let more = [
        (
            records.unmeasured as u64,
            "appointments have manual codes, but none that both label sets have: they are not measured on.",
        ),
        (
            records.leaks as u64,
            "appointments held codes that the coder found, or the manual ones, in complaints or tests: cut out.",
        ),
    ];
    counted(&[&told[..], &more].concat())
}

/// Says what there is any of.
fn counted(told: &[(u64, &str)]) -> Vec<String> {
    told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// Says in sentences what was met in the records.
fn notes(faults: &Faults, [gold, outside]: [usize; 2], tested: usize) -> Vec<String> {
    let mut notes = vec![
        format!("{} appointments of {} patients were read.", faults.appointments, faults.patients),
        format!(
            "{tested} appointments with {gold} manual codes are measured on; {outside} of these codes are not among those that both label sets have, so no model can give them, and they do not count."
        ),
    ];
    notes.extend(faults.told().map(|(count, what)| format!("{count} {what}.")));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_are_averaged_where_all_were_evaluated() {
        let whole = [[10.0, 0.1], [20.0, 0.3], [25.0, 0.5]];
        let stopped = [[10.0, 0.3], [20.0, 0.5]];
        let mean = mean_course(&[&whole, &stopped]);
        assert_eq!(mean.iter().map(|point| point[0]).collect::<Vec<_>>(), [10.0, 20.0]);
        assert!(mean.iter().zip([0.2, 0.4]).all(|(point, expected)| (point[1] - expected).abs() < 1e-12), "{mean:?}");
        assert_eq!(mean_course(&[&whole]), whole);
        assert!(mean_course(&[]).is_empty() && mean_course(&[&whole, &[]]).is_empty());
    }

    #[test]
    fn what_is_said_likely_enough_is_held_against_what_is_right() {
        let judged = |gold: &[u32], probabilities: &[f32]| Judged {
            gold: gold.to_vec(),
            chosen: Vec::new(),
            probabilities: probabilities.to_vec(),
        };
        // Of the first label set's model: 0.85 right, 0.05 not looked at, 0.85 wrong. Mean 0.85 against a share of 0.5.
        let first = [judged(&[0], &[0.85, 0.05]), judged(&[], &[0.85, 0.0])];
        let second = [judged(&[1], &[0.0, 1.0]), judged(&[1], &[0.0, 1.0])];
        let told = trusted(&[vec![&first], vec![&second]]);
        assert_eq!(told.original.iter().map(|bin| bin.count).sum::<usize>(), 2);
        assert!((told.errors[0] - 0.35).abs() < 1e-6 && told.errors[1].abs() < 1e-6, "{:?}", told.errors);
    }
}
