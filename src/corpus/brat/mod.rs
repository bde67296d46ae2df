//! brat folders, `ID.txt` beside `ID.ann`: gold annotation comes in, repaired ([`AnnotatedReader`]) or exactly as written
//! ([`read_raw`]); or the words for concepts of UMLS ([`load_concepts`]).

mod align;
mod annotated;
mod code;
mod concepts;
mod raw;
mod standoff;

pub(super) use align::on_one_line;
pub use annotated::{AnnotatedReader, load};
pub use code::parse as parse_code;
pub use concepts::{DIAGNOSIS_LABELS, load_concepts};
pub use raw::{RawCorpus, read_raw, read_repaired, written_codes};

/// Type of the entities that name diagnoses.
pub const LABEL: &str = "icd_code";
/// Terminology in the notes that give an entity its code.
pub const RESOURCE: &str = "ICD_codes";
