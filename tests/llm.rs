//! Language models.

#[cfg(feature = "llm")]
mod coding;
#[cfg(feature = "llm")]
mod constrained;
#[cfg(all(feature = "llm", feature = "neural"))]
mod own;
#[cfg(feature = "llm")]
mod parity;
#[cfg_attr(not(feature = "llm"), allow(dead_code))]
pub mod tiny;
#[cfg(all(feature = "llm", feature = "neural"))]
mod with_peft;
