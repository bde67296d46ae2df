//! A coded document comes in; an account of it leaves, for people or as JSON: the questions with their answers, what was wrong
//! with these, the mentions with what was offered and chosen, the codes.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
};

use serde::Serialize;

use super::{Turn, indented, name_of};
use crate::{
    corpus::Offsets,
    data::{AnswerFault, Candidate, Coded, Coding, DecidedBy, Document, Exchange, FaultyAnswer, Match, Span},
    icd::IcdCode,
};

/// What became of a document, and why.
#[derive(Serialize)]
pub(super) struct Account<'a> {
    text: &'a str,
    exchanges: &'a [Exchange],
    faults: Vec<Fault<'a>>,
    mentions: Vec<Found<'a>>,
    codes: BTreeSet<&'a IcdCode>,
}

/// What was wrong with an answer.
#[derive(Serialize)]
struct Fault<'a> {
    fault: AnswerFault,
    reason: &'static str,
    repaired: bool,
    text: &'a str,
}

/// A mention with its code.
#[derive(Serialize)]
struct Found<'a> {
    text: &'a str,
    place: Place,
    /// The place that is reported, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<Option<Place>>,
    matched: Match,
    probability: f32,
    candidates: Vec<Offered<'a>>,
    code: Option<&'a IcdCode>,
    decided_by: DecidedBy,
    confidence: f32,
    group_confidence: f32,
}

/// Offsets in characters.
#[derive(Clone, Copy, Serialize)]
struct Place {
    start_char: usize,
    end_char: usize,
}

/// What a mention's code was chosen from, best first.
#[derive(Serialize)]
struct Offered<'a> {
    number: usize,
    code: &'a IcdCode,
    text: &'a str,
    title: &'a str,
    score: f32,
}

impl<'a> Account<'a> {
    /// Sorts out what happened to a document.
    pub(super) fn new(document: &'a Document, coded: &'a Coded) -> Self {
        let offsets = Offsets::new(&document.text);
        Self {
            text: &document.text,
            exchanges: &coded.trace.exchanges,
            faults: coded.trace.faults.iter().map(Fault::new).collect(),
            mentions: coded.codings.iter().map(|coding| Found::new(coding, &offsets)).collect(),
            codes: coded.codings.iter().filter_map(|coding| coding.code.as_ref()).collect(),
        }
    }
}

impl<'a> Fault<'a> {
    fn new(faulty: &'a FaultyAnswer) -> Self {
        let FaultyAnswer { fault, text } = faulty;
        Self { fault: *fault, reason: fault.label(), repaired: fault.is_repaired(), text }
    }
}

impl<'a> Found<'a> {
    fn new(coding: &'a Coding, offsets: &Offsets<'_>) -> Self {
        let place =
            |span: Span| Place { start_char: offsets.char(span.start_byte()), end_char: offsets.char(span.end_byte()) };
        let Coding { mention, span, code, confidence, group_confidence, candidates, decided_by } = coding;
        Self {
            text: &mention.text,
            place: place(mention.span),
            reported: (*span != Some(mention.span)).then(|| span.map(place)),
            matched: mention.matched,
            probability: mention.probability,
            candidates: (1..).zip(candidates).map(Offered::new).collect(),
            code: code.as_ref(),
            decided_by: *decided_by,
            confidence: *confidence,
            group_confidence: *group_confidence,
        }
    }
}

