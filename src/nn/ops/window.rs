//! Attention within a sliding window: every token sees its neighbours and the global tokens of its sequence, so that cost and memory
//! grow with the length of a sequence, not its square.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result as OpResult, Shape, Tensor, bail};
use faer::{Accum, MatMut, MatRef, prelude::ReborrowMut};

use super::{
    attention::softmax_back,
    composed,
    dropout::apply_mask,
    linear::multiply,
    simd::{exp, largest, sum, widest},
    storage::{gradients_of_three, has_kernels, result, slice},
};
use crate::{error::Result, nn::Masks};

/// Tokens whose weights are computed together: wide enough for a fast product, narrow beside the usual window.
const BLOCK: usize = 64;

/// How sliding attention is divided and dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Number of heads, which divides the width.
    pub heads: usize,
    /// Tokens that one sees on either side of itself.
    pub reach: usize,
    /// Probability with which a weight is dropped while training, `0..1`.
    pub drop: f32,
}

/// A sequence among all tokens, and the places within it, ascending, of the tokens that all others see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Tokens.
    pub length: usize,
    /// Global tokens.
    pub globals: Vec<usize>,
}

/// Lets every token attend to those of its own sequence within the window, and to the sequence's global tokens: `queries`, `keys` and
/// `values` are `(tokens, heads · size)`, where the sequences of `spans` lie one after another. Returns `(tokens, heads · size)`; the rows
/// of global tokens, which see everything by other means, are 0.
///
/// The CPU's kernel keeps no weights for the backward pass but computes them again, a block of tokens at a time.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Beltagy et al. 2020: <https://arxiv.org/abs/2004.05150>.
pub fn window_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    spans: &[Span],
    window: Window,
    masks: Option<&mut Masks>,
) -> Result<Tensor> {
    let seed = masks.filter(|_| window.drop > 0.0).map(Masks::next_seed);
    if !has_kernels(&[queries, keys, values]) {
        return composed::window_attention(queries, keys, values, spans, window, seed);
    }
    let kernel = Sliding { spans: spans.to_vec(), window, seed };
    Ok(queries.contiguous()?.apply_op3(&keys.contiguous()?, &values.contiguous()?, kernel)?)
}

struct Sliding {
    spans: Vec<Span>,
    window: Window,
    seed: Option<u64>,
}

/// Some neighbouring tokens of a sequence, for one head.
struct Block<'a> {
    span: &'a Span,
    /// Place of the sequence's first token among all.
    row: usize,
    /// The tokens, by their places in the sequence.
    tokens: Range<usize>,
    /// Those that any of them sees within its window.
    band: Range<usize>,
    column: usize,
    size: usize,
    /// Number of its first weight among all, by which the mask is found.
    first_weight: u32,
}

impl Block<'_> {
    /// Columns of the block's weights: the band, then the global tokens.
    fn columns(&self) -> usize {
        self.band.len() + self.span.globals.len()
    }

    fn rows_of<'m>(&self, matrix: MatRef<'m, f32>, rows: &Range<usize>) -> MatRef<'m, f32> {
        matrix.submatrix(self.row + rows.start, self.column, rows.len(), self.size)
    }

    fn rows_of_mut<'m>(&self, numbers: &'m mut [f32], hidden: usize, rows: &Range<usize>) -> MatMut<'m, f32> {
        let matrix = MatMut::from_row_major_slice_mut(numbers, numbers.len() / hidden, hidden);
        matrix.submatrix_mut(self.row + rows.start, self.column, rows.len(), self.size)
    }

    /// Copies the rows of the global tokens, `(globals, size)`.
    fn globals_of(&self, numbers: &[f32], hidden: usize) -> Vec<f32> {
        let row = |&place: &usize| {
            let start = (self.row + place) * hidden + self.column;
            &numbers[start..start + self.size]
        };
        self.span.globals.iter().flat_map(row).copied().collect()
    }

    /// Adds to the rows of the global tokens.
    fn add_to_globals(&self, numbers: &mut [f32], hidden: usize, added: &[f32]) {
        for (&place, added) in self.span.globals.iter().zip(added.chunks_exact(self.size)) {
            let start = (self.row + place) * hidden + self.column;
            numbers[start..start + self.size].iter_mut().zip(added).for_each(|(number, more)| *number += more);
        }
    }
}

