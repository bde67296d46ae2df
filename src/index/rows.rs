//! What stands behind each vector of an index: who wrote that text, and which code it was given.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{artifact::Kind, data::Origin, icd::IcdCode, text};

/// Kind of `rows.bin`.
pub(super) const KIND: Kind = Kind { name: "index rows", tag: *b"ROWS", version: 1 };

/// A coded text on its way into an index.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// The title, synonym or mention.
    pub text: String,
    /// Its code.
    pub code: IcdCode,
    /// Where it came from.
    pub origin: Origin,
}

/// A distinct normalised text of an index; its place in [`Index::entries`](super::Index::entries) is its vector's number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Hash of the normalised text.
    pub hash: u64,
    /// The text as first read, where the index may keep it.
    pub text: Option<String>,
    /// The codes it was given, ordered by code, then origin.
    pub rows: Vec<Row>,
}

/// A code that an origin gave a text, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The code.
    pub code: IcdCode,
    /// Who gave it.
    pub origin: Origin,
    /// How often.
    pub count: u32,
}

/// Groups coded texts by normalised text, in order of first sight, and counts equal rows.
///
/// Texts that are empty after normalisation are left out. The texts themselves stay where they are titles or synonyms, and
/// those of mentions and of other corpora's terms where `keep_mention_text` allows it.
pub(super) fn group(sources: &[SourceRow], keep_mention_text: bool) -> (Vec<Entry>, Vec<String>) {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let (mut entries, mut texts): (Vec<Entry>, Vec<String>) = (Vec::new(), Vec::new());
    for source in sources {
        if text::normalise(&source.text).is_empty() {
            continue;
        }
        let hash = text::normal_hash(&source.text);
        let place = *places.entry(hash).or_insert_with(|| {
            entries.push(Entry { hash, text: None, rows: Vec::new() });
            texts.push(source.text.clone());
            entries.len() - 1
        });
        let entry = &mut entries[place];
        let may_keep = keep_mention_text || matches!(source.origin, Origin::Title | Origin::Synonym);
        if may_keep && entry.text.is_none() {
            entry.text = Some(source.text.clone());
        }
        match entry.rows.iter_mut().find(|row| row.code == source.code && row.origin == source.origin) {
            Some(row) => row.count += 1,
            None => entry.rows.push(Row { code: source.code.clone(), origin: source.origin, count: 1 }),
        }
    }
    for entry in &mut entries {
        entry.rows.sort_by(|a, b| (&a.code, a.origin).cmp(&(&b.code, b.origin)));
    }
    (entries, texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, code: &str, origin: Origin) -> SourceRow {
        SourceRow { text: text.into(), code: code.parse().unwrap(), origin }
    }

    #[test]
    fn equal_texts_share_an_entry_and_mention_text_is_dropped() {
        let mention = Origin::Mention { annotator: 1 };
        let sources = [
            row("Грипп", "J11", Origin::Title),
            row("грипп!", "J11.1", mention),
            row("Грипп ", "J11.1", mention),
            row("Насморк", "J00", mention),
            row("…", "J00", mention),
        ];
        let (entries, texts) = group(&sources, false);
        assert_eq!(texts, ["Грипп", "Насморк"]);
        assert_eq!(entries[0].text.as_deref(), Some("Грипп"));
        assert_eq!(entries[0].rows.iter().map(|row| row.count).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(entries[1].text, None);
        assert_eq!(group(&sources, true).0[1].text.as_deref(), Some("Насморк"));
    }
}
