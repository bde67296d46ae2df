//! The arithmetic of a merge: rows of a weight come in as bytes, the same rows plus `scale · left · right` leave.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use safetensors::Dtype;

/// Columns worked on at a time: a tile of `right` at rank 16 then fits the first-level cache.
const TILE_COLUMNS: usize = 256;
/// Rows that share a tile before the next one is fetched.
const TILE_ROWS: usize = 64;

/// A matrix of f32, row-major.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// `rows · columns` numbers.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Returns the matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        let values =
            (0..self.columns).flat_map(|c| self.values.iter().skip(c).step_by(self.columns)).copied().collect();
        Self { rows: self.columns, columns: self.rows, values }
    }
}

/// What an adapter adds to one weight, in the orientation in which the weight is stored.
#[derive(Debug)]
pub(super) struct Update {
    /// `(rows, rank)`
    pub left: Matrix,
    /// `(rank, columns)`
    pub right: Matrix,
    /// `α/r`, or `α/√r` for rsLoRA.
    pub scale: f32,
}

impl Update {
    /// Returns the shape of the weight that it belongs to.
    pub fn shape(&self) -> [usize; 2] {
        [self.left.rows, self.right.columns]
    }

    /// Adds the update to whole rows, of which `bytes` holds the first as row `first_row` of the weight.
    ///
    /// Sums in f32 and rounds once, to nearest even. Returns whether every result is finite.
    pub fn add(&self, precision: Precision, first_row: usize, bytes: &mut [u8]) -> bool {
        let row_bytes = self.right.columns * precision.bytes();
        if row_bytes == 0 {
            return true;
        }
        bytes
            .par_chunks_mut(TILE_ROWS * row_bytes)
            .enumerate()
            .map(|(group, rows)| self.add_group(precision, first_row + group * TILE_ROWS, rows, row_bytes))
            .reduce(|| true, |a, b| a & b)
    }

    fn add_group(&self, precision: Precision, first_row: usize, bytes: &mut [u8], row_bytes: usize) -> bool {
        let rank = self.right.rows;
        let mut finite = true;
        for column in (0..self.right.columns).step_by(TILE_COLUMNS) {
            let width = TILE_COLUMNS.min(self.right.columns - column);
            let start = column * precision.bytes();
            for (row, bytes) in bytes.chunks_exact_mut(row_bytes).enumerate() {
                let left = &self.left.values[(first_row + row) * rank..][..rank];
                let bytes = &mut bytes[start..start + width * precision.bytes()];
                finite &= self.add_tile(precision, left, column, bytes);
            }
        }
        finite
    }

    /// Adds `scale · left · right[.., column..]` to the weights in `bytes`, at most [`TILE_COLUMNS`] of one row.
    fn add_tile(&self, precision: Precision, left: &[f32], column: usize, bytes: &mut [u8]) -> bool {
        let width = bytes.len() / precision.bytes();
        let right = |k: usize| &self.right.values[k * self.right.columns + column..][..width];
        let (mut sums, mut weights) = ([0f32; TILE_COLUMNS], [0f32; TILE_COLUMNS]);
        let (sums, weights) = (&mut sums[..width], &mut weights[..width]);
        // Two ranks a pass: half the loads and stores of the sums.
        for (pair, l) in left.chunks(2).enumerate() {
            match *l {
                [l0, l1] => {
                    for ((sum, &x0), &x1) in sums.iter_mut().zip(right(2 * pair)).zip(right(2 * pair + 1)) {
                        *sum += l0 * x0 + l1 * x1;
                    }
                }
                _ => sums.iter_mut().zip(right(2 * pair)).for_each(|(sum, &x)| *sum += l[0] * x),
            }
        }
        precision.decode(bytes, weights);
        let limit = precision.limit();
        let mut finite = true;
        for (weight, &sum) in weights.iter_mut().zip(sums.iter()) {
            *weight += self.scale * sum;
            finite &= weight.abs() < limit;
        }
        precision.encode(weights, bytes);
        finite
    }
}

/// A type of number that weights can be merged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    F32,
    F16,
    BF16,
}

impl Precision {
    /// Returns `None` for types in which nothing can be added, such as quantised ones.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Least magnitude that would be rounded to infinity.
    const fn limit(self) -> f32 {
        match self {
            Self::F32 => f32::INFINITY,
            Self::F16 => 65520.0,
            Self::BF16 => f32::from_bits(0x7f7f_8000),
        }
    }

    /// Reads little-endian numbers; `bytes` holds as many as `numbers`.
    pub fn decode(self, bytes: &[u8], numbers: &mut [f32]) {
        match self {
            Self::F32 => {
                let (bytes, _) = bytes.as_chunks();
                numbers.iter_mut().zip(bytes).for_each(|(number, &bytes)| *number = f32::from_le_bytes(bytes));
            }
            Self::F16 => decode_half(bytes, numbers, f16::from_le_bytes),
            Self::BF16 => decode_half(bytes, numbers, bf16::from_le_bytes),
        }
    }

    /// Writes little-endian numbers, rounded to nearest even.
    fn encode(self, numbers: &[f32], bytes: &mut [u8]) {
        match self {
            Self::F32 => {
                let (bytes, _) = bytes.as_chunks_mut();
                bytes.iter_mut().zip(numbers).for_each(|(bytes, number)| *bytes = number.to_le_bytes());
            }
            Self::F16 => encode_half(numbers, bytes, f16::to_le_bytes),
            Self::BF16 => encode_half(numbers, bytes, bf16::to_le_bytes),
        }
    }
}

