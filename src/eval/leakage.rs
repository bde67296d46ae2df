//! Records of one part of a corpus that stand in another, too, or nearly: texts come in, pairs leave.

use std::collections::{BTreeSet, HashMap, HashSet};

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::text::normalise;

/// Letters of a shingle.
const SHINGLE: usize = 5;
/// Least hashes of a signature.
const ROWS: usize = 64;
/// Share of the pairs that are just similar enough and may be missed, at most.
const MISSED: f64 = 0.01;
/// Similarity below which more would be missed.
pub const LEAST: f64 = 0.1;

/// A text and the one of the other part that is nearest to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Near {
    /// Number of the text.
    pub text: usize,
    /// Number of the nearest text of the other part; the first of equals.
    pub other: usize,
    /// Shingles that both have ÷ shingles of both: 1 for texts that differ by spelling of letters and blanks alone.
    pub similarity: f64,
}

/// Finds for each text the nearest of the `others`, where it is at least so similar; in order of the texts.
///
/// Only those are compared that meet in a band of their MinHash signatures: linear in the number of texts where `least` is high. The lower it
/// is, the shorter are the bands and the more texts meet; from [`LEAST`] on at most one pair of a hundred is missed. Texts without letters are
/// near none.
///
/// # Source
/// Broder, 1997, <https://doi.org/10.1109/SEQUEN.1997.666900> (shingles, MinHash); banding: Leskovec, Rajaraman and Ullman, *Mining of
/// Massive Datasets*, chapter 3.
pub fn near<S: AsRef<str> + Sync>(texts: &[S], others: &[S], least: f64) -> Vec<Near> {
    let rows = rows_of_a_band(least);
    let others: Vec<HashSet<u64>> = others.par_iter().map(|text| shingles(text.as_ref())).collect();
    let mut bands: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let of_others: Vec<Vec<u64>> = others.par_iter().map(|other| signature(other, rows)).collect();
    for (number, signature) in of_others.iter().enumerate().filter(|(number, _)| !others[*number].is_empty()) {
        signature.iter().enumerate().for_each(|(band, &hash)| bands.entry((band, hash)).or_default().push(number));
    }
    let nearest = |(text, said): (usize, &S)| {
        let own = shingles(said.as_ref());
        let met: BTreeSet<usize> = match own.is_empty() {
            true => BTreeSet::new(),
            false => signature(&own, rows)
                .into_iter()
                .enumerate()
                .filter_map(|key| bands.get(&key))
                .flatten()
                .copied()
                .collect(),
        };
        let similar = met.into_iter().map(|other| Near { text, other, similarity: jaccard(&own, &others[other]) });
        let better = |a: &Near, b: &Near| a.similarity.total_cmp(&b.similarity).then(b.other.cmp(&a.other));
        similar.max_by(better).filter(|near| near.similarity >= least)
    };
    texts.par_iter().enumerate().filter_map(nearest).collect()
}

/// Returns hashes of all pieces of [`SHINGLE`] letters of a text; of a shorter one, of the whole.
fn shingles(text: &str) -> HashSet<u64> {
    let text = normalise(text);
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).chain([text.len()]).collect();
    match starts.len() {
        ..=1 => HashSet::new(),
        2..=SHINGLE => HashSet::from([xxh3_64(text.as_bytes())]),
        _ => starts.windows(SHINGLE + 1).map(|window| xxh3_64(&text.as_bytes()[window[0]..window[SHINGLE]])).collect(),
    }
}

/// Returns how many rows a band has, as many as may be: two texts meet in one of `bands` of `rows` with probability 1 − (1 − sʳᵒʷˢ)ᵇᵃⁿᵈˢ.
fn rows_of_a_band(similarity: f64) -> usize {
    let missed = |rows: usize| (1.0 - similarity.powi(rows as i32)).powi((ROWS / rows) as i32);
    [16, 8, 4, 2].into_iter().find(|&rows| missed(rows) <= MISSED).unwrap_or(1)
}

/// Returns a hash a band, of so many of the least hashes of a set under each of [`ROWS`] orders.
fn signature(shingles: &HashSet<u64>, rows: usize) -> Vec<u64> {
    let least = |order: usize| {
        let of_order = shingles.iter().map(|shingle| xxh3_64_with_seed(&shingle.to_le_bytes(), order as u64));
        of_order.min().unwrap_or(u64::MAX)
    };
    let all: Vec<u64> = (0..ROWS).map(least).collect();
    let hash = |band: &[u64]| xxh3_64(&band.iter().flat_map(|least| least.to_le_bytes()).collect::<Vec<_>>());
    all.chunks(rows).map(hash).collect()
}

fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    let both = a.iter().filter(|shingle| b.contains(shingle)).count();
    both as f64 / ((a.len() + b.len() - both) as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_texts_are_found_and_others_not() {
        let texts = ["Хронический гастрит,  обострение", "ИБС. Стенокардия напряжения, ФК II", "ОРВИ", "", "…"];
        let others = ["остеохондроз", "орви", "хронический гастрит, обострение", "хронический гастрит, обострение", ""];
        let found = near(&texts, &others, 0.8);
        let told: Vec<_> = found.iter().map(|near| (near.text, near.other, near.similarity)).collect();
        assert_eq!(told, [(0, 2, 1.0), (2, 1, 1.0)]);
        assert!(near::<&str>(&[], &others, 0.1).is_empty() && near(&texts, &[], 0.1).is_empty());
    }

    #[test]
    fn little_is_missed_at_any_similarity() {
        assert_eq!([1.0, 0.9, 0.8, 0.5, 0.3, LEAST].map(rows_of_a_band), [16, 4, 4, 2, 1, 1]);
        // Of each text's twenty words its like among the others has ten to twenty.
        let word = |seed: usize| format!("{:x} ", xxh3_64(&seed.to_le_bytes()));
        let text = |number: usize, changed: usize| {
            (0..20).map(|at| word(if at < changed { 1_000_000 } else { 0 } + number * 100 + at)).collect::<String>()
        };
        let texts: Vec<String> = (0..220).map(|number| text(number, 0)).collect();
        let others: Vec<String> = (0..220).map(|number| text(number, number % 11)).collect();
        let sets: Vec<_> = others.iter().map(|other| shingles(other)).collect();
        let most = |text: &String| sets.iter().map(|other| jaccard(&shingles(text), other)).fold(0.0, f64::max);
        let nearest: Vec<f64> = texts.iter().map(most).collect();
        assert!(nearest.iter().any(|&one| one < 0.4) && nearest.iter().filter(|&&one| one < 0.7).count() > 80);
        for least in [0.3, 0.5, 0.8] {
            let expected = nearest.iter().filter(|&&one| one >= least).count();
            let found = near(&texts, &others, least).len();
            assert!(found <= expected && expected - found <= expected / 50, "{least}: {found} of {expected}");
        }
    }

    #[test]
    fn similarity_is_the_share_of_shingles() {
        // abcdefgh has 4 shingles of five letters, abcdefgx 4, of which 3 are the same: 3 of 5.
        let found = near(&["abcdefgh"], &["abcdefgx"], 0.1);
        assert!(found.len() == 1 && (found[0].similarity - 0.6).abs() < 1e-12);
        let long: Vec<String> =
            (0..300).map(|n| format!("{n} запись о пациенте с номером {}", n * 7919 % 1000)).collect();
        let changed: Vec<String> = long.iter().map(|text| text.replace("пациенте", "пациентке")).collect();
        let found = near(&changed, &long, 0.5);
        assert!(found.iter().filter(|near| near.text == near.other).count() >= 290, "{}", found.len());
    }
}
