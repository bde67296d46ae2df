//! Seeds for dropout: one generator a step, so that a run can be repeated and resumed bit for bit.

use candle_core::Tensor;

use super::recompute::Tape;
use crate::error::Result;

/// What a forward pass needs only while training: the seeds of its dropout masks, dealt out in the order in which they are asked for,
/// and, where memory is scarce, the tape of layers that are computed a second time on the way back.
///
/// A mask is a function of seed and element number alone, so the backward pass makes it again instead of keeping it.
#[derive(Debug)]
pub struct Masks {
    seed: u64,
    dealt: u64,
    tape: Option<Tape>,
}

impl Masks {
    /// Starts from a seed: equal seeds deal equal masks. A training run derives it from its own seed, the step and the shard.
    pub fn new(seed: u64) -> Self {
        Self { seed, dealt: 0, tape: None }
    }

    /// Starts from a seed, and has layers computed a second time on the way back: the loss must be differentiated by
    /// [`Tape::backward`] of [`Self::into_tape`].
    pub fn recomputing(seed: u64) -> Self {
        Self { tape: Some(Tape::default()), ..Self::new(seed) }
    }

    /// Deals out the seed of the next mask.
    pub fn next_seed(&mut self) -> u64 {
        self.dealt += 1;
        mix(self.seed ^ self.dealt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Computes a layer, which is given masks of its own: equal ones whether it is computed once or twice.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn layer(
        &mut self,
        input: &Tensor,
        forward: impl Fn(&Tensor, &mut Masks) -> Result<Tensor> + 'static,
    ) -> Result<Tensor> {
        let seed = self.next_seed();
        match &mut self.tape {
            Some(tape) => tape.run(input, Box::new(move |input| forward(input, &mut Self::new(seed)))),
            None => forward(input, &mut Self::new(seed)),
        }
    }

    /// Returns the tape, empty where every result was kept.
    pub fn into_tape(self) -> Tape {
        self.tape.unwrap_or_default()
    }
}

/// Tells by which factor element `number` is multiplied: 0 with the probability `drop`, else `1 / (1 - drop)`.
///
/// In 32 bits, so that it runs in vectors; a mask of more than 2^32 elements repeats.
///
/// # Source
/// Both rounds are the `lowbias32` hash: <https://github.com/skeeto/hash-prospector>.
#[inline(always)]
pub(super) fn factor(seed: u64, number: u32, drop: f32) -> f32 {
    let scrambled = scramble(scramble(number ^ seed as u32).wrapping_add((seed >> 32) as u32));
    let uniform = (scrambled >> 8) as i32 as f32 * (1.0 / (1u32 << 24) as f32);
    if uniform < drop { 0.0 } else { 1.0 / (1.0 - drop) }
}

#[inline(always)]
fn scramble(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Finaliser of SplitMix64.
///
/// # Source
/// Steele et al. 2014: <https://doi.org/10.1145/2714064.2660195>.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_share_it_is_told_and_keeps_the_mean() {
        let seed = Masks::new(3).next_seed();
        let factors: Vec<f32> = (0..100_000).map(|number| factor(seed, number, 0.1)).collect();
        let dropped = factors.iter().filter(|&&factor| factor == 0.0).count();
        assert!((9_500..10_500).contains(&dropped), "{dropped}");
        let mean = factors.iter().sum::<f32>() / factors.len() as f32;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn equal_seeds_deal_equal_masks_and_each_mask_differs() {
        let (mut a, mut b) = (Masks::new(1), Masks::new(1));
        let first = a.next_seed();
        assert_eq!(first, b.next_seed());
        assert_ne!(first, a.next_seed());
        assert_ne!(first, Masks::new(2).next_seed());
    }
}
