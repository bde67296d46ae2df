//! ICD codes written out in a document: `МКБ Код : H68`, `(I10)`.

use crate::{
    data::{Document, Mention},
    icd::IcdCode,
};

/// A written code belongs to the mention before it if it begins within this many characters of its end.
const REACH: usize = 40;

/// Returns the codes written just after each mention and before the next one, letters in Latin whatever the alphabet typed.
///
/// A code here is a capital letter and two digits without a blank, with or without a subdivision, standing alone.
pub fn codes_after_each(document: &Document, mentions: &[Mention]) -> Vec<Vec<IcdCode>> {
    let mut starts: Vec<usize> = mentions.iter().map(|mention| mention.span.start_byte()).collect();
    starts.sort_unstable();
    let next = |from: usize| starts.get(starts.partition_point(|&start| start < from)).copied();
    let after = |mention: &Mention| {
        let from = mention.span.end_byte();
        codes_in(&document.text, from, next(from))
    };
    mentions.iter().map(after).collect()
}

fn codes_in(text: &str, from: usize, next: Option<usize>) -> Vec<IcdCode> {
    let Some(rest) = text.get(from..next.unwrap_or(text.len())) else { return Vec::new() };
    let reach: String = rest.chars().take(REACH + 6).collect();
    let pieces = reach.split(|c: char| !(c.is_alphanumeric() || c == '.'));
    pieces.filter_map(|piece| code(piece.trim_matches('.'))).collect()
}

/// Reads a piece of text as a code.
fn code(piece: &str) -> Option<IcdCode> {
    let mut characters = piece.chars();
    let letter = latin(characters.next()?)?;
    let rest = characters.as_str();
    let (category, subdivision) = rest.split_once('.').unwrap_or((rest, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if category.len() != 2 || subdivision.len() > 2 || !digits(category) || !digits(subdivision) {
        return None;
    }
    format!("{letter}{rest}").parse().ok()
}

fn latin(letter: char) -> Option<char> {
    match letter {
        'A'..='Z' => Some(letter),
        'А' => Some('A'),
        'В' => Some('B'),
        'С' => Some('C'),
        'Е' => Some('E'),
        'Н' => Some('H'),
        'К' => Some('K'),
        'М' => Some('M'),
        'О' => Some('O'),
        'Р' => Some('P'),
        'Т' => Some('T'),
        'Х' => Some('X'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Match, Span};

    #[test]
    fn finds_the_code_of_the_mention_before_it() {
        let text = "Тубоотит. МКБ Код : Н68. Гипертензия (I10.), 23 нед.".to_owned();
        let mention = |words: &str| {
            let start = text.find(words).unwrap();
            let span = Span::new(&text, start, start + words.len()).unwrap();
            Mention { span, text: words.into(), matched: Match::Exact, probability: 1.0 }
        };
        let mentions = [mention("Тубоотит"), mention("Гипертензия")];
        let document = Document { id: "1".into(), text: text.clone() };
        let found = codes_after_each(&document, &mentions);
        let codes = |at: usize| found[at].iter().map(IcdCode::as_str).collect::<Vec<_>>();
        assert_eq!(codes(0), ["H68"]);
        assert_eq!(codes(1), ["I10"]);
    }
}
