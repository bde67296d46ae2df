//! Chooses how much a dense encoder counts beside n-grams: coded texts come in, the accuracy of each weight leaves.
//!
//! By cross-validation over documents, or on documents of their own: an encoder that was trained on the mentions of the index
//! looks better on them than it is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rayon::prelude::*;

use crate::{
    catalog::Catalog,
    data::{AnnotatedDocument, Match, Mention, Span},
    embed::{Embed, hybrid::HybridEncoder},
    error::{Error, Result},
    eval::linking::{LinkingAccuracy, linking_accuracy},
    icd::IcdCode,
    index::{Index, IndexSettings, SourceRow},
    pipeline::mention_rows,
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Parts into which the documents are cut.
const FOLDS: usize = 5;
/// Texts that are encoded together.
const ENCODE_BATCH: usize = 1024;
/// Weights of the dense encoder that are tried.
const WEIGHTS: [f32; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Coded texts that are looked up among others.
#[derive(Debug, Clone)]
pub struct Fold {
    /// What an index would hold.
    pub known: Vec<SourceRow>,
    /// What is looked up.
    pub asked: Vec<SourceRow>,
}

/// Cuts documents into five folds: the mentions of each are looked up among `others`, such as titles, and the mentions of all other folds.
///
/// # Errors
/// - [`Error::Training`] if there are fewer documents than folds.
pub fn folds(documents: &[AnnotatedDocument], others: &[SourceRow], annotator_block: u32) -> Result<Vec<Fold>> {
    if documents.len() < FOLDS {
        let reason =
            format!("{} documents cannot be cut into {FOLDS} parts; give more with --mentions", documents.len());
        return Err(Error::Training { what: "the weight of a hybrid", reason });
    }
    let parts: Vec<Vec<SourceRow>> = (0..FOLDS)
        .map(|fold| {
            let some: Vec<AnnotatedDocument> = documents.iter().skip(fold).step_by(FOLDS).cloned().collect();
            mention_rows(&some, annotator_block)
        })
        .collect();
    let fold = |(n, asked): (usize, &Vec<SourceRow>)| {
        let mentions = parts.iter().enumerate().filter(|(other, _)| *other != n).flat_map(|(_, rows)| rows);
        Fold { known: others.iter().chain(mentions).cloned().collect(), asked: asked.clone() }
    };
    Ok(parts.iter().enumerate().map(fold).collect())
}

/// Measures each weight of the dense encoder; the n-grams have the rest. Tells `watch` how much of the work is done, of how much.
///
/// # Errors
/// - [`Error::Training`] if there is no mention to look up; those of the encoders and the index.
pub fn weights(
    folds: &[Fold],
    catalog: &Arc<Catalog>,
    encoders: [Arc<dyn Embed>; 2],
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Vec<(f32, LinkingAccuracy)>> {
    if folds.iter().all(|fold| fold.asked.is_empty()) {
        let reason = "no coded mention is there to choose it by: give --mentions or --tune a folder with some".into();
        return Err(Error::Training { what: "the weight of a hybrid", reason });
    }
    let texts = folds.iter().flat_map(|fold| fold.known.iter().chain(&fold.asked)).map(|row| row.text.as_str());
    let texts: Vec<&str> = texts.collect::<BTreeSet<_>>().into_iter().collect();
    // Counted in texts encoded and looked up, which take about as long.
    let asked: usize = folds.iter().map(|fold| fold.asked.len()).sum();
    let (mut done, all) = (0, 2 * texts.len() + WEIGHTS.len() * asked);
    let mut step = |texts: usize| {
        done += texts;
        watch(done, all);
    };
    let [dense, ngram] = encoders;
    let dense = Arc::new(Known::new(dense, &texts, &mut step)?);
    let ngram = Arc::new(Known::new(ngram, &texts, &mut step)?);
    let mut measure = |weight: f32| {
        let encoder: Arc<dyn Embed> = Arc::new(HybridEncoder::new(dense.clone(), ngram.clone(), weight)?);
        let found: Result<Vec<_>> = folds.par_iter().map(|fold| look_up(fold, catalog, &encoder)).collect();
        let found = found?.concat();
        step(asked);
        Ok((weight, linking_accuracy(found.iter().map(|(gold, codes)| (gold, codes.as_slice())))))
    };
    WEIGHTS.into_iter().map(&mut measure).collect()
}

/// Returns the weight with the best accuracy at the first rank, then at the fifth; of equal ones the smaller.
pub fn best(measured: &[(f32, LinkingAccuracy)]) -> Option<f32> {
    let better = |best: Option<(f32, (f64, f64))>, (weight, reached): &(f32, LinkingAccuracy)| {
        let reached = (reached.strict.at_1, reached.strict.at_5);
        if best.is_none_or(|(_, most)| reached > most) { Some((*weight, reached)) } else { best }
    };
    measured.iter().fold(None, better).map(|(weight, _)| weight)
}

/// Pairs the code of each text of a fold with the codes that are found for it.
fn look_up(fold: &Fold, catalog: &Arc<Catalog>, encoder: &Arc<dyn Embed>) -> Result<Vec<(IcdCode, Vec<IcdCode>)>> {
    let settings = IndexSettings { factory: "Flat".into(), ..IndexSettings::default() };
    let index = Arc::new(Index::build(&fold.known, encoder.as_ref(), settings)?);
    let indexes = vec![SearchedIndex { index, titles: true }];
    let retriever = Retriever::new(encoder.clone(), indexes, catalog.clone(), false, RetrievalSettings::default())?;
    let mention = |row: &SourceRow| {
        let span = Span::new(&row.text, 0, row.text.len())?;
        Ok(Mention { span, text: row.text.clone(), matched: Match::Exact, probability: 1.0 })
    };
    let mentions: Vec<Mention> = fold.asked.iter().map(mention).collect::<Result<_>>()?;
    let found = retriever.retrieve(&mentions)?;
    let codes = found.into_iter().map(|candidates| candidates.into_iter().map(|candidate| candidate.code).collect());
    Ok(fold.asked.iter().map(|row| row.code.clone()).zip(codes).collect())
}

/// An encoder that has encoded certain texts already, for they are asked for once a fold and weight.
struct Known {
    encoder: Arc<dyn Embed>,
    vectors: HashMap<String, Vec<f32>>,
}

impl Known {
    fn new(encoder: Arc<dyn Embed>, texts: &[&str], step: &mut dyn FnMut(usize)) -> Result<Self> {
        let mut vectors = HashMap::with_capacity(texts.len());
        for batch in texts.chunks(ENCODE_BATCH) {
            let rows = encoder.embed(batch)?;
            let owned = rows.chunks(encoder.dim().max(1)).map(<[f32]>::to_vec);
            vectors.extend(batch.iter().map(|&text| text.to_owned()).zip(owned));
            step(batch.len());
        }
        Ok(Self { encoder, vectors })
    }
}

impl Embed for Known {
    fn dim(&self) -> usize {
        self.encoder.dim()
    }

    fn fingerprint(&self) -> &str {
        self.encoder.fingerprint()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(texts.len() * self.dim());
        for &text in texts {
            match self.vectors.get(text) {
                Some(vector) => rows.extend_from_slice(vector),
                None => rows.extend(self.encoder.embed(&[text])?),
            }
        }
        Ok(rows)
    }
}
