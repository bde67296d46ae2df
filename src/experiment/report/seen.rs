//! What a page tells of a cell: its predictions come by, one after another; blocks for the browser and sums for the figures leave.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Write},
};

use serde_json::{Value, json};

use super::chunks::Chunks;
use crate::{
    data::{Role, Span},
    eval::metrics::Counts,
    experiment::{
        bands::of_code,
        gold::{Gold, GoldDocument},
        scored::Prediction,
    },
};

/// Ranks that the curve of accuracy at k has.
pub(super) const RANKS: usize = 15;

/// Numbers for codes, in the order in which they were met: a page names each code and title once.
#[derive(Debug, Default)]
pub(super) struct CodeTable {
    numbers: HashMap<String, usize>,
    /// Code and title.
    pub codes: Vec<(String, String)>,
}

impl CodeTable {
    pub fn number(&mut self, code: &str, title: &str) -> usize {
        if let Some(&number) = self.numbers.get(code) {
            if self.codes[number].1.is_empty() {
                title.clone_into(&mut self.codes[number].1);
            }
            return number;
        }
        self.numbers.insert(code.to_owned(), self.codes.len());
        self.codes.push((code.to_owned(), title.to_owned()));
        self.codes.len() - 1
    }
}

/// Sums over the documents of a cell.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Gold entities whose place was found, and how many of them have their code among the first k candidates.
    pub found: usize,
    /// See above; `hits[0]` is k = 1.
    pub hits: [usize; RANKS],
    /// Missed code and extra code of one group in one document, and in how many documents.
    pub confusions: BTreeMap<(String, String), usize>,
    /// Counts of code assignment by how often a code was seen in training.
    pub bands: BTreeMap<usize, (String, Counts)>,
    /// Codes of each document, by number: gold ones, predicted ones.
    pub codes: Vec<[Vec<usize>; 2]>,
}

impl Seen {
    /// Takes the next document in, with its prediction if there is one, and writes it.
    pub fn add(
        &mut self,
        gold: &Gold,
        document: &GoldDocument,
        prediction: Option<&Prediction>,
        table: &mut CodeTable,
        chunks: &mut Chunks<'_, impl Write>,
    ) -> io::Result<()> {
        let right: BTreeSet<&str> = document.gold.iter().map(|entity| entity.code.as_str()).collect();
        let said: BTreeSet<&str> =
            prediction.iter().flat_map(|prediction| prediction.codes().into_keys()).map(|code| code.as_str()).collect();
        let missed: Vec<&&str> = right.difference(&said).collect();
        for extra in said.difference(&right) {
            for code in missed.iter().filter(|code| group(code) == group(extra)) {
                *self.confusions.entry(((**code).to_owned(), (*extra).to_owned())).or_default() += 1;
            }
        }
        self.count_bands(gold, &right, &said);
        self.codes.push([&right, &said].map(|codes| codes.iter().map(|code| table.number(code, "")).collect()));
        let Some(prediction) = prediction else { return chunks.push(&Value::Null) };
        self.rank(document, prediction);
        chunks.push(&written(document, prediction, table))
    }

    fn count_bands(&mut self, gold: &Gold, right: &BTreeSet<&str>, said: &BTreeSet<&str>) {
        let Some(trained) = &gold.trained else { return };
        for code in right.union(said) {
            let (place, name) = of_code(trained, code);
            let counts = &mut self.bands.entry(place).or_insert_with(|| (name, Counts::default())).1;
            match (right.contains(code), said.contains(code)) {
                (true, true) => counts.true_positives += 1,
                (true, false) => counts.false_negatives += 1,
                _ => counts.false_positives += 1,
            }
        }
    }

    /// Notes at which rank gold codes stand among the candidates of mentions at the same place.
    fn rank(&mut self, document: &GoldDocument, prediction: &Prediction) {
        for entity in &document.gold {
            let Some(mention) = prediction.at(entity) else { continue };
            self.found += 1;
            let rank = mention.candidates.iter().position(|candidate| candidate.code.as_str() == entity.code);
            if let Some(rank) = rank.filter(|&rank| rank < RANKS) {
                self.hits[rank..].iter_mut().for_each(|hits| *hits += 1);
            }
        }
    }
}

fn group(code: &str) -> &str {
    crate::eval::metrics::Matching::Relaxed.key(code)
}

/// Writes a prediction short: `[mentions, exchanges, faults]`, as `page.js` reads it.
fn written(document: &GoldDocument, prediction: &Prediction, table: &mut CodeTable) -> Value {
    let mentions: Vec<Value> = prediction
        .mentions
        .iter()
        .map(|mention| {
            let code = mention.code.as_ref().map(|code| table.number(code.as_str(), &mention.title));
            let candidates: Vec<Value> = mention
                .candidates
                .iter()
                .map(|candidate| {
                    json!([table.number(candidate.code.as_str(), &candidate.title), rounded(candidate.score)])
                })
                .collect();
            json!([
                mention.start_char,
                mention.end_char,
                mention.text,
                code,
                rounded(mention.confidence),
                mention.decided_by,
                candidates
            ])
        })
        .collect();
    let words = |span: Option<Span>| span.map(|span| span.slice(&document.text).to_owned());
    let exchanges: Vec<Value> = prediction
        .trace
        .exchanges
        .iter()
        .map(|exchange| {
            let role = |role| match role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            let messages: Vec<_> =
                exchange.messages.iter().map(|message| (role(message.role), &message.content)).collect();
            json!([exchange.step, words(exchange.mention), messages, exchange.answer, exchange.outcome])
        })
        .collect();
    let faults: Vec<_> = prediction.trace.faults.iter().map(|faulty| (faulty.fault.label(), &faulty.text)).collect();
    json!([mentions, exchanges, faults])
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
