//! The `llm` engine: a candidate whose words equal the mention's is taken; otherwise a prompt asks a language model which one
//! fits best.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{Linking, Rerank};
use crate::{
    config::{OnBadAnswer, ReportedSpan, SelectConfig, SelectDecoding},
    data::{Candidate, Coded, Coding, DecidedBy, Document, Exchange, FaultyAnswer, Mention, Span, Step, Trace},
    error::Result,
    icd::IcdCode,
    llm::{
        Answer, Constraint, Generate, Request,
        answer::{Chosen, parse_choice},
    },
    prompt::Prompt,
};

/// Asks a language model for the candidate that fits a mention.
///
/// # Source
/// The paper, Sec. 4.1 and Appendix H.
pub struct LlmRerank {
    model: Arc<dyn Generate>,
    prompt: Prompt,
    settings: SelectConfig,
    candidates: usize,
}

/// What is asked about: a mention, in whatever words, and what to choose from.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The document.
    pub document: &'a Document,
    /// Place of the mention.
    pub span: Span,
    /// The mention's words, or other words for it.
    pub words: &'a str,
    /// What to choose from, in the order offered; not empty.
    pub candidates: &'a [Candidate],
}

/// What the model chose.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Place of the candidate, or `None` if none fits or the answer could not be used.
    pub chosen: Option<usize>,
    /// Whether a bad answer stands behind the choice.
    pub bad_answer: bool,
    /// Probability of the choice, in `[0, 1]`; 0 where the model does not tell.
    pub confidence: f32,
    /// Probability of each candidate, where the model tells.
    pub shares: Option<Vec<f32>>,
    /// Question and answer.
    pub exchange: Exchange,
    /// What was wrong with the answer.
    pub faults: Vec<FaultyAnswer>,
}

impl LlmRerank {
    /// Puts model and prompt together; at most `candidates` are offered.
    pub fn new(model: Arc<dyn Generate>, prompt: Prompt, settings: SelectConfig, candidates: usize) -> Self {
        Self { model, prompt, settings, candidates }
    }