impl<'a> Offered<'a> {
    fn new((number, candidate): (usize, &'a Candidate)) -> Self {
        let Candidate { code, title, text, score, .. } = candidate;
        Self { number, code, text, title, score: *score }
    }
}

impl Display for Account<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        heading(f, "Questions", self.exchanges.is_empty())?;
        for (number, exchange) in (1..).zip(self.exchanges) {
            self.question(f, number, exchange)?;
        }
        if !self.faults.is_empty() {
            heading(f, "\n\nFaults", false)?;
        }
        for Fault { reason, repaired, text, .. } in &self.faults {
            write!(f, "\n  {}  {reason}: {text:?}", if *repaired { "repaired" } else { "lost    " })?;
        }
        heading(f, "\n\nMentions", self.mentions.is_empty())?;
        for (number, found) in (1..).zip(&self.mentions) {
            write!(f, "\n\n  {number}. {found}")?;
        }
        heading(f, "\n\nCodes", self.codes.is_empty())?;
        self.codes.iter().try_for_each(|code| write!(f, "\n  {code}"))
    }
}

impl Account<'_> {
    fn question(&self, f: &mut Formatter<'_>, number: usize, exchange: &Exchange) -> fmt::Result {
        let Exchange { step, mention, messages, answer, outcome, confidence, prompt_tokens, answer_tokens } = exchange;
        write!(f, "\n\n  {number}. {}", name_of(step))?;
        if let Some(mention) = mention {
            write!(f, ": {}", mention.slice(self.text))?;
        }
        for message in messages {
            write!(f, "\n{}", Turn { message, indent: 5 })?;
        }
        write!(f, "\n     answer")?;
        indented(f, if answer.is_empty() { "(empty)" } else { answer }, 7)?;
        write!(f, "\n     outcome     {outcome}")?;
        if let Some(confidence) = confidence {
            write!(f, "\n     confidence  {confidence:.3}")?;
        }
        write!(f, "\n     tokens      {prompt_tokens} in the prompt, {answer_tokens} in the answer")
    }
}

impl Display for Found<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let matched = match self.matched {
            Match::Exact => "exact".to_owned(),
            Match::Edited(distance) => format!("edited by {distance}"),
        };
        write!(f, "{}\n     place       {}, {matched}, probability {:.3}", self.text, self.place, self.probability)?;
        match self.reported {
            Some(Some(place)) => write!(f, "\n     reported    {place}")?,
            Some(None) => write!(f, "\n     reported    nowhere: its words do not stand in the text")?,
            None => (),
        }
        let code = self.code.map_or("none", IcdCode::as_str);
        write!(f, "\n     code        {code}, decided by {}", rule(self.decided_by))?;
        write!(f, "\n     confidence  {:.3}, of the group {:.3}", self.confidence, self.group_confidence)?;
        if !self.candidates.is_empty() {
            write!(f, "\n     candidates, best first")?;
        }
        for Offered { number, code, text, score, .. } in &self.candidates {
            write!(f, "\n     {number:>4}  {:<8} {score:.3}  {text}", code.as_str())?;
        }
        Ok(())
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "characters {} to {}", self.start_char, self.end_char)
    }
}

fn heading(f: &mut Formatter<'_>, name: &str, nothing: bool) -> fmt::Result {
    write!(f, "{name}{}", if nothing { "\n  none" } else { "" })
}

