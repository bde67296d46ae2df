//! The whole program: documents come in, codings leave. The only place that puts the stages together.

mod load;

pub use load::{ENCODER_FILE, catalog_rows, load_encoder, load_retriever};
