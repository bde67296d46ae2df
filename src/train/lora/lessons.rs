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
    rerank::llm::Asked,
};

/// Parts into which notes are cut, so that no mention finds itself.
const FOLDS: usize = 5;

/// Texts of an epoch that may be too long, at least.
const MOST_MISSES: usize = 1000;

/// Share of choices that offer some of the candidates only, which is learnt from in less time.
const SHORTENED: f64 = 0.5;

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
    /// Asks for the diagnoses of a note, or for the candidate that fits.
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

    /// Writes a choice; the answer names the right code's first candidate, or is 0. `None` if that is too long, or 0 is no answer.
    ///
    /// # Errors
    /// Those of the prompt and the template.
    pub fn choice(&self, words: &str, choice: &Choice, order: Order, rng: &mut impl Rng) -> Result<Option<Example>> {
        let mut candidates: Vec<&Candidate> = choice.candidates.iter().collect();
        if order == Order::Shuffled {
            candidates.shuffle(rng);
        }
        let asked = Asked {
            named_by: self.prompt.named_by(),
            none_allowed: self.prompt.none_allowed(),
            order,
            seed: 0,
            tells_order: self.prompt.tells_order(),
        };
        let Some(answer) = asked.right_answer(&candidates, &choice.right) else { return Ok(None) };
        let variables = asked.variables(words, &choice.note, &candidates);
        let messages = self.prompt.render(&Value::Object(variables), &[])?;
        Ok(self.fitting(self.chat.answered(&messages, &answer)?))
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
        if rng.random_bool(SHORTENED) {
            return self.select.choice(&words, &shortened(choice, rng), order, rng);
        }
        self.select.choice(&words, choice, order, rng)
    }
}

/// Leaves two candidates or more of a choice in their order; the right one, where it is there, stays.
fn shortened(choice: &Choice, rng: &mut impl Rng) -> Choice {
    let most = choice.candidates.len().max(2);
    let kept = rng.random_range(2..=most);
    let mut places: Vec<usize> = (0..choice.candidates.len()).collect();
    places.shuffle(rng);
    // False comes first.
    places.sort_by_key(|&place| choice.candidates[place].code != choice.right);
    places.truncate(kept);
    places.sort_unstable();
    Choice { candidates: places.into_iter().map(|place| choice.candidates[place].clone()).collect(), ..choice.clone() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::data::Span;

    fn choice() -> Choice {
        let candidate = |(code, title): (&str, &str)| Candidate {
            code: code.parse().unwrap(),
            title: title.into(),
            text: title.into(),
            score: 1.0,
            support: Vec::new(),
        };
        let candidates = [("H66.9", "Отит"), ("K29.5", "Гастрит"), ("I25.9", "ИБС"), ("J20.9", "Бронхит")];
        Choice {
            span: Span::new("гастрит", 0, 14).unwrap(),
            words: "гастрит".into(),
            note: "гастрит".into(),
            candidates: candidates.map(candidate).to_vec(),
            right: "K29.5".parse().unwrap(),
        }
    }

    #[test]
    fn the_answer_names_the_right_candidate_wherever_it_stands() {
        let chat = Chat::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/noso-lm")).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (prompt, named) in [("select-ru", false), ("select-short-ru", true)] {
            let prompt = Prompt::load(prompt).unwrap();
            let writer = Writer { chat: &chat, prompt: &prompt, max_tokens: 1024, weight: 1 };
            let mut written = |choice: &Choice, order| {
                let Example { ids, answer, .. } =
                    writer.choice(&choice.words, choice, order, &mut rng).unwrap().unwrap();
                let text = |ids: &[u32]| chat.tokenizer().decode(ids, true).unwrap();
                (text(&ids[..answer]), text(&ids[answer..]).trim().to_owned())
            };
            let mut answers = BTreeSet::new();
            for _ in 0..20 {
                let (asked, answer) = written(&choice(), Order::Shuffled);
                let listed = if named { format!("- {answer}\n") } else { format!("{answer}. Гастрит") };
                assert!(asked.contains(&listed) && (!named || answer == "Гастрит"), "{asked}{answer}");
                answers.insert(answer);
            }
            assert_eq!(answers.len(), if named { 1 } else { 4 });
            let (asked, answer) = written(&choice(), Order::Ranked);
            assert!(asked.find("Отит") < asked.find("ИБС") && answer == if named { "Гастрит" } else { "2" });
        }
    }

    #[test]
    fn a_shortened_choice_keeps_the_right_candidate_and_the_order() {
        let (whole, mut rng) = (choice(), ChaCha8Rng::seed_from_u64(2));
        let mut lengths = BTreeSet::new();
        for _ in 0..50 {
            let short = shortened(&whole, &mut rng).candidates;
            assert!(short.iter().any(|candidate| candidate.code == whole.right));
            let places = short.iter().map(|one| whole.candidates.iter().position(|other| other == one).unwrap());
            assert!(places.is_sorted());
            lengths.insert(short.len());
        }
        assert_eq!(lengths, BTreeSet::from([2, 3, 4]));
    }
}
