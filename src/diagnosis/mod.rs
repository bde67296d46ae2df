//! Diagnosis prediction: a table of appointments comes in, patients with their pasts leave, labelled by doctors and by the coder.
//!
//! ```text
//! table ─read→ Appointment ─group→ History ─link→ label sets ─Input→ what a model is shown
//! ```

pub mod dataset;
pub mod decision;
#[cfg(feature = "neural")]
pub mod evidence;
pub mod group;
pub mod labels;
pub mod manual;
#[cfg(feature = "neural")]
pub mod model;
#[cfg(feature = "neural")]
pub mod records;
pub mod simulate;
pub mod statistics;
pub mod table;

mod appointment;
mod history;
mod input;
mod leak;
mod link;
mod notation;
#[cfg(feature = "neural")]
mod sequence;

pub use appointment::{Appointment, Sex};
pub use history::{Faults, History, Part, Split, Visit};
pub use input::{Input, InputSettings, Kind, Section};
pub use link::{Linked, Linking, link, link_all};
#[cfg(feature = "neural")]
pub use sequence::{Chart, Place, Reader, Sequence};
