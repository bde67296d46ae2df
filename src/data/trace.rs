//! What a language model was asked on the way to a document's codes, what it said, and what was wrong with its answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Span;

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the task.
    System,
    /// Asks.
    User,
    /// Answers: the model, or an example of how it should.
    Assistant,
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// What a model was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The diagnoses that stand in a document.
    Extract,
    /// The candidate that fits a mention.
    Select,
    /// Other wordings of a mention.
    Reword,
    /// The branch of the classification that holds a mention.
    Descend,
}

/// A question to a model and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked for.
    pub step: Step,
    /// The mention it was asked for; `None` for the whole document.
    pub mention: Option<Span>,
    /// The rendered prompt.
    pub messages: Vec<Message>,
    /// The answer as the model gave it.
    pub answer: String,
    /// What was made of it, for people.
    pub outcome: String,
    /// Probability of what was made of it, in `[0, 1]`, where the model tells.
    pub confidence: Option<f32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
}

/// What can be wrong with a model's answer. Some faults are repaired, the others cost the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFault {
    /// The list or number stands among other words; it was taken out of them.
    Prose,
    /// The list is written otherwise (JSON objects, bullets, lines, no brackets); it was read all the same.
    OtherForm,
    /// A quotation mark within an item; the item was read to its end.
    InnerQuote,
    /// The answer was cut off by the token limit; whole items before the cut were kept.
    CutOff,
    /// The quoted words differ from the text by a few characters; the nearest words were taken.
    Misquoted,
    /// An item says the same as an earlier one more often than it stands in the text; left out.
    Repeated,
    /// An item is empty; left out.
    EmptyItem,
    /// More items than a document can have; the rest was left out.
    TooMany,
    /// The quoted words do not stand in the text; left out.
    NotFound,
    /// The number is none of those offered.
    OutOfRange,
    /// The model refused or asked back instead of answering.
    Refusal,
    /// The answer is empty.
    Empty,
    /// No list or number can be read in the answer.
    Unreadable,
}

impl AnswerFault {
    /// All of them, repaired ones first.
    pub const ALL: [Self; 13] = [
        Self::Prose,
        Self::OtherForm,
        Self::InnerQuote,
        Self::CutOff,
        Self::Misquoted,
        Self::Repeated,
        Self::EmptyItem,
        Self::TooMany,
        Self::NotFound,
        Self::OutOfRange,
        Self::Refusal,
        Self::Empty,
        Self::Unreadable,
    ];

    /// Tells whether nothing was lost.
    pub fn is_repaired(self) -> bool {
        matches!(self, Self::Prose | Self::OtherForm | Self::InnerQuote | Self::Misquoted)
    }

    /// Describes the fault, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Prose => "answer among other words",
            Self::OtherForm => "list in another form",
            Self::InnerQuote => "quotation mark within an item",
            Self::CutOff => "answer cut off by the token limit",
            Self::Misquoted => "words misquoted",
            Self::Repeated => "item repeated",
            Self::EmptyItem => "item empty",
            Self::TooMany => "too many items",
            Self::NotFound => "words not in the text",
            Self::OutOfRange => "number not among those offered",
            Self::Refusal => "refusal",
            Self::Empty => "answer empty",
            Self::Unreadable => "answer unreadable",
        }
    }
}

/// A piece of a model's answer that was repaired or rejected, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultyAnswer {
    /// What is wrong with it.
    pub fault: AnswerFault,
    /// The piece as the model wrote it.
    pub text: String,
}

/// What language models were asked for one document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Questions and answers, in order.
    pub exchanges: Vec<Exchange>,
    /// What was wrong with the answers.
    pub faults: Vec<FaultyAnswer>,
}

impl Trace {
    /// Appends another trace.
    pub fn extend(&mut self, other: Trace) {
        self.exchanges.extend(other.exchanges);
        self.faults.extend(other.faults);
    }

    /// Tells whether no model was asked.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.faults.is_empty()
    }
}

/// What language models were asked for many documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCounts {
    /// Questions asked.
    pub questions: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub answer_tokens: u64,
    /// What was wrong with answers, and how often.
    pub faults: BTreeMap<AnswerFault, u64>,
}

impl TraceCounts {
    /// Adds the questions of one document.
    pub fn add(&mut self, trace: &Trace) {
        self.questions += trace.exchanges.len() as u64;
        self.prompt_tokens += trace.exchanges.iter().map(|exchange| exchange.prompt_tokens as u64).sum::<u64>();
        self.answer_tokens += trace.exchanges.iter().map(|exchange| exchange.answer_tokens as u64).sum::<u64>();
        for faulty in &trace.faults {
            *self.faults.entry(faulty.fault).or_default() += 1;
        }
    }

    /// Tells whether no model was asked.
    pub fn is_nothing(&self) -> bool {
        self.questions == 0
    }
}
