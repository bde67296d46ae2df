//! Scaled dot-product attention over sequences without padding.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result as OpResult, Shape, Tensor, bail};
use faer::{Accum, MatMut, MatRef};

use super::{
    composed,
    dropout::apply_mask,
    linear::multiply,
    simd::{exp, largest, sum, widest},
    storage::{gradients_of_three, has_kernels, result, slice},
};
use crate::{error::Result, nn::Masks};

/// How attention is divided and dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Number of heads; the queries' width is a multiple of it.
    pub count: usize,
    /// Number of heads of keys and values, which divides `count`: several heads may share one.
    pub key_count: usize,
    /// What a token sees.
    pub sight: Sight,
    /// Probability with which a weight is dropped while training, `0..1`.
    pub drop: f32,
}

/// Which tokens of its sequence a token attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All of them.
    All,
    /// Itself and those before it; with a window, at most so many of them, itself counted.
    Past {
        /// Tokens, at least 1.
        window: Option<usize>,
    },
}

impl Heads {
    /// Returns heads with keys of their own that see the whole sequence.
    pub fn all(count: usize, drop: f32) -> Self {
        Self { count, key_count: count, sight: Sight::All, drop }
    }
}

impl Sight {
    /// Returns the first token and the end of those that token `at` of `length` sees.
    #[inline(always)]
    pub(super) fn range(self, at: usize, length: usize) -> (usize, usize) {
        match self {
            Self::All => (0, length),
            Self::Past { window: None } => (0, at + 1),
            Self::Past { window: Some(window) } => ((at + 1).saturating_sub(window), at + 1),
        }
    }
}

/// Lets every token attend to those of its own sequence that it sees: `queries` is `(tokens, count · size)`, `keys` and `values` are
/// `(tokens, key_count · size)`, where the sequences of `lengths` lie one after another. Returns `(tokens, count · size)`.
///
/// The CPU's kernel keeps no weights for the backward pass but computes them again: memory grows with the longest sequence, not the batch.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Vaswani et al. 2017: <https://arxiv.org/abs/1706.03762>.
pub fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    lengths: &[usize],
    heads: Heads,
    masks: Option<&mut Masks>,
) -> Result<Tensor> {
    let seed = masks.filter(|_| heads.drop > 0.0).map(Masks::next_seed);
    if !has_kernels(&[queries, keys, values]) {
        return composed::attention(queries, keys, values, lengths, heads, seed);
    }
    let kernel = Attention { lengths: lengths.to_vec(), heads, seed };
    Ok(queries.contiguous()?.apply_op3(&keys.contiguous()?, &values.contiguous()?, kernel)?)
}

/// Lets the last token of a sequence attend to those that it sees: `query` is `(1, count · size)`, `keys` and `values` are
/// `(tokens, key_count · size)`. Returns `(1, count · size)`. For use without training, on any device.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
pub fn attention_of_last(query: &Tensor, keys: &Tensor, values: &Tensor, heads: Heads) -> Result<Tensor> {
    let (tokens, width) = (keys.dim(0)?, query.dim(1)?);
    let (start, end) = heads.sight.range(tokens - 1, tokens);
    let (size, seen) = (width / heads.count, end - start);
    let by_head = |x: &Tensor| x.narrow(0, start, seen)?.reshape((seen, heads.key_count, size))?.transpose(0, 1);
    let queries = query.reshape((heads.key_count, heads.count / heads.key_count, size))?;
    let scores = (queries.matmul(&by_head(keys)?.transpose(1, 2)?.contiguous()?)? / (size as f64).sqrt())?; // (key heads, sharing, seen)
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    Ok(weights.matmul(&by_head(values)?.contiguous()?)?.reshape((1, width))?)
}

struct Attention {
    lengths: Vec<usize>,
    heads: Heads,
    seed: Option<u64>,
}

