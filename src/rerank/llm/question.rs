//! What a language model is asked to choose from, and what its answers mean.

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::Order,
    data::{AnswerFault, Candidate, Document, FaultyAnswer, Span},
    llm::answer::{Chosen, ParsedChoice, faulty, parse_choice},
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

/// Answer that says that no candidate fits.
pub const NONE: &str = "0";

/// Returns what an answer calls the candidate that is offered at `place`, counted from 0.
pub fn name(named_by: NamedBy, place: usize, candidate: &Candidate) -> String {
    match named_by {
        NamedBy::Number => (place + 1).to_string(),
        NamedBy::Title => candidate.title.trim().to_owned(),
    }
}

/// The answers to a question.
pub(super) struct Answers {
    named_by: NamedBy,
    none_allowed: bool,
    /// All that may be said, each once.
    pub labels: Vec<String>,
    /// Place of the candidate that each stands for; `None` for none of them.
    pub places: Vec<Option<usize>>,
}

impl Answers {
    /// Names the candidates of a question in the `order` in which they are offered; of several with one title the first.
    pub fn new(named_by: NamedBy, none_allowed: bool, question: &Question<'_>, order: Order) -> Self {
        let (mut labels, mut places) = (Vec::new(), Vec::new());
        if none_allowed {
            (labels, places) = (vec![NONE.to_owned()], vec![None]);
        }
        for (number, place) in offered(order, question).into_iter().enumerate() {
            let name = name(named_by, number, &question.candidates[place]);
            if !labels.contains(&name) {
                labels.push(name);
                places.push(Some(place));
            }
        }
        Self { named_by, none_allowed, labels, places }
    }

    /// Reads an answer. Returns the label that it says, if any, and what was wrong with it.
    pub fn read(&self, answer: &str) -> (Option<usize>, Vec<FaultyAnswer>) {
        match self.named_by {
            NamedBy::Number => {
                let none = usize::from(self.none_allowed);
                let ParsedChoice { chosen, faults } = parse_choice(answer, self.labels.len() - none, self.none_allowed);
                let label = chosen.map(|chosen| match chosen {
                    Chosen::None => 0,
                    Chosen::Candidate(number) => number + none,
                });
                (label, faults)
            }
            NamedBy::Title => {
                let said = answer.trim().to_lowercase();
                let label = self.labels.iter().position(|label| label.to_lowercase() == said);
                let fault = if said.is_empty() { AnswerFault::Empty } else { AnswerFault::Unreadable };
                (label, if label.is_some() { Vec::new() } else { vec![faulty(fault, answer)] })
            }
        }
    }
}

/// Returns the places of a question's candidates in the order in which they are offered: a shuffled one is the same at every asking.
pub(super) fn offered(order: Order, question: &Question<'_>) -> Vec<usize> {
    let mut places: Vec<usize> = (0..question.candidates.len()).collect();
    if order == Order::Shuffled {
        places.sort_by_cached_key(|place| xxh3_64(format!("{place} {}", question.words).as_bytes()));
    }
    places
}

/// Returns what a selection prompt's templates are filled with.
pub fn select_variables(
    words: &str,
    document: &str,
    candidates: &[&Candidate],
    none_allowed: bool,
) -> Map<String, Value> {
    let listed = (1..).zip(candidates).map(|(number, Candidate { code, title, text, .. })| {
        json!({ "number": number, "text": &**text, "title": &**title, "code": code })
    });
    let values = [
        ("mention", json!(words)),
        ("document", json!(document)),
        ("candidates", listed.collect()),
        ("none_allowed", json!(none_allowed)),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
