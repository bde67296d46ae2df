//! Layers, encoders and their training.

mod fit;
mod frozen;
mod gradients;
mod kernels;
mod numbers;
mod steps;
