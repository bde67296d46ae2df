//! The agent's second look: codings of which a language model is unsure come in; it is asked for other words, the index is
//! searched again, or the classification is walked from chapter to code; surer codings leave.

mod descend;

use std::sync::Arc;

use serde_json::json;

use crate::{
    config::SecondLookConfig,
    data::{Candidate, Coded, Coding, DecidedBy, Document, Mention, Step, Trace},
    error::Result,
    llm::{Constraint, Generate, Request, answer::parse_list, ask},
    prompt::Prompt,
    rerank::llm::{LlmRerank, Question, Selection},
    retrieval::Retriever,
};

/// Other words taken at a time, as many as the built-in prompts ask for.
const WORDINGS: usize = 5;
/// Tokens of an answer that lists them.
const WORDING_TOKENS: usize = 192;

/// Looks again at codings that are missing or unsure, round by round.
pub(super) struct SecondLook {
    settings: SecondLookConfig,
    engine: Arc<LlmRerank>,
    model: Arc<dyn Generate>,
    reword: Prompt,
    descend: Option<Prompt>,
    candidates: usize,
}

/// A document that was coded, and its codings.
type Looked<'a> = (&'a Document, &'a mut Coded);

/// A coding to look at again.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Among the documents looked at.
    document: usize,
    /// Among the document's codings.
    coding: usize,
}

impl Place {
    fn of<'l>(self, looked: &'l [Looked<'_>]) -> (&'l Document, &'l Coding) {
        let (document, coded) = &looked[self.document];
        (document, &coded.codings[self.coding])
    }
}

impl SecondLook {
    /// Loads the prompts; `engine` chooses among at most `candidates`.
    ///
    /// # Errors
    /// Those of loading a prompt.
    pub fn new(
        settings: &SecondLookConfig,
        engine: Arc<LlmRerank>,
        model: Arc<dyn Generate>,
        candidates: usize,
    ) -> Result<Self> {
        let reword = Prompt::load(&settings.reword)?;
        let descend = Some(settings.descend.as_str()).filter(|name| !name.is_empty()).map(Prompt::load).transpose()?;
        Ok(Self { settings: settings.clone(), engine, model, reword, descend, candidates })
    }

    /// Returns a name that changes with the prompts.
    pub fn fingerprint(&self) -> String {
        let prompts = [Some(&self.reword), self.descend.as_ref()];
        prompts.into_iter().flatten().map(Prompt::fingerprint).collect::<Vec<_>>().join(", ")
    }

    /// Goes through the rounds. `coded[i]` belongs to `documents[i]`; a document that failed is passed over.
    ///
    /// Every question that is answered stands in the document's trace; one that fails leaves its coding as it is.
    pub fn again(&self, retriever: &Retriever, documents: &[&Document], coded: &mut [Result<Coded>]) {
        let pairs = documents.iter().zip(coded);
        let mut looked: Vec<Looked<'_>> =
            pairs.filter_map(|(document, coded)| Some((*document, coded.as_mut().ok()?))).collect();
        for round in 2..=self.settings.rounds {
            let unsure = self.unsure(&looked);
            match &self.descend {
                _ if unsure.is_empty() => return,
                // The tree is the last resort: it costs a question a level, and the index knows more words than titles.
                Some(prompt) if round == self.settings.rounds && round > 2 => {
                    self.walk_down(prompt, retriever.catalog(), &mut looked, &unsure);
                }
                _ => self.look_up_other_words(retriever, &mut looked, &unsure),
            }
        }
    }

