//! The one integration test binary: a module an area.

#[cfg(feature = "llm")]
mod adapters;
mod annotated;
#[cfg(feature = "neural")]
mod base_formats;
#[cfg(feature = "neural")]
mod bert_ner;
#[cfg(feature = "neural")]
mod bert_pipeline;
mod cli;
mod corpus;
mod crf;
#[cfg(feature = "neural")]
mod decoder;
mod diagnosis;
#[cfg(feature = "neural")]
mod encoders;
mod eval;
mod experiment;
mod index;
mod layering;
#[cfg(feature = "neural")]
mod linker;
mod llm;
mod llm_pipeline;
#[cfg(feature = "neural")]
mod nn;
mod prompts;
#[cfg(feature = "llm")]
mod remote;
#[cfg(feature = "neural")]
mod train_encoder;
#[cfg(feature = "neural")]
mod train_lora;
