//! BINDER's losses: similarities of spans or places with types come in, a contrastive loss with a threshold leaves.

use candle_core::Tensor;

use crate::error::Result;

/// Rows of a similarity table that belong to one passage: the first is the threshold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contrasted {
    /// Number of rows.
    pub rows: usize,
    /// Rows, counted from the passage's first, that are right for a type: row and type.
    pub right: Vec<(usize, usize)>,
}

/// Sums over passages and types: the share `1 - threshold` of the mean over right rows of `-ln softmax(right against threshold and wrong rows)`,
/// and the share `threshold` of `-ln softmax(threshold against wrong rows)`. So right rows are drawn above the threshold, wrong ones below.
///
/// `scores` is `(rows, types)`, similarities by temperature; the rows of each of `passages` lie one after another. Returns a scalar.
///
/// # Errors
/// Those of the device, and rows that are not there.
///
/// # Source
/// Zhang et al. 2022, sections 3.2 and 3.3: <https://arxiv.org/abs/2208.14565>.
pub fn contrast(scores: &Tensor, passages: &[Contrasted], threshold: f64) -> Result<Tensor> {
    let (rows, types) = scores.dims2()?;
    let device = scores.device();
    let mut counted = vec![1f32; rows * types]; // 0 for right rows, which do not speak against each other
    let mut owner = Vec::with_capacity(rows);
    let (mut thresholds, mut right, mut of_passage, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, passage) in passages.iter().enumerate() {
        let start = owner.len();
        thresholds.push(start as u32);
        owner.resize(start + passage.rows, number as u32);
        for &(row, kind) in &passage.right {
            let place = (start + row) * types + kind;
            if let Some(counts) = counted.get_mut(place) {
                *counts = 0.0;
            }
            let count = passage.right.iter().filter(|(_, other)| *other == kind).count();
            right.push(place as u32);
            of_passage.push((number * types + kind) as u32);
            shares.push(1.0 / count as f32);
        }
    }
    // Cosines by temperature are small enough to be raised without a shift.
    let counted = Tensor::from_vec(counted, (rows, types), device)?;
    let sums = Tensor::zeros((passages.len(), types), scores.dtype(), device)?;
    let against = sums.index_add(&Tensor::new(owner, device)?, &(scores.exp()? * counted)?, 0)?.log()?; // (passages, types)
    let below = (&against - scores.index_select(&Tensor::new(thresholds, device)?, 0)?)?.sum_all()?;
    let loss = (below * threshold)?;
    if right.is_empty() {
        return Ok(loss);
    }
    let pick = |table: &Tensor, places: Vec<u32>| table.flatten_all()?.index_select(&Tensor::new(places, device)?, 0);
    let margins = (pick(&against, of_passage)? - pick(scores, right)?)?;
    let above = (softplus(&margins)? * Tensor::new(shares, device)?)?.sum_all()?;
    Ok((loss + (above * (1.0 - threshold))?)?)
}

/// `ln(1 + e^x)`, which overflows for no `x`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok(((x.abs()?.neg()?.exp()? + 1.0)?.log()? + x.relu()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn right_rows_are_compared_with_the_threshold_and_wrong_rows() {
        // Threshold 1, right 2 and 3, wrong 0: ln(e + 1 + e²) - 2 = 0.4076, ln(e + 1 + e³) - 3 = 0.1698; the threshold ln(e + 1) - 1 = 0.3133.
        let scores = Tensor::new(&[[1f32], [2.0], [3.0], [0.0]], &Device::Cpu).unwrap();
        let passage = Contrasted { rows: 4, right: vec![(1, 0), (2, 0)] };
        let loss = |threshold| {
            contrast(&scores, std::slice::from_ref(&passage), threshold).unwrap().to_scalar::<f32>().unwrap()
        };
        assert!((loss(0.0) - (0.407_606 + 0.169_846) / 2.0).abs() < 1e-5, "{}", loss(0.0));
        assert!((loss(1.0) - 0.313_262).abs() < 1e-5, "{}", loss(1.0));
        let nothing = Contrasted { rows: 4, right: vec![] };
        // ln(e + e² + e³ + 1) - 1 = 2.4402
        let loss = contrast(&scores, &[nothing], 0.5).unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - 0.5 * 2.440_19).abs() < 1e-5, "{loss}");
    }
}
