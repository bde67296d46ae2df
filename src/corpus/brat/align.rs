//! Finds the place that an entity means: its offsets and its quoted text come in, a span leaves.
//!
//! Offsets count if the quoted text stands there. Otherwise the quoted text decides: the nearest place where it stands
//! to the letter, then with other blanks, first near by, then anywhere; at last the most similar words near by.

use super::super::offsets::{Offsets, boundary_before};
use crate::data::Span;

/// How far "near by" reaches, in bytes on each side.
const NEAR_BYTES: usize = 512;
/// Largest share of its letters in which a quoted text may differ from the words it stands for.
const EDITED_SHARE: f64 = 0.25;
/// Longest quoted text, in characters, that is compared letter by letter.
const EDITED_CHARS: usize = 400;

/// How a place was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    AtOffsets,
    Elsewhere,
    OtherBlanks,
    Edited,
    ByOffsetsOnly,
}

/// Finds the span meant by `start_char..end_char` and `quote`, or `None` if the document holds no such place.
pub(super) fn place(offsets: &Offsets<'_>, start_char: i64, end_char: i64, quote: &str) -> Option<(Span, Found)> {
    let text = offsets.text();
    let byte = |char_offset: i64| usize::try_from(char_offset).ok().and_then(|offset| offsets.byte(offset));
    let given = byte(start_char).zip(byte(end_char)).and_then(|(start, end)| Span::new(text, start, end).ok());
    if quote.trim().is_empty() {
        let span = given.and_then(|span| trimmed(text, span))?;
        return Some((span, Found::ByOffsetsOnly));
    }
    if let Some(span) = given
        && same_but_for_breaks(span.slice(text), quote)
    {
        return Some((span, Found::AtOffsets));
    }
    let anchor = byte(start_char).unwrap_or(if start_char < 0 { 0 } else { text.len() });
    let start = boundary_before(text, anchor.saturating_sub(NEAR_BYTES));
    let end = boundary_before(text, anchor.saturating_add(quote.len() + NEAR_BYTES));
    let (near, everywhere) = (Window { text, start, end }, Window { text, start: 0, end: text.len() });
    let squeezed = squeeze(quote);
    let exact = |window: Window<'_>| window.exact(quote, anchor).map(|span| (span, Found::Elsewhere));
    let blanks = |window: Window<'_>| window.squeezed(&squeezed, anchor).map(|span| (span, Found::OtherBlanks));
    exact(near)
        .or_else(|| blanks(near))
        .or_else(|| exact(everywhere))
        .or_else(|| blanks(everywhere))
        .or_else(|| near.similar(quote, anchor).map(|span| (span, Found::Edited)))
}

/// brat writes a quoted text on one line: breaks and tabs of the document stand as blanks.
pub(crate) fn on_one_line(c: char) -> char {
    match c {
        '\t'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c => c,
    }
}

fn same_but_for_breaks(text: &str, quote: &str) -> bool {
    text == quote || text.chars().map(on_one_line).eq(quote.chars().map(on_one_line))
}

fn trimmed(text: &str, span: Span) -> Option<Span> {
    let words = span.slice(text);
    let start = span.start_byte() + (words.len() - words.trim_start().len());
    Span::new(text, start, start + words.trim().len()).ok()
}

/// A quoted text without blanks and without the `\n` that some tools write for a line break.
fn squeeze(quote: &str) -> String {
    quote.replace("\\n", " ").chars().filter(|c| !c.is_whitespace()).collect()
}

/// A piece of the document in which to look.
#[derive(Clone, Copy)]
struct Window<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

