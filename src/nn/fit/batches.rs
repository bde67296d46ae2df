//! Which examples come when: the order of an epoch, its batches, and the parts of a batch that threads share.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

use super::FitSettings;

/// Returns the examples `0..examples` in the order of an epoch, which depends on seed and epoch alone.
pub(super) fn order(examples: usize, epoch: usize, settings: &FitSettings) -> Vec<usize> {
    let mut order: Vec<usize> = (0..examples).collect();
    if settings.shuffle {
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed([settings.seed, epoch as u64, 0, 0, 0])));
    }
    order
}

/// Mixes numbers into a seed.
pub(super) fn seed(numbers: [u64; 5]) -> u64 {
    xxh3_64(numbers.map(u64::to_le_bytes).as_flattened())
}

/// Divides a batch into `shards` parts of about equal numbers of tokens, each cut into pieces of at most `most` tokens (or one example).
/// Within a piece the examples keep their order. A part is empty where there are too few examples.
pub(super) fn divide(
    batch: &[usize],
    tokens: impl Fn(usize) -> usize,
    shards: usize,
    most: usize,
) -> Vec<Vec<Vec<usize>>> {
    let mut longest_first: Vec<usize> = (0..batch.len()).collect();
    longest_first.sort_by_key(|&at| std::cmp::Reverse(tokens(batch[at])));
    let mut parts: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); shards];
    for at in longest_first {
        if let Some((load, part)) = parts.iter_mut().min_by_key(|(load, part)| (*load, part.len())) {
            *load += tokens(batch[at]);
            part.push(at);
        }
    }
    let pieces = |mut part: Vec<usize>| {
        part.sort_unstable();
        let (mut pieces, mut load) = (Vec::<Vec<usize>>::new(), 0);
        for example in part.into_iter().map(|at| batch[at]) {
            let length = tokens(example);
            match pieces.last_mut() {
                Some(piece) if load + length <= most => piece.push(example),
                _ => {
                    pieces.push(vec![example]);
                    load = 0;
                }
            }
            load += length;
        }
        pieces
    };
    parts.into_iter().map(|(_, part)| pieces(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_weigh_about_the_same_and_hold_each_example_once() {
        let lengths = [5, 1, 9, 2, 2, 7, 1, 3];
        let batch = [7, 0, 2, 5, 1, 3, 4, 6];
        let parts = divide(&batch, |example| lengths[example], 2, 8);
        let loads: Vec<usize> = parts.iter().map(|part| part.iter().flatten().map(|&e| lengths[e]).sum()).collect();
        assert_eq!(loads, [15, 15]);
        let mut all: Vec<usize> = parts.iter().flatten().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
        for piece in parts.iter().flatten() {
            assert!(piece.len() == 1 || piece.iter().map(|&e| lengths[e]).sum::<usize>() <= 8, "{piece:?}");
        }
        assert_eq!(divide(&[3], |_| 1, 3, 8), [vec![vec![3]], vec![], vec![]]);
    }

    #[test]
    fn each_epoch_has_its_own_order_that_comes_again() {
        let settings = FitSettings::default();
        assert_eq!(order(20, 1, &settings), order(20, 1, &settings));
        assert_ne!(order(20, 1, &settings), order(20, 2, &settings));
        assert_eq!(order(3, 1, &FitSettings { shuffle: false, ..settings }), [0, 1, 2]);
    }
}
