//! The `llm` engine: a candidate whose words equal the mention's is taken; otherwise a prompt asks a language model which one
//! fits best.

mod question;
mod selection;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use self::question::{Answers, offered};
pub use self::{
    question::{Asked, NONE, Question, names},
    selection::Selection,
};
use super::{Linking, Rerank};
use crate::{
    config::{OnBadAnswer, ReportedSpan, SelectConfig, SelectDecoding},
    data::{Candidate, Coded, Coding, DecidedBy, Document, Mention, Span, Trace},
    error::Result,
    icd::IcdCode,
    llm::{Constraint, Generate, Request, ask},
    prompt::{NamedBy, Prompt, Shot},
};

/// Most tokens of an answer that is a title, at least.
const TITLE_TOKENS: usize = 96;

/// Asks a language model for the candidate that fits a mention.
///
/// # Source
/// The paper, Sec. 4.1 and Appendix H.
pub struct LlmRerank {
    model: Arc<dyn Generate>,
    prompt: Prompt,
    settings: SelectConfig,
    candidates: usize,
    /// Examples shown before every question.
    shots: Vec<Shot>,
}

impl LlmRerank {
    /// Puts model and prompt together; at most `candidates` are offered.
    pub fn new(model: Arc<dyn Generate>, prompt: Prompt, settings: SelectConfig, candidates: usize) -> Self {
        Self { model, prompt, settings, candidates, shots: Vec::new() }
    }

    /// Shows examples before every question, in place of the prompt's own.
    pub fn with_shots(self, shots: Vec<Shot>) -> Self {
        Self { shots, ..self }
    }

    /// Makes an example of a question whose right code is known; `None` if that is not offered and 0 may not be answered.
    pub fn shot(&self, question: &Question<'_>, right: &IcdCode) -> Option<Shot> {
        let asked = self.asked();
        let answer = asked.right_answer(&offered(asked, question), right)?;
        Some(Shot { answer, variables: self.variables(question) })
    }

