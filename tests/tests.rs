//! The one integration test binary: a module an area.

mod cli;
mod corpus;
mod crf;
mod eval;
mod index;
mod layering;
mod llm;
