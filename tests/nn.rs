//! Layers, encoders and their training.

mod fit;
mod gradients;
mod kernels;
mod numbers;
mod steps;
