//! Abbreviation lists: `ИБС` comes in, `ишемическая болезнь сердца` leaves.

use std::{collections::HashMap, path::Path};

use super::readers;
use crate::{
    error::{Error, Result},
    text,
};

/// Abbreviations and what they stand for, compared in normal form ([`text::normalise`]).
#[derive(Debug, Clone, Default)]
pub struct Abbreviations {
    expansions: HashMap<String, String>,
}

impl Abbreviations {
    /// Reads a list: `.yaml` (`abbreviation: expansion`), or any other ending with two columns separated by a tab.
    ///
    /// Of an abbreviation that stands twice the first expansion counts.
    ///
    /// # Errors
    /// - [`Error::Read`] if the file cannot be read; [`Error::Parse`] if a line has no two fields.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let mut list = Self::default();
        if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            readers::read_yaml(path, &text, |_, read| {
                if let Ok((short, long, _)) = read {
                    list.add(&short, &long);
                }
            })?;
            return Ok(list);
        }
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (short, long) = line.split_once('\t').ok_or_else(|| Error::Parse {
                what: "abbreviations",
                path: path.into(),
                line: index + 1,
                expected: "abbreviation and expansion, separated by a tab".into(),
                got: "no tab".into(),
            })?;
            list.add(short, long);
        }
        Ok(list)
    }

    /// Returns the list that ships with Noso.
    pub fn shipped() -> Self {
        let mut list = Self::default();
        for (short, long) in
            include_str!("../../indexes/default/abbreviations.tsv").lines().filter_map(|line| line.split_once('\t'))
        {
            list.add(short, long);
        }
        list
    }

    fn add(&mut self, short: &str, long: &str) {
        let (short, long) = (text::normalise(short), text::normalise(long));
        if !short.is_empty() && !long.is_empty() {
            self.expansions.entry(short).or_insert(long);
        }
    }

    /// Replaces each abbreviation of a normalised text; the longest that fits counts, up to three words.
    pub fn expand(&self, normal: &str) -> String {
        let words: Vec<&str> = normal.split(' ').filter(|word| !word.is_empty()).collect();
        let mut expanded: Vec<&str> = Vec::with_capacity(words.len());
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=3.min(words.len() - at)).rev().find_map(|length| {
                self.expansions.get(&words[at..at + length].join(" ")).map(|long| (length, long.as_str()))
            });
            let (length, written) = longest.unwrap_or((1, words[at]));
            expanded.push(written);
            at += length;
        }
        expanded.join(" ")
    }

    /// Returns the number of abbreviations.
    pub fn len(&self) -> usize {
        self.expansions.len()
    }

    /// Tells whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.expansions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_abbreviation_counts() {
        let mut list = Abbreviations::default();
        list.add("СД", "сахарный диабет");
        list.add("с-м", "синдром");
        list.add("с", "сустав");
        assert_eq!(list.expand("сд 2 типа с м"), "сахарный диабет 2 типа синдром");
        assert_eq!(list.expand(""), "");
    }
}
