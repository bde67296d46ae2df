//! Training: an annotated corpus comes in, a model file leaves. One file a job.

pub mod crf;
pub mod hybrid;
pub mod nearest;
