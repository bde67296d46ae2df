//! A document as a recogniser sees it: text and tokenizer come in; word pieces, and the units that mentions are made of, leave.

use std::ops::Range;

use super::windows::{Window, windows};
use crate::{data::Span, nn::tokenizer::Tokens};

/// A run of letters and digits, or a single other character: what a mention is made of. It gets one label, at its first piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Word pieces, counted without special tokens.
    pub pieces: Range<usize>,
    /// Place in the document, in bytes.
    pub bytes: Range<usize>,
}

/// A document's word pieces and units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// Special tokens that the model expects before every text.
    opening: Vec<u32>,
    /// Ids of the pieces.
    ids: Vec<u32>,
    /// Special tokens that the model expects after every text.
    closing: Vec<u32>,
    /// In text order, apart from each other.
    units: Vec<Unit>,
}

/// A window's tokens, ready for the model, and the units decided in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Passage {
    /// Ids with special tokens.
    pub ids: Vec<u32>,
    /// Numbers of the units decided here.
    pub units: Range<usize>,
    /// Numbers of all units that begin within the window.
    pub seen: Range<usize>,
    /// First and last token of each seen unit among `ids`.
    pub tokens: Vec<(usize, usize)>,
}

impl Text {
    /// Takes apart what the tokenizer made of `text`, without truncation.
    ///
    /// A piece that goes on with letters or digits where the piece before it stopped with one belongs to the same unit. For BERT these are the
    /// words of its tokenizer; SentencePiece words are cut at punctuation too, which mentions rarely include.
    pub fn new(tokens: &Tokens, text: &str) -> Self {
        let is_special = |at: &usize| tokens.words[*at].is_none();
        let count = tokens.ids.len();
        let opening = (0..count).take_while(is_special).count();
        let closing = (opening..count).rev().take_while(is_special).count();
        let body = opening..count - closing;
        let mut units: Vec<Unit> = Vec::new();
        for (piece, bytes) in tokens.spans[body.clone()].iter().enumerate() {
            let Some(bytes) = trim(text, bytes) else { continue };
            match units.last_mut() {
                // A character of several pieces: each has its place.
                Some(last) if bytes.end <= last.bytes.end => last.pieces.end = piece + 1,
                Some(last) if goes_on(text, last, piece, &bytes) => {
                    last.pieces.end = piece + 1;
                    last.bytes.end = bytes.end;
                }
                _ => units.push(Unit { pieces: piece..piece + 1, bytes }),
            }
        }
        Self {
            opening: tokens.ids[..opening].to_vec(),
            ids: tokens.ids[body.clone()].to_vec(),
            closing: tokens.ids[body.end..].to_vec(),
            units,
        }
    }

    /// Returns the units, in text order.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Cuts the text into windows of at most `max_tokens`, special tokens included. Windows in which nothing is to be decided are left out.
    pub fn passages(&self, max_tokens: usize) -> Vec<Passage> {
        let size = max_tokens.saturating_sub(self.opening.len() + self.closing.len()).max(1);
        let passages = windows(self.ids.len(), size).into_iter().map(|window| self.passage(&window));
        passages.filter(|passage| !passage.units.is_empty()).collect()
    }

    fn passage(&self, window: &Window) -> Passage {
        let first_from = |piece: usize| self.units.partition_point(|unit| unit.pieces.start < piece);
        let within = |pieces: &Range<usize>| first_from(pieces.start)..first_from(pieces.end);
        let seen = within(&window.pieces);
        let token = |piece: usize| self.opening.len() + piece - window.pieces.start;
        let ends = |unit: &Unit| (token(unit.pieces.start), token(unit.pieces.end.min(window.pieces.end) - 1));
        Passage {
            ids: [&self.opening, &self.ids[window.pieces.clone()], &self.closing]
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            units: within(&window.kept),
            tokens: self.units[seen.clone()].iter().map(ends).collect(),
            seen,
        }
    }

    /// Returns the units that a span touches, blanks at its ends aside; `None` if it touches none.
    pub fn touched(&self, span: Span) -> Option<Range<usize>> {
        let first = self.units.partition_point(|unit| unit.bytes.end <= span.start_byte());
        let after = self.units.partition_point(|unit| unit.bytes.start < span.end_byte());
        (first < after).then_some(first..after)
    }

