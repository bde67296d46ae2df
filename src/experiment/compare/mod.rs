//! Cells held against the first of them: results come in, differences leave, with what chance may have to do with them.

mod breakdown;
mod changes;
mod found;
mod stability;
mod table;

use std::{collections::BTreeSet, path::Path};

use rayon::prelude::*;
use serde::Serialize;

pub use self::{
    breakdown::{Breakdown, Group, Task},
    changes::{Change, Place, changes},
    found::warning_of_choosing,
    stability::Stability,
};
use super::{
    folder::CellFolder,
    gold::Gold,
    scored::{PredictedMention, Prediction, Scored, predictions},
};
use crate::{
    data::Trace,
    error::{Error, Result},
    eval::{
        bootstrap::{Bootstrap, Difference},
        loss::Losses,
        metrics::{Counts, DocumentCounts, Figures, Metrics, Score},
        significance::{Permutation, holm, smallest_detectable},
    },
};
pub(super) use found::Found;

/// What is kept in memory of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Mentions and codes.
    Codes,
    /// Also candidates, prompts and answers, most of a run.
    All,
}

impl Keep {
    fn of(self, prediction: &Prediction) -> Prediction {
        if self == Self::All {
            return prediction.clone();
        }
        let bare = |mention: &PredictedMention| PredictedMention {
            code: mention.code.clone(),
            text: String::new(),
            title: String::new(),
            candidates: Vec::new(),
            ..*mention
        };
        Prediction {
            id: prediction.id.clone(),
            mentions: prediction.mentions.iter().map(bare).collect(),
            trace: Trace::default(),
        }
    }
}

/// A cell with what it predicted.
#[derive(Debug)]
pub struct Side {
    /// What it is called; with its run where several are compared.
    pub name: String,
    /// Its folder and manifest.
    pub cell: CellFolder,
    /// For each gold document; `None` where it failed.
    pub predictions: Vec<Option<Prediction>>,
    /// All counts.
    pub scored: Scored,
}

/// Cells on the same documents.
#[derive(Debug)]
pub struct Sides {
    /// The documents.
    pub gold: Gold,
    /// The cells, the baseline first.
    pub sides: Vec<Side>,
    /// What is to be told beside them.
    pub warnings: Vec<String>,
}

impl Sides {
    /// Reads runs, with all their cells, and folders of single cells.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`] if one is not whole; [`Error::Setting`] if they are on different documents.
    pub fn load<P: AsRef<Path>>(paths: &[P], keep: Keep) -> Result<Self> {
        let Found { run, cells, warnings } = Found::of(paths)?;
        let gold = Gold::load(&run)?;
        let side = |(name, cell)| Side::load(name, cell, &gold, keep);
        let sides = cells.into_iter().map(side).collect::<Result<_>>()?;
        Ok(Self { gold, sides, warnings })
    }

    /// Makes a cell the baseline: the one of this name, or the only one whose name holds these words.
    ///
    /// # Errors
    /// Those of [`Sides::find`].
    pub fn put_first(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        self.sides[..=at].rotate_right(1);
        Ok(())
    }

    /// Keeps two cells, found in the same way, in this order.
    ///
    /// # Errors
    /// Those of [`Sides::find`]; [`Error::Setting`] if both are the same.
    pub fn keep_two(&mut self, names: [&str; 2]) -> Result<()> {
        let [first, second] = [self.find(names[0])?, self.find(names[1])?];
        if first == second {
            let (key, expected) = ("cells".into(), "two different ones".into());
            return Err(Error::Setting { key, expected, got: format!("{} twice", self.sides[first].name) });
        }
        let mut kept: Vec<(usize, Side)> =
            self.sides.drain(..).enumerate().filter(|(at, _)| [first, second].contains(at)).collect();
        kept.sort_by_key(|(at, _)| *at != first);
        self.sides = kept.into_iter().map(|(_, side)| side).collect();
        Ok(())
    }

