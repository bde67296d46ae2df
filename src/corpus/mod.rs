//! Corpora in and out: files come in, documents leave; codings come in, files leave.
//!
//! Offsets in files are characters, [`Span`](crate::data::Span)s are bytes: they are converted here and nowhere else.

mod annotator;
pub mod brat;
mod file_name;
mod folder;
mod format;
mod ids;
mod offsets;
mod read;
mod report;
mod write;

pub use annotator::annotator;
pub use format::{InputFormat, OutputFormat};
pub use offsets::Offsets;
pub use read::{Documents, ReadOptions, Source};
pub use report::{Fault, Outcome, RepairReport};
pub use write::{Entry, Lookup, WriteOptions, Writer, create};
#[cfg(feature = "neural")]
pub(crate) use {
    ids::IdSet,
    write::{Done, Sink},
};
