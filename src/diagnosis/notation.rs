//! Codes as doctors type them: any notation comes in, a code leaves where it is certain which is meant.

use std::collections::BTreeSet;

use crate::{catalog::Catalog, icd::IcdCode};

/// What a typed code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A code of the catalogue, as it is written there.
    AsWritten(IcdCode),
    /// A code of the catalogue, written otherwise: without its point, in lower case, with letters of the other alphabet.
    Repaired(IcdCode),
    /// Such a code could be, but the catalogue has none.
    Unknown(IcdCode),
    /// No code, or any of several.
    Unreadable,
}

/// Cyrillic letters that look like a Latin one: whoever typed one saw that letter.
const SHAPES: [(char, char); 13] = [
    ('А', 'A'),
    ('В', 'B'),
    ('С', 'C'),
    ('Е', 'E'),
    ('Н', 'H'),
    ('І', 'I'),
    ('К', 'K'),
    ('М', 'M'),
    ('О', 'O'),
    ('Р', 'P'),
    ('Т', 'T'),
    ('Х', 'X'),
    ('У', 'Y'),
];
/// Others, by their sound.
const SOUNDS: [(char, char); 10] = [
    ('Б', 'B'),
    ('Г', 'G'),
    ('Д', 'D'),
    ('З', 'Z'),
    ('И', 'I'),
    ('Й', 'J'),
    ('Л', 'L'),
    ('П', 'P'),
    ('Ф', 'F'),
    ('Ц', 'C'),
];
/// Others, by the key that they share with a Latin letter.
const KEYS: [(char, char); 15] = [
    ('Й', 'Q'),
    ('Ц', 'W'),
    ('Г', 'U'),
    ('Ш', 'I'),
    ('Щ', 'O'),
    ('З', 'P'),
    ('Ф', 'A'),
    ('Ы', 'S'),
    ('П', 'G'),
    ('Л', 'K'),
    ('Д', 'L'),
    ('Я', 'Z'),
    ('Ч', 'X'),
    ('И', 'B'),
    ('Ь', 'M'),
];

/// Returns the small Latin letter that a letter of a code stands for, by its shape or sound; any other character in small.
pub(super) fn as_latin(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let large = letter.to_uppercase().next().unwrap_or(letter);
    let known = SHAPES.iter().chain(&SOUNDS).find(|(cyrillic, _)| *cyrillic == large);
    known.map_or(large, |(_, latin)| *latin).to_lowercase().next().unwrap_or(letter)
}

/// Reads a typed code.
pub fn read(text: &str, catalog: &Catalog) -> Reading {
    let known = |code: &IcdCode| catalog.get(code).is_some();
    let text = text.trim();
    if let Some(code) = text.parse().ok().filter(known) {
        return Reading::AsWritten(code);
    }
    let tidy: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase().replace(',', ".");
    let tidy = tidy.trim_end_matches(['.', '-', '*', '+']);
    let mut rest = tidy.chars();
    let Some(first) = rest.next() else { return Reading::Unreadable };
    let rest: String = rest.map(|c| if matches!(c, 'O' | 'О') { '0' } else { c }).collect();
    let forms: BTreeSet<IcdCode> = letters(first)
        .into_iter()
        .flat_map(|letter| [format!("{letter}{rest}"), with_point(letter, &rest)])
        .filter_map(|form| form.parse().ok())
        .collect();
    let mut found = forms.iter().filter(|code| known(code));
    match (found.next(), found.next()) {
        (Some(code), None) => Reading::Repaired(code.clone()),
        (Some(_), Some(_)) => Reading::Unreadable,
        (None, _) => match letters(first)[..] {
            [letter] => {
                with_point(letter, &rest).parse().ok().filter(is_regular).map_or(Reading::Unreadable, Reading::Unknown)
            }
            _ => Reading::Unreadable,
        },
    }
}

/// Returns the Latin letters that a first letter may stand for.
fn letters(first: char) -> Vec<char> {
    if first.is_ascii_alphabetic() {
        return vec![first];
    }
    let within = |table: &[(char, char)]| table.iter().find(|(from, _)| *from == first).map(|(_, to)| *to);
    if let Some(letter) = within(&SHAPES) {
        return vec![letter];
    }
    let mut letters: Vec<char> = [within(&SOUNDS), within(&KEYS)].into_iter().flatten().collect();
    letters.dedup();
    letters
}

/// Puts the point behind the category where there is none.
fn with_point(letter: char, rest: &str) -> String {
    match rest.split_at_checked(2) {
        Some((category, more)) if !more.is_empty() && !rest.contains('.') => format!("{letter}{category}.{more}"),
        _ => format!("{letter}{rest}"),
    }
}

/// Tells whether a code has the classification's own form: a category, alone or with one digit, or two.
fn is_regular(code: &IcdCode) -> bool {
    let more = &code.as_str()[code.group().len()..];
    more.is_empty()
        || more
            .strip_prefix('.')
            .is_some_and(|digits| (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Reading {
        read(text, &Catalog::shipped().unwrap())
    }

    #[test]
    fn other_notations_are_repaired() {
        let repaired = |code: &str| Reading::Repaired(code.parse().unwrap());
        assert_eq!(reading("I25.2"), Reading::AsWritten("I25.2".parse().unwrap()));
        assert_eq!(reading(" I25.2 "), Reading::AsWritten("I25.2".parse().unwrap()));
        for (text, code) in [
            ("I252", "I25.2"),
            ("i25.2", "I25.2"),
            ("I25,2", "I25.2"),
            ("I 25.2.", "I25.2"),
            ("I25.-", "I25"),
            ("К29.5", "K29.5"), // Cyrillic
            ("к295", "K29.5"),
            ("С50.9", "C50.9"), // Cyrillic: it looks like C, though it sounds like S
            ("I2O.8", "I20.8"),
            ("Б34.9", "B34.9"), // by its sound; its key has no letter
        ] {
            assert_eq!(reading(text), repaired(code), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_repaired() {
        // И sounds like I and lies on the key of B: only one of I25.2 and B25.2 is in the catalogue, both of I08.1 and B08.1 may be.
        assert_eq!(letters('И'), ['I', 'B']);
        assert_eq!(reading("И25.2"), Reading::Repaired("I25.2".parse().unwrap()));
        let catalog = Catalog::shipped().unwrap();
        let both = catalog.entries().iter().map(|entry| entry.code.as_str()).find(|code| {
            let other = code.strip_prefix('I').and_then(|rest| format!("B{rest}").parse().ok());
            other.is_some_and(|other: IcdCode| catalog.get(&other).is_some())
        });
        let both = both.unwrap().replacen('I', "И", 1);
        assert_eq!(reading(&both), Reading::Unreadable, "{both}");
        for text in ["", "гастрит", "здоров", "25.2", "?", "Ы", "I2", "I25.2/K29.5"] {
            assert_eq!(reading(text), Reading::Unreadable, "{text}");
        }
        assert_eq!(reading("J159"), Reading::Unknown("J15.9".parse().unwrap()));
        assert_eq!(reading("I99.99"), Reading::Unknown("I99.99".parse().unwrap()));
    }
}
