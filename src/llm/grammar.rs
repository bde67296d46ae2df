//! A document comes in; a grammar leaves that lets a model say nothing but pieces of it.

use serde_json::json;
use unicode_normalization::char::is_combining_mark;

/// Words (with the marks that combine with their letters), runs of blanks, and single signs of `source`: pieces made of them begin
/// and end at word boundaries.
fn chunks(source: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Kind {
        Word,
        Blank,
        Sign,
    }
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || is_combining_mark(c) => Kind::Word,
        c if c.is_whitespace() => Kind::Blank,
        _ => Kind::Sign,
    };
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (at, c) in source.char_indices() {
        if last.is_some_and(|last| last != kind(c) || last == Kind::Sign) {
            chunks.push(&source[start..at]);
            start = at;
        }
        last = Some(kind(c));
    }
    chunks.push(&source[start..]);
    chunks
}

/// Writes the Lark grammar of a list `['…', '…']` of at most `max_items` pieces of `source`.
///
/// A piece begins and ends with a chunk, holds a letter or digit, and neither an apostrophe (it would end the item) nor a
/// backslash.
pub(super) fn verbatim(source: &str, max_items: usize) -> String {
    if !source.contains(char::is_alphanumeric) {
        return "start: \"[]\"\n".into(); // a grammar with a piece that nothing can be is refused
    }
    let chunks = json!({ "substring_chunks": chunks(source) });
    let more = max_items.saturating_sub(1);
    format!(
        "start: \"[\" (item (\", \" item){{0,{more}}})? \"]\"\n\
         item: \"'\" PIECE \"'\"\n\
         PIECE: PIECES & /[^'\\\\]*[\\p{{L}}\\p{{N}}][^'\\\\]*/\n\
         PIECES: %regex {chunks}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_to_the_text() {
        let text = "ИБС, ПИКС(2019). «ГБ»\n3 ст";
        assert_eq!(chunks(text).concat(), text);
        assert_eq!(chunks("ИБС, ПИКС"), ["ИБС", ",", " ", "ПИКС"]);
        assert_eq!(chunks("(ХСН)."), ["(", "ХСН", ")", "."]);
        assert_eq!(chunks("и\u{306}од"), ["и\u{306}од"]);
        assert_eq!(chunks(""), [""]);
    }
}
