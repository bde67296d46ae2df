//! The labels of a token classifier: `id2label` comes in, spans of units leave.

use std::ops::Range;

use serde_json::{Map, Value, json};

/// What a label says of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Outside,
    Begin(usize),
    Inside(usize),
}

/// The label set of a token classifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    tags: Vec<Tag>,
    types: Vec<String>,
}

/// Units that a model takes for a mention.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The units.
    pub units: Range<usize>,
    /// Number of the entity type.
    pub kind: usize,
    /// Probability that this is a mention, in `[0, 1]`.
    pub probability: f32,
}

impl Labels {
    /// Makes the label set O, B, I of one entity type.
    pub fn of(kind: &str) -> Self {
        Self { tags: vec![Tag::Outside, Tag::Begin(0), Tag::Inside(0)], types: vec![kind.to_owned()] }
    }

    /// Reads the label set of a `config.json` from its `id2label`.
    ///
    /// `O` is outside; `B-TYPE` and `I-TYPE` begin and continue a mention, as do `S-`/`U-` and `E-`/`L-`/`M-` of finer schemes; a bare type is
    /// taken as `I-TYPE`, bare `B` and `I` as those of the only type.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(config: &Map<String, Value>) -> std::result::Result<Self, String> {
        let names = config.get("id2label").and_then(Value::as_object).ok_or("config.json has no id2label")?;
        let mut labels = Self { tags: Vec::new(), types: Vec::new() };
        for id in 0..names.len() {
            let name = names.get(&id.to_string()).and_then(Value::as_str);
            let name =
                name.ok_or_else(|| format!("id2label has {} labels, but none with the number {id}", names.len()))?;
            if name.starts_with("LABEL_") {
                return Err(format!(
                    "id2label calls label {id} `{name}`, which does not say whether it begins a mention"
                ));
            }
            let tag = labels.tag(name);
            labels.tags.push(tag);
        }
        match labels.types.is_empty() {
            true => Err("id2label has no label of a mention, such as B-TYPE".into()),
            false => Ok(labels),
        }
    }

    fn tag(&mut self, name: &str) -> Tag {
        if name == "O" {
            return Tag::Outside;
        }
        let (scheme, kind) =
            name.split_once(['-', '_']).filter(|(scheme, _)| scheme.len() == 1).unwrap_or(match name {
                "B" | "I" => (name, ""),
                kind => ("I", kind),
            });
        let number = self.types.iter().position(|known| known == kind).unwrap_or_else(|| {
            self.types.push(kind.to_owned());
            self.types.len() - 1
        });
        if matches!(scheme, "B" | "S" | "U") { Tag::Begin(number) } else { Tag::Inside(number) }
    }

    /// Returns the keys of `config.json` that say these labels.
    pub fn to_config(&self) -> Map<String, Value> {
        let name = |tag: &Tag| match *tag {
            Tag::Outside => "O".to_owned(),
            Tag::Begin(kind) => format!("B-{}", self.types[kind]),
            Tag::Inside(kind) => format!("I-{}", self.types[kind]),
        };
        let names: Vec<String> = self.tags.iter().map(name).collect();
        let by_id: Map<String, Value> = (0..).zip(&names).map(|(id, name)| (id.to_string(), json!(name))).collect();
        let by_name: Map<String, Value> = (0..).zip(&names).map(|(id, name)| (name.clone(), json!(id))).collect();
        [("id2label".to_owned(), by_id.into()), ("label2id".to_owned(), by_name.into())].into_iter().collect()
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Tells whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Returns the entity types.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// Labels `count` units in which `mentions` of the first type stand, apart from each other: one label number a unit.
    pub fn encode(&self, count: usize, mentions: &[Range<usize>]) -> Vec<u32> {
        let number = |wanted: Tag| self.tags.iter().position(|&tag| tag == wanted).unwrap_or(0) as u32;
        let mut labels = vec![number(Tag::Outside); count];
        for mention in mentions {
            labels[mention.clone()].fill(number(Tag::Inside(0)));
            labels[mention.start] = number(Tag::Begin(0));
        }
        labels
    }

    /// Reads mentions off the most probable label of each unit; `probabilities` is one row a unit, one column a label. An inside label that
    /// continues nothing begins a mention.
    ///
    /// A mention's probability is that of the least sure of the decisions that make it up: to begin at its first unit, to go on at each
    /// further one, and not to go on after the last.
    pub fn decode(&self, probabilities: &[Vec<f32>]) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        let mut open = None; // type of the mention that the unit before belongs to
        for (unit, row) in probabilities.iter().enumerate() {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
            let tag = self.tags.get(best).copied().unwrap_or(Tag::Outside);
            let goes_on = matches!((open, tag), (Some(open), Tag::Inside(kind)) if open == kind);
            if let (Some(open), Some(last)) = (open, found.last_mut()) {
                let continued = self.share(row, |tag| tag == Tag::Inside(open));
                last.probability = last.probability.min(if goes_on { continued } else { 1.0 - continued });
                last.units.end += usize::from(goes_on);
            }
            open = match tag {
                Tag::Outside => None,
                Tag::Begin(kind) | Tag::Inside(kind) => Some(kind),
            };
            if let Some(kind) = open.filter(|_| !goes_on) {
                // After a mention of the same type only `begin` starts another one.
                let follows = found.last().is_some_and(|last| last.units.end == unit && last.kind == kind);
                let begins = |tag| tag == Tag::Begin(kind) || !follows && tag == Tag::Inside(kind);
                found.push(Found { units: unit..unit + 1, kind, probability: self.share(row, begins) });
            }
        }
        found
    }

    fn share(&self, row: &[f32], wanted: impl Fn(Tag) -> bool) -> f32 {
        let wanted = self.tags.iter().zip(row).filter(|(tag, _)| wanted(**tag));
        wanted.map(|(_, share)| share).sum::<f32>().clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(names: &[&str]) -> Map<String, Value> {
        let by_id: Map<String, Value> =
            names.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name))).collect();
        [("id2label".to_owned(), by_id.into())].into_iter().collect()
    }

    fn sure(labels: &[usize]) -> Vec<Vec<f32>> {
        labels.iter().map(|&label| (0..3).map(|at| if at == label { 0.8 } else { 0.1 }).collect()).collect()
    }

    #[test]
    fn schemes_of_others_are_read() {
        let labels = Labels::read(&config(&["I-DISO", "O", "B-DISO", "S-CHEM", "E-CHEM"])).unwrap();
        assert_eq!(labels.types, ["DISO", "CHEM"]);
        assert_eq!(labels.tags, [Tag::Inside(0), Tag::Outside, Tag::Begin(0), Tag::Begin(1), Tag::Inside(1)]);
        assert_eq!(Labels::read(&config(&["O", "B", "I"])).unwrap().types, [""]);
        assert_eq!(Labels::read(&config(&["O", "diagnosis"])).unwrap().tags[1], Tag::Inside(0));
        for bad in [&["LABEL_0", "LABEL_1"][..], &["O"], &[]] {
            assert!(Labels::read(&config(bad)).is_err(), "{bad:?}");
        }
        assert!(Labels::read(&Map::new()).is_err());
        let own = Labels::of("diagnosis");
        assert_eq!(Labels::read(&own.to_config()).unwrap(), own);
    }

    #[test]
    fn mentions_come_back_with_the_probability_of_their_weakest_decision() {
        let labels = Labels::of("diagnosis");
        let found = |numbers: &[usize]| {
            labels.decode(&sure(numbers)).into_iter().map(|one| (one.units, one.probability)).collect::<Vec<_>>()
        };
        assert_eq!(labels.encode(6, &[1..3, 3..4]), [0, 1, 2, 1, 0, 0]);
        // Begin 0.8, on 0.8, not on 0.9 | begin 0.8, not on 0.9.
        assert_eq!(found(&[0, 1, 2, 1, 0, 0]), [(1..3, 0.8), (3..4, 0.8)]);
        // Inside after outside begins: 0.8 + 0.1.
        assert_eq!(found(&[0, 2, 0]), [(1..2, 0.9)]);
        assert_eq!(found(&[]), []);
    }

    proptest! {
        #[test]
        fn any_numbers_give_mentions_apart_and_in_order(numbers in proptest::collection::vec(0usize..3, 0..30)) {
            let found = Labels::of("x").decode(&sure(&numbers));
            prop_assert!(found.windows(2).all(|pair| pair[0].units.end <= pair[1].units.start));
            let covered: usize = found.iter().map(|one| one.units.len()).sum();
            prop_assert_eq!(covered, numbers.iter().filter(|&&number| number > 0).count());
        }
    }
}
