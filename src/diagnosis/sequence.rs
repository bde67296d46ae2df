//! What a model reads: a history's texts come in, the tokens of an appointment's input leave, the newest of them where not all fit.

use super::{
    History,
    input::{InputSettings, Kind, Section, head, past_sections, present_sections},
};
use crate::{
    error::{Error, Result, check_setting},
    nn::{Packed, bert::BertConfig, tokenizer::Tokenizer},
};

/// What is told of any patient, at the longest.
const LONGEST_HEAD: &str = "женщина, возраст 100";

/// Turns histories into tokens.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// What is told of earlier appointments.
    pub settings: InputSettings,
    /// Most tokens of an input.
    pub max_tokens: usize,
}

/// Where a token stands: in a section of an appointment, at bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Place of the appointment in the history.
    pub visit: usize,
    /// The section.
    pub kind: Kind,
    /// Bytes of the section's text.
    pub bytes: std::ops::Range<usize>,
}

/// Tokens of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence<T> {
    /// The tokens: `[CLS] sex and age [SEP] oldest appointment [SEP] … [SEP] present one [SEP]`.
    pub tokens: Vec<T>,
    /// Number of the first token of the present appointment.
    pub present: usize,
    /// Tokens that did not fit: the oldest of the past; of a present that fills all by itself, the last.
    pub cut: usize,
}

impl Sequence<u32> {
    /// Appends it to a batch. The present is the second segment for a model that tells segments apart.
    pub fn push_to(&self, batch: &mut Packed, config: &BertConfig) {
        let second = if config.type_vocab_size > 1 { self.present } else { self.tokens.len() };
        batch.push_segments(&self.tokens, second);
    }
}

/// A history as tokens, each appointment's texts once however many inputs they are part of.
#[derive(Debug, Clone, Hash)]
pub struct Chart {
    visits: Vec<Tokens>,
}

/// Tokens of an appointment.
#[derive(Debug, Clone, Default, Hash)]
struct Tokens {
    head: Vec<u32>,
    all: Vec<u32>,
    /// How many of all are told while it is the present one.
    present: usize,
    /// How many appointments lie before it.
    earlier: usize,
}

