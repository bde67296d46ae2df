//! The one normal form in which Noso compares texts, and its hash.

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_64;

/// Brings a text to the form in which case, punctuation, ё, Latin look-alikes and blanks make no difference.
///
/// NFKC, lower case, ё → е, Latin letters inside a Cyrillic word → the Cyrillic letters they look like; every run of
/// characters that are neither letters nor digits becomes one blank; no blank at the ends.
pub fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut word_start = 0;
    for c in text.nfkc().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            normal.push(if c == 'ё' { 'е' } else { c });
        } else if normal.len() > word_start {
            unify_script(&mut normal, word_start);
            normal.push(' ');
            word_start = normal.len();
        }
    }
    unify_script(&mut normal, word_start);
    normal.truncate(normal.trim_end().len());
    normal
}

/// Returns the 64-bit hash of the normal form: equal texts after [`normalise`] have equal hashes.
pub fn normal_hash(text: &str) -> u64 {
    xxh3_64(normalise(text).as_bytes())
}

/// Writes a word that mixes Latin and Cyrillic letters in Cyrillic where each Latin letter has a look-alike.
fn unify_script(text: &mut String, word_start: usize) {
    let word = &text[word_start..];
    let mixed = word.chars().any(is_cyrillic) && word.bytes().any(|b| b.is_ascii_lowercase());
    if mixed {
        let unified: String = word.chars().map(|c| look_alike(c).unwrap_or(c)).collect();
        text.truncate(word_start);
        text.push_str(&unified);
    }
}

fn is_cyrillic(c: char) -> bool {
    ('\u{400}'..='\u{52f}').contains(&c)
}

fn look_alike(c: char) -> Option<char> {
    Some(match c {
        'a' => 'а',
        'b' => 'в',
        'c' => 'с',
        'e' => 'е',
        'h' => 'н',
        'k' => 'к',
        'm' => 'м',
        'o' => 'о',
        'p' => 'р',
        't' => 'т',
        'x' => 'х',
        'y' => 'у',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_punctuation_and_look_alikes_make_no_difference() {
        assert_eq!(normalise("  Желчно-каменная   болезнь!"), "желчно каменная болезнь");
        assert_eq!(normalise("Пёстрый лишай"), "пестрый лишай");
        assert_eq!(normalise("ГEРБ"), "герб"); // the E is Latin
        assert_eq!(normalise("Hp+ COVID-19"), "hp covid 19");
        assert_eq!(normalise(" .,\n"), "");
        assert_eq!(normal_hash("ОРВИ."), normal_hash("орви"));
    }
}
