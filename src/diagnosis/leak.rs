//! What gives the answer away: a text of an appointment comes in with its conclusion and codes, and leaves without them.

use super::notation;
use crate::icd::IcdCode;

/// A conclusion of fewer letters (`ОРВИ`) may stand in complaints by chance.
const LEAST_LETTERS: usize = 12;

/// Cuts the conclusion, word for word, and the codes, in any notation, out of a text; tells whether there was anything. Large and small
/// letters are the same, and what stands between words makes no difference.
pub fn cut(text: &str, conclusion: &str, codes: &[IcdCode]) -> (String, bool) {
    let mut kept = text.to_owned();
    let mut letters = conclusion.chars().filter(|c| is_said(*c) && !c.is_ascii_digit());
    let is_long = letters.nth(LEAST_LETTERS - 1).is_some();
    // What is shorter than the conclusion is the usual case and needs no further look.
    if is_long && count(text) >= count(conclusion) {
        kept = without(&kept, &[conclusion], small, |_| true);
    }
    // However a code is written, its first two digits stand together.
    let may_stand = |code: &&str| code.get(1..3).is_none_or(|digits| kept.contains(digits));
    let codes: Vec<&str> = codes.iter().map(IcdCode::as_str).filter(may_stand).collect();
    if !codes.is_empty() {
        kept = without(&kept, &codes, notation::as_latin, is_within_a_code);
    }
    let is_cut = kept.len() < text.len();
    (kept, is_cut)
}

/// Tells whether it is a letter or a digit. Most texts are Cyrillic, which is asked for first: the table of all scripts is slow.
fn is_said(letter: char) -> bool {
    matches!(letter, 'А'..='я' | 'ё' | 'Ё') || letter.is_alphanumeric()
}

/// Counts letters and digits.
fn count(text: &str) -> usize {
    text.chars().filter(|c| is_said(*c)).count()
}

fn small(letter: char) -> char {
    match letter {
        'а'..='я' | '0'..='9' | 'a'..='z' => letter,
        'ё' | 'Ё' => 'е',
        _ => letter.to_lowercase().next().unwrap_or(letter),
    }
}

/// Tells whether a code may be written with these between its letters: `I 25.2`, `I25,2`. With a blank alone (`и 10 мг`, `с 61 года`) it is
/// none, or words and numbers would be missing just where the code is right.
fn is_within_a_code(gaps: &[&str]) -> bool {
    let Some((behind_letter, between_digits)) = gaps.split_first() else { return true };
    let is_narrow = |gap: &&str| gap.len() <= 2 && gap.chars().all(|c| matches!(c, '.' | ',' | ' '));
    let has_point = between_digits.iter().any(|gap| gap.contains(['.', ',']));
    let has_blank = gaps.iter().any(|gap| gap.contains(' '));
    matches!(*behind_letter, "" | " ") && between_digits.iter().all(is_narrow) && (has_point || !has_blank)
}

/// Cuts phrases out wherever they stand: the same letters and digits as `fold` has them, with what `gap` allows between them.
fn without(text: &str, phrases: &[&str], fold: fn(char) -> char, gap: fn(&[&str]) -> bool) -> String {
    let fold_all = |phrase: &&str| phrase.chars().filter(|c| is_said(*c)).map(fold).collect::<Vec<char>>();
    let phrases: Vec<Vec<char>> = phrases.iter().map(fold_all).filter(|phrase| !phrase.is_empty()).collect();
    let letters: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| is_said(*c)).collect();
    let folded: Vec<char> = letters.iter().map(|&(_, letter)| fold(letter)).collect();
    let end = |place: usize| letters[place].0 + letters[place].1.len_utf8();
    let (mut kept, mut from, mut at) = (String::with_capacity(text.len()), 0, 0);
    while at < letters.len() {
        let stands = |phrase: &&Vec<char>| {
            let last = at + phrase.len() - 1;
            folded[at..].starts_with(phrase)
                && gap(&(at..last).map(|place| &text[end(place)..letters[place + 1].0]).collect::<Vec<_>>())
                && stands_alone(&text[..letters[at].0], &text[end(last)..])
        };
        match phrases.iter().find(stands) {
            Some(phrase) => {
                kept += &text[from..letters[at].0];
                at += phrase.len();
                from = end(at - 1);
            }
            None => at += 1,
        }
    }
    kept + &text[from..]
}

/// Tells whether what is between these texts is a word. A category (`I25`) is left where more of a code follows.
fn stands_alone(before: &str, behind: &str) -> bool {
    let mut behind = behind.chars();
    let goes_on = match behind.next() {
        Some('.' | ',') => behind.next().is_some_and(|c| c.is_ascii_digit()),
        next => next.is_some_and(is_said),
    };
    !before.chars().next_back().is_some_and(is_said) && !goes_on
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_cut_out_of_the_question() {
        let codes: Vec<IcdCode> = ["I25.2", "J06"].iter().map(|code| code.parse().unwrap()).collect();
        let conclusion = " ИБС,  постинфарктный кардиосклероз. ";
        for (text, expected) in [
            ("одышка. ИБС, постинфарктный кардиосклероз (I25.2)", "одышка.  ()"),
            ("код I252; был J06, не J06.9 и не XJ06", "код ; был , не J06.9 и не XJ06"),
            ("и25.2, Ибс, ПОСТИНФАРКТНЫЙ кардиосклероз; i252", ", ; "),
            ("J06J06 и i25.2i252", "J06J06 и i25.2i252"),
            ("код I25,2 и I 25.2, и25 .2; I25,21", "код  и , ; I25,21"),
            ("ИБС постинфарктный\n кардиосклероз. Кашель", ". Кашель"),
            ("постинфарктный кардиосклероз", "постинфарктный кардиосклероз"),
            ("одышка при ходьбе", "одышка при ходьбе"),
            ("с J 06 лет, код J06", "с J 06 лет, код "),
        ] {
            assert_eq!(cut(text, conclusion, &codes), (expected.to_owned(), text != expected), "{text}");
        }
        let common: Vec<IcdCode> = ["I10", "C61", "B18"].iter().map(|code| code.parse().unwrap()).collect();
        for text in ["бисопролол 5 и 10 мг", "болен с 61 года", "В 18 лет операция", "в 18.30 и. 10 мг"]
        {
            assert_eq!(cut(text, "", &common), (text.to_owned(), false));
        }
        assert_eq!(cut("ОРВИ в марте", "ОРВИ", &[]), ("ОРВИ в марте".to_owned(), false));
    }
}