    /// Finds the cell of this name, or the only one whose name holds these words.
    ///
    /// # Errors
    /// - [`Error::Setting`] if there is none, or several.
    pub fn find(&self, name: &str) -> Result<usize> {
        let named = |is: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.sides.len()).filter(|&at| is(&self.sides[at].name)).collect()
        };
        let exact = named(&|one| one == name);
        let found = if exact.is_empty() { named(&|one| one.contains(name)) } else { exact };
        let [at] = found[..] else {
            let names = self.sides.iter().map(|side| side.name.as_str()).collect::<Vec<_>>().join("; ");
            let (key, expected) = ("cell".into(), format!("words that one alone of these has: {names}"));
            return Err(Error::Setting { key, expected, got: format!("{name}, of {} cells", found.len()) });
        };
        Ok(at)
    }
}

impl Side {
    /// Reads what a cell predicted for the documents of its run.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Parse`]; [`Error::Setting`] if it predicted for others.
    pub fn load(name: String, cell: CellFolder, gold: &Gold, keep: Keep) -> Result<Self> {
        let mut kept = Vec::with_capacity(gold.documents.len());
        let seen = predictions(&cell.path)?
            .inspect(|prediction| kept.extend(prediction.as_ref().ok().map(|one| keep.of(one))));
        let scored = Scored::of(gold, seen, &cell.manifest.unknown_codes)?;
        // They stand in the documents' order, some are missing.
        let mut left = kept.into_iter().peekable();
        let of = |document: &super::gold::GoldDocument| left.next_if(|next| next.id == document.id);
        let predictions = gold.documents.iter().map(of).collect();
        Ok(Self { name, predictions, scored, cell })
    }

    /// Returns the code set of each document.
    fn code_sets(&self) -> Vec<BTreeSet<&str>> {
        fn codes(prediction: &Option<Prediction>) -> BTreeSet<&str> {
            prediction.iter().flat_map(Prediction::codes).map(|(code, _)| code.as_str()).collect()
        }
        self.predictions.iter().map(codes).collect()
    }
}

/// A comparison of cells with the first.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Documents.
    pub documents: usize,
    /// Resamples, and rounds of the permutation test.
    pub resamples: usize,
    /// The cells, the baseline first.
    pub cells: Vec<Compared>,
    /// F1 by kinds of codes and mentions.
    pub breakdowns: Vec<Breakdown>,
    /// How much hangs on each axis.
    pub stability: Vec<Stability>,
}

/// A cell and how it differs from the baseline.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// What it is called.
    pub name: String,
    /// Documents without a prediction.
    pub failed: usize,
    /// Whole codes.
    pub strict: TaskFigures,
    /// Codes cut to three characters.
    pub relaxed: TaskFigures,
    /// Where codes got lost.
    pub losses: Losses,
}

/// The figures of the three tasks.
#[derive(Debug, Serialize)]
pub struct TaskFigures {
    /// Spans.
    pub ner: ScoreOf<Figure>,
    /// Spans with their codes.
    pub ner_linking: ScoreOf<Figure>,
    /// Codes of a document.
    pub code_assignment: ScoreOf<Figure>,
}

/// What is known of each figure of a task.
#[derive(Debug, Serialize)]
pub struct ScoreOf<T> {
    /// Precision.
    pub precision: T,
    /// Recall.
    pub recall: T,
    /// F1.
    pub f1: T,
    /// TP / (TP + FP + FN).
    pub accuracy: T,
}

/// A figure, and its difference from the baseline's.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// Over all documents.
    pub value: f64,
    /// None of the baseline itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// A difference from the baseline, and what chance may have to do with it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Against {
    /// Higher by so much, with the interval of the paired bootstrap.
    pub difference: Difference,
    /// Of the paired permutation test.
    pub p_value: f64,
    /// The same, raised by Holm's rule over all cells.
    pub p_holm: f64,
    /// True difference that such a corpus would show in four of five cases, among so many cells.
    pub smallest_detectable: f64,
    /// Documents whose counts differ: where they are few, no difference could have been shown.
    pub changed_documents: usize,
}

