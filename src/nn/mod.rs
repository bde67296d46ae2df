//! Differentiable layers and encoders on candle: token ids come in, tensors leave, gradients flow back.
//!
//! Knows nothing of ICD. Letters of shapes, crate-wide: `tokens` counts the tokens of all sequences of a batch, which lie one after
//! another without padding ([`Packed`]).

pub mod bert;
mod classifier;
pub mod decoder;
pub mod fit;
pub mod longformer;
mod masks;
mod matrix;
pub mod memory;
pub mod ops;
mod packed;
mod parameters;
pub mod pretrained;
pub mod recompute;
pub mod tokenizer;
mod weights;
pub mod word_pieces;

pub use self::{
    classifier::SequenceClassifier,
    masks::Masks,
    matrix::{Format, Matrix, Use},
    packed::{Packed, divide},
    parameters::{Init, Parameters},
};
