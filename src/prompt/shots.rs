//! Examples for an extraction prompt, drawn from an annotated corpus.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Shot;
use crate::{
    data::AnnotatedDocument,
    text::{normal_hash, normalise},
};

/// Characters of the pieces by which texts are compared.
const GRAM: usize = 3;

/// Draws the `count` documents of `corpus` that are most alike to `text`, the most alike last, next to the question.
///
/// Likeness is the share of three-character pieces of the normal forms that both texts have (Jaccard); of equally alike
/// documents the earlier one counts. `text` itself is never drawn, nor the same text twice. The answer lists the words of the
/// document's outermost entities, in text order.
pub fn draw_extract_shots(corpus: &[AnnotatedDocument], text: &str, count: usize) -> Vec<Shot> {
    let wanted = grams(text);
    let mut seen = HashSet::from([normal_hash(text)]);
    let others = corpus.iter().filter(|document| seen.insert(normal_hash(&document.document.text)));
    let mut alike: Vec<(f64, &AnnotatedDocument)> =
        others.map(|document| (likeness(&wanted, &grams(&document.document.text)), document)).collect();
    // The sort is stable: equally alike ones keep their order.
    alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    alike.iter().take(count).rev().map(|(_, document)| shot(document)).collect()
}

fn shot(annotated: &AnnotatedDocument) -> Shot {
    let text = &annotated.document.text;
    let variables = Map::from_iter([("text".to_owned(), Value::from(text.as_str()))]);
    Shot { answer: python_list(annotated.outermost().iter().map(|entity| entity.span.slice(text))), variables }
}

/// Writes a list as Python does, for an answer that a model should give: `['…', '…']`, every run of white space as a blank.
pub fn python_list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = items.into_iter().map(|item| {
        let words = item.split_whitespace().collect::<Vec<_>>().join(" ").replace('\\', "\\\\");
        match words.contains('\'') {
            true if !words.contains('"') => format!("\"{words}\""),
            _ => format!("'{}'", words.replace('\'', "\\'")),
        }
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

fn grams(text: &str) -> HashSet<Vec<char>> {
    let chars: Vec<char> = format!(" {} ", normalise(text)).chars().collect();
    chars.windows(GRAM).map(<[char]>::to_vec).collect()
}

fn likeness(one: &HashSet<Vec<char>>, other: &HashSet<Vec<char>>) -> f64 {
    let shared = one.intersection(other).count();
    shared as f64 / (one.len() + other.len() - shared).max(1) as f64
}
