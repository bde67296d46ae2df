//! Which names a mention is held against in an epoch: half of them alike by letters, half by the encoder as it is now.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dictionary::{Mention, Name};
use crate::{
    artifact::Kind,
    embed::sparse::{SparseEncoder, SparseVector, dot},
    error::Result,
};

/// Mentions whose scores with all names are held in memory at a time, for each thread.
const CHUNK: usize = 64;

/// Kind of the file that keeps an epoch's candidates, so that a resumed run goes on with the same.
pub(super) const KIND: Kind = Kind { name: "linker candidates", tag: *b"CAND", version: 1 };

/// A name that may be right for a mention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Number of the name.
    pub name: u32,
    /// Cosine of the sparse vectors.
    pub sparse: f32,
    /// Probability that the name means the mention's label: 1 or 0 where all who gave the name agree.
    pub share: f32,
}

/// Names by the n-grams in them, for search.
pub struct SparseIndex {
    encoder: SparseEncoder,
    names: Vec<SparseVector>,
    /// Names of each n-gram with its weight in them.
    postings: Vec<Vec<(u32, f32)>>,
}

impl SparseIndex {
    /// Fits an encoder on the names and indexes them.
    pub fn new(names: &[Name]) -> Self {
        Self::with_encoder(SparseEncoder::fit(names.iter().map(|name| name.text.as_str())), names)
    }

    fn with_encoder(encoder: SparseEncoder, names: &[Name]) -> Self {
        let names: Vec<SparseVector> = names.par_iter().map(|name| encoder.encode(&name.text)).collect();
        let mut postings = vec![Vec::new(); encoder.dim()];
        for (name, vector) in names.iter().enumerate() {
            vector.iter().for_each(|&(gram, weight)| postings[gram as usize].push((name as u32, weight)));
        }
        Self { encoder, names, postings }
    }

    /// Returns the encoder.
    pub fn encoder(&self) -> &SparseEncoder {
        &self.encoder
    }

    /// Computes the cosine of a text with every name, `(names)`.
    pub fn scores(&self, text: &SparseVector) -> Vec<f32> {
        let mut scores = vec![0.0; self.names.len()];
        for &(gram, weight) in text {
            self.postings[gram as usize].iter().for_each(|&(name, other)| scores[name as usize] += weight * other);
        }
        scores
    }

    /// Finds the `k` names most alike to each mention, those that only its own record knows left out; best first.
    pub fn search(&self, mentions: &[Mention], names: &[Name], k: usize) -> Vec<Vec<u32>> {
        let search = |mention: &Mention| {
            let scores = self.scores(&self.encoder.encode(&mention.text));
            top(&scores, k, |name| names[name].is_known_outside(mention.record))
        };
        mentions.par_iter().map(search).collect()
    }

    /// Computes the cosine of a mention with one name.
    pub fn score(&self, mention: &SparseVector, name: u32) -> f32 {
        dot(mention, &self.names[name as usize])
    }
}

/// Computes the inner products of queries `(n, dim)` with all names `(names, dim)`, a chunk at a time; `each` is given the number of a
/// query and its scores, `(names)`. Returns what it returned, in order of queries.
///
/// # Errors
/// Those of the device.
pub fn dense_scores<T: Send>(
    queries: &Tensor,
    names: &Tensor,
    each: impl Fn(usize, &[f32]) -> T + Sync,
) -> Result<Vec<T>> {
    let (count, _) = queries.dims2()?;
    let transposed = names.t()?;
    let chunk = |start: usize| -> Result<Vec<T>> {
        let rows = queries.narrow(0, start, CHUNK.min(count - start))?;
        let scores = rows.matmul(&transposed)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
        Ok(scores.iter().enumerate().map(|(at, scores)| each(start + at, scores)).collect())
    };
    let starts: Vec<usize> = (0..count).step_by(CHUNK).collect();
    let chunks: Result<Vec<Vec<T>>> = starts.into_par_iter().map(chunk).collect();
    Ok(chunks?.into_iter().flatten().collect())
}

/// Returns the places of the `k` highest scores that may be taken, highest first, of equal ones the first. Scores that are no numbers are passed over.
pub fn top(scores: &[f32], k: usize, may: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(k + 1);
    for (place, &score) in scores.iter().enumerate() {
        let full = best.len() == k;
        let fits = !score.is_nan() && (!full || best.last().is_some_and(|(least, _)| score > *least));
        if fits && may(place) {
            let at = best.partition_point(|(other, _)| *other >= score);
            best.insert(at, (score, place as u32));
            best.truncate(k);
        }
    }
    best.into_iter().map(|(_, place)| place).collect()
}

/// Puts a mention's candidates together: the first `k − ⌊k · dense_share⌋` by letters, then those by the encoder that are not yet among
/// them, `k` in all.
///
/// # Source
/// Sung et al. 2020, section 3.2, <https://arxiv.org/abs/2005.00239>.
pub fn merge(sparse: &[u32], dense: &[u32], k: usize, dense_share: f64) -> Vec<u32> {
    let by_letters = k - (k as f64 * dense_share) as usize;
    let mut merged: Vec<u32> = sparse.iter().take(by_letters).copied().collect();
    for name in dense {
        if merged.len() == k {
            break;
        }
        if !merged.contains(name) {
            merged.push(*name);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::linker::dictionary::{Dictionary, Wording};

    #[test]
    fn the_best_come_first_and_equal_ones_in_order() {
        let scores = [0.5, 0.9, 0.5, f32::NAN, -1.0, 0.9];
        assert_eq!(top(&scores, 3, |_| true), [1, 5, 0]);
        assert_eq!(top(&scores, 2, |place| place != 1), [5, 0]);
        assert!(top(&scores, 0, |_| true).is_empty() && top(&[], 3, |_| true).is_empty());
    }

    #[test]
    fn half_of_the_candidates_are_alike_by_letters_and_half_by_the_encoder() {
        assert_eq!(merge(&[1, 2, 3, 4], &[2, 5, 6, 7], 4, 0.5), [1, 2, 5, 6]);
        assert_eq!(merge(&[1, 2, 3], &[3, 2, 1], 4, 0.5), [1, 2, 3]);
        assert_eq!(merge(&[1, 2, 3], &[4, 5, 6], 2, 1.0), [4, 5]);
        assert_eq!(merge(&[1, 2, 3], &[4, 5, 6], 2, 0.0), [1, 2]);
        // BioSyn's 20: ten and ten.
        let (sparse, dense): (Vec<u32>, Vec<u32>) = ((0..20).collect(), (10..30).collect());
        assert_eq!(merge(&sparse, &dense, 20, 0.5), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn search_by_letters_passes_over_what_only_the_own_record_knows() {
        let row = |text: &str, label: &str, record: Option<&str>| Wording {
            text: text.into(),
            label: label.into(),
            record: record.map(str::to_owned),
        };
        let mentions = [row("хр гастрит", "K29.5", Some("1"))];
        let mut dictionary = Dictionary::new();
        dictionary.add(&[row("Хронический гастрит", "K29.5", None), row("Острый отит", "H66.0", None)]);
        dictionary.add(&mentions);
        let mentions = dictionary.mentions(&mentions, true);
        let index = SparseIndex::new(dictionary.names());
        assert_eq!(index.search(&mentions, dictionary.names(), 3), [vec![0, 1]]);
        let vector = index.encoder().encode("хр гастрит");
        let scores = index.scores(&vector);
        assert!((scores[2] - 1.0).abs() < 1e-6 && (scores[0] - index.score(&vector, 0)).abs() < 1e-6);
    }
}
