//! A cell of a table, whatever its format.

use chrono::NaiveDateTime;

use crate::diagnosis::appointment::read_time;

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cell {
    #[default]
    Missing,
    Text(String),
    /// Exact: numbers of patients may have twenty digits.
    Whole(i128),
    Number(f64),
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))] // text formats write times as text
    Time(NaiveDateTime),
    List(Vec<String>),
}

impl Cell {
    /// Joins the cells of a field's columns; empty ones are left out.
    pub fn joined(mut cells: Vec<Self>) -> Self {
        if cells.len() < 2 {
            return cells.pop().unwrap_or_default();
        }
        let texts: Vec<String> =
            cells.into_iter().filter_map(Self::text).filter(|text| !text.trim().is_empty()).collect();
        Self::Text(texts.join("\n"))
    }

    /// Tells whether it holds anything.
    pub fn is_given(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Number(number) => !number.is_nan(),
            Self::Whole(_) | Self::Time(_) => true,
            Self::List(texts) => !texts.is_empty(),
        }
    }

    pub fn text(self) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::Text(text) => Some(text),
            Self::Whole(number) => Some(number.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Time(time) => Some(time.to_string()),
            Self::List(texts) => Some(texts.join("\n")),
        }
    }

    pub fn time(self) -> Option<NaiveDateTime> {
        match self {
            Self::Time(time) => Some(time),
            Self::Text(text) => read_time(&text),
            _ => None,
        }
    }

    /// Returns a number without its fraction.
    pub fn whole(self) -> Option<i128> {
        let number = match self {
            Self::Whole(number) => return Some(number),
            Self::Number(number) => number,
            Self::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number as i128)
    }

    /// Returns the codes that it lists.
    pub fn codes(self) -> Vec<String> {
        match self {
            Self::List(codes) => codes,
            other => split_codes(&other.text().unwrap_or_default()),
        }
    }
}

/// Cuts a list of codes: at semicolons, bars, slashes and line breaks, and at commas and blanks that a letter follows, for `I25,2` and
/// `I 25.2` are codes.
fn split_codes(text: &str) -> Vec<String> {
    let mut codes = vec![String::new()];
    for (at, c) in text.char_indices() {
        let next = || text[at + c.len_utf8()..].chars().find(|c| !c.is_whitespace() && *c != ',');
        let cuts = match c {
            ';' | '|' | '/' | '\n' | '\r' => true,
            ',' | ' ' | '\t' => next().is_none_or(char::is_alphabetic),
            _ => false,
        };
        match codes.last_mut() {
            Some(last) if !cuts => last.push(c),
            _ => codes.push(String::new()),
        }
    }
    codes
        .into_iter()
        .map(|code| code.trim_matches([',', ' ', '\t']).to_owned())
        .filter(|code| !code.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_codes_are_cut_between_codes_only() {
        for (text, codes) in [
            ("I25.2;I11.9", vec!["I25.2", "I11.9"]),
            ("I25.2, I11.9 К29.5", vec!["I25.2", "I11.9", "К29.5"]),
            ("I25,2,I11,9", vec!["I25,2", "I11,9"]),
            ("I 25.2 | e11.9\n", vec!["I 25.2", "e11.9"]),
            (" , ;", vec![]),
        ] {
            assert_eq!(split_codes(text), codes, "{text}");
        }
    }
}
