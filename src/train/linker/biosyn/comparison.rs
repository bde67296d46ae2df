//! What a batch's mentions are held against.

use std::collections::HashMap;

use super::{BioSyn, Example};
use crate::train::linker::dictionary::Mention;

/// The texts of some mentions and their candidates, each once.
#[derive(Default)]
pub(super) struct Rows {
    /// The texts, in the order of their rows.
    pub texts: Vec<u32>,
    rows: HashMap<u32, u32>,
}

impl Rows {
    /// Returns the row of a text.
    pub fn row(&mut self, text: u32) -> u32 {
        *self.rows.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u32 - 1
        })
    }
}

/// What a batch's mentions are held against, row-major `(mentions, columns)`.
pub(super) struct Comparison {
    /// Row of each candidate's text; any row where there is no candidate.
    pub rows: Vec<u32>,
    /// Sparse score of each candidate.
    pub sparse: Vec<f32>,
    /// Share of each candidate; `None` where there is none.
    pub shares: Vec<Option<f32>>,
    pub columns: usize,
}

impl BioSyn {
    /// Returns the mentions of some bundles that have a right name among their candidates.
    pub(super) fn reached(&self, bundles: &[usize]) -> Vec<&Example> {
        let examples = bundles.iter().flat_map(|&bundle| &self.bundles[bundle]).map(|&at| &self.examples[at]);
        examples.filter(|example| example.is_reached()).collect()
    }

    /// Lists the texts that a mention needs encoded, its own first.
    pub(super) fn needs(&self, example: &Example) -> Vec<u32> {
        let candidates = example.candidates.iter().map(|candidate| self.names[candidate.name as usize]);
        [example.text].into_iter().chain(candidates).collect()
    }

    /// Holds each mention against its own candidates.
    pub(super) fn against_own(&self, mentions: &[&Example], rows: &mut Rows) -> Comparison {
        let columns = mentions.iter().map(|example| example.candidates.len()).max().unwrap_or(0);
        let mut made = Comparison { rows: Vec::new(), sparse: Vec::new(), shares: Vec::new(), columns };
        for example in mentions {
            for at in 0..columns {
                let candidate = example.candidates.get(at);
                made.rows.push(candidate.map_or(0, |candidate| rows.row(self.names[candidate.name as usize])));
                made.sparse.push(candidate.map_or(0.0, |candidate| candidate.sparse));
                made.shares.push(candidate.map(|candidate| candidate.share));
            }
        }
        made
    }

    /// Holds each mention against the candidates of all, as far as others than its own record know them.
    pub(super) fn against_all(&self, mentions: &[&Example], rows: &mut Rows) -> Comparison {
        let mut names: Vec<u32> =
            mentions.iter().flat_map(|example| &example.candidates).map(|candidate| candidate.name).collect();
        names.sort_unstable();
        names.dedup();
        let mut made = Comparison { rows: Vec::new(), sparse: Vec::new(), shares: Vec::new(), columns: names.len() };
        for example in mentions {
            for &name in &names {
                let Mention { label, record, .. } = example.mention;
                let meaning = &self.dictionary.names()[name as usize];
                made.rows.push(rows.row(self.names[name as usize]));
                made.sparse.push(self.sparse.score(&example.sparse, name));
                made.shares.push(meaning.is_known_outside(record).then(|| meaning.share(label, record)));
            }
        }
        made
    }
}
