//! The shipped encoder: character n-grams, hashed, weighted by IDF, projected to a dense vector with random signs.

use std::{collections::HashSet, path::Path};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Embed;
use crate::{
    artifact::{self, Kind},
    error::{Error, Result},
    text,
};

const KIND: Kind = Kind { name: "n-gram encoder", tag: *b"NGRM", version: 1 };

/// How texts are cut and projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NgramSettings {
    /// Characters of the shortest n-gram. Default 1.
    pub shortest: u8,
    /// Characters of the longest n-gram. Default 4.
    pub longest: u8,
    /// Binary logarithm of the number of hash buckets, `8..=20`. Default 16.
    pub bucket_bits: u8,
    /// Dimensions of the vector, a multiple of 64. Default 384.
    pub dim: u16,
}

impl Default for NgramSettings {
    fn default() -> Self {
        Self { shortest: 1, longest: 4, bucket_bits: 16, dim: 384 }
    }
}

#[derive(Serialize, Deserialize)]
struct Model {
    settings: NgramSettings,
    /// IDF of each bucket in 1/16.
    idf: Vec<u8>,
}

/// Encodes a text as the sign-projected TF-IDF of its character n-grams.
///
/// The cosine of two vectors estimates that of the sparse TF-IDF vectors with a standard error of `1/√dim`.
///
/// # Source
/// Feature hashing and random projections with signs: Achlioptas 2003, <https://doi.org/10.1016/S0022-0000(03)00025-4>.
pub struct NgramEncoder {
    model: Model,
    fingerprint: String,
    signs: SignTable,
}

impl NgramEncoder {
    /// Counts in how many of `texts` each n-gram occurs and makes an encoder of the weights. Order makes no difference.
    ///
    /// # Errors
    /// - [`Error::Setting`] if a setting is outside its range.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, settings: NgramSettings) -> Result<Self> {
        check(settings)?;
        let mut frequency = vec![0u32; 1 << settings.bucket_bits];
        let mut count = 0u32;
        for text in texts {
            count += 1;
            let buckets: HashSet<u32> = buckets(text, settings).into_iter().collect();
            buckets.into_iter().for_each(|bucket| frequency[bucket as usize] += 1);
        }
        let idf = |&frequency: &u32| {
            let idf = (f64::from(1 + count) / f64::from(1 + frequency)).ln() + 1.0;
            (idf * 16.0).round().min(255.0) as u8
        };
        Self::from_model(Model { settings, idf: frequency.iter().map(idf).collect() })
    }

    /// Reads an encoder file.
    ///
    /// # Errors
    /// - [`Error::Read`] if it cannot be read; [`Error::Artifact`] if it is damaged or of another version.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_model(artifact::load(KIND, path)?)
    }

    /// Returns the encoder that ships with Noso.
    ///
    /// # Errors
    /// None as released; a test reads it.
    pub fn shipped() -> Result<Self> {
        let bytes = include_bytes!("../../indexes/default/encoder.bin");
        Self::from_model(artifact::open(KIND, "(shipped)", bytes)?)
    }

    fn from_model(model: Model) -> Result<Self> {
        check(model.settings)?;
        if model.idf.len() != 1 << model.settings.bucket_bits {
            let (expected, got) = (1 << model.settings.bucket_bits, model.idf.len());
            return Err(Error::Dimension { expected, got });
        }
        let fingerprint = format!("ngram-{:016x}", xxh3_64(&artifact::seal(KIND, &model)?));
        Ok(Self { model, fingerprint, signs: SignTable::new() })
    }

    /// Returns the encoder's file.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if it cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        artifact::seal(KIND, &self.model)
    }

    /// Writes the encoded text into `vector`, `(dim)`.
    fn encode(&self, text: &str, vector: &mut [f32]) {
        let mut buckets = buckets(text, self.model.settings);
        buckets.sort_unstable();
        for same in buckets.chunk_by(|a, b| a == b) {
            let idf = f32::from(self.model.idf[same[0] as usize]) / 16.0;
            let weight = (1.0 + (same.len() as f32).ln()) * idf;
            self.signs.add(u64::from(same[0]), weight, vector);
        }
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

impl Embed for NgramEncoder {
    fn dim(&self) -> usize {
        usize::from(self.model.settings.dim)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let mut vectors = vec![0.0; texts.len() * self.dim()];
        for (text, vector) in texts.iter().zip(vectors.chunks_mut(self.dim())) {
            self.encode(text, vector);
        }
        Ok(vectors)
    }
}

fn check(settings: NgramSettings) -> Result<()> {
    let right = (1..=settings.longest).contains(&settings.shortest)
        && settings.longest <= 8
        && (8..=20).contains(&settings.bucket_bits)
        && settings.dim > 0
        && settings.dim.is_multiple_of(64);
    if right {
        return Ok(());
    }
    Err(Error::Setting {
        key: "ngram".into(),
        expected: "1 ≤ shortest ≤ longest ≤ 8, bucket_bits from 8 to 20, dim a multiple of 64".into(),
        got: format!("{settings:?}"),
    })
}

/// Lists the hash bucket of every n-gram of every word of the normalised text, a blank before and after the word, repetitions
/// included.
fn buckets(text: &str, settings: NgramSettings) -> Vec<u32> {
    let normal = text::normalise(text);
    let mask = (1u64 << settings.bucket_bits) - 1;
    let mut buckets = Vec::with_capacity((normal.len() + 2) * usize::from(settings.longest));
    let (mut padded, mut starts) = (String::new(), Vec::new());
    for word in normal.split(' ').filter(|word| !word.is_empty()) {
        padded.clear();
        padded.extend([" ", word, " "]);
        starts.clear();
        starts.extend(padded.char_indices().map(|(at, _)| at).chain([padded.len()]));
        for length in usize::from(settings.shortest)..=usize::from(settings.longest) {
            for (&start, &end) in starts.iter().zip(starts.iter().skip(length)) {
                buckets.push((xxh3_64(&padded.as_bytes()[start..end]) & mask) as u32);
            }
        }
    }
    buckets
}

/// Turns a byte into eight signs, so that a pseudo-random word projects eight dimensions at a time.
struct SignTable(Box<[[f32; 8]; 256]>);

impl SignTable {
    fn new() -> Self {
        let mut table = Box::new([[1.0; 8]; 256]);
        for (byte, signs) in table.iter_mut().enumerate() {
            for (bit, sign) in signs.iter_mut().enumerate() {
                *sign = if byte >> bit & 1 == 1 { -1.0 } else { 1.0 };
            }
        }
        Self(table)
    }

    /// Adds `weight` with the pseudo-random signs of `seed` to `vector`.
    fn add(&self, seed: u64, weight: f32, vector: &mut [f32]) {
        for (block, dims) in vector.chunks_exact_mut(64).enumerate() {
            let word = split_mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(block as u64));
            for (byte, dims) in word.to_le_bytes().into_iter().zip(dims.chunks_exact_mut(8)) {
                for (dim, sign) in dims.iter_mut().zip(&self.0[usize::from(byte)]) {
                    *dim += weight * sign;
                }
            }
        }
    }
}

