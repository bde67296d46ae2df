//! Answers of a language model come in, what they say leaves: a list of quotations, or a choice.
//!
//! A bad answer is data, not an error: what can be read is read, and every repair and every loss is a
//! [`FaultyAnswer`]. No answer, however odd, makes these functions fail.
//!
//! What a reasoning model thinks before it answers (up to `</think>`) does not count and is no fault.

mod choice;
mod json;
mod lines;
mod list;
mod quoted;

pub use choice::{Chosen, ParsedChoice, parse_choice};
pub use list::{ParsedList, parse_list};

use crate::data::{AnswerFault, FaultyAnswer};

/// Marks that open a quotation, each with those that may close it.
const MARKS: [(char, &[char]); 8] = [
    ('\'', &['\'']),
    ('"', &['"']),
    ('`', &['`', '\'']),
    ('«', &['»']),
    ('„', &['“', '”', '"']),
    ('“', &['”', '“', '"']),
    ('‘', &['’', '‘', '\'']),
    ('’', &['’']),
];

/// Returns the marks that may close what `mark` opens, or `None` if it opens nothing.
fn closers(mark: char) -> Option<&'static [char]> {
    MARKS.iter().find(|(open, _)| *open == mark).map(|(_, close)| *close)
}

/// What a model says when it does not answer, in lower case.
const REFUSALS: [&str; 24] = [
    "не могу",
    "не в состоянии",
    "не имею возможности",
    "невозможно",
    "извините",
    "простите",
    "прошу прощения",
    "к сожалению",
    "языковая модель",
    "предоставьте",
    "пришлите",
    "уточните",
    "обратитесь к врачу",
    "i cannot",
    "i can't",
    "i can’t",
    "i'm sorry",
    "i’m sorry",
    "i am sorry",
    "i am unable",
    "i'm unable",
    "an ai",
    "language model",
    "please provide",
];

fn is_refusal(answer: &str) -> bool {
    says(answer, &REFUSALS)
}

/// Tells whether any of `phrases`, given in lower case, stands in `answer`.
fn says(answer: &str, phrases: &[&str]) -> bool {
    let answer = answer.to_lowercase();
    phrases.iter().any(|phrase| answer.contains(phrase))
}

/// Returns the answer without the model's thoughts and without blanks around it; nothing if it never stopped thinking.
pub(crate) fn after_thinking(answer: &str) -> &str {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let answer = answer.trim();
    // Chat templates may open the thoughts in the prompt, so that the answer only closes them.
    let thinks = answer.starts_with(OPEN) || !(answer.starts_with(['[', '{']) || answer.contains(OPEN));
    match answer.split_once(CLOSE) {
        Some((_, rest)) if thinks => rest.trim(),
        None if answer.starts_with(OPEN) => "",
        _ => answer,
    }
}

pub(crate) fn faulty(fault: AnswerFault, text: &str) -> FaultyAnswer {
    FaultyAnswer { fault, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
