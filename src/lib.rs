//! Noso assigns ICD-10 codes to the free-text diagnosis a doctor wrote.
//!
//! One direction, one transformation a stage:
//!
//! ```text
//! Document ─ner→ Mention ─retrieval→ Candidates ─rerank→ Coding ─aggregate→ CodeSet ─eval→ Metrics
//! ```
//!
//! `pipeline` is the only place that puts the stages together.
#![deny(missing_docs)]

pub mod artifact;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod corpus;
pub mod data;
pub mod diagnosis;
pub mod embed;
pub mod error;
pub mod eval;
pub mod experiment;
pub mod hub;
pub mod icd;
pub mod index;
pub mod llm;
pub mod ner;
#[cfg(feature = "neural")]
pub mod nn;
pub mod pipeline;
pub mod prompt;
pub mod rerank;
pub mod retrieval;
#[cfg(any(feature = "llm", feature = "neural"))]
mod shard;
pub mod text;
pub mod train;

pub use error::{Error, Result};
