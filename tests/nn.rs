//! Layers, encoders and their training.

mod fit;