/// Mixes a counter into a pseudo-random word.
///
/// # Source
/// SplitMix64, Steele et al. 2014: <https://doi.org/10.1145/2714064.2660195>.
fn split_mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> NgramEncoder {
        let texts = ["острый бронхит", "хронический бронхит", "гастрит", "артериальная гипертензия"];
        NgramEncoder::train(texts, NgramSettings::default()).unwrap()
    }

    fn cosine(encoder: &NgramEncoder, a: &str, b: &str) -> f32 {
        let vectors = encoder.embed(&[a, b]).unwrap();
        let (a, b) = vectors.split_at(encoder.dim());
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn alike_texts_are_nearer() {
        let encoder = encoder();
        assert!((cosine(&encoder, "Острый бронхит", "острый  бронхит!") - 1.0).abs() < 1e-5);
        let near = cosine(&encoder, "острый бронхит", "бронхит острый");
        let far = cosine(&encoder, "острый бронхит", "артериальная гипертензия");
        assert!(near > 0.7 && far < 0.4, "{near} {far}");
    }

    #[test]
    fn a_batch_equals_single_texts_and_empty_texts_are_zeros() {
        let encoder = encoder();
        let batch = encoder.embed(&["грипп", "", "…", "ОРВИ"]).unwrap();
        assert_eq!(batch[..384], encoder.embed(&["грипп"]).unwrap());
        assert!(batch[384..1152].iter().all(|&x| x == 0.0));
        assert_eq!(batch[1152..], encoder.embed(&["ОРВИ"]).unwrap());
    }

    #[test]
    fn a_saved_encoder_gives_the_same_vectors() {
        let encoder = encoder();
        let again = NgramEncoder::from_model(artifact::open(KIND, "t", &encoder.to_bytes().unwrap()).unwrap()).unwrap();
        assert_eq!(again.fingerprint(), encoder.fingerprint());
        assert_eq!(again.embed(&["грипп"]).unwrap(), encoder.embed(&["грипп"]).unwrap());
    }
}
