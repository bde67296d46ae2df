//! The walk down the classification: a mention comes in, the model is asked for its branch level by level, a code leaves.

use serde_json::json;

use super::{Looked, Place, SecondLook, answered, is_surer};
use crate::{
    catalog::{Branch, Catalog},
    data::{Candidate, Coding, DecidedBy, Document, Mention, Step, Trace},
    error::Result,
    icd::IcdCode,
    llm::{
        Asked, Constraint, Request,
        answer::{Chosen, parse_choice},
        ask,
    },
    prompt::Prompt,
};

/// Tokens of an answer that need not keep to the labels.
const NUMBER_TOKENS: usize = 8;

/// A mention on its way from chapter to code.
struct Walker<'t> {
    place: Place,
    /// What it may go on to.
    branches: &'t [Branch],
    /// Probability of the way so far, where the model tells it.
    sure: Option<f32>,
}

/// The code at the end of a walk.
struct Arrival<'t> {
    code: &'t IcdCode,
    /// Probability of the code and of its group; 0 where the model does not tell.
    confidence: f32,
    group_confidence: f32,
}

impl SecondLook {
    /// Asks which branch holds each mention, level by level, until a code is reached or none of the branches fits.
    pub(super) fn walk_down(&self, prompt: &Prompt, catalog: &Catalog, looked: &mut [Looked<'_>], unsure: &[Place]) {
        let tree = catalog.tree();
        let mut walkers: Vec<Walker<'_>> =
            unsure.iter().map(|&place| Walker { place, branches: &tree, sure: Some(1.0) }).collect();
        while !walkers.is_empty() {
            let question = |walker: &Walker<'_>| {
                let (document, coding) = walker.place.of(looked);
                request(prompt, document, &coding.mention, walker.branches)
            };
            let outcomes = ask(self.model.as_ref(), walkers.iter().map(question).collect());
            let steps = walkers.into_iter().zip(outcomes);
            walkers =
                steps.filter_map(|(walker, outcome)| self.step(walker, answered(outcome)?, catalog, looked)).collect();
        }
    }

    /// Notes a question and goes where its answer says: on, or to a code, or nowhere.
    fn step<'t>(
        &self,
        Walker { place, branches, sure }: Walker<'t>,
        asked: Asked,
        catalog: &Catalog,
        looked: &mut [Looked<'_>],
    ) -> Option<Walker<'t>> {
        let parsed = parse_choice(&asked.answer.text, branches.len(), true);
        let label = parsed.chosen.map(|chosen| match chosen {
            Chosen::Candidate(place) => place + 1,
            Chosen::None => 0,
        });
        let branch = label.and_then(|label| branches.get(label.checked_sub(1)?));
        let labels = asked.answer.choice.clone();
        let share = label.and_then(|label| match &labels {
            Some(labels) => labels.get(label).copied(),
            None => asked.answer.probability(),
        });
        let outcome = match (branch, label) {
            (Some(branch), _) => format!("{} {}", branch.code, branch.title),
            (None, Some(_)) => "none of these".to_owned(),
            (None, None) => "not usable".to_owned(),
        };
        let (document, coded) = &mut looked[place.document];
        let coding = &mut coded.codings[place.coding];
        let exchanges = vec![asked.note(Step::Descend, Some(coding.mention.span), outcome, share)];
        coded.trace.extend(Trace { exchanges, faults: parsed.faults });
        let Branch { entry, children, .. } = branch?;
        let confidence = sure.zip(share).map(|(sure, share)| sure * share);
        let Some(code) = entry else { return Some(Walker { place, branches: children, sure: confidence }) };
        let of_group = |branch: &Branch| branch.entry.as_ref().is_some_and(|entry| entry.group() == code.group());
        let shares = labels.iter().flat_map(|labels| labels.iter().skip(1).zip(branches));
        let group_share: f32 = shares.filter(|(_, branch)| of_group(branch)).map(|(share, _)| share).sum();
        let confidence = confidence.unwrap_or(0.0).min(1.0);
        let group_confidence = (sure.unwrap_or(0.0) * group_share).clamp(confidence, 1.0);
        self.arrive(document, coding, catalog, Arrival { code, confidence, group_confidence });
        None
    }

    /// Gives a mention the code at the end of its walk if it is surer than what stands there.
    fn arrive(&self, document: &Document, coding: &mut Coding, catalog: &Catalog, arrival: Arrival<'_>) {
        let Arrival { code, confidence, group_confidence } = arrival;
        if !is_surer(confidence, coding) {
            return;
        }
        match coding.candidates.iter().position(|candidate| candidate.code == *code) {
            Some(place) => coding.candidates[..=place].rotate_right(1),
            None => {
                let (code, title) = (code.clone(), catalog.title(code));
                let candidate = Candidate { code, text: title.clone(), title, score: confidence, support: Vec::new() };
                coding.candidates.insert(0, candidate);
                coding.candidates.truncate(self.candidates);
            }
        }
        coding.candidates[0].score = confidence;
        coding.span = self.engine.reported_span(document, &coding.mention, &coding.candidates[0]);
        coding.code = Some(code.clone());
        coding.confidence = confidence;
        coding.group_confidence = group_confidence;
        coding.decided_by = DecidedBy::Model;
    }
}

/// Asks which of `branches` holds the mention; 0 stands for none.
fn request(prompt: &Prompt, document: &Document, mention: &Mention, branches: &[Branch]) -> Result<Request> {
    let listed = (1..)
        .zip(branches)
        .map(|(number, Branch { code, title, .. })| json!({ "number": number, "title": &**title, "code": code }));
    let variables = json!({
        "mention": mention.text,
        "document": document.text,
        "branches": listed.collect::<Vec<_>>(),
        "none_allowed": true,
    });
    let labels = (0..=branches.len()).map(|number| number.to_string()).collect();
    Ok(Request {
        messages: prompt.render(&variables, &[])?,
        max_tokens: NUMBER_TOKENS,
        temperature: 0.0,
        seed: 0,
        constraint: Constraint::Choice { labels },
    })
}
