//! ICD-10 codes: a string comes in, a checked [`IcdCode`] leaves, or an error that states the rule.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::error::Error;

const RULE: &str = "a code is at most 16 characters, has no blanks, and is a letter A-Z and two digits, then any of \
    digits, letters, `.`, `*`, `+`; or two such codes joined by `-` (the second may drop its letter); or digits alone";

/// A code of ICD-10: a category (`K29`), a subdivision (`K29.5`, `S82.1.0`), a block or chapter (`J00-J06`).
///
/// Every key of the RuCCoD dictionary is accepted without loss, its national and irregular forms included
/// (`F20.80*1`, `T08.+.0`, `F13.00Н` with a Cyrillic letter, `00`). Cheap to clone. Orders as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IcdCode(Arc<str>);

impl IcdCode {
    /// Returns the code as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first three characters: the category that the paper's relaxed score compares.
    pub fn group(&self) -> &str {
        let end = self.0.char_indices().nth(3).map_or(self.0.len(), |(index, _)| index);
        &self.0[..end]
    }

    /// Tells whether the code is a whole block or chapter such as `A00-A09`.
    pub fn is_range(&self) -> bool {
        self.0.contains('-')
    }

    /// Tells whether the code is a three-character category.
    pub fn is_category(&self) -> bool {
        self.0.chars().count() == 3
    }

    /// Tells whether a range such as `A00-A09` holds `code`'s category. False unless `self` is a range.
    pub fn contains(&self, code: &IcdCode) -> bool {
        let Some((first, last)) = self.0.split_once('-') else { return false };
        let group = code.group();
        match last.len() {
            2 => first <= group && group.get(..1) == first.get(..1) && group.get(1..) <= Some(last),
            _ => first <= group && group <= last,
        }
    }

    /// Returns the chapter of ICD-10, 1 to 22, or `None` for a code outside the classification (`00`) or across chapters.
    ///
    /// # Source
    /// ICD-10, chapter list: <https://icd.who.int/browse10/2019/en>.
    pub fn chapter(&self) -> Option<u8> {
        const FIRST_CATEGORY: [(&str, u8); 22] = [
            ("A00", 1),
            ("C00", 2),
            ("D50", 3),
            ("E00", 4),
            ("F00", 5),
            ("G00", 6),
            ("H00", 7),
            ("H60", 8),
            ("I00", 9),
            ("J00", 10),
            ("K00", 11),
            ("L00", 12),
            ("M00", 13),
            ("N00", 14),
            ("O00", 15),
            ("P00", 16),
            ("Q00", 17),
            ("R00", 18),
            ("S00", 19),
            ("U00", 22),
            ("V01", 20),
            ("Z00", 21),
        ];
        let group = self.group();
        if !group.starts_with(|first: char| first.is_ascii_uppercase()) {
            return None;
        }
        FIRST_CATEGORY.iter().rev().find(|(first, _)| *first <= group).map(|&(_, chapter)| chapter)
    }
}

impl FromStr for IcdCode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let valid = text.chars().count() <= 16 && (is_range(text) || is_single(text) || is_digits(text));
        if valid { Ok(Self(text.into())) } else { Err(Error::Code { code: text.into(), rule: RULE }) }
    }
}

fn is_single(text: &str) -> bool {
    let mut bytes = text.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.next().is_some_and(|b| b.is_ascii_digit())
        && bytes.next().is_some_and(|b| b.is_ascii_digit());
    head && text[3..].chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '*' | '+'))
}

fn is_range(text: &str) -> bool {
    let Some((first, last)) = text.split_once('-') else { return false };
    let short_end = last.len() == 2 && is_digits(last) && first.get(1..3) <= Some(last);
    is_single(first) && (short_end || is_single(last) && first <= last)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl TryFrom<String> for IcdCode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<IcdCode> for String {
    fn from(code: IcdCode) -> Self {
        code.as_str().to_owned()
    }
}

impl fmt::Display for IcdCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for IcdCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> IcdCode {
        text.parse().expect(text)
    }

    #[test]
    fn accepts_regular_and_national_forms_without_loss() {
        for text in ["K29.5", "J00-J06", "S82.1.0", "F20.80*1", "T08.+.0", "F13.00Н", "00", "A00", "H49-52"] {
            assert_eq!(code(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_code() {
        for text in
            ["", " K29", "k29", "К29.5", "K2", "K29.5 ", "J06-J00", "A00-", "ICD", "K29.5-", "A00.000000000000000"]
        {
            assert!(text.parse::<IcdCode>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn group_chapter_and_ranges() {
        assert_eq!(code("K29.5").group(), "K29");
        assert_eq!(code("00").group(), "00");
        assert_eq!(code("D50.9").chapter(), Some(3));
        assert_eq!(code("D48").chapter(), Some(2));
        assert_eq!(code("H60").chapter(), Some(8));
        assert_eq!(code("T98.3").chapter(), Some(19));
        assert_eq!(code("U07.1").chapter(), Some(22));
        assert_eq!(code("Y43.3").chapter(), Some(20));
        assert_eq!(code("00").chapter(), None);
        assert!(code("A00-A09").contains(&code("A09.9")));
        assert!(!code("A00-A09").contains(&code("A10")));
        assert!(code("H49-52").contains(&code("H52.1")) && !code("H49-52").contains(&code("H53")));
    }
}
