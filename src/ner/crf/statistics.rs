//! What training texts say about words, pairs of words and phrases: how often they stand where in a mention.
//!
//! Only hashes are kept: neither phrases nor words can be read out of a model.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    lattice::MAX_SPAN_TOKENS,
    table::Table,
    tokens::{Token, Writing, hash, mix},
};

/// How often a word occurs, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WordCounts {
    /// Occurrences.
    pub all: u16,
    /// As a mention's first word.
    pub begins: u16,
    /// As a mention's last word.
    pub ends: u16,
    /// Within a mention.
    pub inside: u16,
    /// After a word within a mention.
    pub after: u16,
    /// Of those, within the same mention.
    pub goes_on: u16,
    /// Before a word within a mention.
    pub before: u16,
    /// Of those, within the same mention.
    pub leads_in: u16,
}

/// How often two words stand side by side, and what lies between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Occurrences.
    pub all: u16,
    /// A mention begins between them.
    pub begins: u16,
    /// A mention ends between them.
    pub ends: u16,
    /// Both are within one mention.
    pub joined: u16,
}

/// How often a phrase occurs, and how often it is a mention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PhraseCounts {
    /// Occurrences.
    pub all: u16,
    /// As a mention.
    pub mentions: u16,
}

/// Counts over a set of texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Statistics {
    words: Table<WordCounts>,
    pairs: Table<PairCounts>,
    phrases: Table<PhraseCounts>,
}

/// A text's tokens and its mentions as first and last token, in text order and without overlap.
pub struct Labelled<'a> {
    /// Tokens.
    pub tokens: &'a [Token],
    /// Mentions.
    pub mentions: &'a [(usize, usize)],
}

/// Forms in which a word is counted: by stem, by its first three characters, by its last three.
pub fn word_keys(token: &Token) -> [u32; 3] {
    [(1, token.stem()), (2, token.prefixes[0]), (3, token.suffixes[1])].map(|(form, part)| key(&[form, part]))
}

/// Key of two neighbouring words.
pub fn pair_key(left: &Token, right: &Token) -> u32 {
    key(&[4, left.stem(), right.stem()])
}

/// Keys of the phrases that begin at `first`, longest `MAX_SPAN_TOKENS`: by whole words and by stems.
pub fn phrase_keys(tokens: &[Token], first: usize) -> impl Iterator<Item = [u32; 2]> {
    let mut state = [hash(&[5]), hash(&[6])];
    tokens.iter().skip(first).take(MAX_SPAN_TOKENS).map(move |token| {
        state = [mix(state[0], token.word), mix(state[1], token.stem())];
        state.map(|state| (state >> 32) as u32)
    })
}

fn key(parts: &[u64]) -> u32 {
    (hash(parts) >> 32) as u32
}

impl Statistics {
    /// Counts.
    pub fn count<'a>(texts: impl Iterator<Item = Labelled<'a>> + Clone) -> Self {
        let mut words = HashMap::new();
        let mut pairs = HashMap::new();
        let mut phrases: HashMap<u32, PhraseCounts> = HashMap::new();
        for text in texts.clone() {
            count_words(&text, &mut words, &mut pairs);
            for &(first, last) in text.mentions {
                for key in phrase_keys(text.tokens, first).nth(last - first).into_iter().flatten() {
                    let counts = phrases.entry(key).or_default();
                    counts.mentions = counts.mentions.saturating_add(1);
                }
            }
        }
        for text in texts {
            for key in (0..text.tokens.len()).flat_map(|first| phrase_keys(text.tokens, first)).flatten() {
                if let Some(counts) = phrases.get_mut(&key) {
                    counts.all = counts.all.saturating_add(1);
                }
            }
        }
        Self { words: table(words), pairs: table(pairs), phrases: table(phrases) }
    }

    /// Counts of a word in the forms of `word_keys`.
    pub fn word(&self, token: &Token) -> [WordCounts; 3] {
        word_keys(token).map(|key| self.words.get(key))
    }

    /// Counts of two neighbouring words.
    pub fn pair(&self, left: &Token, right: &Token) -> PairCounts {
        self.pairs.get(pair_key(left, right))
    }

    /// Counts of a phrase by one of its `phrase_keys`.
    pub fn phrase(&self, key: u32) -> PhraseCounts {
        self.phrases.get(key)
    }
}

fn table<V: Copy + Default>(counts: HashMap<u32, V>) -> Table<V> {
    let mut entries: Vec<(u32, V)> = counts.into_iter().collect();
    entries.sort_unstable_by_key(|entry| entry.0);
    Table::new(entries.into_iter())
}

/// Where a token stands with regard to mentions.
#[derive(Clone, Copy, Default, PartialEq)]
struct Place {
    begins: bool,
    ends: bool,
    inside: bool,
}

fn count_words(text: &Labelled<'_>, words: &mut HashMap<u32, WordCounts>, pairs: &mut HashMap<u32, PairCounts>) {
    let mut places = vec![Place::default(); text.tokens.len()];
    for &(first, last) in text.mentions {
        for place in &mut places[first..=last] {
            place.inside = true;
        }
        places[first].begins = true;
        places[last].ends = true;
    }
    let place = |at: Option<usize>| at.and_then(|at| places.get(at)).copied().unwrap_or_default();
    let edges = [Token::edge(Writing::START), Token::edge(Writing::END)];
    for at in 0..=text.tokens.len() {
        let (left, right) = (place(at.checked_sub(1)), place(Some(at)));
        let left_token = at.checked_sub(1).map_or(&edges[0], |before| &text.tokens[before]);
        let right_token = text.tokens.get(at).unwrap_or(&edges[1]);
        let counts = pairs.entry(pair_key(left_token, right_token)).or_default();
        let joined = left.inside && right.inside && !right.begins;
        add(&mut counts.all, true);
        add(&mut counts.begins, right.begins);
        add(&mut counts.ends, left.ends);
        add(&mut counts.joined, joined);
        let Some(token) = text.tokens.get(at) else { continue };
        let next = place(Some(at + 1));
        for key in word_keys(token) {
            let counts = words.entry(key).or_default();
            add(&mut counts.all, true);
            add(&mut counts.begins, right.begins);
            add(&mut counts.ends, right.ends);
            add(&mut counts.inside, right.inside);
            add(&mut counts.after, left.inside);
            add(&mut counts.goes_on, joined);
            add(&mut counts.before, next.inside);
            add(&mut counts.leads_in, next.inside && right.inside && !next.begins);
        }
    }
}

fn add(count: &mut u16, yes: bool) {
    *count = count.saturating_add(u16::from(yes));
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokenise, *};

    #[test]
    fn counts_words_pairs_and_phrases() {
        let first = tokenise("острый отит, отит", 0);
        let second = tokenise("отит", 0);
        let texts =
            [Labelled { tokens: &first, mentions: &[(0, 1), (3, 3)] }, Labelled { tokens: &second, mentions: &[] }];
        let statistics = Statistics::count(texts.iter().map(|t| Labelled { tokens: t.tokens, mentions: t.mentions }));
        let otitis = statistics.word(&second[0])[0];
        let seen = [otitis.all, otitis.begins, otitis.ends, otitis.inside, otitis.after, otitis.goes_on];
        assert_eq!(seen, [3, 1, 2, 2, 1, 1]);
        let pair = statistics.pair(&first[0], &first[1]);
        assert_eq!([pair.all, pair.begins, pair.ends, pair.joined], [1, 0, 0, 1]);
        for key in phrase_keys(&second, 0).flatten() {
            assert_eq!(statistics.phrase(key), PhraseCounts { all: 3, mentions: 1 });
        }
    }
}
