//! Experiments: what a run measured comes in, what people look at leaves.

pub mod audit;
#[cfg_attr(not(feature = "neural"), allow(dead_code))] // the study, which draws most, needs encoders
mod figures;
#[cfg(feature = "neural")]
pub mod study;
#[cfg_attr(not(feature = "neural"), allow(dead_code))]
mod written;
