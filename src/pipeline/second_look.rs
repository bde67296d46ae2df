//! The agent's second look: codings of which a language model is unsure come in; it is asked for other words, the index is
//! searched again, or the classification is walked from chapter to code; surer codings leave.

use std::sync::Arc;

use serde_json::json;

use crate::{
    catalog::Branch,
    config::SecondLookConfig,
    data::{Candidate, Coded, Coding, DecidedBy, Document, Exchange, Match, Mention, Step, Trace},
    error::Result,
    llm::{
        Answer, Constraint, Generate, Request,
        answer::{Chosen, parse_choice, parse_list},
    },
    prompt::Prompt,
    rerank::llm::{LlmRerank, Question, Selection},
    retrieval::Retriever,
};

/// Other words asked for at a time.
const WORDINGS: usize = 4;
/// Tokens of an answer that lists them.
const WORDING_TOKENS: usize = 160;

/// Looks again at codings that are missing or unsure, round by round.
pub(super) struct SecondLook {
    settings: SecondLookConfig,
    engine: Arc<LlmRerank>,
    model: Arc<dyn Generate>,
    reword: Prompt,
    descend: Option<Prompt>,
    candidates: usize,
}

/// Places of a document and of one of its codings.
type Place = (usize, usize);

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
        let descend =
            Some(&settings.descend).filter(|name| !name.is_empty()).map(|name| Prompt::load(name)).transpose()?;
        Ok(Self { settings: settings.clone(), engine, model, reword, descend, candidates })
    }

    /// Goes through the rounds. `coded[i]` belongs to `documents[i]`; a document that failed is passed over.
    ///
    /// Every question stands in the document's trace. A question that fails leaves its coding as it is.
    pub fn again(&self, retriever: &Retriever, documents: &[&Document], coded: &mut [Result<Coded>]) {
        for round in 2..=self.settings.rounds {
            let unsure = self.unsure(coded);
            match &self.descend {
                _ if unsure.is_empty() => return,
                // The tree is the last resort: it costs a question a level, and the index knows more words than titles.
                Some(prompt) if round == self.settings.rounds && round > 2 => {
                    self.walk_down(prompt, &retriever.catalog().tree(), documents, coded, &unsure);
                }
                _ => self.look_up_other_words(retriever, documents, coded, &unsure),
            }
        }
    }

    fn unsure(&self, coded: &[Result<Coded>]) -> Vec<Place> {
        let is_unsure = |coding: &Coding| coding.code.is_none() || coding.confidence < self.settings.below;
        let of_document = |(document, coded): (usize, &Result<Coded>)| {
            let codings = coded.iter().flat_map(|coded| coded.codings.iter().enumerate());
            codings.filter(|(_, coding)| is_unsure(coding)).map(|(at, _)| (document, at)).collect::<Vec<_>>()
        };
        coded.iter().enumerate().flat_map(of_document).collect()
    }

    /// Asks for other wordings of each mention, looks these up, and has the model choose among all that was found.
    fn look_up_other_words(
        &self,
        retriever: &Retriever,
        documents: &[&Document],
        coded: &mut [Result<Coded>],
        unsure: &[Place],
    ) {
        let mut found: Vec<(Place, Mention, Vec<Candidate>)> = Vec::new();
        for (place, wordings) in self.other_words(documents, coded, unsure) {
            let Some(coding) = coding(coded, place) else { continue };
            let reworded = |text: String| Mention { text, matched: Match::Exact, ..coding.mention.clone() };
            let mentions: Vec<Mention> = wordings.into_iter().map(reworded).collect();
            let Ok(lists) = retriever.retrieve(&mentions) else { continue };
            let candidates = self.merged(lists, &coding.candidates);
            if !candidates.is_empty() {
                found.push((place, coding.mention.clone(), candidates));
            }
        }
        let questions: Vec<Question<'_>> = found
            .iter()
            .map(|((document, _), mention, candidates)| Question {
                document: documents[*document],
                span: mention.span,
                words: &mention.text,
                candidates,
            })
            .collect();
        let selections = self.engine.select(&questions);
        for ((place, _, candidates), selection) in found.into_iter().zip(selections) {
            if let Ok(selection) = selection {
                self.take(documents[place.0], coded, place, candidates, selection);
            }
        }
    }

    /// Returns up to [`WORDINGS`] other wordings of each mention, and notes the questions.
    fn other_words(
        &self,
        documents: &[&Document],
        coded: &mut [Result<Coded>],
        unsure: &[Place],
    ) -> Vec<(Place, Vec<String>)> {
        let requests: Vec<(Place, Request)> = unsure
            .iter()
            .filter_map(|&place| {
                let coding = coding(coded, place)?;
                let titles: Vec<&str> = coding.candidates.iter().map(|candidate| &*candidate.text).collect();
                let variables =
                    json!({ "mention": coding.mention.text, "document": documents[place.0].text, "titles": titles });
                let messages = self.reword.render(&variables, &[]).ok()?;
                let constraint = Constraint::Free;
                Some((place, Request { messages, max_tokens: WORDING_TOKENS, temperature: 0.0, constraint }))
            })
            .collect();
        self.ask(requests)
            .into_iter()
            .filter_map(|(place, request, answer)| {
                let parsed = parse_list(&answer.text, answer.finish, WORDINGS);
                let outcome = parsed.items.join("; ");
                let entry = exchange(Step::Reword, coding(coded, place)?, request, answer, outcome);
                let trace = &mut coded[place.0].as_mut().ok()?.trace;
                trace.extend(Trace { exchanges: vec![entry], faults: parsed.faults });
                Some((place, parsed.items))
            })
            .collect()
    }

    fn ask(&self, requests: Vec<(Place, Request)>) -> Vec<(Place, Request, Answer)> {
        let only: Vec<Request> = requests.iter().map(|(_, request)| request.clone()).collect();
        let answers = self.model.generate(&only);
        let pairs = requests.into_iter().zip(answers);
        pairs.filter_map(|((place, request), answer)| Some((place, request, answer.ok()?))).collect()
    }

    /// Puts what was found for other words before what was offered already: the best of each wording first, nothing twice.
    fn merged(&self, found: Vec<Vec<Candidate>>, offered: &[Candidate]) -> Vec<Candidate> {
        let longest = found.iter().map(Vec::len).max().unwrap_or(0);
        let in_turn = (0..longest).flat_map(|at| found.iter().filter_map(move |list| list.get(at)));
        let mut merged: Vec<Candidate> = Vec::new();
        for candidate in in_turn.chain(offered) {
            let known = |other: &Candidate| other.code == candidate.code && other.text == candidate.text;
            if merged.len() < self.candidates && !merged.iter().any(known) {
                merged.push(candidate.clone());
            }
        }
        merged
    }

    /// Notes a question and takes its choice if it is surer than what stands there.
    fn take(
        &self,
        document: &Document,
        coded: &mut [Result<Coded>],
        place: Place,
        candidates: Vec<Candidate>,
        selection: Selection,
    ) {
        let Some(Ok(coded)) = coded.get_mut(place.0) else { return };
        let Some(before) = coded.codings.get_mut(place.1) else { return };
        let after = self.engine.coding(document, before.mention.clone(), candidates, &selection);
        if after.code.is_some() && (before.code.is_none() || after.confidence > before.confidence) {
            *before = after;
        }
        coded.trace.extend(Trace { exchanges: vec![selection.exchange], faults: selection.faults });
    }

    /// Asks which branch holds each mention, level by level, until a code is reached or none of the branches fits.
    fn walk_down(
        &self,
        prompt: &Prompt,
        tree: &[Branch],
        documents: &[&Document],
        coded: &mut [Result<Coded>],
        unsure: &[Place],
    ) {
        let mut walking: Vec<(Place, &[Branch], f32)> = unsure.iter().map(|&place| (place, tree, 1.0)).collect();
        while !walking.is_empty() {
            let requests = walking
                .iter()
                .filter_map(|&(place, branches, _)| {
                    Some((place, descent(prompt, &coding(coded, place)?.mention, documents[place.0], branches)?))
                })
                .collect();
            let mut next = Vec::new();
            for (place, request, answer) in self.ask(requests) {
                let Some(&(_, branches, sure)) = walking.iter().find(|(walker, ..)| *walker == place) else { continue };
                let parsed = parse_choice(&answer.text, branches.len(), true);
                let chosen = match parsed.chosen {
                    Some(Chosen::Candidate(at)) => branches.get(at).map(|branch| (at, branch)),
                    _ => None,
                };
                let share = chosen.and_then(|(at, _)| answer.choice.as_ref()?.get(at + 1).copied());
                let sure = sure * share.or(answer.probability()).unwrap_or(1.0);
                let outcome = chosen
                    .map_or("none of these".to_owned(), |(_, branch)| format!("{} {}", branch.code, branch.title));
                let Some(coding) = coding(coded, place) else { continue };
                let exchange = exchange(Step::Descend, coding, request, answer, outcome);
                if let Some((_, branch)) = chosen {
                    match &branch.entry {
                        Some(_) => arrive(coding, branch, sure),
                        None => next.push((place, branch.children.as_slice(), sure)),
                    }
                }
                if let Ok(coded) = &mut coded[place.0] {
                    coded.trace.extend(Trace { exchanges: vec![exchange], faults: parsed.faults });
                }
            }
            walking = next;
        }
    }
}

