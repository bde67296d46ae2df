//! Differentiable operations: tensors come in, a tensor leaves, and its gradient finds the way back.
//!
//! On the CPU each is a kernel over f32 slices with a backward pass of its own, on one thread: a batch is divided among the cores, one
//! shard each, which scales where a divided product does not. Elsewhere they are written out in candle's basic operations
//! ([`composed`]), which also are what the tests hold the kernels against.
//! candle's own fused `softmax_last_dim`, `layer_norm` and `rms_norm` are not used: they cut the gradient without a word.

mod activation;
mod adamw;
mod attention;
pub mod composed;
mod dropout;
mod embedding;
mod frozen;
mod gate;
mod linear;
mod loss;
mod norm;
mod rms_norm;
mod rotate;
mod simd;
mod storage;
mod window;

pub use self::{
    activation::{Activation, activate},
    adamw::{AdamW, adamw, sum_of_squares},
    attention::{Heads, Sight, attention, attention_of_last},
    dropout::dropout,
    embedding::embed,
    frozen::Frozen,
    gate::gate,
    linear::linear,
    loss::{binary_cross_entropy, cross_entropy, log_softmax},
    norm::layer_norm,
    rms_norm::rms_norm,
    rotate::{Angles, rotate},
    window::{Span, Window, window_attention},
};
