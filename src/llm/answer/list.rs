//! The answer to the extraction prompt comes in, the quotations that it lists leave.

use std::ops::Range;

use super::{after_thinking, faulty, is_refusal, json, lines, quoted, says};
use crate::{
    data::{AnswerFault, FaultyAnswer},
    llm::Finish,
};

/// What a model listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedList {
    /// Items as the model wrote them, in its order; none is blank.
    pub items: Vec<String>,
    /// What was repaired or lost.
    pub faults: Vec<FaultyAnswer>,
}

/// A list as one of the readers found it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whole items, blank ones included.
    pub items: Vec<String>,
    /// What stands after them without an end, if anything.
    pub unfinished: Option<String>,
    /// Whether the end of the list is there.
    pub closed: bool,
    /// Whether it is written otherwise than as a list of quoted items.
    pub other_form: bool,
    /// Items with a quotation mark that had to be guessed not to end them.
    pub inner_quotes: Vec<String>,
    /// Where the list stands in the answer, in bytes.
    pub place: Range<usize>,
}

/// What a model says instead of an empty list, in lower case.
const NOTHING: [&str; 8] = [
    "нет диагноз",
    "диагнозов нет",
    "диагнозы отсутствуют",
    "диагнозы не ",
    "диагнозов не ",
    "не содержит диагноз",
    "no diagnos",
    "not contain any diagnos",
];

/// Reads the list in a model's answer, of at most `max_items` items.
///
/// The first list of quoted items counts, in Python's form or JSON's (also objects, for which their arrays count, else their
/// first string, or all of them if the keys are numbers), then `[]`. Without one, a refusal or a statement that there is
/// nothing is looked for, then bullets or numbered lines, quoted pieces among other words, bare items in brackets, and plain
/// lines that are no sentences. An answer cut off by its length loses the item it was cut in; one that ended by itself
/// without closing its last item keeps it.
pub fn parse_list(answer: &str, finish: Finish, max_items: usize) -> ParsedList {
    let answer = after_thinking(answer);
    let cut_off = finish == Finish::Length;
    let whole = |fault| ParsedList { items: Vec::new(), faults: vec![faulty(fault, answer)] };
    let Some(found) = explicit(answer).or_else(|| implied(answer)) else {
        return whole(match () {
            () if answer.is_empty() && !cut_off => AnswerFault::Empty,
            () if is_refusal(answer) => AnswerFault::Refusal,
            () if cut_off => AnswerFault::CutOff,
            () => AnswerFault::Unreadable,
        });
    };
    let mut parsed = ParsedList::default();
    let mut tell = |fault, text: &str| parsed.faults.push(faulty(fault, text));
    if has_words(&answer[..found.place.start]) || has_words(&answer[found.place.end..]) {
        tell(AnswerFault::Prose, answer);
    }
    if found.other_form || (!found.closed && !cut_off) {
        tell(AnswerFault::OtherForm, answer);
    }
    found.inner_quotes.iter().for_each(|item| tell(AnswerFault::InnerQuote, item));
    let mut items = found.items;
    match found.unfinished {
        Some(item) if !cut_off => items.push(item),
        unfinished if !found.closed && cut_off => tell(AnswerFault::CutOff, &unfinished.unwrap_or_default()),
        _ => {}
    }
    items.iter().filter(|item| item.trim().is_empty()).for_each(|item| tell(AnswerFault::EmptyItem, item));
    items.retain(|item| !item.trim().is_empty());
    if let Some(first_left_out) = items.get(max_items) {
        tell(AnswerFault::TooMany, first_left_out);
        items.truncate(max_items);
    }
    parsed.items = items;
    parsed
}

/// Finds the first list of quoted items or JSON value with strings, else the first empty list.
fn explicit(answer: &str) -> Option<Found> {
    let mut empty = None;
    for (at, bracket) in answer.match_indices(['[', '{']) {
        let list =
            json::read(answer, at).or_else(|| (bracket == "[").then(|| quoted::read(answer, at, false)).flatten());
        match list {
            Some(found) if !found.items.is_empty() || found.unfinished.is_some() => return Some(found),
            found => empty = empty.or(found),
        }
    }
    empty
}

/// Finds a list that is not written as one; none in a refusal.
fn implied(answer: &str) -> Option<Found> {
    if is_refusal(answer) {
        return None;
    }
    let found = lines::bulleted(answer).or_else(|| {
        let word = answer.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let nothing = ["none", "нет"].contains(&word.as_str()) || says(answer, &NOTHING);
        nothing.then(|| Found { closed: true, place: 0..answer.len(), ..Found::default() })
    });
    let found = found.or_else(|| quoted::pieces(answer));
    let bare = || answer.match_indices('[').find_map(|(at, _)| quoted::read(answer, at, true));
    let found = found.or_else(bare).or_else(|| lines::plain(answer))?;
    Some(Found { other_form: true, ..found })
}

/// Tells whether there are words other than a code fence with its language.
fn has_words(outside: &str) -> bool {
    lines::without_fences(outside).contains(char::is_alphanumeric)
}
