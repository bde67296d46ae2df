//! Training: an annotated corpus comes in, a model file leaves. One file a job.

pub mod crf;
#[cfg(feature = "neural")]
pub mod diagnosis;
#[cfg(feature = "neural")]
pub mod encoder;
pub mod hybrid;
#[cfg(feature = "neural")]
pub mod linker;
#[cfg(feature = "neural")]
pub mod lora;
pub mod nearest;
#[cfg(feature = "neural")]
pub mod ner;