    /// Asks all questions at once.
    pub fn select(&self, questions: &[Question<'_>]) -> Vec<Result<Selection>> {
        let asked: Vec<Result<Request>> = questions.iter().map(|question| self.request(question)).collect();
        let requests: Vec<Request> = asked.iter().flatten().cloned().collect();
        let mut answers = self.model.generate(&requests).into_iter();
        let outcome = |(question, asked): (&Question<'_>, Result<Request>)| {
            Some(match asked {
                Err(error) => Err(error),
                Ok(request) => answers.next()?.map(|answer| self.read(question, request, answer)),
            })
        };
        questions.iter().zip(asked).filter_map(outcome).collect()
    }

    fn none_allowed(&self) -> bool {
        self.settings.none_allowed.unwrap_or(self.prompt.none_allowed())
    }

    fn request(&self, question: &Question<'_>) -> Result<Request> {
        let SelectConfig { decoding, max_tokens, temperature, .. } = self.settings;
        let none = self.none_allowed();
        let listed: Vec<_> = (1..)
            .zip(question.candidates)
            .map(|(number, candidate)| {
                json!({ "number": number, "text": &*candidate.text, "title": &*candidate.title, "code": candidate.code })
            })
            .collect();
        let variables = json!({ "mention": question.words, "document": question.document.text, "candidates": listed, "none_allowed": none });
        let first = usize::from(!none);
        let constraint = match decoding {
            SelectDecoding::Free => Constraint::Free,
            SelectDecoding::Choice => Constraint::Choice {
                labels: (first..=question.candidates.len()).map(|number| number.to_string()).collect(),
            },
        };
        Ok(Request { messages: self.prompt.render(&variables, &[])?, max_tokens, temperature, constraint })
    }

    fn read(&self, question: &Question<'_>, request: Request, answer: Answer) -> Selection {
        let parsed = parse_choice(&answer.text, question.candidates.len(), self.none_allowed());
        let none = usize::from(self.none_allowed());
        let shares = answer.choice.as_ref().and_then(|shares| shares.get(none..)).map(<[f32]>::to_vec);
        let (chosen, confidence) = match (parsed.chosen, &answer.choice) {
            (Some(Chosen::Candidate(place)), Some(all)) => (Some(place), all.get(place + none).copied()),
            (Some(Chosen::Candidate(place)), None) => (Some(place), answer.probability()),
            (Some(Chosen::None), Some(all)) => (None, all.first().copied()),
            (Some(Chosen::None), None) => (None, answer.probability()),
            (None, _) => (None, None),
        };
        let bad_answer = parsed.chosen.is_none();
        let outcome = match (parsed.chosen, chosen.and_then(|place| question.candidates.get(place))) {
            (_, Some(candidate)) => candidate.code.to_string(),
            (Some(Chosen::None), _) => "none of these".into(),
            _ => "not usable".into(),
        };
        let exchange = Exchange {
            step: Step::Select,
            mention: Some(question.span),
            messages: request.messages,
            outcome,
            confidence,
            prompt_tokens: answer.prompt_tokens,
            answer_tokens: answer.answer_tokens,
            answer: answer.text,
        };
        let confidence = confidence.unwrap_or(0.0);
        Selection { chosen, bad_answer, confidence, shares, exchange, faults: parsed.faults }
    }

    /// Makes a coding of what the model chose.
    pub fn coding(
        &self,
        document: &Document,
        mention: Mention,
        mut candidates: Vec<Candidate>,
        chosen: &Selection,
    ) -> Coding {
        let place = match (chosen.chosen, self.settings.on_bad_answer) {
            (None, OnBadAnswer::First) if chosen.bad_answer && !candidates.is_empty() => Some(0),
            (place, _) => place.filter(|&place| place < candidates.len()),
        };
        let code = place.map(|place| candidates[place].code.clone());
        let same_group =
            |candidate: &Candidate| code.as_ref().is_some_and(|code| candidate.code.group() == code.group());
        let shares = chosen.shares.as_deref().unwrap_or_default();
        let group: f32 =
            candidates.iter().zip(shares).filter(|(candidate, _)| same_group(candidate)).map(|(_, share)| share).sum();
        // Two candidates of one code speak for it together.
        let same_code = candidates.iter().zip(shares).filter(|(candidate, _)| Some(&candidate.code) == code.as_ref());
        let together: f32 = same_code.map(|(_, share)| share).sum();
        let confidence = if code.is_some() { chosen.confidence.max(together).min(1.0) } else { 0.0 };
        for (candidate, share) in candidates.iter_mut().zip(shares) {
            candidate.score = *share;
        }
        let entry = place.map(|place| {
            let entry = candidates.remove(place);
            if !shares.is_empty() {
                candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
            }
            candidates.insert(0, entry);
            &candidates[0]
        });
        let span = match (self.settings.span, entry) {
            (ReportedSpan::ChosenEntry, Some(entry)) => find_lower_cased(&document.text, &entry.text),
            _ => Some(mention.span),
        };
        let decided_by = match (&code, chosen.chosen) {
            (None, _) => DecidedBy::Abstained,
            (Some(_), None) => DecidedBy::First,
            (Some(_), Some(_)) => DecidedBy::Model,
        };
        let group_confidence = group.max(confidence).min(1.0);
        Coding { mention, span, code, confidence, group_confidence, candidates, decided_by }
    }

    /// Takes the candidate with the mention's words, if there is one: of several codes the one most rows give.
    fn direct(&self, document: &Document, mention: &Mention, candidates: &[Candidate]) -> Option<Coding> {
        let mut rows: BTreeMap<&IcdCode, u32> = BTreeMap::new();
        for candidate in candidates.iter().filter(|_| self.settings.direct_match) {
            let same: u32 = candidate.support.iter().filter(|row| row.exact).map(|row| row.count).sum();
            if same > 0 {
                *rows.entry(&candidate.code).or_default() += same;
            }
        }
        let total: u32 = rows.values().sum();
        let place = |code: &IcdCode| candidates.iter().position(|candidate| candidate.code == *code);
        let (code, most) = rows.iter().max_by_key(|(code, count)| (**count, std::cmp::Reverse(place(code))))?;
        let group: u32 = rows.iter().filter(|(other, _)| other.group() == code.group()).map(|(_, count)| count).sum();
        let share = |count: u32| count as f32 / total.max(1) as f32;
        let mut candidates = candidates.to_vec();
        if let Some(place) = place(code) {
            candidates[..=place].rotate_right(1);
        }
        let span = match self.settings.span {
            ReportedSpan::Mention => Some(mention.span),
            ReportedSpan::ChosenEntry => find_lower_cased(&document.text, &candidates.first()?.text),
        };
        Some(Coding {
            mention: mention.clone(),
            span,
            code: Some((*code).clone()),
            confidence: share(*most),
            group_confidence: share(group),
            candidates,
            decided_by: DecidedBy::Direct,
        })
    }
}

impl Rerank for LlmRerank {
    fn rerank(&self, mut linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>> {
        linkings.iter_mut().flat_map(|linking| &mut linking.candidates).for_each(|list| list.truncate(self.candidates));
        let settled: Vec<Vec<Option<Coding>>> = linkings.iter().map(|linking| self.settle(linking)).collect();
        let open = linkings.iter().zip(&settled).flat_map(|(linking, settled)| {
            let parts = linking.mentions.iter().zip(&linking.candidates).zip(settled);
            parts.filter(|(_, settled)| settled.is_none()).map(|((mention, candidates), _)| Question {
                document: linking.document,
                span: mention.span,
                words: &mention.text,
                candidates,
            })
        });
        let open: Vec<Question<'_>> = open.collect();
        let mut selections = self.select(&open).into_iter();
        drop(open);
        let finished = linkings.into_iter().zip(settled).map(|(linking, settled)| {
            let wanted = settled.iter().filter(|coding| coding.is_none()).count();
            let own: Vec<_> = selections.by_ref().take(wanted).collect();
            let own = own.into_iter().collect::<Result<_>>()?;
            Ok(self.finish(linking, settled, own))
        });
        finished.collect()
    }

    fn fingerprint(&self) -> String {
        let Self { model, prompt, settings, .. } = self;
        format!("llm-{}-{}-{:?}", model.fingerprint(), prompt.fingerprint(), settings.decoding).to_lowercase()
    }
}

impl LlmRerank {
    /// Decides what needs no question: direct matches, and mentions without candidates.
    fn settle(&self, linking: &Linking<'_>) -> Vec<Option<Coding>> {
        let parts = linking.mentions.iter().zip(&linking.candidates);
        let nothing = |mention: &Mention| Coding {
            mention: mention.clone(),
            span: Some(mention.span),
            code: None,
            confidence: 0.0,
            group_confidence: 0.0,
            candidates: Vec::new(),
            decided_by: DecidedBy::Abstained,
        };
        let settle = |(mention, candidates): (&Mention, &Vec<Candidate>)| match candidates.is_empty() {
            true => Some(nothing(mention)),
            false => self.direct(linking.document, mention, candidates),
        };
        parts.map(settle).collect()
    }

    fn finish(&self, linking: Linking<'_>, settled: Vec<Option<Coding>>, selections: Vec<Selection>) -> Coded {
        let Linking { document, mentions, candidates } = linking;
        let mut selections = selections.into_iter();
        let mut coded = Coded::default();
        for ((mention, candidates), settled) in mentions.into_iter().zip(candidates).zip(settled) {
            if let Some(coding) = settled {
                coded.codings.push(coding);
            } else if let Some(selection) = selections.next() {
                coded.codings.push(self.coding(document, mention, candidates, &selection));
                coded.trace.extend(Trace { exchanges: vec![selection.exchange], faults: selection.faults });
            }
        }
        coded
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

    #[test]
    fn an_entry_is_found_whatever_its_case() {
        let text = "ИБС. Хронический ГАСТРИТ";
        assert_eq!(find_lower_cased(text, "хронический гастрит").unwrap().slice(text), "Хронический ГАСТРИТ");
        assert_eq!(find_lower_cased(text, "ИБС").unwrap().slice(text), "ИБС");
        assert!(find_lower_cased(text, "Гастродуоденит").is_none() && find_lower_cased(text, "").is_none());
    }
}