impl Comparison {
    /// Compares all cells with the first.
    pub fn of(Sides { gold, sides, .. }: &Sides, resamples: usize) -> Self {
        let resamples = Bootstrap::affordable(resamples, gold.documents.len());
        let tested = |of: fn(&Scored) -> &Vec<DocumentCounts>| {
            tested(&sides.iter().map(|side| of(&side.scored)).collect::<Vec<_>>(), resamples)
        };
        let (strict, relaxed) = (tested(|scored| &scored.strict), tested(|scored| &scored.relaxed));
        let cells = sides.iter().zip(strict).zip(relaxed).map(|((side, strict), relaxed)| Compared {
            name: side.name.clone(),
            failed: side.scored.failed,
            strict,
            relaxed,
            losses: side.scored.all_losses(),
        });
        Self {
            documents: gold.documents.len(),
            resamples,
            cells: cells.collect(),
            breakdowns: breakdown::breakdowns(gold, sides, resamples.min(1000)),
            stability: stability::stability(sides),
        }
    }
}

/// Tests every figure of every cell against the first cell's.
pub(super) fn tested(counts: &[&Vec<DocumentCounts>], resamples: usize) -> Vec<TaskFigures> {
    let test = |&other: &&Vec<DocumentCounts>| {
        let pairs: Vec<_> = counts[0].iter().copied().zip(other.iter().copied()).collect();
        let differences = Bootstrap::new(resamples).difference(&pairs)?;
        let p_values = Permutation { rounds: resamples, seed: Bootstrap::DEFAULT_SEED }.p_values(&pairs)?;
        Some((differences.values(), p_values.values()))
    };
    let tests: Vec<Option<_>> = counts.par_iter().skip(1).map(test).collect();
    let holms: Vec<Vec<f64>> = (0..14)
        .map(|figure| holm(&tests.iter().flatten().map(|(_, p_values)| p_values[figure]).collect::<Vec<_>>()))
        .collect();
    let changed: Vec<[usize; 3]> = counts.iter().skip(1).map(|other| changed_documents(counts[0], other)).collect();
    let values = |counts: &Vec<DocumentCounts>| Metrics::of(counts).figures().values();
    let mut places = 0..;
    let against = tests.iter().map(|test| {
        let (differences, p_values) = test.as_ref()?;
        let place = places.next()?;
        let one = |figure: usize| Against {
            difference: differences[figure],
            p_value: p_values[figure],
            p_holm: holms[figure][place],
            smallest_detectable: smallest_detectable(differences[figure].interval, tests.len()),
            changed_documents: changed[place][task_of(figure)],
        };
        Some(std::array::from_fn::<Against, 14, _>(one))
    });
    let against: Vec<Option<[Against; 14]>> = [None].into_iter().chain(against).collect();
    let figures = |(counts, against): (&&Vec<DocumentCounts>, Option<[Against; 14]>)| {
        let values = values(counts);
        let one = |figure: usize| Figure { value: values[figure], against: against.map(|against| against[figure]) };
        Figures::from_values(std::array::from_fn(one)).into()
    };
    counts.iter().zip(against).map(figures).collect()
}

/// Counts the documents that differ by task: spans, spans with codes, codes.
fn changed_documents(first: &[DocumentCounts], other: &[DocumentCounts]) -> [usize; 3] {
    let count = |of: fn(&DocumentCounts) -> Counts| first.iter().zip(other).filter(|(a, b)| of(a) != of(b)).count();
    [count(|of| of.ner), count(|of| of.ner_linking), count(|of| of.code_assignment)]
}

/// Returns the task that a figure is of, by its place in [`Figures::values`].
fn task_of(figure: usize) -> usize {
    match figure {
        0..=3 | 12 => 0,
        4..=7 => 1,
        _ => 2,
    }
}

impl From<Figures<Figure>> for TaskFigures {
    fn from(figures: Figures<Figure>) -> Self {
        let score = |Score { precision, recall, f1, accuracy }| ScoreOf { precision, recall, f1, accuracy };
        Self {
            ner: score(figures.ner),
            ner_linking: score(figures.ner_linking),
            code_assignment: score(figures.code_assignment),
        }
    }
}
