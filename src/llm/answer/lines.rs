//! Lists written as lines: bullets, numbers, or nothing before each item.

use super::{closers, list::Found};

/// Reads the lines that start with a bullet or a number.
pub(super) fn bulleted(answer: &str) -> Option<Found> {
    from_lines(answer, |line| unbulleted(line).map(item))
}

/// Reads plain lines, if none is a sentence. Lines that end with a colon announce the others.
pub(super) fn plain(answer: &str) -> Option<Found> {
    let is_sentence = |line: &str| line.trim_end().ends_with(['.', '!', '?', '…']);
    let announces = |line: &str| line.ends_with(':');
    if without_fences(answer).lines().any(is_sentence) {
        return None;
    }
    from_lines(answer, |line| (!announces(line) && line.contains(char::is_alphabetic)).then(|| item(line)))
}

/// Leaves out code fences and the language beside them.
pub(super) fn without_fences(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim().strip_prefix("```") {
        Some(language) if language.chars().all(char::is_alphanumeric) => String::new(),
        _ => line.replace("```", ""),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn from_lines(answer: &str, mut item: impl FnMut(&str) -> Option<String>) -> Option<Found> {
    let text = without_fences(answer);
    let mut found = Found { other_form: true, ..Found::default() };
    let mut only_items = true;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match item(line) {
            Some(words) => found.items.push(words),
            None => only_items = false,
        }
    }
    found.place = if only_items { 0..answer.len() } else { 0..0 };
    // A cut-off answer loses its last line; one that ended by itself has it whole.
    found.unfinished = Some(found.items.pop()?);
    Some(found)
}

/// Returns what follows a bullet or number, or `None` if there is none.
fn unbulleted(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix(['•', '·', '●', '▪']) {
        Some(rest) => rest,
        None => {
            let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let mark = if digits.len() < line.len() { digits.strip_prefix(['.', ')']) } else { bullet(line) };
            mark.filter(|rest| rest.starts_with(char::is_whitespace))?
        }
    };
    Some(rest.trim()).filter(|rest| rest.contains(char::is_alphanumeric))
}

fn bullet(line: &str) -> Option<&str> {
    line.strip_prefix(['-', '*', '–', '—', '+'])
}

/// Takes away what surrounds the words of an item: emphasis, a pair of quotation marks, a comma or semicolon at the end.
fn item(line: &str) -> String {
    let words = line.trim_end_matches([',', ';']).trim_matches('*').trim();
    let inner = words.chars().next().and_then(|mark| words[mark.len_utf8()..].strip_suffix(closers(mark)?));
    inner.filter(|inner| !inner.is_empty()).unwrap_or(words).to_owned()
}
