//! The sparse half of BioSyn's score: texts come in, TF-IDF vectors of character 1- and 2-grams leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    artifact,
    error::{Error, Result},
    text,
};

/// Name of the file in an encoder folder that a linker's training wrote.
pub const SPARSE_FILE: &str = "sparse.json";

/// A sparse vector: numbers of n-grams with their weights, in order of numbers, of unit length unless empty.
pub type SparseVector = Vec<(u32, f32)>;

/// Weights character 1- and 2-grams by their frequency in a text and their rarity among the texts it was fitted on.
///
/// # Source
/// BioSyn's sparse representation: Sung et al. 2020, section 3.1, <https://arxiv.org/abs/2005.00239>. Rarity is
/// `ln((1 + n) / (1 + df)) + 1`, texts are compared in their normal form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseEncoder {
    /// What the sparse score counts beside the dense one: BioSyn's λ.
    pub lambda: f32,
    /// Rarity of each n-gram; its place in this order is its number.
    rarity: BTreeMap<String, f32>,
    #[serde(skip)]
    places: BTreeMap<String, u32>,
}

impl SparseEncoder {
    /// Counts in how many of `texts` each n-gram occurs.
    pub fn fit<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut frequency, mut count) = (BTreeMap::<String, u32>::new(), 0u32);
        for text in texts {
            count += 1;
            let distinct: BTreeSet<String> = ngrams(text).into_iter().collect();
            distinct.into_iter().for_each(|gram| *frequency.entry(gram).or_default() += 1);
        }
        let rarity = |df: u32| (f64::from(1 + count) / f64::from(1 + df)).ln() as f32 + 1.0;
        let rarity = frequency.into_iter().map(|(gram, df)| (gram, rarity(df))).collect();
        Self { lambda: 0.0, rarity, places: BTreeMap::new() }.with_places()
    }

    /// Sets λ.
    pub fn with_lambda(self, lambda: f32) -> Self {
        Self { lambda, ..self }
    }

    fn with_places(mut self) -> Self {
        self.places = self.rarity.keys().cloned().zip(0..).collect();
        self
    }

    /// Returns the number of n-grams known.
    pub fn dim(&self) -> usize {
        self.rarity.len()
    }

    /// Encodes a text; n-grams never seen are left out.
    pub fn encode(&self, text: &str) -> SparseVector {
        let mut counts: BTreeMap<u32, f32> = BTreeMap::new();
        for gram in ngrams(text) {
            if let (Some(&place), Some(rarity)) = (self.places.get(&gram), self.rarity.get(&gram)) {
                *counts.entry(place).or_default() += rarity;
            }
        }
        let norm = counts.values().map(|x| x * x).sum::<f32>().sqrt();
        counts.into_iter().map(|(place, x)| (place, x / norm)).collect()
    }

    /// Reads [`SPARSE_FILE`] of an encoder folder.
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be read; [`Error::Artifact`] if it is damaged.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(SPARSE_FILE);
        let json = std::fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
        let broken =
            |reason: String| Error::Artifact { what: "sparse encoder", name: path.display().to_string(), reason };
        let read: Self = serde_json::from_str(&json).map_err(|e| broken(e.to_string()))?;
        Ok(read.with_places())
    }

    /// Writes [`SPARSE_FILE`] into an encoder folder.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(SPARSE_FILE);
        let json = serde_json::to_vec(self).map_err(|e| Error::Artifact {
            what: "sparse encoder",
            name: path.display().to_string(),
            reason: e.to_string(),
        })?;
        artifact::write_atomic(&path, &json)
    }
}

/// Computes the inner product of two sparse vectors: the cosine.
pub fn dot(a: &[(u32, f32)], b: &[(u32, f32)]) -> f32 {
    let (mut a, mut b, mut sum) = (a, b, 0.0);
    while let ([(i, x), rest_a @ ..], [(j, y), rest_b @ ..]) = (a, b) {
        if i == j {
            sum += x * y;
        }
        (a, b) = (if i <= j { rest_a } else { a }, if j <= i { rest_b } else { b });
    }
    sum
}

/// Lists the characters of the normalised text and its pairs of neighbours, repetitions included.
fn ngrams(text: &str) -> Vec<String> {
    let characters: Vec<char> = text::normalise(text).chars().collect();
    let single = characters.iter().map(char::to_string);
    single.chain(characters.windows(2).map(|pair| pair.iter().collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rarity_and_length_by_hand() {
        let encoder = SparseEncoder::fit(["аб", "ав", "а"]);
        // `а` is in 3 of 3 texts: ln(4/4) + 1 = 1; `аб` and `б` in one: ln(4/2) + 1 = 1.693.
        let vector = encoder.encode("Аб!");
        let rare = 1.0 + 2f32.ln();
        let norm = (1.0 + 2.0 * rare * rare).sqrt();
        let weights: Vec<f32> = vector.iter().map(|(_, x)| *x).collect();
        assert_eq!(encoder.dim(), 5);
        assert!(weights.iter().zip([1.0 / norm, rare / norm, rare / norm]).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!((dot(&vector, &vector) - 1.0).abs() < 1e-6);
        assert!((dot(&vector, &encoder.encode("а")) - 1.0 / norm).abs() < 1e-6);
        assert!(encoder.encode("xyz").is_empty() && dot(&[], &vector) == 0.0);
    }

    #[test]
    fn a_saved_encoder_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = SparseEncoder { lambda: 0.25, ..SparseEncoder::fit(["острый отит", "гастрит"]) };
        encoder.save(folder.path()).unwrap();
        let again = SparseEncoder::load(folder.path()).unwrap();
        assert_eq!((again.encode("отит"), again.lambda), (encoder.encode("отит"), 0.25));
        std::fs::write(folder.path().join(SPARSE_FILE), "{}").unwrap();
        assert!(matches!(SparseEncoder::load(folder.path()), Err(Error::Artifact { .. })));
    }
}
