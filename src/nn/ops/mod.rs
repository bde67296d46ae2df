//! Differentiable operations: tensors come in, a tensor leaves, and its gradient finds the way back.
//!
//! Each is written out in candle's basic operations, which run and differentiate on every device.
//! candle's own fused `softmax_last_dim`, `layer_norm` and `rms_norm` are not used: they cut the gradient without a word.

mod activation;
mod attention;
mod dropout;
mod embedding;
mod linear;
mod loss;
mod norm;

pub use self::{
    activation::{Activation, activate},
    attention::{Heads, attention},
    dropout::dropout,
    embedding::embed,
    linear::linear,
    loss::{binary_cross_entropy, cross_entropy, log_softmax},
    norm::layer_norm,
};
