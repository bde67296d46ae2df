//! The linked label set: histories come in, the codes that the coder finds in their conclusions leave.

use serde::{Deserialize, Serialize};

use super::History;
use crate::{
    data::{CodeSet, Document},
    error::Error,
    pipeline::{Pipeline, aggregate},
};

/// The codes of a history's conclusions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// Whose history it is.
    pub patient: String,
    /// Codes, appointment by appointment; `None` where the coder failed.
    pub codes: Vec<Option<CodeSet>>,
}

/// Codes the conclusions of some histories together; `failed` hears of each that could not be coded, by its id.
pub fn link(pipeline: &Pipeline, histories: &[History], failed: &mut dyn FnMut(&str, Error)) -> Vec<Linked> {
    let visits = histories.iter().flat_map(|history| &history.visits);
    let documents: Vec<Document> =
        visits.map(|visit| Document { id: visit.id.clone(), text: visit.conclusion.clone() }).collect();
    let mut outcomes = documents.iter().zip(pipeline.code(&documents)).map(|(document, outcome)| match outcome {
        Ok(coded) => Some(aggregate(&coded.codings)),
        Err(error) => {
            failed(&document.id, error);
            None
        }
    });
    let linked = |history: &History| Linked {
        patient: history.patient.clone(),
        codes: outcomes.by_ref().take(history.visits.len()).collect(),
    };
    histories.iter().map(linked).collect()
}
