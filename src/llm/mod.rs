//! Language models: chat requests come in, answers leave.
//!
//! [`Generate`] is all that the stages know of a model. It may run in this process (`mistralrs`), on a server (`openai`), or
//! say what a test wrote down (`scripted`).

pub mod answer;
mod ask;
#[cfg(feature = "neural")]
pub mod chat;
#[cfg(any(feature = "llm", feature = "neural"))]
mod grammar;
pub mod hub;
#[cfg(any(feature = "llm", feature = "neural"))]
mod labels;
mod load;
#[cfg(feature = "llm")]
pub mod merge;
#[cfg(feature = "llm")]
pub mod mistralrs;
#[cfg(feature = "llm")]
pub mod openai;
#[cfg(feature = "neural")]
pub mod own;
pub mod restart;
pub mod scripted;
#[cfg(feature = "llm")]
mod shipped;
#[cfg(any(feature = "llm", feature = "neural"))]
mod turns;

pub use ask::{Asked, ask};
pub use load::{load, on_demand};
#[cfg(feature = "llm")]
pub use shipped::filled_in;

use serde::{Deserialize, Serialize};

use crate::{data::Message, error::Result};

/// Answers chat requests.
pub trait Generate: Send + Sync {
    /// Answers every request; `answers[i]` belongs to `requests[i]`. A request that fails does not stop the others.
    ///
    /// Blocks until all are answered. The implementation bounds how many are worked on at a time.
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>>;

    /// Returns a name that changes whenever the answers could: kind of engine, model, adapter, precision.
    fn fingerprint(&self) -> String;

    /// Lets go of the memory that a model takes, where it can be loaded again: the next request does.
    fn release(&self) {}
}

/// A question to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The chat so far; the model speaks next.
    pub messages: Vec<Message>,
    /// Tokens after which the answer is cut off.
    pub max_tokens: usize,
    /// Randomness, `0..=2`; 0 takes the likeliest token every time.
    pub temperature: f64,
    /// Start of the random numbers, for engines that take one; mistral.rs in process takes none.
    pub seed: u64,
    /// What the answer may be.
    pub constraint: Constraint,
}

/// What an answer may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Constraint {
    /// Anything.
    Free,
    /// A list `['…', '…']` of at most `max_items` pieces of `source`, each from word boundary to word boundary and holding at
    /// least one letter or digit; may be empty.
    Verbatim {
        /// The document.
        source: String,
        /// Most items in the list.
        max_items: usize,
    },
    /// Exactly one of these labels. The answer then carries the model's distribution over them.
    Choice {
        /// Distinct, not empty, without blanks around them.
        labels: Vec<String>,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The token limit was reached.
    Length,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its text; may be part of a character.
    pub text: String,
    /// Natural logarithm of its probability under the model, given what came before; `-inf..=0`.
    pub log_probability: f32,
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, without the stop token.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Its tokens, the stop token included; empty where the engine does not tell.
    pub tokens: Vec<Token>,
    /// Under [`Constraint::Choice`]: the probability of each label, in the order given, summing to 1; `None` where the engine
    /// cannot tell.
    pub choice: Option<Vec<f32>>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
}

impl Answer {
    /// Makes the answer that a distribution over labels stands for: the likeliest, the first of several.
    pub fn chosen(labels: &[String], shares: Vec<f32>, prompt_tokens: usize, answer_tokens: usize) -> Self {
        let best = (0..labels.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]).then(b.cmp(&a))).unwrap_or(0);
        Self {
            text: labels.get(best).cloned().unwrap_or_default(),
            finish: Finish::Stop,
            tokens: Vec::new(),
            choice: Some(shares),
            prompt_tokens,
            answer_tokens,
        }
    }

    /// Returns the probability of the whole answer, its stop token included, or `None` where the engine does not tell.
    pub fn probability(&self) -> Option<f32> {
        let sum: f32 = self.tokens.iter().map(|token| token.log_probability).sum();
        (!self.tokens.is_empty()).then(|| sum.exp().clamp(0.0, 1.0))
    }
}
