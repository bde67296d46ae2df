//! Where cells are better or worse: F1 by codes that were seen in training or not, by chapter, by how often a code was seen, and by the length
//! of mentions.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::Side;
use crate::{
    eval::{
        bootstrap::{Bootstrap, Difference, Interval},
        metrics::{Annotation, Counts, DocumentCounts, Figures, Matching, Metrics},
    },
    experiment::{
        bands::{band, of_code},
        gold::{Gold, GoldDocument},
        scored::Prediction,
    },
    icd::IcdCode,
};

/// Least length in characters of each band of mentions.
const LENGTHS: [usize; 5] = [1, 5, 11, 21, 41];

/// F1 of groups of codes or mentions.
#[derive(Debug, Serialize)]
pub struct Breakdown {
    /// What groups differ by.
    pub by: &'static str,
    /// The task whose F1 it is.
    pub task: Task,
    /// The groups that gold has.
    pub groups: Vec<Group>,
}

/// A group.
#[derive(Debug, Serialize)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// Gold codes or pairs in it.
    pub gold: usize,
    /// F1 of each cell.
    pub f1: Vec<f64>,
    /// Difference of each cell but the first from the first, over the documents that have any of the group.
    pub differences: Vec<Difference>,
    /// Documents in which each cell but the first differs from the first: of a few nothing can be told.
    pub changed_documents: Vec<usize>,
}

/// A task whose F1 is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Task {
    /// Codes of a document.
    #[serde(rename = "code assignment")]
    Codes,
    /// Spans with their codes.
    #[serde(rename = "NER + linking")]
    Linking,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Codes => "code assignment",
            Self::Linking => "NER + linking",
        })
    }
}

impl Task {
    fn f1<T: Copy>(self, figures: Figures<T>) -> T {
        match self {
            Self::Codes => figures.code_assignment.f1,
            Self::Linking => figures.ner_linking.f1,
        }
    }

    fn counts(self, counts: &DocumentCounts) -> Counts {
        match self {
            Self::Codes => counts.code_assignment,
            Self::Linking => counts.ner_linking,
        }
    }
}

/// Sorts annotation into a group: its place among the groups, and its name.
type Sort<'a> = Box<dyn Fn(&Annotation<'_>) -> (usize, String) + 'a>;

/// Compares cells group by group; what needs training counts is left out where these are not known.
pub(super) fn breakdowns(gold: &Gold, sides: &[Side], resamples: usize) -> Vec<Breakdown> {
    let chapter =
        |annotation: &Annotation<'_>| match annotation.code.parse::<IcdCode>().ok().and_then(|code| code.chapter()) {
            Some(chapter) => (usize::from(chapter), roman(chapter)),
            None => (usize::MAX, "none".to_owned()),
        };
    let length = |annotation: &Annotation<'_>| band((annotation.end - annotation.start).max(0) as usize, &LENGTHS);
    let mut kinds: Vec<(&'static str, Task, Sort<'_>)> = Vec::new();
    if let Some(trained) = &gold.trained {
        let is_seen = |annotation: &Annotation<'_>| match trained.get(annotation.code) {
            None | Some(0) => (1, "unseen".to_owned()),
            Some(_) => (0, "seen".to_owned()),
        };
        let often = |annotation: &Annotation<'_>| of_code(trained, annotation.code);
        kinds.push(("codes seen in training", Task::Codes, Box::new(is_seen)));
        kinds.push(("entities of the code in training", Task::Codes, Box::new(often)));
    }
    kinds.push(("chapter", Task::Codes, Box::new(chapter)));
    kinds.push(("characters of the mention", Task::Linking, Box::new(length)));
    let of_kind = |(by, task, sort): (_, _, Sort<'_>)| {
        let groups = groups(gold, sides, task, &sort, resamples);
        Breakdown { by, task, groups }
    };
    kinds.into_iter().map(of_kind).collect()
}

/// Returns the groups that gold has, with the F1 of each cell over them.
fn groups(gold: &Gold, sides: &[Side], task: Task, sort: &Sort<'_>, resamples: usize) -> Vec<Group> {
    let mut names: BTreeMap<usize, String> = BTreeMap::new();
    for document in &gold.documents {
        names.extend(document.annotations().iter().map(sort));
    }
    let of_group = |(place, name): (usize, String)| {
        let counts: Vec<Vec<DocumentCounts>> = sides.iter().map(|side| counts(gold, side, place, sort)).collect();
        let gold = task.counts(&Metrics::of(&counts[0]).counts);
        let pairs = |other: &Vec<DocumentCounts>| -> Vec<(DocumentCounts, DocumentCounts)> {
            let has_any = |(first, other): &(DocumentCounts, DocumentCounts)| {
                [first, other].into_iter().any(|counts| *counts != DocumentCounts::default())
            };
            counts[0].iter().copied().zip(other.iter().copied()).filter(has_any).collect()
        };
        let difference = |other: &Vec<DocumentCounts>| {
            let nothing = Difference { value: 0.0, interval: Interval { lower: 0.0, upper: 0.0 } };
            let found = Bootstrap::new(resamples).difference(&pairs(other));
            found.map_or(nothing, |found| task.f1(found))
        };
        let changed = |other: &Vec<DocumentCounts>| {
            pairs(other).iter().filter(|(first, other)| task.counts(first) != task.counts(other)).count()
        };
        Group {
            name,
            gold: gold.true_positives + gold.false_negatives,
            f1: counts.iter().map(|counts| task.f1(Metrics::of(counts).figures())).collect(),
            differences: counts.iter().skip(1).map(difference).collect(),
            changed_documents: counts.iter().skip(1).map(changed).collect(),
        }
    };
    names.into_iter().map(of_group).collect()
}

/// Counts only the annotation of a group, on both sides.
fn counts(gold: &Gold, side: &Side, place: usize, sort: &Sort<'_>) -> Vec<DocumentCounts> {
    let is_in = |annotation: &Annotation<'_>| sort(annotation).0 == place;
    let of = |(document, prediction): (&GoldDocument, &Option<Prediction>)| {
        let mut right = document.annotations();
        let mut found = prediction.as_ref().map(Prediction::annotations).unwrap_or_default();
        right.retain(is_in);
        found.retain(is_in);
        DocumentCounts::of(&right, &found, Matching::Strict)
    };
    gold.documents.iter().zip(&side.predictions).map(of).collect()
}

/// Writes a number from 1 to 39 in Roman figures.
fn roman(number: u8) -> String {
    let ones = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"];
    "X".repeat(usize::from(number / 10)) + ones[usize::from(number % 10)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_chapters_are_named() {
        assert_eq!(band(0, &LENGTHS), (1, "1–4".to_owned()));
        assert_eq!([4, 9, 11, 19, 22].map(roman), ["IV", "IX", "XI", "XIX", "XXII"]);
    }
}