fn coding(coded: &mut [Result<Coded>], (document, at): Place) -> Option<&mut Coding> {
    coded.get_mut(document)?.as_mut().ok()?.codings.get_mut(at)
}

fn exchange(step: Step, coding: &Coding, request: Request, answer: Answer, outcome: String) -> Exchange {
    Exchange {
        step,
        mention: Some(coding.mention.span),
        messages: request.messages,
        outcome,
        confidence: answer.probability(),
        prompt_tokens: answer.prompt_tokens,
        answer_tokens: answer.answer_tokens,
        answer: answer.text,
    }
}

/// Asks which of `branches` holds the mention; 0 stands for none.
fn descent(prompt: &Prompt, mention: &Mention, document: &Document, branches: &[Branch]) -> Option<Request> {
    let listed: Vec<_> = (1..)
        .zip(branches)
        .map(|(number, branch)| json!({ "number": number, "title": &*branch.title, "code": branch.code }))
        .collect();
    let variables =
        json!({ "mention": mention.text, "document": document.text, "branches": listed, "none_allowed": true });
    let labels = (0..=branches.len()).map(|number| number.to_string()).collect();
    let messages = prompt.render(&variables, &[]).ok()?;
    Some(Request { messages, max_tokens: 8, temperature: 0.0, constraint: Constraint::Choice { labels } })
}

/// Gives a mention the code at the end of a walk if it is surer than what stands there.
fn arrive(coding: &mut Coding, branch: &Branch, sure: f32) {
    let Some(code) = &branch.entry else { return };
    if coding.code.is_some() && coding.confidence >= sure {
        return;
    }
    let (title, text) = (branch.title.clone(), branch.title.clone());
    coding.candidates.retain(|candidate| candidate.code != *code);
    coding.candidates.insert(0, Candidate { code: code.clone(), title, text, score: sure, support: Vec::new() });
    coding.code = Some(code.clone());
    (coding.confidence, coding.group_confidence) = (sure, sure.max(coding.group_confidence));
    coding.decided_by = DecidedBy::Model;
    coding.span = Some(coding.mention.span);
}
