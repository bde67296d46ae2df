//! What a linker is trained on: titles, synonyms and coded mentions come in, the names of a dictionary and the mentions that are to
//! find them leave.

use std::collections::{HashMap, HashSet};

use crate::{
    catalog::Catalog,
    data::{AnnotatedDocument, ConceptTerm},
    icd::IcdCode,
    text,
};

/// A coded wording: a name of the dictionary, or a mention that is to be linked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wording {
    /// The words.
    pub text: String,
    /// ICD code or concept, compared as written.
    pub label: String,
    /// The record it was read from; `None` for a title or synonym, which belongs to no record.
    pub record: Option<String>,
}

/// What a run learns from and is measured with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wordings {
    /// Names of the dictionary.
    pub names: Vec<Wording>,
    /// Mentions to learn from.
    pub mentions: Vec<Wording>,
    /// Mentions to measure with; may be empty.
    pub held_out: Vec<Wording>,
}

impl Wordings {
    /// Lets titles and synonyms be mentions too: each is to find the other wordings of its code, never itself.
    pub fn with_names_as_mentions(mut self) -> Self {
        for (number, name) in self.names.iter_mut().enumerate().filter(|(_, name)| name.record.is_none()) {
            name.record = Some(format!("name {number}"));
            self.mentions.push(name.clone());
        }
        self
    }
}

/// Lists the titles and synonyms of a catalogue.
pub fn catalog_wordings(catalog: &Catalog) -> Vec<Wording> {
    let wordings = |entry: &crate::catalog::CatalogEntry| {
        let texts = std::iter::once(entry.title.to_string()).chain(entry.synonyms.iter().cloned());
        let label = entry.code.to_string();
        texts.map(move |text| Wording { text, label: label.clone(), record: None }).collect::<Vec<_>>()
    };
    catalog.entries().iter().flat_map(wordings).collect()
}

/// Lists the coded entities of annotated documents, nested ones included; `corpus` keeps apart the records of several corpora.
pub fn mention_wordings(corpus: &str, documents: &[AnnotatedDocument]) -> Vec<Wording> {
    let wordings = |annotated: &AnnotatedDocument| {
        let record = format!("{corpus}/{}", annotated.document.id);
        let coded = annotated.entities.iter().filter_map(|entity| Some((entity.span, entity.code.as_ref()?)));
        let wording = |(span, code): (crate::data::Span, &IcdCode)| Wording {
            text: span.slice(&annotated.document.text).to_owned(),
            label: code.to_string(),
            record: Some(record.clone()),
        };
        coded.map(wording).collect::<Vec<_>>()
    };
    documents.iter().flat_map(wordings).collect()
}

/// Lists the wordings of UMLS concepts. Which record each stood in is not known: equal words for one concept count as one record.
pub fn concept_wordings(terms: &[ConceptTerm]) -> Vec<Wording> {
    let wording = |term: &ConceptTerm| {
        let record = Some(format!("{}/{}", term.concept, text::normalise(&term.text)));
        Wording { text: term.text.clone(), label: term.concept.to_string(), record }
    };
    terms.iter().map(wording).collect()
}

/// A distinct text of the dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The words, as first read.
    pub text: String,
    /// Labels it was given, each with the record that gave it.
    meanings: Vec<(u32, Option<u32>)>,
}

impl Name {
    /// Returns the share of each label among those given outside `record`, in order of labels; none if no one else gave any.
    ///
    /// So a mention finds neither itself nor another of its record, while the same words elsewhere count.
    pub fn shares(&self, record: Option<u32>) -> Vec<(u32, f32)> {
        let mut labels: Vec<u32> = self.labels_outside(record).collect();
        labels.sort_unstable();
        let total = labels.len() as f32;
        labels.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32 / total)).collect()
    }

    /// Tells whether someone outside `record` gave the name.
    pub fn is_known_outside(&self, record: Option<u32>) -> bool {
        self.labels_outside(record).next().is_some()
    }

    /// Returns the share of one label among those given outside `record`.
    pub fn share(&self, label: u32, record: Option<u32>) -> f32 {
        let (mut right, mut total) = (0.0, 0.0);
        for given in self.labels_outside(record) {
            total += 1.0;
            right += f32::from(u8::from(given == label));
        }
        if right > 0.0 { right / total } else { 0.0 }
    }

    fn labels_outside(&self, record: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let elsewhere = move |(_, by): &&(u32, Option<u32>)| by.is_none() || *by != record;
        self.meanings.iter().filter(elsewhere).map(|(label, _)| *label)
    }
}

/// A mention to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The words.
    pub text: String,
    /// Number of its label.
    pub label: u32,
    /// Number of its record.
    pub record: Option<u32>,
}

/// The distinct texts of titles, synonyms and, where asked for, mentions, with the labels they were given.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    names: Vec<Name>,
    places: HashMap<u64, usize>,
    labels: Vec<String>,
    numbers: HashMap<String, u32>,
    records: HashMap<String, u32>,
}