    /// Asks all questions at once; `outcomes[i]` belongs to `questions[i]`.
    pub fn select(&self, questions: &[Question<'_>]) -> Vec<Result<Selection>> {
        let requests = questions.iter().map(|question| self.request(question)).collect();
        let outcomes = ask(self.model.as_ref(), requests).into_iter();
        outcomes
            .zip(questions)
            .map(|(outcome, question)| {
                Ok(Selection::read(&self.answers(question), question, outcome?, self.settings.prior))
            })
            .collect()
    }

    fn asked(&self) -> Asked {
        Asked {
            named_by: self.prompt.named_by(),
            none_allowed: self.settings.none_allowed.unwrap_or(self.prompt.none_allowed()),
            order: self.settings.order,
            seed: self.settings.seed,
            tells_order: self.prompt.tells_order(),
        }
    }

    fn request(&self, question: &Question<'_>) -> Result<Request> {
        let SelectConfig { decoding, max_tokens, temperature, seed, .. } = self.settings;
        let constraint = match decoding {
            SelectDecoding::Free => Constraint::Free,
            SelectDecoding::Choice => Constraint::Choice { labels: self.answers(question).labels },
        };
        let max_tokens = match self.prompt.named_by() {
            NamedBy::Number => max_tokens,
            NamedBy::Title => max_tokens.max(TITLE_TOKENS), // one that is cut off says nothing
        };
        let messages = self.prompt.render(&self.variables(question), &self.shots)?;
        Ok(Request { messages, max_tokens, temperature, seed, constraint })
    }

    fn answers(&self, question: &Question<'_>) -> Answers {
        Answers::new(self.asked(), question)
    }

    /// Returns what the prompt's templates are filled with.
    fn variables(&self, question: &Question<'_>) -> Map<String, Value> {
        let asked = self.asked();
        asked.variables(question.words, &question.document.text, &offered(asked, question))
    }

    /// Makes a coding of what the model chose among `candidates`: the chosen one comes first, the others by their
    /// probability where the model tells it.
    ///
    /// Candidates of one code speak for it together, and those of one group for the group.
    pub fn coding(
        &self,
        document: &Document,
        mention: Mention,
        mut candidates: Vec<Candidate>,
        selection: &Selection,
    ) -> Coding {
        let first = selection.bad_answer && self.settings.on_bad_answer == OnBadAnswer::First;
        let place = selection.chosen.or(first.then_some(0)).filter(|&place| place < candidates.len());
        if let Some(shares) = &selection.shares {
            candidates.iter_mut().zip(shares).for_each(|(candidate, share)| candidate.score = *share);
        }
        let chosen = place.map(|place| candidates.remove(place));
        if selection.shares.is_some() {
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        let Some(chosen) = chosen else { return Coding { candidates, ..abstained(mention) } };
        candidates.insert(0, chosen);
        let chosen = &candidates[0];
        let together = |speaks: &dyn Fn(&Candidate) -> bool| -> f32 {
            let told = candidates.iter().filter(|_| selection.shares.is_some());
            told.filter(|candidate| speaks(candidate)).fold(0.0, |sum, candidate| sum + candidate.score)
        };
        let of_code = together(&|candidate| candidate.code == chosen.code);
        let of_group = together(&|candidate| candidate.code.group() == chosen.code.group());
        let confidence = selection.confidence.max(of_code).min(1.0);
        Coding {
            span: self.reported_span(document, &mention, chosen),
            mention,
            code: Some(chosen.code.clone()),
            confidence,
            group_confidence: of_group.clamp(confidence, 1.0),
            decided_by: if selection.chosen.is_some() { DecidedBy::Model } else { DecidedBy::First },
            candidates,
        }
    }

    /// Returns the place to report for a mention whose choice is `chosen`; `None` if that is the entry's and it stands nowhere.
    pub fn reported_span(&self, document: &Document, mention: &Mention, chosen: &Candidate) -> Option<Span> {
        match self.settings.span {
            ReportedSpan::Mention => Some(mention.span),
            ReportedSpan::ChosenEntry => find_lower_cased(&document.text, &chosen.text),
        }
    }

    /// Takes the candidate with the mention's words, if there is one: of several codes the one most rows give, and of those
    /// the best candidate.
    fn direct(&self, document: &Document, mention: Mention, mut candidates: Vec<Candidate>) -> Part {
        // Codes of rows with the mention's words: how many rows, and the first candidate's place.
        let mut codes: BTreeMap<&IcdCode, (u32, Reverse<usize>)> = BTreeMap::new();
        for (place, candidate) in candidates.iter().enumerate().filter(|_| self.settings.direct_match) {
            let rows: u32 = candidate.support.iter().filter(|row| row.exact).map(|row| row.count).sum();
            if rows > 0 {
                codes.entry(&candidate.code).or_insert((0, Reverse(place))).0 += rows;
            }
        }
        let Some((code, &(rows, Reverse(place)))) = codes.iter().max_by_key(|(_, rank)| **rank) else {
            candidates.truncate(self.candidates);
            return Part::Open(mention, candidates);
        };
        let same_group = codes.iter().filter(|(other, _)| other.group() == code.group());
        let (of_group, all) = (same_group.map(|(_, rank)| rank.0).sum(), codes.values().map(|rank| rank.0).sum());
        let share = |rows: u32, all: u32| rows as f32 / all as f32;
        let (confidence, group_confidence) = (share(rows, all), share(of_group, all));
        let code = Some((*code).clone());
        candidates[..=place].rotate_right(1);
        candidates.truncate(self.candidates);
        Part::Settled(Coding {
            span: self.reported_span(document, &mention, &candidates[0]),
            mention,
            code,
            confidence,
            group_confidence,
            candidates,
            decided_by: DecidedBy::Direct,
        })
    }

    /// Settles what needs no question: direct matches, and mentions without candidates.
    fn settle<'a>(&self, Linking { document, mentions, candidates }: Linking<'a>) -> Parts<'a> {
        let part = |(mention, candidates): (Mention, Vec<Candidate>)| match candidates.is_empty() {
            true => Part::Settled(abstained(mention)),
            false => self.direct(document, mention, candidates),
        };
        (document, mentions.into_iter().zip(candidates).map(part).collect())
    }

