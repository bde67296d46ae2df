//! How well held-out mentions find their labels: vectors come in, accuracy leaves.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::{
    candidates::{SparseIndex, dense_scores, top},
    dictionary::{Dictionary, Mention},
};
use crate::{
    embed::sparse::SparseVector,
    error::Result,
    nn::fit::{Evaluation, fingerprint},
};

/// Nearest names looked at for a mention: enough for five distinct labels.
const NEAREST: usize = 256;
/// Ranks that are counted.
const RANKS: [usize; 2] = [1, 5];

/// Mentions that are measured with, cut and compared by letters beforehand.
pub struct HeldOut {
    mentions: Vec<Mention>,
    texts: Vec<u32>,
    sparse: Vec<SparseVector>,
    groups: Vec<u32>,
}

/// Shares of mentions that have the right label at rank 1 and among the first 5.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Accuracy {
    /// By the encoder and the letters together.
    pub both: [f64; 2],
    /// Of both, the first three characters right.
    pub relaxed: [f64; 2],
    /// By the encoder alone, compared by the cosine as in an index.
    pub dense: [f64; 2],
}

impl Accuracy {
    /// Returns it as the training loop shows it; the score is the strict accuracy at rank 1 of the encoder alone, for so an index will
    /// use it.
    pub fn evaluation(&self, lambda: f32) -> Evaluation {
        Evaluation {
            score: self.dense[0],
            figures: vec![
                ("acc@1", self.both[0]),
                ("acc@5", self.both[1]),
                ("relaxed acc@1", self.relaxed[0]),
                ("relaxed acc@5", self.relaxed[1]),
                ("dense acc@1", self.dense[0]),
                ("dense acc@5", self.dense[1]),
                ("lambda", f64::from(lambda)),
            ],
        }
    }
}

impl HeldOut {
    /// Prepares mentions; `texts` are the numbers of theirs.
    pub fn new(mentions: Vec<Mention>, texts: Vec<u32>, sparse: &SparseIndex, dictionary: &Dictionary) -> Self {
        let vectors = mentions.par_iter().map(|mention| sparse.encoder().encode(&mention.text)).collect();
        Self { mentions, texts, sparse: vectors, groups: dictionary.groups() }
    }

    /// Returns a hash of the mentions.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.mentions.iter().map(|mention| format!("{mention:?}")).collect::<Vec<_>>())
    }

    /// Tells whether there is nothing to measure with.
    pub fn is_empty(&self) -> bool {
        self.mentions.is_empty()
    }

    /// Returns the numbers of the mentions' texts.
    pub fn texts(&self) -> &[u32] {
        &self.texts
    }

    /// Ranks the labels of the nearest names: `vectors` are those of the mentions and of the names, `weights` what the inner product
    /// and the sparse score count.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(
        &self,
        (queries, names): (&Tensor, &Tensor),
        dictionary: &Dictionary,
        sparse: &SparseIndex,
        [weight, lambda]: [f32; 2],
    ) -> Result<Accuracy> {
        let lengths = names.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1::<f32>()?;
        let hits = dense_scores(queries, names, |at, dense| {
            let letters = sparse.scores(&self.sparse[at]);
            let both: Vec<f32> = dense.iter().zip(&letters).map(|(d, s)| d * weight + lambda * s).collect();
            let label = self.mentions[at].label;
            let by_both = self.labels(at, &both, dictionary);
            let cosines: Vec<f32> = dense.iter().zip(&lengths).map(|(d, length)| d / length).collect();
            let by_encoder = self.labels(at, &cosines, dictionary);
            let groups: Vec<u32> = by_both.iter().map(|label| self.groups[*label as usize]).collect();
            [hits(&by_both, label), hits(&groups, self.groups[label as usize]), hits(&by_encoder, label)]
        })?;
        let share = |kind: usize, rank: usize| {
            let hits = hits.iter().filter(|hits| hits[kind][rank]).count();
            hits as f64 / self.mentions.len().max(1) as f64
        };
        let shares = |kind: usize| [share(kind, 0), share(kind, 1)];
        Ok(Accuracy { both: shares(0), relaxed: shares(1), dense: shares(2) })
    }

    /// Lists distinct labels by their nearest name; of one name's labels the one given most often comes first.
    fn labels(&self, at: usize, scores: &[f32], dictionary: &Dictionary) -> Vec<u32> {
        let (record, names) = (self.mentions[at].record, dictionary.names());
        let mut labels: Vec<u32> = Vec::new();
        for name in top(scores, NEAREST, |name| names[name].is_known_outside(record)) {
            let mut shares = names[name as usize].shares(record);
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (label, _) in shares {
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
            if labels.len() >= RANKS[1] {
                break;
            }
        }
        labels
    }
}

/// Tells for each rank whether the label is among the first so many.
fn hits(labels: &[u32], label: u32) -> [bool; 2] {
    RANKS.map(|rank| labels.iter().take(rank).any(|other| *other == label))
}