/// Through a block of halves, because the conversion of slices uses the processor's instructions.
fn decode_half<H: Copy + Default>(bytes: &[u8], numbers: &mut [f32], from: impl Fn([u8; 2]) -> H)
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = [H::default(); TILE_COLUMNS];
    let (bytes, _) = bytes.as_chunks();
    for (bytes, numbers) in bytes.chunks(TILE_COLUMNS).zip(numbers.chunks_mut(TILE_COLUMNS)) {
        let halves = &mut halves[..numbers.len()];
        halves.iter_mut().zip(bytes).for_each(|(half, &bytes)| *half = from(bytes));
        halves.convert_to_f32_slice(numbers);
    }
}

fn encode_half<H: Copy + Default>(numbers: &[f32], bytes: &mut [u8], to: impl Fn(H) -> [u8; 2])
where
    [H]: HalfFloatSliceExt,
{
    let mut halves = [H::default(); TILE_COLUMNS];
    let (bytes, _) = bytes.as_chunks_mut();
    for (bytes, numbers) in bytes.chunks_mut(TILE_COLUMNS).zip(numbers.chunks(TILE_COLUMNS)) {
        let halves = &mut halves[..numbers.len()];
        halves.convert_from_f32_slice(numbers);
        bytes.iter_mut().zip(halves.iter()).for_each(|(bytes, &half)| *bytes = to(half));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, number: impl Fn(usize) -> f32) -> Matrix {
        Matrix { rows, columns, values: (0..rows * columns).map(number).collect() }
    }

    /// Small multiples of 1/8, whose products and sums are exact in f32.
    fn update(rows: usize, rank: usize, columns: usize) -> Update {
        let left = matrix(rows, rank, |i| (i * 7 % 19) as f32 / 8.0 - 1.0);
        let right = matrix(rank, columns, |i| (i * 5 % 23) as f32 / 8.0 - 1.25);
        Update { left, right, scale: 0.5 }
    }

    #[test]
    fn every_row_and_column_gets_its_sum() {
        for (rows, rank, columns) in [(1, 1, 1), (3, 5, 7), (130, 3, 257), (65, 16, 600)] {
            let update = update(rows, rank, columns);
            let mut bytes: Vec<u8> = (0..rows * columns).flat_map(|i| (i as f32).to_le_bytes()).collect();
            assert!(update.add(Precision::F32, 0, &mut bytes));
            for (i, bytes) in bytes.as_chunks().0.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let product = |k| update.left.values[row * rank + k] * update.right.values[k * columns + column];
                let sum: f32 = (0..rank).map(product).sum();
                assert_eq!(f32::from_le_bytes(*bytes), i as f32 + 0.5 * sum, "{rows}x{rank}x{columns} at {i}");
            }
        }
    }

    #[test]
    fn a_block_of_later_rows_gets_the_rows_that_belong_to_it() {
        let update = update(9, 2, 4);
        let mut whole = vec![0; 9 * 4 * 4];
        update.add(Precision::F32, 0, &mut whole);
        let mut tail = vec![0; 3 * 4 * 4];
        update.add(Precision::F32, 6, &mut tail);
        assert_eq!(whole[6 * 4 * 4..], tail);
    }

    #[test]
    fn halves_are_rounded_to_nearest_even() {
        // 1 + 2⁻⁸ lies midway between the bfloat16 numbers 1 and 1 + 2⁻⁷, 1 + 2⁻¹¹ between the half numbers 1 and 1 + 2⁻¹⁰.
        let cases =
            [(Precision::BF16, 2f32.powi(-8), 0x3f80u16, 0x3f82), (Precision::F16, 2f32.powi(-11), 0x3c00, 0x3c02)];
        for (precision, step, one, next_even) in cases {
            for (factor, expected) in [(1.0, one), (3.0, next_even)] {
                let update = Update { left: matrix(1, 1, |_| factor), right: matrix(1, 1, |_| step), scale: 1.0 };
                let mut bytes = one.to_le_bytes();
                assert!(update.add(precision, 0, &mut bytes));
                assert_eq!(u16::from_le_bytes(bytes), expected, "{precision:?} · {factor}");
            }
        }
    }

    #[test]
    fn overflow_is_told() {
        for (precision, largest) in
            [(Precision::F16, 65504.0f32), (Precision::BF16, 3.3895314e38), (Precision::F32, f32::MAX)]
        {
            let mut bytes = vec![0; precision.bytes()];
            precision.encode(&[largest], &mut bytes);
            let add = |amount: f32, bytes: &mut [u8]| {
                Update { left: matrix(1, 1, |_| 1.0), right: matrix(1, 1, |_| amount), scale: 1.0 }
                    .add(precision, 0, bytes)
            };
            assert!(add(0.0, &mut bytes), "{precision:?}");
            assert!(!add(largest / 2.0, &mut bytes), "{precision:?}");
        }
    }

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let matrix = matrix(3, 2, |i| i as f32);
        assert_eq!(matrix.transposed().values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(matrix.transposed().transposed().values, matrix.values);
        assert!(Matrix { rows: 0, columns: 2, values: Vec::new() }.transposed().values.is_empty());
    }
}
