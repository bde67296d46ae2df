//! Levenshtein distance by bits: a word of 64 bits carries 64 rows of the table of distances, so that a text is scanned in a
//! few operations a character, however many edits are allowed.
//!
//! # Source
//! Myers, *A fast bit-vector algorithm for approximate string matching based on dynamic programming*, J. ACM 46 (1999), with
//! the blocks of Hyyrö, *A bit-vector algorithm for computing Levenshtein and Damerau edit distances*, Nordic J. Comput. 10
//! (2003).

/// Rows of the table that one machine word carries.
const ROWS: usize = u64::BITS as usize;

/// Words to look for, ready to be compared with texts over the symbols `0..alphabet`.
pub(super) struct Pattern {
    length: usize,
    /// For each symbol, `blocks` words in which a bit says that the pattern has the symbol there.
    places: Vec<u64>,
    blocks: usize,
}

/// Vertical differences of 64 rows in the current column: where the distance grows by one, and where it falls.
#[derive(Clone)]
struct Block {
    grows: u64,
    falls: u64,
}

impl Pattern {
    /// Prepares a pattern that is not empty; `None` stands for a symbol that no text has.
    pub fn new(symbols: impl ExactSizeIterator<Item = Option<usize>>, alphabet: usize) -> Self {
        let length = symbols.len();
        let blocks = length.div_ceil(ROWS);
        let mut places = vec![0; alphabet * blocks];
        for (at, symbol) in symbols.enumerate() {
            if let Some(symbol) = symbol {
                places[symbol * blocks + at / ROWS] |= 1 << (at % ROWS);
            }
        }
        Self { length, places, blocks }
    }

    /// Calls `visit(i, d)` after each symbol of `text`, where `d` is the least distance between the pattern and a piece of the
    /// text that ends with symbol `i`: any such piece, or, if `anchored`, the one that starts with the text.
    pub fn scan(&self, text: impl Iterator<Item = usize>, anchored: bool, mut visit: impl FnMut(usize, usize)) {
        let last_row = 1 << ((self.length + ROWS - 1) % ROWS);
        let mut column = vec![Block { grows: !0, falls: 0 }; self.blocks];
        let mut distance = self.length;
        for (i, symbol) in text.enumerate() {
            let places = &self.places[symbol * self.blocks..][..self.blocks];
            // The row above the pattern: 0 everywhere if a piece may start anywhere, else one more a symbol.
            let mut carry = i32::from(anchored);
            for (at, (block, &equal)) in column.iter_mut().zip(places).enumerate() {
                let row = if at + 1 == self.blocks { last_row } else { 1 << (ROWS - 1) };
                carry = block.step(equal, carry, row);
            }
            distance = distance.saturating_add_signed(carry as isize);
            visit(i, distance);
        }
    }
}

impl Block {
    /// Moves one column on. `carry` is the horizontal difference above the block; returns the one in `row`.
    fn step(&mut self, equal: u64, carry: i32, row: u64) -> i32 {
        let (from_above_falls, from_above_grows) = (u64::from(carry < 0), u64::from(carry > 0));
        let vertical = equal | self.falls;
        let equal = equal | from_above_falls;
        let diagonal = ((equal & self.grows).wrapping_add(self.grows) ^ self.grows) | equal;
        let grows = self.falls | !(diagonal | self.grows);
        let falls = self.grows & diagonal;
        let out = i32::from(grows & row != 0) - i32::from(falls & row != 0);
        let (grows, falls) = (grows << 1 | from_above_grows, falls << 1 | from_above_falls);
        self.grows = falls | !(vertical | grows);
        self.falls = grows & vertical;
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text.bytes().map(|b| Some(usize::from(b))).collect::<Vec<_>>().into_iter(), 128)
    }

    proptest! {
        /// Past 64 characters, too, where the carry between the blocks counts.
        #[test]
        fn distances_are_those_of_the_table(words in "[abc]{1,150}", text in "[abc]{0,160}") {
            pattern(&words).scan(text.bytes().map(usize::from), true, |i, distance| {
                assert_eq!(distance, strsim::levenshtein(&words, &text[..=i]));
            });
        }

        #[test]
        fn an_unanchored_scan_takes_the_best_start(words in "[abc]{1,70}", text in "[abc]{1,40}") {
            pattern(&words).scan(text.bytes().map(usize::from), false, |i, distance| {
                let best = (0..=i + 1).map(|start| strsim::levenshtein(&words, &text[start..=i])).min();
                assert_eq!(Some(distance), best.map(|best| best.min(words.len())));
            });
        }
    }
}
