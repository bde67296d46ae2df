//! What a language model is asked to choose from, and what its answers mean.

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    config::Order,
    data::{AnswerFault, Candidate, Document, FaultyAnswer, Span},
    icd::IcdCode,
    llm::answer::{Chosen, ParsedChoice, after_thinking, faulty, parse_choice},
    prompt::NamedBy,
};

/// What is asked about: a mention, in whatever words, and what to choose from.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The document.
    pub document: &'a Document,
    /// Place of the mention.
    pub span: Span,
    /// The mention's words, or other words for it.
    pub words: &'a str,
    /// What to choose from, in the order offered; not empty.
    pub candidates: &'a [Candidate],
}

/// Signs that may stand around a title in an answer.
const SIGNS: &str = "«»\"'*`";

/// Answer that says that no candidate fits.
pub const NONE: &str = "0";

/// Returns what an answer calls each of some candidates, in the order in which they are offered. A title that is empty, or that a
/// candidate of another code has too, is told with the code.
pub fn names(named_by: NamedBy, candidates: &[&Candidate]) -> Vec<String> {
    let name = |(place, candidate): (usize, &&Candidate)| {
        let title = candidate.title.trim();
        let is_other = |other: &&&Candidate| other.code != candidate.code && other.title.trim() == title;
        match named_by {
            NamedBy::Number => (place + 1).to_string(),
            NamedBy::Title if title.is_empty() || candidates.iter().any(|other| is_other(&other)) => {
                format!("{title} {}", candidate.code).trim().to_owned()
            }
            NamedBy::Title => title.to_owned(),
        }
    };
    candidates.iter().enumerate().map(name).collect()
}

/// How candidates are offered, and what may be answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// What an answer names a candidate by.
    pub named_by: NamedBy,
    /// Whether [`NONE`] may be answered.
    pub none_allowed: bool,
    /// Order of the candidates.
    pub order: Order,
    /// Which order a shuffled one is.
    pub seed: u64,
    /// Whether retrieval's order is told where it is theirs.
    pub tells_order: bool,
}

impl Asked {
    /// Returns the answer that names the first of some candidates with the right code, or that says that there is none; `None` if that may
    /// not be said. They come in the order in which they are offered.
    pub fn right_answer(&self, candidates: &[&Candidate], right: &IcdCode) -> Option<String> {
        match candidates.iter().position(|candidate| candidate.code == *right) {
            Some(place) => Some(names(self.named_by, candidates).swap_remove(place)),
            None => self.none_allowed.then(|| NONE.to_owned()),
        }
    }

    /// Returns what a selection prompt's templates are filled with. The candidates come in the order in which they are offered.
    pub fn variables(&self, words: &str, document: &str, candidates: &[&Candidate]) -> Map<String, Value> {
        let names = names(self.named_by, candidates);
        let listed = (1..).zip(candidates).zip(names).map(|((number, candidate), name)| {
            let Candidate { code, title, text, .. } = candidate;
            json!({ "number": number, "name": name, "text": &**text, "title": &**title, "code": code })
        });
        let values = [
            ("mention", json!(words)),
            ("document", json!(document)),
            ("candidates", listed.collect()),
            ("none_allowed", json!(self.none_allowed)),
            ("ranked", json!(self.tells_order && self.order == Order::Ranked)),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The answers to a question.
pub(super) struct Answers {
    asked: Asked,
    /// All that may be said, each once.
    pub labels: Vec<String>,
    /// Place of the candidate that each stands for; `None` for none of them.
    pub places: Vec<Option<usize>>,
}

impl Answers {
    /// Names the candidates of a question in the order in which they are offered; of several with one name the first.
    pub fn new(asked: Asked, question: &Question<'_>) -> Self {
        let (mut labels, mut places) = (Vec::new(), Vec::new());
        if asked.none_allowed {
            (labels, places) = (vec![NONE.to_owned()], vec![None]);
        }
        let names = names(asked.named_by, &offered(asked, question));
        for (place, name) in places_offered(asked, question).into_iter().zip(names) {
            if !labels.contains(&name) {
                labels.push(name);
                places.push(Some(place));
            }
        }
        Self { asked, labels, places }
    }

    /// Reads an answer. Returns the label that it says, if any, and what was wrong with it.
    pub fn read(&self, answer: &str) -> (Option<usize>, Vec<FaultyAnswer>) {
        match self.asked.named_by {
            NamedBy::Number => {
                let none_allowed = self.asked.none_allowed;
                let none = usize::from(none_allowed);
                let ParsedChoice { chosen, faults } = parse_choice(answer, self.labels.len() - none, none_allowed);
                let label = chosen.map(|chosen| match chosen {
                    Chosen::None => 0,
                    Chosen::Candidate(number) => number + none,
                });
                (label, faults)
            }
            NamedBy::Title => {
                let bare = |text: &str| {
                    let text = text.trim_start_matches(|c: char| SIGNS.contains(c) || c == '-' || c.is_whitespace());
                    text.trim_end_matches(|c: char| SIGNS.contains(c) || c == '.' || c.is_whitespace()).to_lowercase()
                };
                let said = bare(after_thinking(answer));
                let label = self.labels.iter().position(|label| bare(label) == said);
                let fault = if said.is_empty() { AnswerFault::Empty } else { AnswerFault::Unreadable };
                (label, if label.is_some() { Vec::new() } else { vec![faulty(fault, answer)] })
            }
        }
    }
}

/// Returns the places of a question's candidates in the order in which they are offered: a shuffled one is the same at every asking.
fn places_offered(asked: Asked, question: &Question<'_>) -> Vec<usize> {
    let mut places: Vec<usize> = (0..question.candidates.len()).collect();
    if asked.order == Order::Shuffled {
        places.sort_by_cached_key(|place| {
            xxh3_64_with_seed(format!("{place} {}", question.words).as_bytes(), asked.seed)
        });
    }
    places
}

/// Returns a question's candidates in the order in which they are offered.
pub(super) fn offered<'a>(asked: Asked, question: &Question<'a>) -> Vec<&'a Candidate> {
    places_offered(asked, question).into_iter().map(|place| &question.candidates[place]).collect()
}
