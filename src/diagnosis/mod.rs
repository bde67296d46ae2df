//! Diagnosis prediction: a table of appointments comes in, patients with their pasts leave, labelled by doctors and by the coder.
//!
//! ```text
//! table ─read→ Appointment ─group→ History ─link→ label sets ─Input→ what a model is shown
//! ```

pub mod dataset;
pub mod group;
pub mod simulate;
pub mod statistics;
pub mod table;

mod appointment;
mod history;
mod input;
mod leak;
mod link;
mod notation;

pub use appointment::{Appointment, Sex};
pub use history::{Faults, History, Part, Split, Visit};
pub use input::{Input, InputSettings, Kind, Section};
pub use link::{Linked, link};