impl Sliding {
    fn blocks(&self, hidden: usize) -> Vec<Block<'_>> {
        let (size, reach) = (hidden / self.window.heads, self.window.reach);
        let (mut blocks, mut row, mut first_weight) = (Vec::new(), 0, 0u32);
        for span in &self.spans {
            for start in (0..span.length).step_by(BLOCK) {
                let tokens = start..(start + BLOCK).min(span.length);
                let band = start.saturating_sub(reach)..(tokens.end + reach).min(span.length);
                for head in 0..self.window.heads {
                    let (tokens, band, column) = (tokens.clone(), band.clone(), head * size);
                    let block = Block { span, row, tokens, band, column, size, first_weight };
                    first_weight = first_weight.wrapping_add((block.tokens.len() * block.columns()) as u32);
                    blocks.push(block);
                }
            }
            row += span.length;
        }
        blocks
    }

    /// Computes the weights `(tokens, columns)` of a block.
    fn weigh(&self, block: &Block<'_>, q: MatRef<'_, f32>, k: &[f32], hidden: usize, weights: &mut [f32]) {
        let (rows, columns, band) = (block.tokens.len(), block.columns(), block.band.len());
        let scale = 1.0 / (block.size as f32).sqrt();
        let queries = block.rows_of(q, &block.tokens);
        let keys = MatRef::from_row_major_slice(k, k.len() / hidden, hidden);
        let mut scores = MatMut::from_row_major_slice_mut(weights, rows, columns);
        let near = scores.rb_mut().submatrix_mut(0, 0, rows, band);
        multiply(near, Accum::Replace, queries, block.rows_of(keys, &block.band).transpose(), scale);
        if columns > band {
            let far = block.globals_of(k, hidden);
            let far = MatRef::from_row_major_slice(&far, columns - band, block.size);
            let scores = scores.submatrix_mut(0, band, rows, columns - band);
            multiply(scores, Accum::Replace, queries, far.transpose(), scale);
        }
        for (at, row) in weights.chunks_exact_mut(columns).enumerate() {
            let place = block.tokens.start + at;
            let seen = place.saturating_sub(self.window.reach).max(block.band.start) - block.band.start
                ..(place + self.window.reach + 1).min(block.band.end) - block.band.start;
            if block.span.globals.binary_search(&place).is_ok() {
                row.fill(0.0);
                continue;
            }
            row[..seen.start].fill(0.0);
            row[seen.end..band].fill(0.0);
            let (near, far) = row.split_at_mut(band);
            let near = &mut near[seen.clone()];
            // A global token is seen as such, not once more as a neighbour.
            let first = block.band.start + seen.start;
            let twice = block.span.globals.iter().filter(|&&global| (first..first + near.len()).contains(&global));
            let twice: Vec<usize> = twice.map(|global| global - first).collect();
            softmax(near, far, &twice);
        }
    }

    fn drop(&self, block: &Block<'_>, weights: &mut [f32]) {
        if let Some(seed) = self.seed {
            apply_mask(weights, seed, block.first_weight, self.window.drop);
        }
    }

    fn check(&self, shapes: [&Shape; 3]) -> OpResult<(usize, usize)> {
        let (tokens, hidden) = shapes[0].dims2()?;
        let heads_fit = self.window.heads > 0 && hidden > 0 && hidden.is_multiple_of(self.window.heads);
        let is_sound = |span: &Span| {
            span.globals.is_sorted_by(|a, b| a < b) && span.globals.last().is_none_or(|&last| last < span.length)
        };
        let spans_fit = self.spans.iter().map(|span| span.length).sum::<usize>() == tokens;
        if !heads_fit
            || !spans_fit
            || shapes[1] != shapes[0]
            || shapes[2] != shapes[0]
            || !self.spans.iter().all(is_sound)
        {
            bail!("window attention: {shapes:?} for {} heads and sequences {:?}", self.window.heads, self.spans);
        }
        Ok((tokens, hidden))
    }

    fn most_weights(blocks: &[Block<'_>]) -> usize {
        blocks.iter().map(|block| block.tokens.len() * block.columns()).max().unwrap_or(0)
    }

    fn forward(&self, [q, k, v]: [&[f32]; 3], hidden: usize) -> Vec<f32> {
        let blocks = self.blocks(hidden);
        let (mut out, mut weights) = (vec![0.0; q.len()], vec![0.0; Self::most_weights(&blocks)]);
        let matrix = |numbers| MatRef::from_row_major_slice(numbers, q.len() / hidden, hidden);
        for block in blocks {
            let (rows, columns, band) = (block.tokens.len(), block.columns(), block.band.len());
            let weights = &mut weights[..rows * columns];
            self.weigh(&block, matrix(q), k, hidden, weights);
            self.drop(&block, weights);
            let weights = MatRef::from_row_major_slice(weights, rows, columns);
            let values = block.rows_of(matrix(v), &block.band);
            let near = weights.submatrix(0, 0, rows, band);
            multiply(block.rows_of_mut(&mut out, hidden, &block.tokens), Accum::Replace, near, values, 1.0);
            if columns > band {
                let far = block.globals_of(v, hidden);
                let values = MatRef::from_row_major_slice(&far, columns - band, block.size);
                let far = weights.submatrix(0, band, rows, columns - band);
                multiply(block.rows_of_mut(&mut out, hidden, &block.tokens), Accum::Add, far, values, 1.0);
            }
        }
        out
    }

    fn backward(&self, [q, k, v, slope]: [&[f32]; 4], hidden: usize) -> [Vec<f32>; 3] {
        let blocks = self.blocks(hidden);
        let most = Self::most_weights(&blocks);
        let [mut of_q, mut of_k, mut of_v] = [q, k, v].map(|numbers| vec![0.0; numbers.len()]);
        let (mut weights, mut kept, mut slopes) = (vec![0.0; most], vec![0.0; most], vec![0.0; most]);
        let matrix = |numbers| MatRef::from_row_major_slice(numbers, q.len() / hidden, hidden);
        for block in blocks {
            let (rows, columns, band) = (block.tokens.len(), block.columns(), block.band.len());
            let (count, globals) = (rows * columns, columns - band);
            let scale = 1.0 / (block.size as f32).sqrt();
            let (weights, kept, slopes) = (&mut weights[..count], &mut kept[..count], &mut slopes[..count]);
            self.weigh(&block, matrix(q), k, hidden, weights);
            kept.copy_from_slice(weights);
            self.drop(&block, kept);
            let given = block.rows_of(matrix(slope), &block.tokens);
            let queries = block.rows_of(matrix(q), &block.tokens);
            let (far_k, far_v) = (block.globals_of(k, hidden), block.globals_of(v, hidden));
            let far = |numbers| MatRef::from_row_major_slice(numbers, globals, block.size);

            // By the values, then by the weights, then by the scores.
            let square = MatRef::from_row_major_slice(kept, rows, columns);
            let near = square.submatrix(0, 0, rows, band).transpose();
            multiply(block.rows_of_mut(&mut of_v, hidden, &block.band), Accum::Add, near, given, 1.0);
            let mut square_slopes = MatMut::from_row_major_slice_mut(slopes, rows, columns);
            let values = block.rows_of(matrix(v), &block.band).transpose();
            multiply(square_slopes.rb_mut().submatrix_mut(0, 0, rows, band), Accum::Replace, given, values, 1.0);
            if globals > 0 {
                let mut added = vec![0.0; globals * block.size];
                let to = MatMut::from_row_major_slice_mut(&mut added, globals, block.size);
                multiply(to, Accum::Replace, square.submatrix(0, band, rows, globals).transpose(), given, 1.0);
                block.add_to_globals(&mut of_v, hidden, &added);
                let to = square_slopes.submatrix_mut(0, band, rows, globals);
                multiply(to, Accum::Replace, given, far(&far_v).transpose(), 1.0);
            }
            self.drop(&block, slopes);
            softmax_back(weights, slopes, columns);
            let square = MatRef::from_row_major_slice(slopes, rows, columns);
            let near = square.submatrix(0, 0, rows, band);
            let keys = block.rows_of(matrix(k), &block.band);
            multiply(block.rows_of_mut(&mut of_q, hidden, &block.tokens), Accum::Replace, near, keys, scale);
            multiply(block.rows_of_mut(&mut of_k, hidden, &block.band), Accum::Add, near.transpose(), queries, scale);
            if globals > 0 {
                let square = square.submatrix(0, band, rows, globals);
                multiply(block.rows_of_mut(&mut of_q, hidden, &block.tokens), Accum::Add, square, far(&far_k), scale);
                let mut added = vec![0.0; globals * block.size];
                let to = MatMut::from_row_major_slice_mut(&mut added, globals, block.size);
                multiply(to, Accum::Replace, square.transpose(), queries, scale);
                block.add_to_globals(&mut of_k, hidden, &added);
            }
        }
        [of_q, of_k, of_v]
    }
}

impl CustomOp3 for Sliding {
    fn name(&self) -> &'static str {
        "window attention"
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
        let out = self.forward([slice(queries, ql)?, slice(keys, kl)?, slice(values, vl)?], hidden);
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
    /// Turns the scores of two parts of a row into weights that sum to 1 together; those of the first at `left_out` become 0.
    fn softmax(near: &mut [f32], far: &mut [f32], left_out: &[usize]) {
        left_out.iter().for_each(|&at| near[at] = f32::NEG_INFINITY);
        let most = largest(near).max(largest(far));
        near.iter_mut().for_each(|score| *score = exp(*score - most));
        far.iter_mut().for_each(|score| *score = exp(*score - most));
        left_out.iter().for_each(|&at| near[at] = 0.0);
        let inverse = 1.0 / (sum(near.len(), |at| near[at]) + sum(far.len(), |at| far[at]));
        near.iter_mut().for_each(|weight| *weight *= inverse);
        far.iter_mut().for_each(|weight| *weight *= inverse);
    }
}
