//! Marginal likelihood of the right label over candidates: scores come in, a loss leaves.

use candle_core::{D, Tensor};

use crate::error::Result;

/// Stands for the logarithm of 0: its exponential is 0, and no difference of two of them is undefined.
const NEVER: f32 = -1e9;

/// Sums `−log Σ softmax(score) · share` over the rows of `scores` `(mentions, candidates)`.
///
/// `shares`, row-major, tells how probable each candidate means the mention's label, `0..=1`; `None` where there is no candidate. Each row
/// needs a share above 0. Returns a scalar.
///
/// # Errors
/// Those of the device, and shapes that do not fit.
///
/// # Source
/// Sung et al. 2020, equations 6 and 7, <https://arxiv.org/abs/2005.00239>, where shares are 0 or 1. Names to which several labels were
/// given enter as a mixture. Computed in logarithms, so no clamp is needed.
pub fn marginal_loss(scores: &Tensor, shares: &[Option<f32>]) -> Result<Tensor> {
    let (device, shape) = (scores.device(), scores.shape());
    let logs = |log: fn(f32) -> f32| {
        let logs = shares.iter().map(|share| share.map_or(NEVER, log)).collect::<Vec<_>>();
        Tensor::from_vec(logs, shape, device)
    };
    let all = logs(|_| 0.0)?;
    let right = logs(|share| if share > 0.0 { share.ln() } else { NEVER })?;
    let total = log_sum_exp(&(scores + all)?)?;
    let right = log_sum_exp(&(scores + right)?)?;
    Ok((total - right)?.sum_all()?)
}

/// Computes the logarithm of the sum of exponentials of each row, `(rows, 1)`.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let highest = x.max_keepdim(D::Minus1)?.detach();
    Ok((x.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()? + highest)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn loss_and_gradient_by_hand() {
        // Candidates of weight 1, 2, 1 (and none in the fourth place): the right ones hold 1 + ½ · 2 of 4.
        let scores = Var::new(&[[0.0, 2f32.ln(), 0.0, 99.0]], &Device::Cpu).unwrap();
        let loss = marginal_loss(&scores, &[Some(1.0), Some(0.5), Some(0.0), None]).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - 2f32.ln()).abs() < 1e-6);
        // Softmax over all, less that over the right ones: ¼ − ½, ½ − ½, ¼ − 0, 0.
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&scores).unwrap().to_vec2::<f32>().unwrap();
        let expected = [-0.25, 0.0, 0.25, 0.0];
        assert!(gradient[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn great_differences_overflow_nothing() {
        let scores = Var::new(&[[-400f32, 400.0]], &Device::Cpu).unwrap();
        let loss = marginal_loss(&scores, &[Some(1.0), Some(0.0)]).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 800.0);
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.get(&scores).unwrap().to_vec2::<f32>().unwrap(), [[-1.0, 1.0]]);
    }
}
