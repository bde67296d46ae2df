//! What gives the answer away: a text of an appointment comes in with its conclusion and codes, and leaves without them.

use super::notation;
use crate::icd::IcdCode;

/// A conclusion of fewer letters (`ОРВИ`) may stand in complaints by chance.
const LEAST_LETTERS: usize = 12;

/// Cuts the conclusion, word for word, and the codes, in any notation, out of a text; tells whether there was anything. Large and small
/// letters are the same.
pub fn cut(text: &str, conclusion: &str, codes: &[IcdCode]) -> (String, bool) {
    let mut kept = text.to_owned();
    let conclusion = conclusion.trim();
    if conclusion.chars().filter(|c| c.is_alphabetic()).count() >= LEAST_LETTERS {
        kept = without(&kept, &[conclusion], small, |_, _| true);
    }
    if !codes.is_empty() {
        let bare: Vec<String> = codes.iter().map(|code| code.as_str().replace('.', "")).collect();
        let written: Vec<&str> = codes.iter().map(IcdCode::as_str).chain(bare.iter().map(String::as_str)).collect();
        kept = without(&kept, &written, notation::as_latin, stands_alone);
    }
    let is_cut = kept.len() < text.len();
    (kept, is_cut)
}

fn small(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

/// Cuts phrases out wherever they stand, letters compared as `fold` has them, if what lies before and behind them `allows` it.
fn without(text: &str, phrases: &[&str], fold: fn(char) -> char, allows: fn(&[char], &[char]) -> bool) -> String {
    let letters: Vec<char> = text.chars().map(fold).collect();
    let phrases: Vec<Vec<char>> = phrases.iter().map(|phrase| phrase.chars().map(fold).collect()).collect();
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars();
    let mut at = 0;
    while at < letters.len() {
        let (before, behind) = letters.split_at(at);
        let stands = |phrase: &&Vec<char>| behind.starts_with(phrase) && allows(before, &behind[phrase.len()..]);
        match phrases.iter().find(stands) {
            Some(phrase) => {
                rest.by_ref().take(phrase.len()).for_each(drop);
                at += phrase.len();
            }
            None => {
                kept.extend(rest.next());
                at += 1;
            }
        }
    }
    kept
}

/// Tells whether a code between these letters is a word. A category (`I25`) is left where more of a code follows.
fn stands_alone(before: &[char], behind: &[char]) -> bool {
    let is_digit = |at: usize| behind.get(at).is_some_and(char::is_ascii_digit);
    let goes_on = behind.first().is_some_and(|c| c.is_alphanumeric()) || behind.first() == Some(&'.') && is_digit(1);
    !before.last().is_some_and(|c| c.is_alphanumeric()) && !goes_on
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
            ("и25.2, Ибс, ПОСТИНФАРКТНЫЙ кардиосклероз; i252", ", ; "),
            ("J06J06 и i25.2i252", "J06J06 и i25.2i252"),
            ("одышка при ходьбе", "одышка при ходьбе"),
        ] {
            assert_eq!(cut(text, conclusion, &codes), (expected.to_owned(), text != expected), "{text}");
        }
        assert_eq!(cut("ОРВИ в марте", "ОРВИ", &[]), ("ОРВИ в марте".to_owned(), false));
    }
}