/// Says which rule chose, for people.
fn rule(decided_by: DecidedBy) -> &'static str {
    match decided_by {
        DecidedBy::Written => "the code written beside it",
        DecidedBy::Nearest => "the nearest rows",
        DecidedBy::Direct => "an index entry with the same words",
        DecidedBy::Model => "the model",
        DecidedBy::First => "the order of the candidates, as the answer could not be used",
        DecidedBy::FirstCandidate => "the order of the candidates",
        DecidedBy::BackOff => "backing off to the group",
        DecidedBy::Abstained => "abstaining",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Mention, Message, Role, Step, Trace};

    const TEXT: &str = "Ринит. Ушиб колена";

    fn candidate(code: &str, text: &str, score: f32) -> Candidate {
        Candidate { code: code.parse().unwrap(), title: text.into(), text: text.into(), score, support: Vec::new() }
    }

    fn exchange(step: Step, mention: Option<Span>, answer: &str, outcome: &str) -> Exchange {
        let message = |role, content: &str| Message { role, content: content.into() };
        Exchange {
            step,
            mention,
            messages: vec![message(Role::System, "Одно.\n\nДругое."), message(Role::User, TEXT)],
            answer: answer.into(),
            outcome: outcome.into(),
            confidence: mention.map(|_| 0.75),
            prompt_tokens: 40,
            answer_tokens: 9,
        }
    }

    fn coded() -> (Document, Coded) {
        let span = Span::new(TEXT, 12, 33).unwrap();
        let mention =
            Mention { span, text: "Ушиб колена".into(), matched: Match::Edited(1), probability: 1.0 };
        let coding = Coding {
            mention,
            span: None,
            code: Some("S80.0".parse().unwrap()),
            confidence: 0.75,
            group_confidence: 0.875,
            candidates: vec![candidate("S80.0", "ушиб колена", 0.75), candidate("S80.1", "ушиб голени", 0.125)],
            decided_by: DecidedBy::Model,
        };
        let faulty = |fault, text: &str| FaultyAnswer { fault, text: text.into() };
        let trace = Trace {
            exchanges: vec![
                exchange(Step::Extract, None, "['Ушиб колено', 'Отит']", "2 quoted, 1 found in the text"),
                exchange(Step::Select, Some(span), "", "S80.0"),
            ],
            faults: vec![faulty(AnswerFault::Misquoted, "Ушиб колено"), faulty(AnswerFault::NotFound, "Отит")],
        };
        (Document { id: "1".into(), text: TEXT.into() }, Coded { codings: vec![coding], trace })
    }

    #[test]
    fn people_read_questions_faults_mentions_and_codes_in_order() {
        let (document, coded) = coded();
        let expected = "\
Questions

  1. extract
     system
       Одно.

       Другое.
     user
       Ринит. Ушиб колена
     answer
       ['Ушиб колено', 'Отит']
     outcome     2 quoted, 1 found in the text
     tokens      40 in the prompt, 9 in the answer

  2. select: Ушиб колена
     system
       Одно.

       Другое.
     user
       Ринит. Ушиб колена
     answer
       (empty)
     outcome     S80.0
     confidence  0.750
     tokens      40 in the prompt, 9 in the answer

Faults
  repaired  words misquoted: \"Ушиб колено\"
  lost      words not in the text: \"Отит\"

Mentions

  1. Ушиб колена
     place       characters 7 to 18, edited by 1, probability 1.000
     reported    nowhere: its words do not stand in the text
     code        S80.0, decided by the model
     confidence  0.750, of the group 0.875
     candidates, best first
        1  S80.0    0.750  ушиб колена
        2  S80.1    0.125  ушиб голени

Codes
  S80.0";
        assert_eq!(Account::new(&document, &coded).to_string(), expected);
    }

    #[test]
    fn an_account_of_nothing_says_so() {
        let document = Document { id: "1".into(), text: String::new() };
        let account = Account::new(&document, &Coded::default()).to_string();
        assert_eq!(account, "Questions\n  none\n\nMentions\n  none\n\nCodes\n  none");
    }

    #[test]
    fn json_says_the_same() {
        let (document, coded) = coded();
        let json = serde_json::to_value(Account::new(&document, &coded)).unwrap();
        assert_eq!(json["exchanges"][1]["step"], "select");
        assert_eq!(json["exchanges"][0]["answer"], "['Ушиб колено', 'Отит']");
        assert_eq!(json["faults"][1]["reason"], "words not in the text");
        let mention = &json["mentions"][0];
        assert_eq!(mention["matched"]["edited"], 1);
        assert_eq!(mention["place"]["start_char"], 7);
        assert!(mention["reported"].is_null() && mention.get("reported").is_some());
        assert_eq!(mention["candidates"][1]["number"], 2);
        assert_eq!((&mention["code"], &mention["decided_by"]), (&"S80.0".into(), &"model".into()));
        assert_eq!(json["codes"], serde_json::json!(["S80.0"]));
    }
}
