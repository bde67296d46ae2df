//! The one integration test binary: a module an area.

#[cfg(feature = "llm")]
mod adapters;
mod cli;
mod corpus;
mod crf;
#[cfg(feature = "neural")]
mod encoders;
mod eval;
mod index;
mod layering;
mod llm;
mod llm_pipeline;
mod prompts;
#[cfg(feature = "llm")]
mod remote;
