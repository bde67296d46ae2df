//! Names of the formats, and how one is guessed.

use std::path::Path;

use clap::ValueEnum;

use super::folder;
use crate::error::Result;

/// What an input looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InputFormat {
    /// By the ending of the file or the contents of the folder; standard input by its first character
    #[default]
    Auto,
    /// The whole file is one document
    Text,
    /// A document a line
    Lines,
    /// A folder of .txt files
    Txt,
    /// A brat folder, of which the texts are read
    Brat,
    /// A JSON object a line, with `text` and, where wanted, `id`
    Jsonl,
    /// A table with named columns, separated by commas, semicolons or tabs
    Csv,
}

/// What an output looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// A table for people
    #[default]
    Table,
    /// A JSON object a document
    Jsonl,
    /// A brat folder: ID.txt and ID.ann for each document
    Brat,
    /// A row a mention
    Csv,
}

impl InputFormat {
    /// Returns the format of a path: itself, or for [`Auto`](Self::Auto) the guess.
    ///
    /// A folder with `.ann` files is brat, another one texts; `.jsonl`, `.ndjson` and `.json` are JSON lines; `.csv` and
    /// `.tsv` tables; any other file is one text.
    pub(super) fn of_path(self, path: &Path) -> Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        if path.is_dir() {
            let annotated = folder::list(path)?.iter().any(|files| files.has_annotation);
            return Ok(if annotated { Self::Brat } else { Self::Txt });
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        Ok(match ending.as_deref() {
            Some("jsonl" | "ndjson" | "json") => Self::Jsonl,
            Some("csv" | "tsv") => Self::Csv,
            _ => Self::Text,
        })
    }

    /// Returns the format of a stream that starts with `head`: JSON lines if that is a brace, else one text.
    pub(super) fn of_stream(self, head: &[u8]) -> Self {
        if self != Self::Auto {
            return self;
        }
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        if head.trim_ascii_start().starts_with(b"{") { Self::Jsonl } else { Self::Text }
    }
}

impl OutputFormat {
    /// Guesses the format from where the output goes: `.jsonl` and `.csv` by their ending, a path without ending is a brat
    /// folder, anything else a table.
    pub fn of_path(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::Table };
        match path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).as_deref() {
            Some("jsonl" | "ndjson" | "json") => Self::Jsonl,
            Some("csv") => Self::Csv,
            None if path.is_dir() || !path.exists() => Self::Brat,
            _ => Self::Table,
        }
    }
}

/// UTF-8 form of U+FEFF, which some programs put before a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_by_ending_and_first_character() {
        let guess = |path: &str| InputFormat::Auto.of_path(Path::new(path)).unwrap();
        assert_eq!(guess("a.JSONL"), InputFormat::Jsonl);
        assert_eq!(guess("a.tsv"), InputFormat::Csv);
        assert_eq!(guess("a.md"), InputFormat::Text);
        assert_eq!(InputFormat::Lines.of_path(Path::new("a.csv")).unwrap(), InputFormat::Lines);
        assert_eq!(InputFormat::Auto.of_stream(b"\xEF\xBB\xBF {\"text\""), InputFormat::Jsonl);
        assert_eq!(InputFormat::Auto.of_stream(b""), InputFormat::Text);
        assert_eq!(OutputFormat::of_path(Some(Path::new("codes.jsonl"))), OutputFormat::Jsonl);
    }
}
