//! Corpora in and out: files come in, documents leave; codings come in, files leave.
//!
//! Offsets in files are characters, [`Span`](crate::data::Span)s are bytes: they are converted here and nowhere else.

mod annotator;
pub mod brat;
mod folder;
#[allow(dead_code)]
mod ids;
mod offsets;
mod report;

pub use annotator::annotator;
pub use offsets::Offsets;
pub use report::{Fault, Outcome, RepairReport};
