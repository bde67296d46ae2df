//! Two encoders as one: their weighted vectors side by side.

use std::{ops::Range, sync::Arc};

use super::Embed;
use crate::error::{Error, Result};

/// Joins a dense encoder's vector with that of character n-grams, `(dim) = (dense dim) + (n-gram dim)`.
///
/// With weight `w` the two parts are `√w · dense` and `√(1 − w) · ngram`, so that the inner product of two joint vectors is
/// `w · cos(dense) + (1 − w) · cos(ngram)`, a cosine again.
pub struct HybridEncoder {
    dense: Arc<dyn Embed>,
    ngram: Arc<dyn Embed>,
    weight: f32,
    fingerprint: String,
}

impl HybridEncoder {
    /// Joins two encoders; `weight` is the dense one's, strictly between 0 and 1.
    ///
    /// # Errors
    /// - [`Error::Setting`] if the weight is outside its range.
    pub fn new(dense: Arc<dyn Embed>, ngram: Arc<dyn Embed>, weight: f32) -> Result<Self> {
        if !(weight > 0.0 && weight < 1.0) {
            return Err(Error::Setting {
                key: "weight".into(),
                expected: "the dense encoder's share, a number between 0 and 1, both left out".into(),
                got: weight.to_string(),
            });
        }
        let fingerprint = format!("hybrid({weight}, {}, {})", dense.fingerprint(), ngram.fingerprint());
        Ok(Self { dense, ngram, weight, fingerprint })
    }

    /// Returns the dense encoder's share.
    pub fn weight(&self) -> f32 {
        self.weight
    }
}

impl Embed for HybridEncoder {
    fn dim(&self) -> usize {
        self.dense.dim() + self.ngram.dim()
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let (dense, ngram) = (self.dense.embed(texts)?, self.ngram.embed(texts)?);
        let mut joint = Vec::with_capacity(dense.len() + ngram.len());
        let rows = dense.chunks(self.dense.dim().max(1)).zip(ngram.chunks(self.ngram.dim().max(1)));
        for (dense, ngram) in rows {
            joint.extend(dense.iter().map(|x| x * self.weight.sqrt()));
            joint.extend(ngram.iter().map(|x| x * (1.0 - self.weight).sqrt()));
        }
        Ok(joint)
    }

    fn parts(&self) -> Vec<Range<usize>> {
        vec![0..self.dense.dim(), self.dense.dim()..self.dim()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::ngram::{NgramEncoder, NgramSettings};

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn the_inner_product_is_the_weighted_sum() {
        let texts = ["острый бронхит", "бронхит хронический"];
        let encoder = |longest, dim| {
            let settings = NgramSettings { longest, dim, ..NgramSettings::default() };
            Arc::new(NgramEncoder::train(texts, settings).unwrap())
        };
        let (dense, ngram) = (encoder(2, 128), encoder(4, 64));
        let hybrid = HybridEncoder::new(dense.clone(), ngram.clone(), 0.3).unwrap();
        let cosine = |encoder: &dyn Embed| {
            let vectors = encoder.embed(&texts).unwrap();
            let (a, b) = vectors.split_at(encoder.dim());
            (dot(a, b), dot(a, a))
        };
        let (joint, norm) = cosine(&hybrid);
        let sum = 0.3 * cosine(dense.as_ref()).0 + 0.7 * cosine(ngram.as_ref()).0;
        assert!((joint - sum).abs() < 1e-6 && (norm - 1.0).abs() < 1e-6, "{joint} {sum} {norm}");
        assert_eq!(hybrid.parts(), [0..128, 128..192]);
        for wrong in [0.0, 1.0, -0.5, f32::NAN] {
            assert!(HybridEncoder::new(dense.clone(), ngram.clone(), wrong).is_err(), "{wrong}");
        }
    }
}
