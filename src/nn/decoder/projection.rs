//! Linear maps that an adapter may change.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, check_setting},
    nn::{Init, Masks, Matrix, Parameters, Use, ops},
};

/// Low-rank adapters on some projections.
///
/// # Source
/// Hu et al. 2021: <https://arxiv.org/abs/2106.09685>; names and draws as in Hugging Face PEFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Rank, at least 1.
    pub rank: usize,
    /// What the product is multiplied by, divided by the rank.
    pub alpha: f64,
    /// Share of the input's numbers dropped while training, `0..1`.
    pub dropout: f64,
    /// Names of the projections, such as `q_proj`.
    pub targets: Vec<String>,
}

/// As in the paper (Table 4); no targets are those that [`Decoder::usual_targets`](super::Decoder::usual_targets) names.
impl Default for Lora {
    fn default() -> Self {
        Self { rank: 16, alpha: 16.0, dropout: 0.1, targets: Vec::new() }
    }
}

impl Lora {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        check_setting((1..=4096).contains(&self.rank), "rank", "a whole number from 1 to 4096", self.rank)?;
        check_setting(self.alpha > 0.0 && self.alpha.is_finite(), "alpha", "a number above 0", self.alpha)?;
        check_setting((0.0..1.0).contains(&self.dropout), "dropout", "a number from 0 to below 1", self.dropout)
    }
}

/// A linear map, and what an adapter adds to it.
#[derive(Clone)]
pub(super) struct Projection {
    weight: Matrix,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

#[derive(Clone)]
struct Adapter {
    /// `(rank, from)`.
    down: Tensor,
    /// `(to, rank)`.
    up: Tensor,
    scale: f64,
    drop: f64,
}

impl Projection {
    /// Takes `NAME.weight` `(to, from)`, with `bias` also `NAME.bias` `(to)`.
    pub fn new(names: &mut Names<'_>, name: &str, [to, from]: [usize; 2], bias: bool) -> Result<Self> {
        let weight = names.matrix(&format!("{name}.weight"), [to, from], Use::Map)?;
        let bias = bias.then(|| names.get(&format!("{name}.bias"), &[to], Init::Constant(0.0))).transpose()?;
        Ok(Self { weight, bias, adapter: None })
    }

    /// Puts an adapter on it: `NAME.lora_A.weight`, drawn where it is not given, and `NAME.lora_B.weight`, zeros.
    pub fn adapt(&mut self, parameters: &mut Parameters, name: &str, lora: &Lora) -> Result<()> {
        let [to, from] = self.weight.shape()?;
        // PEFT draws as PyTorch's linear maps do: evenly between ±1/√from.
        let even = Init::Uniform(1.0 / (from as f32).sqrt());
        self.adapter = Some(Adapter {
            down: parameters.get(&format!("{name}.lora_A.weight"), &[lora.rank, from], even)?,
            up: parameters.get(&format!("{name}.lora_B.weight"), &[to, lora.rank], Init::Constant(0.0))?,
            scale: lora.alpha / lora.rank as f64,
            drop: lora.dropout,
        });
        Ok(())
    }

    /// Computes `(rows, to)` from `(rows, from)`.
    pub fn forward(&self, x: &Tensor, masks: Option<&mut Masks>) -> Result<Tensor> {
        let out = self.weight.linear(x, self.bias.as_ref())?;
        let Some(Adapter { down, up, scale, drop }) = &self.adapter else { return Ok(out) };
        let inner = (ops::linear(&ops::dropout(x, *drop as f32, masks)?, down, None)? * *scale)?;
        Ok((out + ops::linear(&inner, up, None)?)?)
    }

    /// Returns how many numbers an adapter lets a forward pass keep for each token: its input with dropout, what lies between its factors,
    /// and the sum.
    pub fn kept(&self) -> usize {
        let of = |adapter: &Adapter| {
            let [up, down] = [&adapter.up, &adapter.down].map(|factor| factor.dims().iter().sum::<usize>());
            let input = if adapter.drop > 0.0 { down } else { 0 };
            input + 2 * up
        };
        self.adapter.as_ref().map_or(0, of)
    }

    /// Returns the same map for use without training.
    pub fn detached(&self) -> Self {
        let adapter = self.adapter.as_ref().map(|adapter| Adapter {
            down: adapter.down.detach(),
            up: adapter.up.detach(),
            ..*adapter
        });
        Self { weight: self.weight.detached(), bias: self.bias.as_ref().map(Tensor::detach), adapter }
    }
}

/// Asks for weights by name, required or drawn.
pub(super) struct Names<'a> {
    pub parameters: &'a mut Parameters,
    pub fresh: bool,
    pub deviation: f32,
}

impl Names<'_> {
    pub fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.parameters.get(name, shape, if self.fresh { init } else { Init::Required })
    }

    pub fn matrix(&mut self, name: &str, shape: [usize; 2], used: Use) -> Result<Matrix> {
        let init = if self.fresh { Init::Normal(self.deviation) } else { Init::Required };
        self.parameters.matrix(name, shape, init, used)
    }

    pub fn scale(&mut self, name: &str, size: usize) -> Result<Tensor> {
        self.get(&format!("{name}.weight"), &[size], Init::Constant(1.0))
    }
}
