//! Quoted words come in, checked mentions of the text that they were quoted from leave.
//!
//! A language model quotes the diagnoses of a text; nothing says that it quotes well. Each quotation is looked for in the
//! text, and the best place counts:
//!
//! 1. the one that differs least (Levenshtein distance, in characters), up to the [`EditLimit`];
//! 2. of equally near ones, one that starts and ends at word boundaries: `ГБ` is not found in `ГБУЗ` if it also stands alone;
//! 3. then the leftmost.
//!
//! A run of white space equals any other, so a blank stands for a line break at no cost. Blanks and quotation marks around a
//! quotation do not count. The k-th quotation of the same words takes their k-th place; these places do not overlap. If the
//! words stand in the text to the letter, only such places count for them, and if they stand alone, only those.
//! Places of different quotations may overlap or nest; the same place is given once.

mod scan;

use std::collections::{BTreeMap, HashMap};

use scan::Pattern;
use unicode_normalization::char::is_combining_mark;

use crate::data::{AnswerFault, FaultyAnswer, Match, Mention, Span};

/// How many edits a quotation may be away from the text.
///
/// A quotation never matches words that it shares no character with, whatever the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EditLimit {
    /// A quarter of the quotation's characters, at most 2: two edits turn an abbreviation of four letters into any other.
    #[default]
    Quarter,
    /// The same for every quotation; the paper's is 2.
    Fixed(usize),
}

impl EditLimit {
    /// Returns the most edits for a quotation of so many characters.
    pub fn edits(self, characters: usize) -> usize {
        let limit = match self {
            Self::Quarter => (characters / 4).min(2),
            Self::Fixed(edits) => edits,
        };
        limit.min(characters.saturating_sub(1))
    }
}

/// What was found of the quotations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aligned {
    /// Mentions in text order, each place once; they may overlap. Their probability is 1.
    pub mentions: Vec<Mention>,
    /// Quotations that were repaired or left out, in the order given.
    pub faults: Vec<FaultyAnswer>,
}

/// Finds `quotes` in `text`.
///
/// # Source
/// Sec. 4.1 of the paper: exact match, else Levenshtein distance of at most 2.
pub fn align(text: &str, quotes: &[String], limit: EditLimit) -> Aligned {
    let text = Folded::new(text);
    // The places in `quotes` of each wording.
    let mut wordings: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, quote) in quotes.iter().enumerate() {
        wordings.entry(folded(bare(quote))).or_default().push(number);
    }
    let mut found: Vec<(Span, usize, usize)> = Vec::new(); // place, distance, quotation
    let mut faults: Vec<(usize, AnswerFault)> = Vec::new();
    for (words, numbers) in &wordings {
        let words: Vec<char> = words.chars().collect();
        let places = text.places(&words, limit.edits(words.len()), numbers.len());
        let lost = match (words.is_empty(), places.is_empty()) {
            (true, _) => AnswerFault::EmptyItem,
            (_, true) => AnswerFault::NotFound,
            _ => AnswerFault::Repeated,
        };
        found.extend(places.iter().zip(numbers).filter_map(|(place, &number)| {
            let (start_byte, end_byte) = text.bytes(place);
            Some((Span::new(text.text, start_byte, end_byte).ok()?, place.distance, number))
        }));
        faults.extend(numbers.iter().skip(places.len()).map(|&number| (number, lost)));
    }
    found.sort_unstable();
    let mut mentions: Vec<Mention> = Vec::with_capacity(found.len());
    for (span, distance, number) in found {
        if mentions.last().is_some_and(|last| last.span == span) {
            faults.push((number, AnswerFault::Repeated));
            continue;
        }
        if distance > 0 {
            faults.push((number, AnswerFault::Misquoted));
        }
        let matched = if distance == 0 { Match::Exact } else { Match::Edited(distance as u32) };
        mentions.push(Mention { span, text: span.slice(text.text).to_owned(), matched, probability: 1.0 });
    }
    faults.sort_unstable();
    let faults =
        faults.into_iter().map(|(number, fault)| FaultyAnswer { fault, text: quotes[number].clone() }).collect();
    Aligned { mentions, faults }
}

/// A text whose runs of white space are one blank each, with the way back to its bytes.
struct Folded<'t> {
    text: &'t str,
    chars: Vec<char>,
    /// First byte of each character in `text`.
    start_bytes: Vec<usize>,
    /// Each character's number in `alphabet`.
    symbols: Vec<usize>,
    alphabet: HashMap<char, usize>,
}

