//! The answer to a selection prompt comes in, the number that it names leaves.

use super::{after_thinking, faulty, is_refusal, says};
use crate::data::{AnswerFault, FaultyAnswer};

/// What a model chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// A candidate, counted from 0.
    Candidate(usize),
    /// None of them.
    None,
}

/// The choice in a model's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedChoice {
    /// What it chose; nothing if that cannot be told.
    pub chosen: Option<Chosen>,
    /// What was repaired or lost.
    pub faults: Vec<FaultyAnswer>,
}

/// What announces the choice, in lower case.
const ANSWERS: [&str; 8] = ["ответ", "выбираю", "выбор", "итог", "answer", "choose", "choice", "final"];
/// What stands before a number that is meant as one of the list, in lower case.
const NUMBERS: [&str; 14] = [
    "номер",
    "номером",
    "вариант",
    "варианта",
    "пункт",
    "пункта",
    "кандидат",
    "кандидата",
    "диагноз",
    "number",
    "option",
    "item",
    "candidate",
    "under",
];
/// What a model says when it chooses none, in lower case.
const NONE: [&str; 9] =
    ["ни один", "ни одна", "ни одно", "нет подходящ", "не подходит", "none of", "no match", "no suitable", "neither"];

/// Reads the number in a model's answer: `1..=offered` for a candidate, 0 for none of them if that is allowed.
///
/// The answer may be the number with signs around it (`№3`, `3.`, `**3**`) and words after it (`3) Отит`, `12 из 15`). Among
/// other words, the number counts that follows the last announcement (`Ответ: 3`), else the one meant as an item of the list
/// (`вариант 3`, `: 3`, `#3`). If several are meant and differ, the answer is unreadable: to guess would hide it. Digits of
/// codes (`K29.5`), fractions and other words' numbers (`2 степени`) never count, unless the answer starts with them.
pub fn parse_choice(answer: &str, offered: usize, none_allowed: bool) -> ParsedChoice {
    let answer = after_thinking(answer);
    let told = |chosen, fault: AnswerFault| ParsedChoice { chosen, faults: vec![faulty(fault, answer)] };
    if answer.is_empty() {
        return told(None, AnswerFault::Empty);
    }
    let Some(number) = meant(answer) else {
        let none = says(answer, &NONE);
        return match () {
            () if none && none_allowed => told(Some(Chosen::None), AnswerFault::OtherForm),
            () if none || is_refusal(answer) => told(None, AnswerFault::Refusal),
            () => told(None, AnswerFault::Unreadable),
        };
    };
    let chosen = match number {
        Some(0) if none_allowed => Chosen::None,
        Some(number) if (1..=offered).contains(&number) => Chosen::Candidate(number - 1),
        _ => return told(None, AnswerFault::OutOfRange),
    };
    let prose = answer.contains(char::is_alphabetic) || numbers(answer).count() > 1;
    let faults = if prose { vec![faulty(AnswerFault::Prose, answer)] } else { Vec::new() };
    ParsedChoice { chosen: Some(chosen), faults }
}

/// A whole number in an answer.
struct Number<'a> {
    /// What stands before it.
    before: &'a str,
    /// `None` if it is too large or negative.
    value: Option<usize>,
}

/// Finds the number that the answer means; `Some(None)` for one that is too large or negative to be offered.
fn meant(answer: &str) -> Option<Option<usize>> {
    let announced = last_announcement(answer);
    let after = &answer[announced.unwrap_or(0)..];
    let first = numbers(after).next().filter(|number| !number.before.contains(char::is_alphanumeric));
    let first = first.map(|number| number.value);
    let mut listed = numbers(after).filter(Number::is_of_the_list).map(|number| number.value);
    if announced.is_some() {
        return listed.next().or(first);
    }
    first.or_else(|| {
        let one = listed.next()?;
        listed.all(|other| other == one).then_some(one)
    })
}

/// Returns where the words end that last announce the choice, if a number follows them.
fn last_announcement(answer: &str) -> Option<usize> {
    let words = words(answer).filter(|(_, word)| {
        let word = word.to_lowercase();
        ANSWERS.iter().any(|announcement| word.starts_with(announcement))
    });
    words.map(|(at, word)| at + word.len()).filter(|&end| numbers(&answer[end..]).next().is_some()).last()
}

/// Splits into runs of letters and digits, each with its first byte.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    pieces.map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// Finds the whole numbers that stand alone.
fn numbers(text: &str) -> impl Iterator<Item = Number<'_>> {
    words(text).filter(|(_, word)| word.bytes().all(|b| b.is_ascii_digit())).filter_map(move |(at, word)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let joined =
            |text: &str, sign: char| text.strip_suffix(sign).is_some_and(|rest| rest.ends_with(char::is_alphanumeric));
        let joins = |text: &str, sign: char| {
            text.strip_prefix(sign).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        // Part of a code or of a fraction.
        if ['.', ','].into_iter().any(|sign| joined(before, sign) || joins(after, sign)) {
            return None;
        }
        let negative = before == "-";
        Some(Number { before, value: word.parse().ok().filter(|_| !negative) })
    })
}

impl Number<'_> {
    /// Tells whether what stands before it means an item of the list.
    fn is_of_the_list(&self) -> bool {
        let before = self.before.trim_end();
        let (_, last_word) = words(before).last().unwrap_or_default();
        let marked = before.ends_with([':', '=', '№', '#', '*', '{', '[', '"', '\'', '«', '`']);
        // Without a blank, a dash joins a range.
        let marked = marked || (before.len() < self.before.len() && before.ends_with(['—', '–', '-']));
        marked || (before.ends_with(last_word) && NUMBERS.contains(&last_word.to_lowercase().as_str()))
    }
}
