//! Puts right the slips of the pen in a code.

use crate::icd::IcdCode;

/// Parses a code; `true` tells that it had to be put right first. `None` if it is no code even so.
pub fn parse(written: &str) -> Option<(IcdCode, bool)> {
    if let Ok(code) = written.parse() {
        return Some((code, false));
    }
    let bare: String =
        written.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\u{feff}' | '\u{200b}')).collect();
    let bare = bare.trim_end_matches(['.', ',', ';']).replace(',', ".").replace(['–', '—', '‑'], "-");
    let mut start_of_code = true;
    let latin: String = bare
        .chars()
        .map(|c| {
            let here = start_of_code;
            start_of_code = c == '-';
            if here { latin_capital(c) } else { c }
        })
        .collect();
    latin.parse().ok().map(|code| (code, true))
}

/// The Latin capital that a letter looks like; other characters stay.
fn latin_capital(c: char) -> char {
    match c {
        'А' | 'а' => 'A',
        'В' | 'в' => 'B',
        'С' | 'с' => 'C',
        'Е' | 'е' => 'E',
        'Н' | 'н' => 'H',
        'К' | 'к' => 'K',
        'М' | 'м' => 'M',
        'О' | 'о' => 'O',
        'Р' | 'р' => 'P',
        'Т' | 'т' => 'T',
        'Х' | 'х' => 'X',
        'У' | 'у' => 'Y',
        'І' | 'і' => 'I',
        'Ѕ' | 'ѕ' => 'S',
        'Ј' | 'ј' => 'J',
        c => c.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_right_what_only_looks_wrong() {
        let put_right = |text: &str| parse(text).map(|(code, repaired)| (code.to_string(), repaired));
        assert_eq!(put_right("F13.00Н"), Some(("F13.00Н".into(), false)));
        for (written, meant) in
            [(" K29.5 ", "K29.5"), ("К29,5", "K29.5"), ("m54.2.", "M54.2"), ("В15 – В19", "B15-B19"), ("I 10", "I10")]
        {
            assert_eq!(put_right(written), Some((meant.into(), true)), "{written}");
        }
        assert_eq!(put_right("нет"), None);
        assert_eq!(put_right(""), None);
    }
}
