//! The original-versus-linked study: two models that differ only in their training labels come in, a page leaves.
//!
//! ```text
//! settings ─run→ records, labels, models ─measured→ Outcome ─figures→ SVG ─page→ HTML
//! ```

mod figures;
mod grid;
mod measured;
mod outcome;
mod page;
mod run;
mod settings;
mod sources;
mod start;
mod sweep;

use super::written;
pub use outcome::{CodeOutcome, Courses, Measure, Outcome, Reliability, Sweep, SweepPoint, Table2, Transition};
pub use page::page;
pub use run::{OUTCOME_FILE, PAGE_FILE, StudyWatch, run};
pub use settings::{
    CoderSettings, ModelSettings, PretrainingSettings, RecordsSettings, SimulatedRecords, SplitSettings, StudySettings,
};
