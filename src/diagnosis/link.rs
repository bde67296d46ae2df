//! The linked label set: histories come in, the codes that the coder finds in their conclusions leave.

use serde::{Deserialize, Serialize};

use super::{History, dataset::Dataset};
use crate::{
    data::{CodeSet, Document},
    error::{Error, Result},
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

/// What is told while conclusions are coded.
#[derive(Debug)]
pub enum Linking<'a> {
    /// So many more are done, those of an earlier run among them.
    Coded(usize),
    /// The conclusion of the appointment of this id could not be coded.
    Failed(&'a str, Error),
}

/// Codes all conclusions of a dataset that are not coded yet, and writes the codes as they come; returns how many were coded before.
/// `told` hears of the work, and ends it by an error.
///
/// # Errors
/// - [`Error::Read`] or [`Error::Write`]; that of `told`.
/// - [`Error::Generation`] if the engine is gone: what is left then waits for another call, and is not lost with it.
pub fn link_all(
    dataset: &Dataset,
    pipeline: &Pipeline,
    told: &mut dyn FnMut(Linking<'_>) -> Result<()>,
) -> Result<u64> {
    let (mut writer, done) = dataset.go_on_linking()?;
    let (mut before, mut waiting, mut count) = (0, Vec::<History>::new(), 0);
    for (number, history) in dataset.histories()?.enumerate() {
        let history = history?;
        if number < done {
            before += history.visits.len();
            told(Linking::Coded(history.visits.len()))?;
            continue;
        }
        count += history.visits.len();
        waiting.push(history);
        if count >= pipeline.batch_documents() {
            writer.write(&link(pipeline, &waiting, told)?)?;
            waiting.clear();
            told(Linking::Coded(std::mem::take(&mut count)))?;
        }
    }
    writer.write(&link(pipeline, &waiting, told)?)?;
    told(Linking::Coded(count))?;
    Ok(before as u64)
}

/// Codes the conclusions of some histories together; `told` hears of those that could not be coded.
///
/// # Errors
/// - [`Error::Generation`] if the engine is gone; that of `told`.
pub fn link(
    pipeline: &Pipeline,
    histories: &[History],
    told: &mut dyn FnMut(Linking<'_>) -> Result<()>,
) -> Result<Vec<Linked>> {
    let visits = histories.iter().flat_map(|history| &history.visits);
    let documents: Vec<Document> =
        visits.map(|visit| Document { id: visit.id.clone(), text: visit.conclusion.clone() }).collect();
    let outcomes = documents.iter().zip(pipeline.code(&documents)).map(|(document, outcome)| match outcome {
        Ok(coded) => Ok(Some(aggregate(&coded.codings))),
        Err(error @ Error::Generation { engine_lost: true, .. }) => Err(error),
        Err(error) => told(Linking::Failed(&document.id, error)).map(|()| None),
    });
    let mut outcomes = outcomes.collect::<Result<Vec<_>>>()?.into_iter();
    let linked = |history: &History| Linked {
        patient: history.patient.clone(),
        codes: outcomes.by_ref().take(history.visits.len()).collect(),
    };
    Ok(histories.iter().map(linked).collect())
}
