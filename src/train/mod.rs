//! Training: an annotated corpus comes in, a model file leaves. One file a job.

pub mod crf;
#[cfg(feature = "neural")]
pub mod encoder;
pub mod hybrid;
#[cfg(feature = "neural")]
pub mod linker;
pub mod nearest;
#[cfg(feature = "neural")]
pub mod ner;