    /// Returns the span from the first to the last of some units.
    ///
    /// # Errors
    /// - [`crate::Error::Span`] if `text` is not the one the units were made of.
    pub fn span(&self, text: &str, units: &Range<usize>) -> crate::Result<Span> {
        let place = |unit: Option<&Unit>| unit.map(|unit| unit.bytes.clone()).unwrap_or_default();
        let (first, last) = (place(self.units.get(units.start)), place(self.units.get(units.end.wrapping_sub(1))));
        Span::new(text, first.start, last.end)
    }
}

/// Cuts the blanks off a piece, which SentencePiece counts to the word after them; `None` if nothing is left.
fn trim(text: &str, bytes: &Range<usize>) -> Option<Range<usize>> {
    let piece = text.get(bytes.clone())?;
    let start = bytes.start + (piece.len() - piece.trim_start().len());
    let length = piece.trim().len();
    (length > 0).then_some(start..start + length)
}

fn goes_on(text: &str, last: &Unit, piece: usize, bytes: &Range<usize>) -> bool {
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    last.pieces.end == piece
        && last.bytes.end == bytes.start
        && joins(text[..bytes.start].chars().next_back())
        && joins(text[bytes.start..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One piece for every two characters of a run of letters, for every other character one; as `[1] … [2]`.
    fn tokens(text: &str) -> Tokens {
        let (mut ids, mut spans, mut words) = (vec![1], vec![Range::default()], vec![None]);
        let mut open = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let goes_on = c.is_alphanumeric() && open > 0 && spans[spans.len() - 1].end == at;
            if goes_on && open % 2 == 1 {
                let last = spans.len() - 1;
                spans[last].end = at + c.len_utf8();
            } else {
                ids.push(10 + ids.len() as u32);
                spans.push(at..at + c.len_utf8());
                words.push(Some(0));
            }
            open = if c.is_alphanumeric() { if goes_on { open + 1 } else { 1 } } else { 0 };
        }
        ids.push(2);
        spans.push(0..0);
        words.push(None);
        Tokens { ids, spans, words, cut: 0 }
    }

    fn units(text: &str) -> Vec<&str> {
        let made = Text::new(&tokens(text), text);
        made.units.iter().map(|unit| &text[unit.bytes.clone()]).collect()
    }

    #[test]
    fn units_are_words_and_marks() {
        assert_eq!(units("Гастрит,обострение (2 ст.)"), ["Гастрит", ",", "обострение", "(", "2", "ст", ".", ")"]);
        assert_eq!(units(""), Vec::<&str>::new());
        assert_eq!(units(" \n "), Vec::<&str>::new());
    }

    #[test]
    fn spans_find_their_units_and_back() {
        let text = "Острый  отит. Гастрит";
        let made = Text::new(&tokens(text), text);
        let span = |part: &str| {
            let start = text.find(part).unwrap();
            Span::new(text, start, start + part.len()).unwrap()
        };
        for (given, found) in
            [("  отит", "отит"), ("стрый  от", "Острый  отит"), ("отит. ", "отит."), (". Г", ". Гастрит")]
        {
            let units = made.touched(span(given)).unwrap();
            assert_eq!(made.span(text, &units).unwrap().slice(text), found);
        }
        assert_eq!(made.touched(span("  ")), None);
    }

    #[test]
    fn windows_see_each_unit_and_decide_it_once() {
        let text = "Хронический гастрит, обострение. Дуоденит; рефлюкс-эзофагит, ремиссия";
        let made = Text::new(&tokens(text), text);
        let whole = made.passages(usize::MAX);
        assert_eq!((whole.len(), whole[0].units.len()), (1, made.units.len()));
        assert_eq!(whole[0].ids, tokens(text).ids);
        let cut = made.passages(12);
        assert!(cut.len() > 2);
        let decided: Vec<usize> = cut.iter().flat_map(|passage| passage.units.clone()).collect();
        assert_eq!(decided, (0..made.units.len()).collect::<Vec<_>>());
        for passage in &cut {
            assert!(passage.ids.len() <= 12 && passage.ids[0] == 1 && passage.ids[passage.ids.len() - 1] == 2);
            assert!(passage.seen.start <= passage.units.start && passage.units.end <= passage.seen.end);
            for (unit, &(first, last)) in passage.seen.clone().zip(&passage.tokens) {
                assert_eq!(passage.ids[first], made.ids[made.units[unit].pieces.start]);
                assert!(first <= last && last < passage.ids.len() - 1);
            }
        }
    }
}
