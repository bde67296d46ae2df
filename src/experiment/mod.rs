//! Experiments: what a run measured comes in, what people look at leaves.

pub mod study;