    fn unsure(&self, looked: &[Looked<'_>]) -> Vec<Place> {
        let is_unsure = |coding: &Coding| match coding.decided_by {
            DecidedBy::Abstained | DecidedBy::First => true,
            // A model that does not tell its probability (0) could not say either that it is surer the next time.
            _ => coding.confidence > 0.0 && coding.confidence < self.settings.below,
        };
        let of_document = |(document, (_, coded)): (usize, &Looked<'_>)| {
            let codings = coded.codings.iter().enumerate().filter(|(_, coding)| is_unsure(coding));
            codings.map(|(coding, _)| Place { document, coding }).collect::<Vec<_>>()
        };
        looked.iter().enumerate().flat_map(of_document).collect()
    }

    /// Asks for other wordings of each mention, looks these up, and has the model choose again where they brought new
    /// candidates.
    fn look_up_other_words(&self, retriever: &Retriever, looked: &mut [Looked<'_>], unsure: &[Place]) {
        let mut found: Vec<(Place, Vec<Candidate>)> = Vec::new();
        for (place, wordings) in self.other_words(looked, unsure) {
            let (_, coding) = place.of(looked);
            let reworded = |text| Mention { text, ..coding.mention.clone() };
            let lists = retriever.retrieve(&wordings.into_iter().map(reworded).collect::<Vec<_>>());
            match lists {
                Ok(lists) => found.extend(self.merged(lists, coding).map(|candidates| (place, candidates))),
                Err(error) => tracing::warn!(%error, "other wordings cannot be looked up"),
            }
        }
        let questions = found.iter().map(|(place, candidates)| {
            let (document, Coding { mention, .. }) = place.of(looked);
            Question { document, span: mention.span, words: &mention.text, candidates }
        });
        let selections = self.engine.select(&questions.collect::<Vec<_>>());
        for ((place, candidates), selection) in found.into_iter().zip(selections) {
            if let Some(selection) = answered(selection) {
                self.take(&mut looked[place.document], place.coding, candidates, selection);
            }
        }
    }

    /// Returns up to [`WORDINGS`] other wordings of each mention, and notes the questions.
    fn other_words(&self, looked: &mut [Looked<'_>], unsure: &[Place]) -> Vec<(Place, Vec<String>)> {
        let (mut places, mut requests) = (Vec::new(), Vec::new());
        for &place in unsure {
            let request = self.question_of_words(place.of(looked));
            // The same question would get the same answer.
            let is_new = |request: &Request| {
                let asked = &looked[place.document].1.trace.exchanges;
                !asked.iter().any(|exchange| exchange.step == Step::Reword && exchange.messages == request.messages)
            };
            if request.as_ref().map_or(true, is_new) {
                places.push(place);
                requests.push(request);
            }
        }
        let outcomes = ask(self.model.as_ref(), requests);
        let answers = places.into_iter().zip(outcomes).filter_map(|(place, outcome)| Some((place, answered(outcome)?)));
        answers
            .map(|(place, asked)| {
                let parsed = parse_list(&asked.answer.text, asked.answer.finish, WORDINGS);
                let (outcome, confidence) = (parsed.items.join("; "), asked.answer.probability());
                let span = place.of(looked).1.mention.span;
                let exchanges = vec![asked.note(Step::Reword, Some(span), outcome, confidence)];
                looked[place.document].1.trace.extend(Trace { exchanges, faults: parsed.faults });
                (place, parsed.items)
            })
            .collect()
    }

    fn question_of_words(&self, (document, coding): (&Document, &Coding)) -> Result<Request> {
        let titles: Vec<&str> = coding.candidates.iter().map(|candidate| &*candidate.text).collect();
        let variables = json!({ "mention": coding.mention.text, "document": document.text, "titles": titles });
        let messages = self.reword.render(&variables, &[])?;
        Ok(Request { messages, max_tokens: WORDING_TOKENS, temperature: 0.0, seed: 0, constraint: Constraint::Free })
    }

    /// Puts what was found for other words before what was offered already: the best of each wording first, nothing twice,
    /// and room for the choice that stands. Nothing if there is nothing new.
    fn merged(&self, found: Vec<Vec<Candidate>>, coding: &Coding) -> Option<Vec<Candidate>> {
        let same = |one: &Candidate, other: &Candidate| one.code == other.code && one.text == other.text;
        let room = self.candidates.saturating_sub(usize::from(coding.code.is_some()));
        let longest = found.iter().map(Vec::len).max().unwrap_or(0);
        let in_turn = (0..longest).flat_map(|at| found.iter().filter_map(move |list| list.get(at)));
        let in_turn = in_turn.map(|candidate| (candidate, room));
        let offered = coding.candidates.iter().map(|candidate| (candidate, self.candidates));
        let mut merged: Vec<Candidate> = Vec::new();
        for (candidate, room) in in_turn.chain(offered) {
            if merged.len() < room && !merged.iter().any(|known| same(known, candidate)) {
                merged.push(candidate.clone());
            }
        }
        let is_new = |candidate: &Candidate| !coding.candidates.iter().any(|offered| same(offered, candidate));
        merged.iter().any(is_new).then_some(merged)
    }

    /// Notes a question and takes its choice if it is surer than what stands there. A bad answer changes nothing.
    fn take(&self, (document, coded): &mut Looked<'_>, place: usize, candidates: Vec<Candidate>, selection: Selection) {
        let before = &mut coded.codings[place];
        let after = self.engine.coding(document, before.mention.clone(), candidates, &selection);
        // If neither list holds a code that fits, the newer one is what the next wordings should differ from.
        let is_better = if after.code.is_some() { is_surer(after.confidence, before) } else { before.code.is_none() };
        if is_better && !selection.bad_answer {
            *before = after;
        }
        coded.trace.extend(Trace { exchanges: vec![selection.exchange], faults: selection.faults });
    }
}

/// Tells whether a choice of this probability takes the place of what was decided before.
fn is_surer(confidence: f32, before: &Coding) -> bool {
    matches!(before.decided_by, DecidedBy::Abstained | DecidedBy::First) || confidence > before.confidence
}

/// Leaves a question that failed aside: what stood there before still stands.
fn answered<T>(outcome: Result<T>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!(%error, "a second look got no answer")).ok()
}
