//! A batch without padding: token sequences of any lengths, one after another.

use std::{collections::BTreeMap, ops::Range};

use candle_core::Tensor;

use super::ops::{self, Span};
use crate::error::Result;

/// Token ids of several sequences, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    ids: Vec<u32>,
    types: Vec<u32>,
    lengths: Vec<usize>,
    /// Places of global tokens, by the number of their sequence, where they are not the first token alone.
    globals: BTreeMap<usize, Vec<usize>>,
}

impl Packed {
    /// Packs sequences of the first segment type. Empty sequences are kept: they have no tokens.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut packed = Self::default();
        sequences.into_iter().for_each(|ids| packed.push(ids));
        packed
    }

    /// Appends a sequence.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.types.resize(self.ids.len(), 0);
        self.lengths.push(ids.len());
    }

    /// Appends a sequence whose tokens at `globals`, in ascending order, see and are seen by all others in a Longformer; in one that is
    /// pushed otherwise its first token is.
    pub fn push_with_globals(&mut self, ids: &[u32], globals: Vec<usize>) {
        self.globals.insert(self.lengths.len(), globals);
        self.push(ids);
    }

    /// Appends a sequence whose tokens from `second` on are of the second segment type.
    pub fn push_segments(&mut self, ids: &[u32], second: usize) {
        let start = self.ids.len();
        self.push(ids);
        self.types[start + second.min(ids.len())..].fill(1);
    }

    /// Returns the sequences with their global tokens.
    pub fn spans(&self) -> Vec<Span> {
        let first = |length: usize| if length > 0 { vec![0] } else { Vec::new() };
        let span = |(number, &length): (usize, &usize)| Span {
            length,
            globals: self.globals.get(&number).cloned().unwrap_or_else(|| first(length)),
        };
        self.lengths.iter().enumerate().map(span).collect()
    }

    /// Returns the ids of all tokens, `(tokens)`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the segment types of all tokens, `(tokens)`.
    pub fn types(&self) -> &[u32] {
        &self.types
    }

    /// Returns the number of tokens of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Returns each sequence's place among all tokens.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some(start..*end)
        })
    }

    /// Returns the places of the sequences' first tokens among all tokens, `(sequences)`.
    pub fn first_rows(&self) -> Vec<u32> {
        self.ranges().map(|range| range.start as u32).collect()
    }

    /// Picks the rows of the sequences' first tokens, `(sequences, hidden)`, out of `(tokens, hidden)`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn pick_firsts(&self, hidden: &Tensor) -> Result<Tensor> {
        ops::embed(hidden, &self.first_rows())
    }
}

/// Divides sequences, named by their numbers, into runs of at most `most` tokens together, or of one sequence that is longer.
pub fn divide(order: &[usize], tokens: impl Fn(usize) -> usize, most: usize) -> Vec<&[usize]> {
    let (mut batches, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, &number) in order.iter().enumerate() {
        sum += tokens(number);
        if sum > most && at > start {
            batches.push(&order[start..at]);
            (start, sum) = (at, tokens(number));
        }
    }
    batches.extend((start < order.len()).then(|| &order[start..]));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_sequence_once_within_the_budget() {
        let lengths = [9, 7, 4, 4, 3, 3, 1];
        let order: Vec<usize> = (0..lengths.len()).collect();
        let batches = divide(&order, |number| lengths[number], 8);
        assert_eq!(batches, [&[0][..], &[1], &[2, 3], &[4, 5, 6]]);
        assert!(divide(&[], |_| 1, 8).is_empty());
    }
}
