//! The original-versus-linked study: two models that differ only in their training labels come in, a page leaves.
//!
//! ```text
//! Outcome ─figures→ SVG ─page→ HTML
//! ```

mod figures;
mod outcome;
mod page;
mod written;

pub use outcome::{CodeOutcome, Courses, Measure, Outcome, Table2, Transition};
pub use page::page;
