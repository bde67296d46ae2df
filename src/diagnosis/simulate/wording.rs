//! How doctors write: phrases with blanks come in, texts with numbers, stumps and typing errors leave.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Letters of a word that may get a typing error, and of one that may be cut, at least.
const LONG: usize = 5;
const VERY_LONG: usize = 9;
/// Letters of a stump.
const STUMP: usize = 4;
/// Letters that stand side by side on the keyboard.
const ROWS: [&str; 3] = ["йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"];

/// How carelessly texts are typed.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Share of long words with a typing error.
    pub typos: f64,
    /// Share of very long words that are cut to a stump.
    pub stumps: f64,
}

impl Style {
    /// Types a text.
    pub fn write(&self, text: &str, rng: &mut ChaCha8Rng) -> String {
        let mut written = String::with_capacity(text.len());
        for piece in pieces(text) {
            let letters: Vec<char> = piece.chars().collect();
            let is_word = letters.iter().all(|c| c.is_alphabetic()) && letters.iter().skip(1).all(|c| c.is_lowercase());
            if is_word && letters.len() >= VERY_LONG && rng.random_bool(self.stumps) {
                written.extend(&letters[..STUMP]);
                written.push('.');
            } else if is_word && letters.len() >= LONG && rng.random_bool(self.typos) {
                written.extend(mistyped(letters, rng));
            } else {
                written.push_str(piece);
            }
        }
        written
    }
}

/// Fills the blanks of a phrase: `{2-15}` becomes a number from that range.
pub fn phrase(template: &str, rng: &mut ChaCha8Rng) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let range = after.split_once('}').and_then(|(range, behind)| {
            let (low, high) = range.split_once('-')?;
            Some((low.parse::<u32>().ok()?, high.parse::<u32>().ok()?, behind))
        });
        filled.push_str(before);
        match range {
            Some((low, high, behind)) => {
                filled += &rng.random_range(low..=high.max(low)).to_string();
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

/// Cuts a text into words and what stands between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c: char| c.is_alphabetic() != first.is_alphabetic()).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

/// Drops, doubles, swaps or mistakes a letter behind the first.
fn mistyped(mut letters: Vec<char>, rng: &mut ChaCha8Rng) -> Vec<char> {
    let at = rng.random_range(1..letters.len());
    match rng.random_range(0..4) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        2 if at + 1 < letters.len() => letters.swap(at, at + 1),
        _ => letters[at] = neighbour(letters[at], rng).unwrap_or(letters[at]),
    }
    letters
}

fn neighbour(letter: char, rng: &mut ChaCha8Rng) -> Option<char> {
    let row: Vec<char> = ROWS.iter().find(|row| row.contains(letter))?.chars().collect();
    let at = row.iter().position(|&other| other == letter)?;
    let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| row.get(at));
    beside.copied().collect::<Vec<_>>().choose(rng).copied()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn blanks_are_filled_and_other_braces_stay() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let filled = phrase("АД {140-142}/{90-90} мм {x} {", &mut rng);
            let number: u32 = filled[5..8].parse().unwrap();
            assert!((140..=142).contains(&number) && filled.ends_with("/90 мм {x} {"), "{filled}");
        }
    }

    #[test]
    fn as_many_words_are_mistyped_as_asked_and_abbreviations_are_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let text = "ГЭРБ, гастрит 2021 ".repeat(1000);
        let never = Style { typos: 0.0, stumps: 0.0 };
        assert_eq!(never.write(&text, &mut rng), text);
        let written = Style { typos: 0.2, stumps: 1.0 }.write(&text, &mut rng);
        let right = written.matches("гастрит").count();
        assert!((750..850).contains(&right), "{right}");
        assert_eq!((written.matches("ГЭРБ").count(), written.matches("2021").count()), (1000, 1000));
        let stump = Style { typos: 0.0, stumps: 1.0 };
        assert_eq!(stump.write("хронический гастрит", &mut rng), "хрон. гастрит");
    }
}