    /// Puts a document's codings together; takes a selection for each of its open mentions.
    fn finish(
        &self,
        (document, parts): Parts<'_>,
        selections: &mut impl Iterator<Item = Result<Selection>>,
    ) -> Result<Coded> {
        let open = parts.iter().filter(|part| matches!(part, Part::Open(..))).count();
        let own: Vec<Result<Selection>> = selections.take(open).collect();
        let mut own = own.into_iter();
        let mut coded = Coded::default();
        for part in parts {
            let coding = match part {
                Part::Settled(coding) => coding,
                Part::Open(mention, candidates) => {
                    let Some(selection) = own.next().transpose()? else { continue };
                    let coding = self.coding(document, mention, candidates, &selection);
                    coded.trace.extend(Trace { exchanges: vec![selection.exchange], faults: selection.faults });
                    coding
                }
            };
            coded.codings.push(coding);
        }
        Ok(coded)
    }
}

/// A mention on its way to a code.
enum Part {
    /// No question is needed.
    Settled(Coding),
    /// The model is to choose among these.
    Open(Mention, Vec<Candidate>),
}

/// A document with its mentions, in text order.
type Parts<'a> = (&'a Document, Vec<Part>);

impl Rerank for LlmRerank {
    fn rerank(&self, linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>> {
        let documents: Vec<Parts<'_>> = linkings.into_iter().map(|linking| self.settle(linking)).collect();
        let questions = documents.iter().flat_map(|(document, parts)| {
            parts.iter().filter_map(move |part| match part {
                Part::Settled(_) => None,
                Part::Open(mention, candidates) => {
                    Some(Question { document, span: mention.span, words: &mention.text, candidates })
                }
            })
        });
        let mut selections = self.select(&questions.collect::<Vec<_>>()).into_iter();
        documents.into_iter().map(|parts| self.finish(parts, &mut selections)).collect()
    }

    fn fingerprint(&self) -> String {
        format!("llm-{}, {}", self.model.fingerprint(), self.prompt.fingerprint())
    }
}

/// Returns the coding of a mention without a code.
fn abstained(mention: Mention) -> Coding {
    Coding {
        span: Some(mention.span),
        mention,
        code: None,
        confidence: 0.0,
        group_confidence: 0.0,
        candidates: Vec::new(),
        decided_by: DecidedBy::Abstained,
    }
}

/// Finds `words` in a text, both in lower case; `None` if they do not stand there.
fn find_lower_cased(text: &str, words: &str) -> Option<Span> {
    let wanted = words.to_lowercase();
    let mut lower = String::with_capacity(text.len());
    let mut origin = Vec::with_capacity(text.len() + 1); // byte of `text` for each byte of `lower`
    for (at, c) in text.char_indices() {
        lower.extend(c.to_lowercase());
        origin.resize(lower.len(), at);
    }
    origin.push(text.len());
    let start = lower.find(&wanted)?;
    Span::new(text, origin[start], *origin.get(start + wanted.len())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        config::Order,
        data::{Match, Origin, Support},
        llm::scripted::Scripted,
    };

    fn candidate(code: &str, text: &str, exact_rows: u32) -> Candidate {
        let row = |exact, count| Support { similarity: 1.0, origin: Origin::Title, count, exact };
        let support = vec![row(exact_rows > 0, exact_rows), row(false, 9)];
        Candidate { code: code.parse().unwrap(), title: text.into(), text: text.into(), score: 1.0, support }
    }

    #[test]
    fn equal_entries_speak_by_their_rows() {
        let model = Arc::new(Scripted::failing(false));
        let prompt = Prompt::load("select-ru").unwrap();
        let settings = SelectConfig { span: ReportedSpan::ChosenEntry, ..SelectConfig::default() };
        let engine = LlmRerank::new(model, prompt, settings, 2);
        let document = Document { id: "1".into(), text: "Ушиб, ушиб кисти".into() };
        let span = Span::new(&document.text, 0, 8).unwrap();
        let mention = Mention { span, text: "Ушиб".into(), matched: Match::Exact, probability: 1.0 };
        let candidates = vec![
            candidate("S60.2", "Ушиб пальца", 0),
            candidate("S80.0", "Ушиб", 1),
            candidate("S60.8", "Ушиб", 1),
            candidate("S60.2", "Ушиб кисти", 2),
        ];
        let linking = Linking { document: &document, mentions: vec![mention], candidates: vec![candidates] };
        let coding = engine.rerank(vec![linking]).remove(0).unwrap().codings.remove(0);
        // Four rows have the mention's words: two say S60.2, three S60.
        assert_eq!((coding.confidence, coding.group_confidence), (0.5, 0.75));
        assert_eq!((coding.code.as_ref().unwrap().as_str(), coding.decided_by), ("S60.2", DecidedBy::Direct));
        // The entry that was found last is the one that counts, and comes first of the two that are kept.
        let shown: Vec<&str> = coding.candidates.iter().map(|candidate| &*candidate.text).collect();
        assert_eq!(
            (shown, coding.span.unwrap().slice(&document.text)),
            (vec!["Ушиб кисти", "Ушиб пальца"], "ушиб кисти")
        );
    }

    #[test]
    fn a_prompt_may_ask_for_the_title_in_place_of_the_number() {
        let document = Document { id: "1".into(), text: "Ушиб пальца".into() };
        let span = Span::new(&document.text, 0, 8).unwrap();
        let candidates =
            [("S60.8", "Ушиб"), ("S60.0", "Ушиб пальца"), ("S80.0", "Ушиб"), ("S60.8", "Ушиб"), ("S70.0", "")];
        let candidates: Vec<Candidate> = candidates.iter().map(|(code, title)| candidate(code, title, 0)).collect();
        let question = Question { document: &document, span, words: "ушиб пальца", candidates: &candidates };
        let model = Arc::new(Scripted::texts(["Ушиб пальца", "Ушиб S80.0", "0", "- «ушиб s80.0».", "Ожог"]));
        for decoding in [SelectDecoding::Choice, SelectDecoding::Free] {
            let settings = SelectConfig { decoding, order: Order::Shuffled, ..SelectConfig::default() };
            let prompt = Prompt::load("select-short-ru").unwrap();
            let engine = LlmRerank::new(model.clone(), prompt, settings, 15);
            let ask = || engine.select(std::slice::from_ref(&question)).remove(0).unwrap();
            if decoding == SelectDecoding::Choice {
                let first = ask();
                assert_eq!(
                    (first.chosen, first.confidence, first.shares),
                    (Some(1), 1.0, Some(vec![0.0, 1.0, 0.0, 0.0, 0.0]))
                );
                assert_eq!(ask().chosen, Some(2));
                let none = ask();
                assert_eq!((none.chosen, none.bad_answer), (None, false));
                continue;
            }
            assert_eq!(ask().chosen, Some(2));
            let strange = ask();
            assert!(strange.bad_answer && strange.chosen.is_none() && strange.faults.len() == 1);
            let shot = engine.shot(&question, &"S60.0".parse().unwrap()).unwrap();
            assert_eq!(shot.answer, "Ушиб пальца");
        }
        let Constraint::Choice { labels } = &model.requests()[0].constraint else { panic!("no choice was asked for") };
        let mut labels = labels.clone();
        labels.sort();
        assert_eq!(labels, ["0", "S70.0", "Ушиб S60.8", "Ушиб S80.0", "Ушиб пальца"]);
        let asked = model.requests()[0].messages.last().unwrap().content.clone();
        assert!(labels[1..].iter().all(|label| asked.contains(&format!("- {label}\n"))), "{asked}");
        assert!(model.requests()[3].max_tokens >= TITLE_TOKENS);
    }

    #[test]
    fn an_entry_is_found_whatever_its_case() {
        let text = "ИБС. Хронический ГАСТРИТ";
        assert_eq!(find_lower_cased(text, "хронический гастрит").unwrap().slice(text), "Хронический ГАСТРИТ");
        assert_eq!(find_lower_cased(text, "ИБС").unwrap().slice(text), "ИБС");
        // Some letters are longer in lower case.
        assert_eq!(find_lower_cased("İ: ИБС", "ибс").unwrap().slice("İ: ИБС"), "ИБС");
        assert!(find_lower_cased(text, "Гастродуоденит").is_none() && find_lower_cased(text, "").is_none());
    }
}