/// One head of one sequence: a block of the `(tokens, hidden)` matrices.
#[derive(Clone, Copy)]
struct Block {
    row: usize,
    column: usize,
    /// First column of its keys and values.
    key_column: usize,
    /// Whether a head before it has the same keys and values.
    shares_keys: bool,
    /// Tokens of the sequence.
    length: usize,
    /// Columns of the head.
    size: usize,
    /// Number of its first weight among all, by which the mask is found.
    first_weight: u32,
}

impl Block {
    fn of<'a>(&self, matrix: MatRef<'a, f32>) -> MatRef<'a, f32> {
        matrix.submatrix(self.row, self.column, self.length, self.size)
    }

    fn of_keys<'a>(&self, matrix: MatRef<'a, f32>) -> MatRef<'a, f32> {
        matrix.submatrix(self.row, self.key_column, self.length, self.size)
    }

    fn of_mut<'a>(&self, numbers: &'a mut [f32], hidden: usize) -> MatMut<'a, f32> {
        let matrix = MatMut::from_row_major_slice_mut(numbers, numbers.len() / hidden, hidden);
        matrix.submatrix_mut(self.row, self.column, self.length, self.size)
    }

    /// Adds to the keys' or values' gradient, which heads that share them have in common.
    fn add_to_keys(&self, numbers: &mut [f32], width: usize, a: MatRef<'_, f32>, b: MatRef<'_, f32>, factor: f32) {
        let matrix = MatMut::from_row_major_slice_mut(numbers, numbers.len() / width, width);
        let how = if self.shares_keys { Accum::Add } else { Accum::Replace };
        multiply(matrix.submatrix_mut(self.row, self.key_column, self.length, self.size), how, a, b, factor);
    }
}

impl Attention {
    fn blocks(&self, hidden: usize) -> Vec<Block> {
        let (size, mut blocks) = (hidden / self.heads.count, Vec::new());
        let sharing = self.heads.count / self.heads.key_count;
        let (mut row, mut first_weight) = (0, 0u32);
        for &length in self.lengths.iter() {
            for head in 0..self.heads.count {
                let (key_column, shares_keys) = (head / sharing * size, head % sharing > 0);
                blocks.push(Block { row, column: head * size, key_column, shares_keys, length, size, first_weight });
                first_weight = first_weight.wrapping_add((length * length) as u32);
            }
            row += length;
        }
        blocks
    }

    /// Returns the number of weights of the longest sequence's head.
    fn most_weights(&self) -> usize {
        self.lengths.iter().map(|length| length * length).max().unwrap_or(0)
    }

    /// Computes the weights `(length, length)` with which the tokens of a block attend to one another.
    fn weigh(&self, block: Block, queries: MatRef<'_, f32>, keys: MatRef<'_, f32>, weights: &mut [f32]) {
        let scale = 1.0 / (block.size as f32).sqrt();
        let scores = MatMut::from_row_major_slice_mut(weights, block.length, block.length);
        multiply(scores, Accum::Replace, block.of(queries), block.of_keys(keys).transpose(), scale);
        softmax(weights, block.length, self.heads.sight);
    }

    fn drop(&self, block: Block, weights: &mut [f32]) {
        if let Some(seed) = self.seed {
            apply_mask(weights, seed, block.first_weight, self.heads.drop);
        }
    }

    fn check(&self, shapes: [&Shape; 3]) -> OpResult<(usize, usize)> {
        let (tokens, hidden) = shapes[0].dims2()?;
        let Heads { count, key_count, .. } = self.heads;
        let divides = |part: usize, whole: usize| part > 0 && whole > 0 && whole.is_multiple_of(part);
        let heads_fit = divides(count, hidden) && divides(key_count, count);
        let keys_fit = |shape: &Shape| heads_fit && shape.dims() == [tokens, hidden / count * key_count];
        if !keys_fit(shapes[1]) || !keys_fit(shapes[2]) || self.lengths.iter().sum::<usize>() != tokens {
            bail!("attention: {shapes:?} for {} heads and sequences of {:?} tokens", self.heads.count, self.lengths);
        }
        Ok((tokens, hidden))
    }

