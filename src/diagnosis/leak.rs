//! What gives the answer away: a text of an appointment comes in with its conclusion and codes, and leaves without them.

use crate::icd::IcdCode;

/// A conclusion of fewer letters (`ОРВИ`) may stand in complaints by chance.
const LEAST_LETTERS: usize = 12;

/// Cuts the conclusion, word for word, and the codes out of a text; tells whether there was anything.
pub fn cut(text: &str, conclusion: &str, codes: &[IcdCode]) -> (String, bool) {
    let mut kept = text.to_owned();
    let conclusion = conclusion.trim();
    if conclusion.chars().filter(|c| c.is_alphabetic()).count() >= LEAST_LETTERS {
        kept = kept.replace(conclusion, "");
    }
    for code in codes {
        kept = without_word(&kept, code.as_str());
        kept = without_word(&kept, &code.as_str().replace('.', ""));
    }
    let is_cut = kept.len() < text.len();
    (kept, is_cut)
}

/// Cuts a word out wherever it stands by itself. A category (`I25`) is left where more of a code follows.
fn without_word(text: &str, word: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let end = at + word.len();
        let is_part = |c: char| c.is_alphanumeric();
        let before = rest[..at].chars().next_back().or(kept.chars().next_back());
        let mut behind = rest[end..].chars();
        let next = behind.next();
        let goes_on =
            next.is_some_and(is_part) || next == Some('.') && behind.next().is_some_and(|c| c.is_ascii_digit());
        if before.is_some_and(is_part) || goes_on {
            kept.push_str(&rest[..end]);
        } else {
            kept.push_str(&rest[..at]);
        }
        rest = &rest[end..];
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_cut_out_of_the_question() {
        let codes: Vec<IcdCode> = ["I25.2", "J06"].iter().map(|code| code.parse().unwrap()).collect();
        let conclusion = " ИБС, постинфарктный кардиосклероз ";
        for (text, expected) in [
            ("одышка. ИБС, постинфарктный кардиосклероз (I25.2)", "одышка.  ()"),
            ("код I252; был J06, не J06.9 и не XJ06", "код ; был , не J06.9 и не XJ06"),
            ("одышка при ходьбе", "одышка при ходьбе"),
        ] {
            assert_eq!(cut(text, conclusion, &codes), (expected.to_owned(), text != expected), "{text}");
        }
        assert_eq!(cut("ОРВИ в марте", "ОРВИ", &[]), ("ОРВИ в марте".to_owned(), false));
    }
}
