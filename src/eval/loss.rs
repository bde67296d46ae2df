//! Where codes get lost: gold entities and coded mentions of each document come in, the stage that lost each missed code
//! leaves.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::report;
use crate::{
    data::{Coding, Span},
    icd::IcdCode,
};

/// A mention as the pipeline coded it.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedMention<'a> {
    /// Where it stands.
    pub span: Span,
    /// The code chosen, if any.
    pub code: Option<&'a IcdCode>,
    /// The codes it was chosen from.
    pub candidates: Vec<&'a IcdCode>,
}

impl<'a> From<&'a Coding> for CodedMention<'a> {
    fn from(coding: &'a Coding) -> Self {
        Self {
            span: coding.mention.span,
            code: coding.code.as_ref(),
            candidates: coding.candidates.iter().map(|candidate| &candidate.code).collect(),
        }
    }
}

/// The gold codes of documents (each once a document), by what became of them.
///
/// A missed code goes to the first of these that holds: not in the catalogue, lost at NER, at retrieval, at re-ranking.
/// Their sum is the false negatives of strict code assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Losses {
    /// Predicted: the true positives.
    pub found: usize,
    /// Neither the catalogue nor the index has the code, so no stage could have found it.
    pub not_in_catalogue: usize,
    /// No predicted mention overlaps a gold entity with the code.
    pub ner: usize,
    /// A mention overlaps, but none that does has the code among its candidates.
    pub retrieval: usize,
    /// An overlapping mention has the code among its candidates; another one was chosen, or none.
    pub reranking: usize,
}

impl std::ops::Add for Losses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            found: self.found + other.found,
            not_in_catalogue: self.not_in_catalogue + other.not_in_catalogue,
            ner: self.ner + other.ner,
            retrieval: self.retrieval + other.retrieval,
            reranking: self.reranking + other.reranking,
        }
    }
}

impl Losses {
    /// Adds one document. `known` tells whether the catalogue or the index has a code.
    pub fn add(&mut self, gold: &[(Span, &IcdCode)], mentions: &[CodedMention<'_>], known: impl Fn(&IcdCode) -> bool) {
        let predicted: BTreeSet<&IcdCode> = mentions.iter().filter_map(|mention| mention.code).collect();
        let wanted: BTreeSet<&IcdCode> = gold.iter().map(|(_, code)| *code).collect();
        for code in wanted {
            let marks = |mention: &&CodedMention<'_>| {
                gold.iter().any(|(span, other)| *other == code && span.overlaps(mention.span))
            };
            let mut overlapping = mentions.iter().filter(marks).peekable();
            let place = if predicted.contains(code) {
                &mut self.found
            } else if !known(code) {
                &mut self.not_in_catalogue
            } else if overlapping.peek().is_none() {
                &mut self.ner
            } else if overlapping.any(|mention| mention.candidates.contains(&code)) {
                &mut self.reranking
            } else {
                &mut self.retrieval
            };
            *place += 1;
        }
    }

    /// Returns how many codes were missed.
    pub fn missed(&self) -> usize {
        self.not_in_catalogue + self.ner + self.retrieval + self.reranking
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize, whole: usize| {
            if whole == 0 { "–".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
        };
        let all = self.found + self.missed();
        let lost = |name: &str, part: usize| {
            vec![name.to_owned(), part.to_string(), share(part, all), share(part, self.missed())]
        };
        let rows = vec![
            vec!["found".into(), self.found.to_string(), share(self.found, all), String::new()],
            lost("lost: not in the catalogue", self.not_in_catalogue),
            lost("lost at NER", self.ner),
            lost("lost at retrieval", self.retrieval),
            lost("lost at re-ranking", self.reranking),
            lost("missed in all", self.missed()),
        ];
        write!(f, "{}", report::table(&["gold codes", "number", "of all", "of missed"], rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "gastritis, asthma, migraine, gout, otitis";

    fn span(word: &str) -> Span {
        let start = TEXT.find(word).unwrap();
        Span::new(TEXT, start, start + word.len()).unwrap()
    }

    #[test]
    fn each_missed_code_is_lost_once_at_the_first_stage_that_fails() {
        let code = |text: &str| text.parse::<IcdCode>().unwrap();
        let [k29, j45, g43, m10, h66, z99, r51] =
            ["K29.7", "J45.9", "G43.9", "M10.9", "H66.9", "Z99.9", "R51"].map(code);
        let gold = [
            (span("gastritis"), &k29),
            (span("asthma"), &j45),
            (span("migraine"), &g43),
            (span("gout"), &m10),
            (span("otitis"), &h66),
            (span("otitis"), &z99),
            (span("otitis"), &k29), // a code twice in a document counts once
        ];
        let mention = |word, code, candidates| CodedMention { span: span(word), code, candidates };
        let mentions = [
            mention("gastritis", Some(&k29), vec![&k29]),
            mention("asth", None, vec![&g43, &j45]), // overlaps in part, has the code, abstained
            mention("migraine", Some(&r51), vec![&r51]),
            mention("otitis", None, vec![&m10]), // has gout's code, but does not touch gout
        ];
        let mut losses = Losses::default();
        losses.add(&gold, &mentions, |code| *code != z99);
        // 6 codes: K29.7 found; Z99.9 unknown; gout unmarked, so M10.9 at NER; migraine and otitis have no right
        // candidate, so G43.9 and H66.9 at retrieval; J45.9 at re-ranking.
        assert_eq!(losses, Losses { found: 1, not_in_catalogue: 1, ner: 1, retrieval: 2, reranking: 1 });
        assert_eq!(losses.missed(), 5);
        assert!(losses.to_string().contains("lost at re-ranking"));
    }
}
