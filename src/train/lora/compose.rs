//! Notes made up on the fly: real notes whose diagnoses are exchanged for others, joined, cut, and misspelt.

use rand::{Rng, seq::IndexedRandom};

use crate::{catalog::Catalog, data::AnnotatedDocument};

/// Share of diagnoses that are exchanged.
const EXCHANGED: f64 = 0.7;
/// Share of the exchanged ones that come from the catalogue rather than from a note.
const FROM_CATALOG: f64 = 0.35;
/// Share of words that get a typing error, in a note that has any; and share of notes that do.
const MISSPELT_WORDS: f64 = 0.06;
const MISSPELT_NOTES: f64 = 0.3;
/// Most pieces, diagnoses and what stands between them, of a note.
const MOST_PIECES: usize = 24;

/// A text with its diagnoses, in the order in which they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text.
    pub text: String,
    /// Words of each diagnosis.
    pub diagnoses: Vec<String>,
}

impl Note {
    /// Takes an annotated document as it is; of nested diagnoses the outer ones.
    pub fn of(annotated: &AnnotatedDocument) -> Self {
        let text = &annotated.document.text;
        let diagnoses = annotated.outermost().iter().map(|entity| entity.span.slice(text).to_owned()).collect();
        Self { text: text.clone(), diagnoses }
    }
}

/// A part of a note.
#[derive(Debug, Clone)]
enum Piece {
    Between(String),
    Diagnosis(String),
}

/// Makes notes out of real ones and a catalogue.
pub struct Composer {
    notes: Vec<Vec<Piece>>,
    diagnoses: Vec<String>,
    wordings: Vec<String>,
}

impl Composer {
    /// Takes the notes apart.
    pub fn new(documents: &[AnnotatedDocument], catalog: &Catalog) -> Self {
        let notes: Vec<Vec<Piece>> = documents.iter().map(pieces).collect();
        let diagnoses = notes.iter().flatten().filter_map(|piece| match piece {
            Piece::Diagnosis(words) => Some(words.clone()),
            Piece::Between(_) => None,
        });
        let entries = catalog.entries().iter();
        let wordings = entries.flat_map(|entry| [entry.title.to_string()].into_iter().chain(entry.synonyms.clone()));
        Self { diagnoses: diagnoses.collect(), wordings: wordings.collect(), notes }
    }

    /// Makes a note.
    pub fn note(&self, rng: &mut impl Rng) -> Note {
        let mut parts = self.notes.choose(rng).cloned().unwrap_or_default();
        if rng.random_bool(0.3) {
            // Two notes, or parts of them, one after the other.
            let other = self.notes.choose(rng).cloned().unwrap_or_default();
            let (kept, taken) = (rng.random_range(0..=parts.len()), rng.random_range(0..=other.len()));
            parts.truncate(kept);
            if matches!((parts.last(), other.get(taken)), (Some(Piece::Diagnosis(_)), Some(Piece::Diagnosis(_)))) {
                parts.push(Piece::Between(", ".into()));
            }
            parts.extend_from_slice(&other[taken..]);
        }
        parts.truncate(MOST_PIECES);
        let misspelt = rng.random_bool(MISSPELT_NOTES);
        let mut note = Note { text: String::new(), diagnoses: Vec::new() };
        for piece in parts {
            match piece {
                Piece::Between(words) => note.text.push_str(&words),
                Piece::Diagnosis(words) => {
                    let words = if rng.random_bool(EXCHANGED) { self.diagnosis(rng) } else { words };
                    let words = if misspelt { misspell(&words, rng) } else { words };
                    note.text.push_str(&words);
                    note.diagnoses.push(words);
                }
            }
        }
        note
    }

    /// Draws a diagnosis from the notes or the catalogue.
    pub fn diagnosis(&self, rng: &mut impl Rng) -> String {
        let from = if rng.random_bool(FROM_CATALOG) { &self.wordings } else { &self.diagnoses };
        let words = from.choose(rng).cloned().unwrap_or_default();
        match rng.random_range(0..6) {
            0 => words.to_lowercase(),
            1 if words.chars().count() < 60 => words.to_uppercase(),
            _ => words,
        }
    }
}

/// Cuts a note into its diagnoses and what stands between them.
fn pieces(annotated: &AnnotatedDocument) -> Vec<Piece> {
    let text = &annotated.document.text;
    let (mut pieces, mut end) = (Vec::new(), 0);
    for entity in annotated.outermost() {
        let (start, next) = (entity.span.start_byte(), entity.span.end_byte());
        if start > end {
            pieces.push(Piece::Between(text[end..start].to_owned()));
        }
        pieces.push(Piece::Diagnosis(text[start..next].to_owned()));
        end = next;
    }
    if end < text.len() {
        pieces.push(Piece::Between(text[end..].to_owned()));
    }
    pieces
}

/// Puts typing errors into words: a letter left out, doubled, or exchanged with the next.
pub fn misspell(words: &str, rng: &mut impl Rng) -> String {
    let mut written = Vec::new();
    for word in words.split(' ') {
        let mut letters: Vec<char> = word.chars().collect();
        if letters.len() > 3 && letters.iter().all(|c| c.is_alphabetic()) && rng.random_bool(MISSPELT_WORDS) {
            let at = rng.random_range(1..letters.len() - 1);
            match rng.random_range(0..3) {
                0 => drop(letters.remove(at)),
                1 => letters.insert(at, letters[at]),
                _ => letters.swap(at, at + 1),
            }
        }
        written.push(letters.into_iter().collect::<String>());
    }
    written.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Document, Entity, Span};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn every_diagnosis_of_a_note_stands_in_its_text_in_order() {
        let annotated = |text: &str, diagnoses: &[&str]| {
            let span = |words: &&str| {
                let start = text.find(words).unwrap();
                Entity { span: Span::new(text, start, start + words.len()).unwrap(), code: None }
            };
            let document = Document { id: "1".into(), text: text.into() };
            AnnotatedDocument { document, entities: diagnoses.iter().map(span).collect() }
        };
        let notes = [
            annotated("Диагноз: хр. гастрит, ремиссия; ИБС. Явка через месяц", &["хр. гастрит", "ИБС"]),
            annotated("Отит", &["Отит"]),
            annotated("Здоров", &[]),
        ];
        let composer = Composer::new(&notes, &Catalog::shipped().unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut known = 0;
        for _ in 0..300 {
            let note = composer.note(&mut rng);
            let mut rest = note.text.as_str();
            for words in &note.diagnoses {
                let at = rest.find(words.as_str()).unwrap_or_else(|| panic!("{words} not in {}", note.text));
                rest = &rest[at + words.len()..];
            }
            known += usize::from(note.diagnoses == ["хр. гастрит", "ИБС"]);
        }
        assert!((1..100).contains(&known), "{known}");
    }
}
