//! From notes and choices to token ids: what a language model is shown in an epoch.

use std::sync::Arc;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    choices::{Choice, choices_between, choices_of_notes},
    compose::{Composer, Note, misspell},
    task::Example,
};
use crate::{
    catalog::Catalog,
    config::Order,
    data::{AnnotatedDocument, Candidate},
    embed::Embed,
    error::Result,
    llm::chat::{AnsweredChat, Chat},
    prompt::{Prompt, python_list},
    rerank::llm::select_variables,
};

/// Parts into which notes are cut, so that no mention finds itself.
const FOLDS: usize = 5;

/// Share of choices whose candidates are shuffled, in pretraining, and of those that are made easier.
const SHUFFLED: f64 = 0.7;
const EASIER: f64 = 0.7;

/// Epochs in which there are the easiest choices alone, of two candidates at first, of one more in each next.
const BEGINNING: usize = 6;
/// Share of the easier choices whose mention is a part of the right title: what to compare is plain to see.
const ECHO: f64 = 0.6;

/// What a language model learns from.
#[derive(Clone, Copy)]
pub struct Lessons<'a> {
    /// Notes to learn from.
    pub taught: &'a [AnnotatedDocument],
    /// Notes to choose the best checkpoint on; may be none.
    pub held_out: &'a [AnnotatedDocument],
    /// Codes that are candidates.
    pub catalog: &'a Arc<Catalog>,
    /// Finds candidates.
    pub encoder: &'a Arc<dyn Embed>,
}

impl Lessons<'_> {
    /// Looks up the mentions to learn from, none of which finds itself, and those that are held out.
    ///
    /// # Errors
    /// Those of the encoder and the index.
    pub fn choices(&self, offered: usize) -> Result<(Vec<Choice>, Vec<Choice>)> {
        let Self { taught, held_out, catalog, encoder } = self;
        let known = choices_of_notes(taught, catalog, encoder, offered, FOLDS)?;
        Ok((known, choices_between(taught, held_out, catalog, encoder, offered)?))
    }
}

/// Writes questions and answers as a model reads them.
pub struct Writer<'a> {
    /// The model's chat template.
    pub chat: &'a Chat,
    /// Asks for the diagnoses of a note, or for the number of a candidate.
    pub prompt: &'a Prompt,
    /// Longest text, in tokens.
    pub max_tokens: usize,
    /// How much each token of an answer counts.
    pub weight: u8,
}

impl Writer<'_> {
    /// Writes a note with its diagnoses; `None` if that is too long.
    ///
    /// # Errors
    /// Those of the prompt and the template.
    pub fn note(&self, note: &Note) -> Result<Option<Example>> {
        let messages = self.prompt.render(&json!({ "text": note.text }), &[])?;
        let answer = python_list(note.diagnoses.iter().map(String::as_str));
        Ok(self.fitting(self.chat.answered(&messages, &answer)?))
    }

    /// Writes a choice; the answer is the number of the right code's first candidate, or 0. `None` if that is too long, or 0 is no answer.
    ///
    /// # Errors
    /// Those of the prompt and the template.
    pub fn choice(&self, words: &str, choice: &Choice, order: Order, rng: &mut impl Rng) -> Result<Option<Example>> {
        let mut candidates: Vec<&Candidate> = choice.candidates.iter().collect();
        if order == Order::Shuffled {
            candidates.shuffle(rng);
        }
        let place = candidates.iter().position(|candidate| candidate.code == choice.right);
        let number = place.map_or(0, |place| place + 1);
        if number == 0 && !self.prompt.none_allowed() {
            return Ok(None);
        }
        let variables = select_variables(words, &choice.note, &candidates, self.prompt.none_allowed());
        let messages = self.prompt.render(&Value::Object(variables), &[])?;
        Ok(self.fitting(self.chat.answered(&messages, &number.to_string())?))
    }

    fn fitting(&self, AnsweredChat { ids, answer }: AnsweredChat) -> Option<Example> {
        (ids.len() <= self.max_tokens).then_some(Example { ids, answer, weight: self.weight })
    }
}

/// What a model is shown before it is taught a task of its own: notes and choices, real ones and made-up ones, others in each epoch.
pub struct Pretraining<'a> {
    /// How notes are written.
    pub extract: Writer<'a>,
    /// How choices are.
    pub select: Writer<'a>,
    /// Real notes.
    pub notes: Vec<Note>,
    /// Makes others.
    pub composer: Composer,
    /// Choices.
    pub choices: Vec<Choice>,
    /// Share of the texts that are choices.
    pub choice_share: f64,
    /// Texts an epoch.
    pub examples: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl Pretraining<'_> {
    /// Writes the texts of an epoch: choices, and notes of which a third are real.
    ///
    /// # Errors
    /// Those of writing.
    pub fn epoch(&self, epoch: usize) -> Result<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut examples = Vec::with_capacity(self.examples);
        while examples.len() < self.examples {
            examples.extend(self.one(epoch, &mut rng)?);
        }
        Ok(examples)
    }

    fn one(&self, epoch: usize, rng: &mut ChaCha8Rng) -> Result<Option<Example>> {
        if !rng.random_bool(self.choice_share) {
            let real = rng.random_bool(0.33);
            let note = match self.notes.get(rng.random_range(0..self.notes.len())) {
                Some(note) if real => note.clone(),
                _ => self.composer.note(rng),
            };
            return self.extract.note(&note);
        }
        let choice = self.any_choice(rng);
        let order = if rng.random_bool(SHUFFLED) { Order::Shuffled } else { Order::Ranked };
        let begins = epoch < BEGINNING;
        if !begins && !rng.random_bool(EASIER) {
            return self.select.choice(&misspell(&choice.words, rng), choice, order, rng);
        }
        let easier = self.easier(choice, begins.then_some(2 + epoch), rng);
        let right = easier.candidates.iter().find(|candidate| candidate.code == choice.right);
        let words = match right {
            Some(right) if begins || rng.random_bool(ECHO) => part(&right.title, rng),
            _ => misspell(&choice.words, rng),
        };
        self.select.choice(&words, &easier, order, rng)
    }

    fn any_choice(&self, rng: &mut ChaCha8Rng) -> &Choice {
        &self.choices[rng.random_range(0..self.choices.len())]
    }

    /// Offers fewer candidates, often unlike ones: without such choices a small model never begins to compare, but stays at
    /// chance.
    fn easier(&self, choice: &Choice, most: Option<usize>, rng: &mut ChaCha8Rng) -> Choice {
        let count = rng.random_range(2..=most.unwrap_or(choice.candidates.len()).max(2));
        let unlike = most.is_some() || rng.random_bool(0.6);
        let (right, mut others): (Vec<Candidate>, Vec<Candidate>) =
            choice.candidates.iter().cloned().partition(|candidate| candidate.code == choice.right);
        if unlike {
            others = (0..count).filter_map(|_| self.any_choice(rng).candidates.first().cloned()).collect();
            others.retain(|candidate| candidate.code != choice.right);
        }
        others.shuffle(rng);
        let candidates = right.into_iter().take(1).chain(others).take(count).collect();
        Choice { candidates, ..choice.clone() }
    }
}

/// Takes some words of a text, one after another: at least half of them.
fn part(text: &str, rng: &mut ChaCha8Rng) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let count = rng.random_range(words.len().div_ceil(2)..=words.len());
    let start = rng.random_range(0..=words.len() - count);
    words[start..start + count].join(" ")
}
