//! Word pieces learned from texts: texts come in, the vocabulary of a [`Tokenizer`](super::tokenizer::Tokenizer) leaves.
//!
//! The trainer of the tokenizers library draws its ties by chance; this one gives the same pieces for the same texts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
};

use super::tokenizer::Casing;
use crate::error::{Error, Result};

/// Special tokens, first in every vocabulary.
const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What marks a piece that does not start a word.
const INNER: &str = "##";
/// Letters and pairs that are rarer are not learned: one text's misspelling is no piece.
const LEAST: i64 = 2;

/// Learns at most `size` pieces, special tokens included: all characters, then the most frequent pair of pieces, merged again and again.
///
/// # Errors
/// - [`Error::Setting`] if `size` has no room for the characters; [`Error::Sequence`] if the library refuses a text.
///
/// # Source
/// Sennrich et al. 2015, with WordPiece's marks: <https://arxiv.org/abs/1508.07909>.
pub fn learn<'a>(texts: impl IntoIterator<Item = &'a str>, size: usize, casing: Casing) -> Result<Vec<String>> {
    let words = count_words(texts, casing)?;
    let mut pairs = Pairs::new(&words);
    if pairs.pieces.len() > size {
        let expected = format!("{} or more, the number of characters", pairs.pieces.len());
        return Err(Error::Setting { key: "vocabulary".into(), expected, got: size.to_string() });
    }
    while pairs.pieces.len() < size && pairs.merge() {}
    Ok(pairs.pieces)
}

/// Counts the words of all texts as the tokenizer sees them.
fn count_words<'a>(texts: impl IntoIterator<Item = &'a str>, casing: Casing) -> Result<BTreeMap<String, i64>> {
    let failed = |e: tokenizers::Error| Error::Sequence {
        expected: "a text that can be cut into words".into(),
        got: e.to_string(),
    };
    let normalizer = BertNormalizer::new(true, casing.chinese, casing.strip_accents, casing.lowercase);
    let mut words = BTreeMap::new();
    for text in texts {
        let mut normal = NormalizedString::from(text);
        normalizer.normalize(&mut normal).map_err(failed)?;
        let mut split = PreTokenizedString::from(normal);
        BertPreTokenizer.pre_tokenize(&mut split).map_err(failed)?;
        for (word, ..) in split.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            match words.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(words.insert(word.to_owned(), 1)),
            }
        }
    }
    Ok(words)
}

type Pair = (usize, usize);

/// Words as rows of pieces, with the counts of neighbouring pieces.
struct Pairs {
    pieces: Vec<String>,
    numbers: HashMap<String, usize>,
    words: Vec<(Vec<usize>, i64)>,
    counts: HashMap<Pair, i64>,
    /// Words that hold a pair, or once did.
    places: HashMap<Pair, Vec<usize>>,
    /// Most frequent first, then the older pieces. A count that is no longer true is put right when it comes up.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Pairs {
    fn new(words: &BTreeMap<String, i64>) -> Self {
        let mut letters = BTreeMap::<String, i64>::new();
        for (word, &count) in words {
            split(word).for_each(|letter| *letters.entry(letter).or_default() += count);
        }
        let frequent = letters.into_iter().filter(|(_, count)| *count >= LEAST).map(|(letter, _)| letter);
        let pieces: Vec<String> = SPECIALS.iter().map(|&special| special.to_owned()).chain(frequent).collect();
        let numbers = pieces.iter().cloned().zip(0..).collect();
        let mut pairs = Self {
            pieces,
            numbers,
            words: vec![],
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (word, &count) in words {
            // A word with a letter that is no piece is unknown as a whole.
            if let Some(row) = split(word).map(|letter| pairs.numbers.get(&letter).copied()).collect() {
                pairs.words.push((row, count));
                pairs.count(pairs.words.len() - 1, 1);
            }
        }
        pairs.queue = pairs.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        pairs
    }

    /// Adds a word's pairs to the counts, or takes them away.
    fn count(&mut self, word: usize, sign: i64) {
        let (row, count) = &self.words[word];
        for pair in row.windows(2).map(|pair| (pair[0], pair[1])) {
            *self.counts.entry(pair).or_default() += sign * count;
            if sign > 0 {
                let places = self.places.entry(pair).or_default();
                if places.last() != Some(&word) {
                    places.push(word);
                }
            }
        }
    }

    /// Merges the most frequent pair. Returns whether there was one.
    fn merge(&mut self) -> bool {
        let pair = loop {
            let Some((count, Reverse(pair))) = self.queue.pop() else { return false };
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now == count && now >= LEAST {
                break pair;
            }
            if now >= LEAST && now < count {
                self.queue.push((now, Reverse(pair)));
            }
        };
        let (left, right) = (&self.pieces[pair.0], &self.pieces[pair.1]);
        let merged = format!("{left}{}", right.strip_prefix(INNER).unwrap_or(right));
        let number = *self.numbers.entry(merged).or_insert_with_key(|merged| {
            self.pieces.push(merged.clone());
            self.pieces.len() - 1
        });
        let mut touched = Vec::new();
        for word in self.places.remove(&pair).unwrap_or_default() {
            self.count(word, -1);
            let row = &mut self.words[word].0;
            let mut at = 0;
            while at + 1 < row.len() {
                if (row[at], row[at + 1]) == pair {
                    row[at] = number;
                    row.remove(at + 1);
                }
                at += 1;
            }
            self.count(word, 1);
            let new = self.words[word].0.windows(2).map(|pair| (pair[0], pair[1]));
            touched.extend(new.filter(|new| new.0 == number || new.1 == number));
        }
        touched.sort_unstable();
        touched.dedup();
        let counts = &self.counts;
        self.queue.extend(touched.into_iter().filter_map(|pair| Some((*counts.get(&pair)?, Reverse(pair)))));
        true
    }
}

/// Cuts a word into characters, all but the first marked.
fn split(word: &str) -> impl Iterator<Item = String> + '_ {
    word.chars().enumerate().map(|(at, letter)| if at == 0 { letter.to_string() } else { format!("{INNER}{letter}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASING: Casing = Casing { lowercase: true, strip_accents: Some(false), chinese: true };

    #[test]
    fn merges_the_most_frequent_pairs_first() {
        let texts = ["Ёлка ёлка й", "ёлка, й лк лк"];
        // The comma is seen once: no piece. Three pairs are seen three times, the first of them by its pieces is «##к ##а»; «л ##к» twice.
        let pieces = learn(texts, 100, CASING).unwrap();
        assert_eq!(pieces[..5], SPECIALS);
        assert_eq!(pieces[5..], ["##а", "##к", "##л", "й", "л", "ё", "##ка", "##лка", "ёлка", "лк"]);
        assert_eq!(learn(texts, 12, CASING).unwrap(), pieces[..12]);
        assert!(learn(texts, 9, CASING).unwrap_err().to_string().contains("11 or more"));
    }

    #[test]
    fn counts_stay_true_while_pieces_are_merged() {
        let texts = ["абабаб бабаба абба аббаба", "ааааа аа бббб абаб"];
        let mut pairs = Pairs::new(&count_words(texts.iter().copied().cycle().take(20), CASING).unwrap());
        while pairs.merge() {
            let mut counts = HashMap::<Pair, i64>::new();
            for (row, count) in &pairs.words {
                row.windows(2).for_each(|pair| *counts.entry((pair[0], pair[1])).or_default() += count);
            }
            pairs.counts.retain(|_, count| *count != 0);
            assert_eq!(pairs.counts, counts);
        }
    }
}
