//! Conversion between offsets in characters, as files of brat and JSON give them, and offsets in UTF-8 bytes, as [`Span`]
//! holds them. Nowhere else in Noso is a character counted.
//!
//! [`Span`]: crate::data::Span

/// Bytes between two remembered counts: a short text needs no table, a conversion scans at most this much.
const BLOCK_BYTES: usize = 1024;

/// Converts offsets within one text.
#[derive(Debug)]
pub struct Offsets<'t> {
    text: &'t str,
    /// Characters that start before byte `(i + 1) * BLOCK_BYTES`.
    chars_before: Vec<usize>,
}

impl<'t> Offsets<'t> {
    /// Prepares a text; takes one pass over it.
    pub fn new(text: &'t str) -> Self {
        let mut chars = 0;
        let chars_before = text
            .as_bytes()
            .chunks_exact(BLOCK_BYTES)
            .map(|block| {
                chars += starts(block);
                chars
            })
            .collect();
        Self { text, chars_before }
    }

    /// Returns the text that the offsets are for.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Returns the byte at which character `char_offset` starts (the text's length for one past its last), or `None`
    /// beyond that.
    pub fn byte(&self, char_offset: usize) -> Option<usize> {
        let block = self.chars_before.partition_point(|&chars| chars <= char_offset);
        let mut left = char_offset - if block == 0 { 0 } else { self.chars_before[block - 1] };
        let bytes = self.text.as_bytes();
        for (at, &byte) in bytes.iter().enumerate().skip(block * BLOCK_BYTES) {
            if is_start(byte) {
                if left == 0 {
                    return Some(at);
                }
                left -= 1;
            }
        }
        (left == 0).then_some(bytes.len())
    }

    /// Returns how many characters start before `byte_offset`; all of them if it lies beyond the end.
    pub fn char(&self, byte_offset: usize) -> usize {
        let end = byte_offset.min(self.text.len());
        let block = end / BLOCK_BYTES;
        let before = if block == 0 { 0 } else { self.chars_before[block - 1] };
        before + starts(&self.text.as_bytes()[block * BLOCK_BYTES..end])
    }
}

fn is_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| is_start(byte)).count()
}

/// Returns the character boundary at or before `byte_offset`.
pub(super) fn boundary_before(text: &str, byte_offset: usize) -> usize {
    let mut at = byte_offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_characters_not_bytes_or_utf16_units() {
        let offsets = Offsets::new("ОРВИ 🤒 e\u{301}");
        assert_eq!(offsets.byte(4), Some(8));
        assert_eq!(offsets.byte(6), Some(13)); // the face is one character of four bytes
        assert_eq!(offsets.char(13), 6);
        assert_eq!(offsets.byte(9), Some(17)); // the accent is a character of its own
        assert_eq!(offsets.byte(10), None);
        assert_eq!(offsets.char(99), 9);
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_count(piece in "\\PC{0,40}", times in 0usize..120) {
            let text = piece.repeat(times);
            let offsets = Offsets::new(&text);
            let mut chars = 0;
            for (at, _) in text.char_indices() {
                prop_assert_eq!(offsets.byte(chars), Some(at));
                prop_assert_eq!(offsets.char(at), chars);
                chars += 1;
            }
            prop_assert_eq!(offsets.byte(chars), Some(text.len()));
            prop_assert_eq!(offsets.byte(chars + 1), None);
        }
    }
}
