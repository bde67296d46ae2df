//! Documents that two cells code otherwise: the cells come in, the documents leave, those first whose result changed most.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Side, Sides};
use crate::{
    corpus::Offsets,
    eval::metrics::{Counts, DocumentCounts},
};

/// A document that is coded otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number among the documents.
    pub document: usize,
    /// F1 of its codes under the second cell less that under the first; of spans with codes where the codes are as good.
    pub gain: f64,
    /// Missed and extra ones that the second cell has fewer than the first, of the same: where no code is right, F1 is 0 whatever is wrong.
    pub fewer_errors: i64,
    /// Every place that gold or a cell marks, in text order.
    pub places: Vec<Place>,
}

/// A marked place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// First character, and one past the last.
    pub chars: (usize, usize),
    /// Its words.
    pub words: String,
    /// Gold codes; none where gold marks nothing.
    pub gold: Vec<String>,
    /// Code of each cell: `None` where it marks nothing, empty where it abstained.
    pub codes: [Option<String>; 2],
}

/// Lists the documents that the first two cells code otherwise.
pub fn changes(sides: &Sides) -> Vec<Change> {
    let [first, second, ..] = &sides.sides[..] else { return Vec::new() };
    let change = |document: usize| {
        let places = places(sides, document, [first, second]);
        let differs = places.iter().any(|place| place.codes[0] != place.codes[1]);
        let (gain, fewer_errors) = gain(&first.scored.strict[document], &second.scored.strict[document]);
        differs.then_some(Change { document, gain, fewer_errors, places })
    };
    let mut changes: Vec<Change> = (0..sides.gold.documents.len()).filter_map(change).collect();
    changes.sort_by(|a, b| {
        let by = |change: &Change| (change.gain.abs(), change.fewer_errors.abs());
        by(b).0.total_cmp(&by(a).0).then(by(b).1.cmp(&by(a).1)).then(a.document.cmp(&b.document))
    });
    changes
}

impl Change {
    /// Tells whether the second cell does better (greater), worse, or neither.
    pub fn verdict(&self) -> Ordering {
        self.gain.partial_cmp(&0.0).unwrap_or(Ordering::Equal).then(self.fewer_errors.cmp(&0))
    }
}

/// Returns by how much F1 is higher, and how many errors fewer there are, in codes, or where these are as good, in spans with codes.
fn gain(before: &DocumentCounts, after: &DocumentCounts) -> (f64, i64) {
    let errors = |counts: Counts| (counts.false_positives + counts.false_negatives) as i64;
    let by = |of: fn(&DocumentCounts) -> Counts| {
        (of(after).score().f1 - of(before).score().f1, errors(of(before)) - errors(of(after)))
    };
    match by(|counts| counts.code_assignment) {
        (0.0, 0) => by(|counts| counts.ner_linking),
        gain => gain,
    }
}

fn places(sides: &Sides, document: usize, cells: [&Side; 2]) -> Vec<Place> {
    let gold = &sides.gold.documents[document];
    let offsets = Offsets::new(&gold.text);
    let place = |chars: (usize, usize)| {
        let [start, end] = [chars.0, chars.1].map(|char| offsets.byte(char).unwrap_or(gold.text.len()));
        let words = gold.text.get(start..end).unwrap_or_default().to_owned();
        Place { chars, words, gold: Vec::new(), codes: [None, None] }
    };
    let mut places: BTreeMap<(usize, usize), Place> = BTreeMap::new();
    for entity in &gold.gold {
        let chars = (entity.start_char, entity.end_char);
        places.entry(chars).or_insert_with(|| place(chars)).gold.push(entity.code.clone());
    }
    for (number, cell) in cells.into_iter().enumerate() {
        for mention in cell.predictions[document].iter().flat_map(|prediction| &prediction.mentions) {
            let (Some(start), Some(end)) = (mention.start_char, mention.end_char) else { continue };
            let code = mention.code.as_ref().map_or_else(String::new, ToString::to_string);
            places.entry((start, end)).or_insert_with(|| place((start, end))).codes[number] = Some(code);
        }
    }
    places.into_values().collect()
}
