//! Layers, encoders and their training.

mod fit;
mod frozen;
mod gradients;
mod kernels;
mod longformer;
mod numbers;
mod steps;
