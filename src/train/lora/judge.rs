//! How well a model does its task: it answers held-out questions as in use, constrained, and the answers are held against the annotation.

use std::{collections::BTreeSet, sync::Arc};

use super::choices::Choice;
use crate::{
    config::{ExtractConfig, Order, SelectConfig},
    data::{AnnotatedDocument, Document},
    error::Result,
    eval::metrics::{Counts, DocumentCounts, Metrics},
    llm::Generate,
    ner::{Ner, llm::LlmNer},
    prompt::Prompt,
    rerank::llm::{LlmRerank, Question},
};

/// Measures a model as it is now. Returns names and values, `0..=1`; the first is the score.
pub type Judge<'a> = Box<dyn Fn() -> Result<Vec<(&'static str, f64)>> + Sync + 'a>;

/// Picks at most so many of `count` questions, evenly among them.
pub fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let picked = count.min(most);
    (0..picked).map(move |number| number * count / picked)
}

/// Judges by entity F1 over `notes`. One that the model cannot be asked about, such as one too long for it, counts as one in which it
/// found nothing; the share of such notes is told.
pub fn extraction<'a>(model: Arc<dyn Generate>, prompt: Prompt, notes: Vec<&'a AnnotatedDocument>) -> Judge<'a> {
    let documents: Vec<Document> = notes.iter().map(|note| note.document.clone()).collect();
    let ner = LlmNer::new(model, prompt, ExtractConfig::default(), Vec::new());
    Box::new(move || {
        let found = ner.recognise(&documents);
        let unanswered = share(&found, Result::is_err);
        let counts = found.into_iter().zip(&notes).map(|(found, note)| {
            let gold: BTreeSet<_> = note.entities.iter().map(|entity| entity.span).collect();
            let found = found.map(|found| found.mentions).unwrap_or_default();
            let found = found.into_iter().map(|mention| mention.span).collect();
            DocumentCounts { ner: Counts::of(&gold, &found), ..DocumentCounts::default() }
        });
        let f1 = Metrics::of(&counts.collect::<Vec<_>>()).figures().ner.f1;
        Ok(vec![("f1", f1), ("notes_unanswered", unanswered)])
    })
}

/// Judges by the share of `choices` whose code is the right one; tells the share of those that the model could not be asked about.
pub fn selection<'a>(
    model: Arc<dyn Generate>,
    prompt: Prompt,
    choices: Vec<Choice>,
    order: Order,
    offered: usize,
) -> Judge<'a> {
    let rerank = LlmRerank::new(model, prompt, SelectConfig { order, ..SelectConfig::default() }, offered);
    let documents: Vec<Document> =
        choices.iter().map(|choice| Document { id: String::new(), text: choice.note.clone() }).collect();
    Box::new(move || {
        let question = |(choice, document)| question(choice, document);
        let asked: Vec<Question<'_>> = choices.iter().zip(&documents).map(question).collect();
        let selections = rerank.select(&asked);
        let answered: Vec<_> = selections.iter().zip(&choices).collect();
        let right = share(&answered, |(selection, choice)| {
            let chosen = selection.as_ref().ok().and_then(|selection| selection.chosen);
            chosen.and_then(|place| choice.candidates.get(place)).is_some_and(|one| one.code == choice.right)
        });
        Ok(vec![("accuracy", right), ("choices_unanswered", share(&selections, Result::is_err))])
    })
}

fn share<T>(all: &[T], is: impl Fn(&T) -> bool) -> f64 {
    all.iter().filter(|one| is(one)).count() as f64 / all.len().max(1) as f64
}

fn question<'a>(choice: &'a Choice, document: &'a Document) -> Question<'a> {
    Question { document, span: choice.span, words: &choice.words, candidates: &choice.candidates }
}