impl Reader<'_> {
    /// Sees that sex and age fit, and a token more.
    ///
    /// # Errors
    /// - [`Error::Setting`] if they do not.
    pub fn check(&self) -> Result<()> {
        let least = self.ids(LONGEST_HEAD)?.len() + 4;
        let expected = format!("at least {least}, of which sex and age take {}", least - 4);
        check_setting(self.max_tokens >= least, "max_tokens", &expected, self.max_tokens)
    }

    /// Reads a history.
    ///
    /// # Errors
    /// - [`Error::Sequence`] if the tokenizer fails on a text.
    pub fn chart(&self, history: &History) -> Result<Chart> {
        let of = |sections: Vec<Section>| -> Result<Vec<u32>> {
            let parts = sections.iter().map(|section| self.ids(&section.text)).collect::<Result<Vec<_>>>()?;
            Ok(parts.concat())
        };
        let visit = |at: usize| -> Result<Tokens> {
            let present = present_sections(history, at);
            let rest = past_sections(history, at, &self.settings).split_off(present.len());
            let (mut all, head) = (of(present)?, self.ids(&head(history, at).text)?);
            let present = all.len();
            all.extend(of(rest)?);
            Ok(Tokens { head, all, present, earlier: history.earlier(at) })
        };
        Ok(Chart { visits: (0..history.visits.len()).map(visit).collect::<Result<_>>()? })
    }

    /// Returns how many tokens an appointment's input has.
    pub fn length(&self, chart: &Chart, at: usize) -> usize {
        let now = &chart.visits[at];
        let past: usize = chart.visits[..now.earlier].iter().map(|visit| visit.all.len() + 1).sum();
        (3 + now.head.len() + past + now.present).min(self.max_tokens)
    }

    /// Puts the input of an appointment together.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the tokenizer lacks a special token; [`Error::Sequence`] if not even sex and age fit.
    pub fn sequence(&self, chart: &Chart, at: usize) -> Result<Sequence<u32>> {
        let now = &chart.visits[at];
        let past: Vec<&[u32]> = chart.visits[..now.earlier].iter().map(|visit| visit.all.as_slice()).collect();
        let (cls, sep) = self.specials()?;
        self.compose((cls, sep), &now.head, &past, &now.all[..now.present])
    }

    /// Puts it together with the place of every token in the history's texts.
    ///
    /// # Errors
    /// As [`Self::sequence`].
    pub fn placed(&self, history: &History, at: usize) -> Result<Sequence<(u32, Option<Place>)>> {
        let of = |sections: &[Section]| -> Result<Vec<(u32, Option<Place>)>> {
            let parts = sections.iter().map(|section| {
                let tokens = self.tokenizer.encode(&section.text, usize::MAX)?;
                let content =
                    tokens.ids.iter().zip(&tokens.spans).zip(&tokens.words).filter(|(_, word)| word.is_some());
                let place = |bytes| Place { visit: section.visit, kind: section.kind, bytes };
                Ok(content.map(|((&id, bytes), _)| (id, Some(place(bytes.clone())))).collect::<Vec<_>>())
            });
            Ok(parts.collect::<Result<Vec<_>>>()?.concat())
        };
        let head = of(&[head(history, at)])?;
        let past = (0..history.earlier(at)).map(|visit| of(&past_sections(history, visit, &self.settings)));
        let past = past.collect::<Result<Vec<_>>>()?;
        let past: Vec<&[_]> = past.iter().map(Vec::as_slice).collect();
        let (cls, sep) = self.specials()?;
        self.compose(((cls, None), (sep, None)), &head, &past, &of(&present_sections(history, at))?)
    }

    fn compose<T: Clone>(&self, around: (T, T), head: &[T], past: &[&[T]], present: &[T]) -> Result<Sequence<T>> {
        let (cls, sep) = around;
        let room = self.max_tokens.checked_sub(head.len() + 3).ok_or_else(|| Error::Sequence {
            expected: format!("room for {} tokens of sex and age", head.len() + 3),
            got: self.max_tokens.to_string(),
        })?;
        let shown = &present[..present.len().min(room)];
        let mut cut = present.len() - shown.len();
        let length: usize = past.iter().map(|visit| visit.len() + 1).sum();
        let mut skip = length.saturating_sub(room - shown.len());
        cut += skip;
        let mut tokens = Vec::with_capacity(head.len() + 3 + length - skip + shown.len());
        tokens.push(cls);
        tokens.extend_from_slice(head);
        tokens.push(sep.clone());
        for visit in past {
            let skipped = skip.min(visit.len() + 1);
            skip -= skipped;
            if skipped <= visit.len() {
                tokens.extend_from_slice(&visit[skipped..]);
                tokens.push(sep.clone());
            }
        }
        let start = tokens.len();
        tokens.extend_from_slice(shown);
        tokens.push(sep);
        Ok(Sequence { tokens, present: start, cut })
    }

    /// Cuts a text into tokens, without special ones.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.tokenizer.encode(text, usize::MAX)?;
        Ok(tokens.ids.into_iter().zip(tokens.words).filter_map(|(id, word)| word.map(|_| id)).collect())
    }

    fn specials(&self) -> Result<(u32, u32)> {
        let missing = |token: &str| Error::Artifact {
            what: "tokenizer",
            name: "(of the model)".into(),
            reason: format!("it has no {token} token"),
        };
        let specials = self.tokenizer.specials();
        Ok((specials.cls.ok_or_else(|| missing("[CLS]"))?, specials.sep.ok_or_else(|| missing("[SEP]"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Catalog,
        diagnosis::{
            Input, Split,
            simulate::{SimulateSettings, Simulator, disease},
        },
        nn::{tokenizer::Casing, word_pieces},
    };

    fn history() -> History {
        let simulator = Simulator::new(disease::shipped().unwrap(), SimulateSettings::default()).unwrap();
        let visits = (0..).map(|number| simulator.patient(number)).find(|visits| visits.len() > 8).unwrap();
        let appointments = visits.into_iter().map(|visit| visit.appointment).collect();
        let split = Split { validation: 0.1, test: 0.1, seed: 1 };
        History::new(appointments, &split, &Catalog::shipped().unwrap()).0
    }

    fn tokenizer(history: &History) -> Tokenizer {
        let text = Input::of(history, history.visits.len() - 1, &InputSettings::default()).text();
        let casing = Casing { lowercase: true, strip_accents: Some(false), chinese: true };
        let pieces = word_pieces::learn([text.as_str()], 300, casing).unwrap();
        Tokenizer::from_pieces(&pieces, casing).unwrap()
    }

    #[test]
    fn an_input_is_read_whole_and_cut_at_its_oldest_end() {
        let history = history();
        let tokenizer = tokenizer(&history);
        let whole = Reader { tokenizer: &tokenizer, settings: InputSettings::default(), max_tokens: 100_000 };
        let chart = whole.chart(&history).unwrap();
        let at = history.visits.len() - 1;
        let all = whole.sequence(&chart, at).unwrap();
        assert_eq!((all.cut, all.tokens.len()), (0, whole.length(&chart, at)));
        // The same texts in the same order as in the input that people are shown, special tokens apart.
        let specials = tokenizer.specials();
        let is_special = |id: &u32| Some(*id) == specials.cls || Some(*id) == specials.sep;
        let text = Input::of(&history, at, &InputSettings::default()).text();
        let of_text = tokenizer.encode(&text, usize::MAX).unwrap().ids;
        let bare = |ids: &[u32]| ids.iter().copied().filter(|id| !is_special(id)).collect::<Vec<_>>();
        assert_eq!(bare(&all.tokens), bare(&of_text));
        let now = tokenizer.encode(&present_sections(&history, at)[0].text, usize::MAX).unwrap();
        assert_eq!(all.tokens[all.present], now.ids[1]);
        let head = 2 + all.tokens[1..].iter().position(|&id| Some(id) == specials.sep).unwrap();
        for max_tokens in [all.tokens.len() - 1, 200, head + 9, head + 2] {
            let short = Reader { max_tokens, ..whole };
            let some = short.sequence(&chart, at).unwrap();
            assert_eq!((some.tokens.len(), short.length(&chart, at)), (max_tokens, max_tokens));
            assert_eq!(some.tokens.len() + some.cut, all.tokens.len());
            assert_eq!(some.tokens[..head], all.tokens[..head]);
            let present = &all.tokens[all.present..];
            let kept = max_tokens - head;
            if kept >= present.len() {
                assert_eq!(some.tokens[head..], all.tokens[all.tokens.len() - kept..], "{max_tokens}");
            } else {
                assert_eq!(some.tokens[head..max_tokens - 1], present[..kept - 1], "{max_tokens}");
            }
        }
        assert!(Reader { max_tokens: 4, ..whole }.sequence(&chart, at).is_err());
    }

    #[test]
    fn places_are_those_of_the_texts() {
        let history = history();
        let tokenizer = tokenizer(&history);
        let reader = Reader { tokenizer: &tokenizer, settings: InputSettings::default(), max_tokens: 150 };
        let chart = reader.chart(&history).unwrap();
        for at in [0, history.visits.len() - 1] {
            let (plain, placed) = (reader.sequence(&chart, at).unwrap(), reader.placed(&history, at).unwrap());
            assert_eq!((plain.present, plain.cut), (placed.present, placed.cut));
            assert_eq!(plain.tokens, placed.tokens.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            let present = present_sections(&history, at);
            let (_, place) = &placed.tokens[placed.present];
            let place = place.as_ref().unwrap();
            assert_eq!((place.visit, place.kind), (at, present[0].kind));
            assert!(present[0].text[place.bytes.clone()].chars().all(|c| c.is_ascii_digit()));
        }
    }

    #[test]
    fn five_hundred_appointments_are_read_once_each() {
        let mut history = history();
        let (first, count) = (history.visits[0].clone(), 500);
        history.visits = (0..count)
            .map(|day| {
                let time = first.time + chrono::TimeDelta::days(day);
                crate::diagnosis::Visit { id: day.to_string(), time, ..first.clone() }
            })
            .collect();
        let tokenizer = tokenizer(&history);
        let reader = Reader { tokenizer: &tokenizer, settings: InputSettings::default(), max_tokens: 4096 };
        let chart = reader.chart(&history).unwrap();
        let last = reader.sequence(&chart, 499).unwrap();
        assert_eq!((last.tokens.len(), reader.sequence(&chart, 0).unwrap().cut), (4096, 0));
        assert!(last.cut > 4096);
    }
}