    fn backward(&self, [q, k, v, slope]: [&[f32]; 4], hidden: usize) -> [Vec<f32>; 3] {
        let mut of = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
        let (tokens, width) = (q.len() / hidden, hidden / self.heads.count * self.heads.key_count);
        let matrix = |numbers, width| MatRef::from_row_major_slice(numbers, tokens, width);
        let (q, slope, k, v) = (matrix(q, hidden), matrix(slope, hidden), matrix(k, width), matrix(v, width));
        let most = self.most_weights();
        let (mut weights, mut kept, mut slopes) = (vec![0.0; most], vec![0.0; most], vec![0.0; most]);
        for block in self.blocks(hidden) {
            let (length, count) = (block.length, block.length * block.length);
            let scale = 1.0 / (block.size as f32).sqrt();
            let (weights, kept, slopes) = (&mut weights[..count], &mut kept[..count], &mut slopes[..count]);
            self.weigh(block, q, k, weights);
            kept.copy_from_slice(weights);
            self.drop(block, kept);
            let square = MatRef::from_row_major_slice(kept, length, length);
            block.add_to_keys(&mut of[2], width, square.transpose(), block.of(slope), 1.0);
            let square = MatMut::from_row_major_slice_mut(slopes, length, length);
            multiply(square, Accum::Replace, block.of(slope), block.of_keys(v).transpose(), 1.0);
            self.drop(block, slopes);
            softmax_back(weights, slopes, length);
            let square = MatRef::from_row_major_slice(slopes, length, length);
            multiply(block.of_mut(&mut of[0], hidden), Accum::Replace, square, block.of_keys(k), scale);
            block.add_to_keys(&mut of[1], width, square.transpose(), block.of(q), scale);
        }
        of
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        ql: &Layout,
        keys: &CpuStorage,
        kl: &Layout,
        values: &CpuStorage,
        vl: &Layout,
    ) -> OpResult<(CpuStorage, Shape)> {
        let (tokens, hidden) = self.check([ql.shape(), kl.shape(), vl.shape()])?;
        let (q, k, v) = (slice(queries, ql)?, slice(keys, kl)?, slice(values, vl)?);
        let matrix = |numbers, layout: &Layout| MatRef::from_row_major_slice(numbers, tokens, layout.dims()[1]);
        let (q, k, v) = (matrix(q, ql), matrix(k, kl), matrix(v, vl));
        let (mut out, mut weights) = (vec![0.0; tokens * hidden], vec![0.0; self.most_weights()]);
        for block in self.blocks(hidden) {
            let weights = &mut weights[..block.length * block.length];
            self.weigh(block, q, k, weights);
            self.drop(block, weights);
            let square = MatRef::from_row_major_slice(weights, block.length, block.length);
            multiply(block.of_mut(&mut out, hidden), Accum::Replace, square, block.of_keys(v), 1.0);
        }
        Ok(result(out, (tokens, hidden)))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> OpResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        gradients_of_three([queries, keys, values], slope, |numbers, hidden| self.backward(numbers, hidden))
    }
}

widest! {
    /// Turns each row of scores into weights that sum to 1, those of tokens that are not seen being 0.
    fn softmax(scores: &mut [f32], columns: usize, sight: Sight) {
        for (at, row) in scores.chunks_exact_mut(columns.max(1)).enumerate() {
            let (start, end) = sight.range(at, columns);
            row[..start].fill(0.0);
            row[end..].fill(0.0);
            let row = &mut row[start..end];
            let most = largest(row);
            row.iter_mut().for_each(|score| *score = exp(*score - most));
            let inverse = 1.0 / sum(row.len(), |at| row[at]);
            row.iter_mut().for_each(|weight| *weight *= inverse);
        }
    }

    /// Turns the gradient of weights into that of scores: `weight · (slope - Σ weight · slope)`.
    pub(super) fn softmax_back(weights: &[f32], slopes: &mut [f32], columns: usize) {
        let columns = columns.max(1);
        for (weights, slopes) in weights.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns)) {
            let mean = sum(columns, |at| weights[at] * slopes[at]);
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *slope = weight * (*slope - mean);
            }
        }
    }
}
