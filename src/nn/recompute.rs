//! Recomputation: of a chain of layers only what goes in between them is kept; on the way back each layer is computed a second time.

use std::fmt;

use candle_core::{Tensor, Var};

use crate::error::Result;

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// The layers of a forward pass whose inner results were not kept, in the order in which they were computed.
///
/// # Source
/// Chen et al. 2016: <https://arxiv.org/abs/1604.06174>.
#[derive(Default)]
pub struct Tape {
    segments: Vec<Segment>,
}

/// A layer: what went in (with its own way back), what came out (cut off from it), and how to compute it again.
struct Segment {
    input: Tensor,
    output: Var,
    forward: Forward,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} segments)", self.segments.len())
    }
}

impl Tape {
    /// Computes `forward(input)` and forgets what happened within. `forward` must give the same again: it holds its own dropout masks.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn run(&mut self, input: &Tensor, forward: Forward) -> Result<Tensor> {
        let output = Var::from_tensor(&forward(&input.detach())?.detach())?;
        let result = output.as_tensor().clone();
        self.segments.push(Segment { input: input.clone(), output, forward });
        Ok(result)
    }

    /// Differentiates `loss`, which was computed with this tape. Returns the gradients of `variables`, `None` where there is none.
    ///
    /// # Errors
    /// Those of the device.
    pub fn backward(self, loss: &Tensor, variables: &[&Var]) -> Result<Vec<Option<Tensor>>> {
        let outputs: Vec<Var> = self.segments.iter().map(|segment| segment.output.clone()).collect();
        let watched: Vec<&Var> = variables.iter().copied().chain(&outputs).collect();
        let mut gradients = vec![None; watched.len()];
        collect(loss, &watched, &mut gradients)?;
        for (number, segment) in self.segments.into_iter().enumerate().rev() {
            let Some(gradient) = gradients[variables.len() + number].take() else { continue };
            let input = Var::from_tensor(&segment.input.detach())?;
            let again = ((segment.forward)(input.as_tensor())? * gradient)?.sum_all()?;
            let inner: Vec<&Var> = variables.iter().copied().chain([&input]).collect();
            let mut found = vec![None; inner.len()];
            collect(&again, &inner, &mut found)?;
            let of_input = found.pop().flatten();
            for (sum, new) in gradients.iter_mut().zip(found) {
                *sum = add(sum.take(), new)?;
            }
            if let Some(gradient) = of_input {
                collect(&(&segment.input * gradient)?.sum_all()?, &watched, &mut gradients)?;
            }
        }
        gradients.truncate(variables.len());
        Ok(gradients)
    }
}

/// Differentiates `loss` and adds the gradients of `variables` to `sums`.
fn collect(loss: &Tensor, variables: &[&Var], sums: &mut [Option<Tensor>]) -> Result<()> {
    let mut store = loss.backward()?;
    for (variable, sum) in variables.iter().zip(sums) {
        // A gradient comes with its own way back: it would be differentiated again, and holds on to the activations.
        *sum = add(sum.take(), store.remove(variable).map(|gradient| gradient.detach()))?;
    }
    Ok(())
}

/// Adds what is there.
pub(super) fn add(a: Option<Tensor>, b: Option<Tensor>) -> Result<Option<Tensor>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some((a + b)?),
        (a, b) => a.or(b),
    })
}
