//! What the labels of an annotated corpus are worth: documents come in, counts, contradictions and leaks leave.

mod frequency;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::frequency::frequency;
use crate::{
    catalog::Catalog,
    data::AnnotatedDocument,
    eval::{
        consistency::{Consistency, Contradiction},
        leakage::{Near, near},
    },
    icd::IcdCode,
    text::normalise,
};

/// Codes of fewer entities, or in fewer records, are rare.
///
/// # Source
/// The paper, Fig. 3.
pub const RARE: usize = 5;

/// What annotators wrote, before anything is put right.
#[derive(Debug, Serialize)]
pub struct Written {
    /// Codes written, also several for an entity: what the paper's Table 1 calls entities.
    pub notes: usize,
    /// Different ones.
    pub codes: usize,
    /// Those that fewer than five records have.
    pub rare_codes: usize,
}

/// What an audit finds.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// The annotators' codes as written.
    pub written: Written,
    /// Records.
    pub records: usize,
    /// Marked places.
    pub entities: usize,
    /// Entities with a code.
    pub coded: usize,
    /// Different codes.
    pub codes: usize,
    /// Codes of fewer than five entities.
    pub rare_codes: usize,
    /// Different codes of a record, on average.
    pub codes_a_record: f64,
    /// Entities of each code, most first.
    pub frequencies: Vec<usize>,
    /// Codes that the catalogue lacks, with the number of entities, most first.
    pub not_in_catalogue: Vec<(IcdCode, usize)>,
    /// How consistently the same words are coded.
    pub consistency: Consistency,
    /// Words with several codes.
    pub contradictions: Vec<Contradiction>,
    /// What it shares with other corpora.
    pub against: Option<Against>,
}

/// What a corpus shares with others.
#[derive(Debug, Serialize)]
pub struct Against {
    /// Records of the others.
    pub records: usize,
    /// Records that stand there word by word.
    pub same: usize,
    /// Records that stand there nearly, those among them.
    pub near: usize,
    /// Ids of near records here and there, and their similarity, most similar first.
    pub pairs: Vec<(String, String, f64)>,
    /// Mentions whose words are marked there.
    pub seen_mentions: usize,
    /// Mentions whose code is given there.
    pub seen_codes: usize,
}

/// Returns the words, normalised, and the codes of all coded entities.
fn mentions(corpus: &[AnnotatedDocument]) -> impl Iterator<Item = (String, &IcdCode)> {
    corpus.iter().flat_map(|annotated| {
        let text = &annotated.document.text;
        annotated.entities.iter().filter_map(|entity| Some((normalise(entity.span.slice(text)), entity.code.as_ref()?)))
    })
}

impl Written {
    /// Counts the codes that each record's notes give.
    ///
    /// # Source
    /// The paper, Table 1 and Fig. 3.
    pub fn of(records: &[Vec<String>]) -> Self {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        let of_record = records.iter().flat_map(|codes| codes.iter().collect::<BTreeSet<_>>());
        of_record.for_each(|code| *counts.entry(code).or_default() += 1);
        Self {
            notes: records.iter().map(Vec::len).sum(),
            codes: counts.len(),
            rare_codes: counts.values().filter(|&&count| count < RARE).count(),
        }
    }
}

impl Audit {
    /// Audits a corpus, of which `written` was counted before.
    pub fn of(corpus: &[AnnotatedDocument], written: Written, catalog: &Catalog) -> Self {
        let mut counts: BTreeMap<&IcdCode, usize> = BTreeMap::new();
        mentions(corpus).for_each(|(_, code)| *counts.entry(code).or_default() += 1);
        let mut frequencies: Vec<usize> = counts.values().copied().collect();
        frequencies.sort_unstable_by(|a, b| b.cmp(a));
        let unknown = counts.iter().filter(|(code, _)| catalog.row(code).is_none());
        let mut not_in_catalogue: Vec<(IcdCode, usize)> =
            unknown.map(|(&code, &count)| (code.clone(), count)).collect();
        not_in_catalogue.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let of_record = |annotated: &AnnotatedDocument| {
            annotated.entities.iter().filter_map(|entity| entity.code.as_ref()).collect::<BTreeSet<_>>().len()
        };
        let mut consistency = Consistency::of(mentions(corpus));
        Self {
            written,
            records: corpus.len(),
            entities: corpus.iter().map(|annotated| annotated.entities.len()).sum(),
            coded: counts.values().sum(),
            codes: counts.len(),
            rare_codes: counts.values().filter(|&&count| count < RARE).count(),
            codes_a_record: corpus.iter().map(of_record).sum::<usize>() as f64 / corpus.len().max(1) as f64,
            frequencies,
            not_in_catalogue,
            contradictions: std::mem::take(&mut consistency.contradictions),
            consistency,
            against: None,
        }
    }
}

impl Against {
    /// Compares a corpus with others; records are near from a similarity of `least` on.
    pub fn of(corpus: &[AnnotatedDocument], others: &[AnnotatedDocument], least: f64) -> Self {
        let texts = |of: &[AnnotatedDocument]| of.iter().map(|one| one.document.text.clone()).collect::<Vec<_>>();
        let found = near(&texts(corpus), &texts(others), least);
        let normal: BTreeSet<String> = others.iter().map(|other| normalise(&other.document.text)).collect();
        let same = corpus.iter().filter(|one| normal.contains(&normalise(&one.document.text))).count();
        let (words, codes): (BTreeSet<String>, BTreeSet<&IcdCode>) = mentions(others).unzip();
        let id = |of: &[AnnotatedDocument], number: usize| of[number].document.id.clone();
        let pair = |near: &Near| (id(corpus, near.text), id(others, near.other), near.similarity);
        let mut pairs: Vec<(String, String, f64)> = found.iter().map(pair).collect();
        pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
        Self {
            records: others.len(),
            same,
            near: pairs.len(),
            pairs,
            seen_mentions: mentions(corpus).filter(|(text, _)| words.contains(text)).count(),
            seen_codes: mentions(corpus).filter(|(_, code)| codes.contains(code)).count(),
        }
    }
}