impl Window<'_> {
    fn exact(self, quote: &str, anchor: usize) -> Option<Span> {
        let starts = self.text[self.start..self.end].match_indices(quote).map(|(at, _)| self.start + at);
        self.nearest(starts.map(|start| (start, start + quote.len())), anchor)
    }

    fn squeezed(self, quote: &str, anchor: usize) -> Option<Span> {
        if quote.is_empty() {
            return None;
        }
        let mut bare = String::with_capacity(self.end - self.start);
        let mut place = Vec::with_capacity(self.end - self.start); // of each byte of `bare`
        for (at, c) in self.text[self.start..self.end].char_indices().filter(|(_, c)| !c.is_whitespace()) {
            bare.push(c);
            place.extend((0..c.len_utf8()).map(|byte| self.start + at + byte));
        }
        let found = bare.match_indices(quote).map(|(at, _)| (place[at], place[at + quote.len() - 1] + 1));
        self.nearest(found, anchor)
    }

    /// Prefers whole words, then the place nearest to where the offsets point.
    fn nearest(self, found: impl Iterator<Item = (usize, usize)>, anchor: usize) -> Option<Span> {
        let (start, end) =
            found.min_by_key(|&(start, end)| (!self.is_whole(start, end), start.abs_diff(anchor), start))?;
        Span::new(self.text, start, end).ok()
    }

    fn is_whole(self, start: usize, end: usize) -> bool {
        let joined = |left: Option<char>, right: Option<char>| {
            left.is_some_and(char::is_alphanumeric) && right.is_some_and(char::is_alphanumeric)
        };
        let (before, inside, after) = (&self.text[..start], &self.text[start..end], &self.text[end..]);
        !joined(before.chars().next_back(), inside.chars().next())
            && !joined(inside.chars().next_back(), after.chars().next())
    }

    /// Finds the run of words with the smallest Levenshtein distance to `quote`, blanks and case aside.
    fn similar(self, quote: &str, anchor: usize) -> Option<Span> {
        let wanted = squeeze(quote).to_lowercase();
        let length = wanted.chars().count();
        let limit = (length as f64 * EDITED_SHARE) as usize;
        if limit == 0 || length > EDITED_CHARS {
            return None;
        }
        let words = self.words();
        let mut best: Option<(usize, usize, Span)> = None;
        for (first, &(start, _)) in words.iter().enumerate() {
            let mut found = String::new();
            for &(word, end) in &words[first..] {
                found.extend(self.text[word..end].chars().flat_map(char::to_lowercase));
                let chars = found.chars().count();
                if chars + limit < length {
                    continue;
                }
                if chars > length + limit {
                    break;
                }
                let rank = (strsim::levenshtein(&found, &wanted), start.abs_diff(anchor));
                if rank.0 <= limit && best.is_none_or(|(edits, distance, _)| rank < (edits, distance)) {
                    best = Span::new(self.text, start, end).ok().map(|span| (rank.0, rank.1, span)).or(best);
                }
            }
        }
        best.map(|(_, _, span)| span)
    }

    /// Byte ranges of the runs without blanks.
    fn words(self) -> Vec<(usize, usize)> {
        let piece = &self.text[self.start..self.end];
        let base = piece.as_ptr() as usize;
        piece
            .split_whitespace()
            .map(|word| self.start + (word.as_ptr() as usize - base))
            .zip(piece.split_whitespace())
            .map(|(start, word)| (start, start + word.len()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, start: i64, end: i64, quote: &str) -> Option<(&'static str, Found)> {
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        place(&Offsets::new(text), start, end, quote).map(|(span, found)| (span.slice(text), found))
    }

    const TEXT: &str = "Основной: ринит.\nСопутствующий: отит,  ринит вазомоторный";

    #[test]
    fn offsets_count_where_the_quote_stands() {
        assert_eq!(found(TEXT, 10, 15, "ринит"), Some(("ринит", Found::AtOffsets)));
        assert_eq!(found(TEXT, 10, 17, "ринит. "), Some(("ринит.\n", Found::AtOffsets)));
        assert_eq!(found(TEXT, 32, 36, ""), Some(("отит", Found::ByOffsetsOnly)));
        assert_eq!(found(TEXT, 16, 17, ""), None);
    }

    #[test]
    fn the_nearest_place_of_the_quote_is_taken() {
        let offsets = Offsets::new(TEXT);
        let (span, how) = place(&offsets, 41, 46, "ринит").unwrap();
        assert_eq!((offsets.char(span.start_byte()), how), (39, Found::Elsewhere));
        let (span, _) = place(&offsets, 12, 17, "ринит").unwrap();
        assert_eq!(offsets.char(span.start_byte()), 10);
        assert_eq!(found(TEXT, 900, 905, "отит"), Some(("отит", Found::Elsewhere)));
        assert_eq!(found(TEXT, -4, 2, "отит"), Some(("отит", Found::Elsewhere)));
    }

    #[test]
    fn whole_words_come_first() {
        let text = "ЖДА, хр. ДА";
        let (span, _) = place(&Offsets::new(text), 2, 4, "ДА").unwrap();
        assert_eq!(span.start_byte(), 14);
    }

    #[test]
    fn blanks_breaks_and_small_errors_are_forgiven() {
        assert_eq!(found(TEXT, 30, 40, "отит, ринит\\n"), Some(("отит,  ринит", Found::OtherBlanks)));
        assert_eq!(found(TEXT, 0, 10, "\nотит,"), Some(("отит,", Found::OtherBlanks)));
        assert_eq!(found(TEXT, 37, 50, "Ренит  вазомоторный"), Some(("ринит вазомоторный", Found::Edited)));
        assert_eq!(found(TEXT, 37, 50, "гастродуоденит"), None);
    }

    #[test]
    fn works_in_a_text_of_ten_megabytes() {
        let text = "жалоб нет. ".repeat(500_000) + "Ангина";
        let (span, how) = place(&Offsets::new(&text), 5_500_000 - 3, 5_500_003, "Ангина").unwrap();
        assert_eq!((span.slice(&text), how), ("Ангина", Found::Elsewhere));
    }
}
