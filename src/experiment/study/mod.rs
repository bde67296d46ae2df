//! The original-versus-linked study: two models that differ only in their training labels come in, a page leaves.
//!
//! ```text
//! Outcome ─figures→ SVG ─page→ HTML
//! ```

mod figures;
mod measured;
mod outcome;
mod page;
mod run;
mod settings;
mod written;

pub use outcome::{CodeOutcome, Courses, Measure, Outcome, Table2, Transition};
pub use page::page;
pub use run::{OUTCOME_FILE, PAGE_FILE, StudyWatch, run};
pub use settings::{CoderSettings, ModelSettings, RecordsSettings, SimulatedRecords, SplitSettings, StudySettings};