/// A piece of a folded text, in characters. Better ones compare as less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    distance: usize,
    within_word: bool,
    start: usize,
    /// How many of its ends lie within a word.
    cuts: usize,
    /// Whether it ends with a sign of punctuation where the quotation ends with a letter or digit.
    ragged: bool,
    /// By how many characters it is longer or shorter than the quotation.
    length_difference: usize,
    end: usize,
}

impl<'t> Folded<'t> {
    fn new(text: &'t str) -> Self {
        let (mut chars, mut start_bytes) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
        for (at, c) in text.char_indices() {
            let c = if c.is_whitespace() { ' ' } else { c };
            if c != ' ' || chars.last() != Some(&' ') {
                chars.push(c);
                start_bytes.push(at);
            }
        }
        let mut alphabet = HashMap::new();
        let symbols = chars
            .iter()
            .map(|&c| {
                let next = alphabet.len();
                *alphabet.entry(c).or_insert(next)
            })
            .collect();
        Self { text, chars, start_bytes, symbols, alphabet }
    }

    /// Finds the best `count` places of `words` that do not overlap, best first; all are exact, or none is.
    fn places(&self, words: &[char], limit: usize, count: usize) -> Vec<Place> {
        if words.is_empty() {
            return Vec::new();
        }
        let symbol = |c: &char| self.alphabet.get(c).copied();
        let forward = Pattern::new(words.iter().map(symbol), self.alphabet.len());
        let mut ends: Vec<Vec<usize>> = vec![Vec::new(); limit + 1];
        forward.scan(self.symbols.iter().copied(), false, |i, distance| {
            if let Some(ends) = ends.get_mut(distance) {
                ends.push(i + 1);
            }
        });
        let backward = Pattern::new(words.iter().rev().map(symbol), self.alphabet.len());
        let mut chosen: Vec<Place> = Vec::new();
        for (distance, ends) in ends.iter().enumerate() {
            let mut places: Vec<Place> =
                ends.iter().flat_map(|&end| self.ending(&backward, words, distance, end)).collect();
            places.sort_unstable();
            if distance == 0 && places.first().is_some_and(|best| !best.within_word) {
                places.retain(|place| !place.within_word);
            }
            for place in places {
                if chosen.len() < count
                    && chosen.iter().all(|other| other.end <= place.start || place.end <= other.start)
                {
                    chosen.push(place);
                }
            }
            if chosen.len() == count || chosen.first().is_some_and(|best| best.distance == 0) {
                break;
            }
        }
        chosen
    }

    /// Finds the pieces that end at `end`, are `distance` away from the words, and neither start nor end with a blank.
    ///
    /// Nothing is lost by the blanks: words do not start or end with one, so that the piece without it is as near.
    fn ending(&self, backward: &Pattern, words: &[char], distance: usize, end: usize) -> Vec<Place> {
        let window = &self.symbols[end.saturating_sub(words.len() + distance)..end];
        let ragged = words.last().is_some_and(is_of_word) && !is_of_word(&self.chars[end - 1]);
        let mut places = Vec::new();
        backward.scan(window.iter().rev().copied(), true, |i, found| {
            let start = end - i - 1;
            if found == distance && self.chars[start] != ' ' && self.chars[end - 1] != ' ' {
                let cuts = usize::from(self.is_within_word(start)) + usize::from(self.is_within_word(end));
                let length_difference = words.len().abs_diff(end - start);
                places.push(Place { distance, within_word: cuts > 0, start, cuts, ragged, length_difference, end });
            }
        });
        places
    }

    fn is_within_word(&self, at: usize) -> bool {
        at > 0 && self.chars.get(at - 1..=at).is_some_and(|around| around.iter().all(is_of_word))
    }

    fn bytes(&self, place: &Place) -> (usize, usize) {
        let last = place.end - 1;
        (self.start_bytes[place.start], self.start_bytes[last] + self.chars[last].len_utf8())
    }
}

fn is_of_word(c: &char) -> bool {
    c.is_alphanumeric() || is_combining_mark(*c)
}

/// Takes away blanks and quotation marks around a quotation. A mark whose partner stands within the words stays.
fn bare(quote: &str) -> &str {
    const MARKS: [char; 13] = ['"', '\'', '`', '«', '»', '„', '“', '”', '‘', '’', '‚', '‹', '›'];
    let mut words = quote.trim();
    loop {
        let odd = words.matches(MARKS).count() % 2 == 1;
        let stripped = match (words.strip_prefix(MARKS), words.strip_suffix(MARKS)) {
            (Some(rest), Some(_)) if !rest.is_empty() => rest.strip_suffix(MARKS).unwrap_or(rest),
            (Some(rest), _) | (_, Some(rest)) if odd => rest,
            _ => return words,
        };
        words = stripped.trim();
    }
}

/// Writes every run of white space as one blank.
fn folded(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
