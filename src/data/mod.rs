//! The values that flow through Noso, from the document in to the codes out. No stage's logic lives here.

mod candidate;
mod coding;
mod concept;
mod document;
mod mention;
mod span;
mod trace;

pub use candidate::{Candidate, Origin, Support};
pub use coding::{CodeSet, Coded, Coding, DecidedBy};
pub use concept::{ConceptId, ConceptTerm};
pub use document::{AnnotatedDocument, Document, Entity};
pub use mention::{Match, Mention};
pub use span::Span;
pub use trace::{AnswerFault, Exchange, FaultyAnswer, Message, Role, Step, Trace, TraceCounts};