impl Dictionary {
    /// Starts without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds names. Texts that are empty in their normal form are left out; a record that gives a text the same label twice counts once.
    pub fn add(&mut self, wordings: &[Wording]) {
        for wording in wordings {
            if text::normalise(&wording.text).is_empty() {
                continue;
            }
            let meaning = (self.label(&wording.label), self.record(wording));
            let place = *self.places.entry(text::normal_hash(&wording.text)).or_insert_with(|| {
                self.names.push(Name { text: wording.text.clone(), meanings: Vec::new() });
                self.names.len() - 1
            });
            let meanings = &mut self.names[place].meanings;
            if !meanings.contains(&meaning) {
                meanings.push(meaning);
            }
        }
    }

    /// Numbers the labels and records of mentions; of equal words with one label, `distinct` keeps the first, as BioSyn does.
    pub fn mentions(&mut self, wordings: &[Wording], distinct: bool) -> Vec<Mention> {
        let mut seen = HashSet::new();
        let mut mentions = Vec::with_capacity(wordings.len());
        for wording in wordings {
            if text::normalise(&wording.text).is_empty() {
                continue;
            }
            let (label, record) = (self.label(&wording.label), self.record(wording));
            if !distinct || seen.insert((text::normal_hash(&wording.text), label)) {
                mentions.push(Mention { text: wording.text.clone(), label, record });
            }
        }
        mentions
    }

    fn label(&mut self, label: &str) -> u32 {
        number(&mut self.numbers, label, |label| self.labels.push(label.to_owned()))
    }

    fn record(&mut self, wording: &Wording) -> Option<u32> {
        wording.record.as_ref().map(|record| number(&mut self.records, record, |_| {}))
    }

    /// Returns all names, in order of first sight.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Returns all labels; a label's number is its place.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns the number of each label's group: the first three characters of an ICD code, the label itself otherwise.
    pub fn groups(&self) -> Vec<u32> {
        let mut numbers = HashMap::new();
        let group = |label: &String| match label.parse::<IcdCode>() {
            Ok(code) => number(&mut numbers, code.group(), |_| {}),
            Err(_) => number(&mut numbers, label, |_| {}),
        };
        self.labels.iter().map(group).collect()
    }
}

/// Numbers texts in order of first sight.
fn number(numbers: &mut HashMap<String, u32>, text: &str, new: impl FnOnce(&str)) -> u32 {
    if let Some(&known) = numbers.get(text) {
        return known;
    }
    let next = numbers.len() as u32;
    numbers.insert(text.to_owned(), next);
    new(text);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wording(text: &str, label: &str, record: Option<&str>) -> Wording {
        Wording { text: text.into(), label: label.into(), record: record.map(str::to_owned) }
    }

    #[test]
    fn a_mention_knows_its_words_only_from_other_records() {
        let mentions = [
            wording("хр. гастрит", "K29.5", Some("1")),
            wording("Хр гастрит", "K29.5", Some("1")),
            wording("отит", "H66.9", Some("1")),
            wording("ОТИТ", "H66.9", Some("2")),
            wording("отит", "H65.9", Some("3")),
            wording("…", "H65.9", Some("3")),
        ];
        let mut dictionary = Dictionary::new();
        dictionary.add(&[wording("Хронический гастрит", "K29.5", None)]);
        dictionary.add(&mentions);
        let all = dictionary.mentions(&mentions, false);
        assert_eq!((dictionary.names().len(), all.len()), (3, 5));
        let own = |name: usize, mention: usize| dictionary.names()[name].share(all[mention].label, all[mention].record);
        assert_eq!(own(0, 0), 1.0); // the title
        assert_eq!((own(1, 0), own(1, 1)), (0.0, 0.0)); // both stand in record 1, the only one with these words
        assert!(!dictionary.names()[1].is_known_outside(all[0].record));
        assert_eq!((own(2, 2), own(2, 4)), (0.5, 0.0)); // of records 2 and 3, one agrees; of 1 and 2, none
        assert_eq!(dictionary.names()[2].shares(None), [(all[2].label, 2.0 / 3.0), (all[4].label, 1.0 / 3.0)]);
        assert_eq!(dictionary.mentions(&mentions, true).len(), 3);
    }

    #[test]
    fn a_title_that_is_a_mention_finds_the_other_wordings_of_its_code() {
        let names = ["Гастрит", "Воспаление желудка"].map(|text| wording(text, "K29.7", None)).to_vec();
        let all = Wordings { names, ..Wordings::default() }.with_names_as_mentions();
        let mut dictionary = Dictionary::new();
        dictionary.add(&all.names);
        let mentions = dictionary.mentions(&all.mentions, true);
        let share = |name: usize, mention: usize| {
            dictionary.names()[name].share(mentions[mention].label, mentions[mention].record)
        };
        assert_eq!([share(0, 0), share(1, 0), share(0, 1), share(1, 1)], [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn groups_are_those_of_codes_and_concepts_stand_alone() {
        let mut dictionary = Dictionary::new();
        let rows = ["K29.5", "K29.6", "C0017152", "I10"].map(|label| wording(label, label, None));
        dictionary.add(&rows);
        assert_eq!(dictionary.groups(), [0, 0, 1, 2]);
    }
}
