//! A checked place in a text.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A half-open range of UTF-8 bytes, not empty, on character boundaries of the text it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    start_byte: usize,
    end_byte: usize,
}

impl Span {
    /// Checks that `start_byte..end_byte` is a non-empty piece of `text`.
    ///
    /// # Errors
    /// - [`Error::Span`] if it is empty, ends before it starts, passes the end, or cuts a character in two.
    pub fn new(text: &str, start_byte: usize, end_byte: usize) -> Result<Self> {
        let rule = if start_byte >= end_byte {
            "a span ends after it starts"
        } else if end_byte > text.len() {
            "a span ends within its text"
        } else if !text.is_char_boundary(start_byte) || !text.is_char_boundary(end_byte) {
            "a span starts and ends between characters"
        } else {
            return Ok(Self { start_byte, end_byte });
        };
        Err(Error::Span { start_byte, end_byte, length_bytes: text.len(), rule })
    }

    /// Returns the first byte.
    pub fn start_byte(self) -> usize {
        self.start_byte
    }

    /// Returns one past the last byte.
    pub fn end_byte(self) -> usize {
        self.end_byte
    }

    /// Returns the piece of `text`, or an empty string if `text` is not the one the span was made for.
    pub fn slice(self, text: &str) -> &str {
        text.get(self.start_byte..self.end_byte).unwrap_or_default()
    }

    /// Tells whether two spans share a byte.
    pub fn overlaps(self, other: Span) -> bool {
        self.start_byte < other.end_byte && other.start_byte < self.end_byte
    }

    /// Tells whether `other` lies within this span. A span contains itself.
    pub fn contains(self, other: Span) -> bool {
        self.start_byte <= other.start_byte && other.end_byte <= self.end_byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cyrillic_back() {
        let text = "ИБС. Стенокардия";
        assert_eq!(Span::new(text, 8, 30).unwrap().slice(text), "Стенокардия");
        assert_eq!(Span::new(text, 0, 6).unwrap().slice(text), "ИБС");
    }

    #[test]
    fn refuses_what_is_no_piece() {
        for (start, end) in [(0, 0), (3, 2), (0, 7), (0, 1), (5, 6)] {
            assert!(Span::new("ИБС", start, end).is_err(), "{start}..{end}");
        }
    }
}
