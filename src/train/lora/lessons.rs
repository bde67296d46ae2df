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
    error::{Error, Result},
    llm::chat::{AnsweredChat, Chat},
    prompt::{Prompt, python_list},
    rerank::llm::select_variables,
};

/// Parts into which notes are cut, so that no mention finds itself.
const FOLDS: usize = 5;

/// Texts of an epoch that may be too long, at least.
const MOST_MISSES: usize = 1000;

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
    /// Texts an epoch.
    pub examples: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl Pretraining<'_> {
    /// Writes the texts of an epoch: half of them notes, of which a third are real.
    ///
    /// # Errors
    /// Those of writing.
    pub fn epoch(&self, epoch: usize) -> Result<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut examples = Vec::with_capacity(self.examples);
        let mut misses = 0;
        while examples.len() < self.examples {
            match self.one(&mut rng)? {
                Some(example) => examples.push(example),
                None => misses += 1,
            }
            if misses > MOST_MISSES.max(10 * self.examples) {
                let reason = "hardly a text fits into `pretrain.max_tokens`".into();
                return Err(Error::Training { what: "a language model", reason });
            }
        }
        Ok(examples)
    }

    fn one(&self, rng: &mut ChaCha8Rng) -> Result<Option<Example>> {
        if rng.random_bool(0.5) {
            let real = rng.random_bool(0.33);
            let note = match self.notes.get(rng.random_range(0..self.notes.len())) {
                Some(note) if real => note.clone(),
                _ => self.composer.note(rng),
            };
            return self.extract.note(&note);
        }
        let choice = &self.choices[rng.random_range(0..self.choices.len())];
        let order = if rng.random_bool(0.5) { Order::Shuffled } else { Order::Ranked };
        let words = misspell(&choice.words, rng);
        self.select.choice(&words, choice, order, rng)
    }
}
