//! Reciprocal-rank fusion: several rankings of the same rows come in, one leaves.

use std::collections::HashMap;

use super::Hit;

/// Keeps the first ranks from outweighing all others.
const RANK_OFFSET: f32 = 60.0;

/// Orders the rows of several rankings by the sum of `1 / (60 + rank)`, ranks from 1, and keeps `k`.
///
/// The score is that sum as a share of the greatest one possible, in `(0, 1]`: 1 for a row that is first everywhere. Of rows
/// with equal scores the one with the smaller number comes first.
///
/// # Source
/// Cormack, Clarke and Büttcher 2009, <https://doi.org/10.1145/1571941.1572114>.
pub fn reciprocal_ranks(rankings: &[&[Hit]], k: usize) -> Vec<Hit> {
    let mut sums: HashMap<usize, f32> = HashMap::new();
    for ranking in rankings {
        for (rank, hit) in ranking.iter().enumerate() {
            *sums.entry(hit.entry).or_default() += 1.0 / (RANK_OFFSET + 1.0 + rank as f32);
        }
    }
    let most = rankings.len() as f32 / (RANK_OFFSET + 1.0);
    let mut fused: Vec<Hit> = sums.into_iter().map(|(entry, sum)| Hit { entry, score: sum / most }).collect();
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.entry.cmp(&b.entry)));
    fused.truncate(k);
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusion_by_hand() {
        let ranking = |entries: &[usize]| entries.iter().map(|&entry| Hit { entry, score: 0.5 }).collect::<Vec<_>>();
        let (one, two) = (ranking(&[7, 3, 9]), ranking(&[3, 8]));
        let fused = reciprocal_ranks(&[&one, &two], 3);
        // 3: 1/62 + 1/61, 7: 1/61, 8: 1/62, 9: 1/63; the greatest possible sum is 2/61.
        assert_eq!(fused.iter().map(|hit| hit.entry).collect::<Vec<_>>(), [3, 7, 8]);
        let expected = [(1.0 / 62.0 + 1.0 / 61.0) * 61.0 / 2.0, 0.5, 61.0 / 124.0];
        for (hit, expected) in fused.iter().zip(expected) {
            assert!((hit.score - expected).abs() < 1e-6, "{hit:?}");
        }
        assert!((reciprocal_ranks(&[&one, &one], 1)[0].score - 1.0).abs() < 1e-6);
        assert!(reciprocal_ranks(&[], 5).is_empty());
    }
}
