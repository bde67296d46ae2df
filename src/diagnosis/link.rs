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

/// Codes all conclusions of a dataset that are not coded yet, and writes the codes as they come; returns how many were coded before.
/// `coded` hears how many more are done, those of before among them, and ends the work by an error; `failed` hears of each that could not
/// be coded, by its id.
///
/// # Errors
/// - [`Error::Read`] or [`Error::Write`]; that of `coded`.
/// - [`Error::Generation`] if the engine is gone: what is left then waits for another call, and is not lost with it.
pub fn link_all(
    dataset: &Dataset,
    pipeline: &Pipeline,
    coded: &mut dyn FnMut(usize) -> Result<()>,
    failed: &mut dyn FnMut(&str, Error),
) -> Result<u64> {
    let (mut writer, done) = dataset.go_on_linking()?;
    let (mut before, mut waiting, mut count) = (0, Vec::<History>::new(), 0);
    for (number, history) in dataset.histories()?.enumerate() {
        let history = history?;
        if number < done {
            before += history.visits.len();
            coded(history.visits.len())?;
            continue;
        }
        count += history.visits.len();
        waiting.push(history);
        if count >= pipeline.batch_documents() {
            writer.write(&link(pipeline, &waiting, failed)?)?;
            waiting.clear();
            coded(std::mem::take(&mut count))?;
        }
    }
    writer.write(&link(pipeline, &waiting, failed)?)?;
    coded(count)?;
    Ok(before as u64)
}

/// Codes the conclusions of some histories together; `failed` hears of each that could not be coded, by its id.
///
/// # Errors
/// - [`Error::Generation`] if the engine is gone.
pub fn link(pipeline: &Pipeline, histories: &[History], failed: &mut dyn FnMut(&str, Error)) -> Result<Vec<Linked>> {
    let visits = histories.iter().flat_map(|history| &history.visits);
    let documents: Vec<Document> =
        visits.map(|visit| Document { id: visit.id.clone(), text: visit.conclusion.clone() }).collect();
    let outcomes = documents.iter().zip(pipeline.code(&documents)).map(|(document, outcome)| match outcome {
        Ok(coded) => Ok(Some(aggregate(&coded.codings))),
        Err(error @ Error::Generation { engine_lost: true, .. }) => Err(error),
        Err(error) => {
            failed(&document.id, error);
            Ok(None)
        }
    });
    let mut outcomes = outcomes.collect::<Result<Vec<_>>>()?.into_iter();
    let linked = |history: &History| Linked {
        patient: history.patient.clone(),
        codes: outcomes.by_ref().take(history.visits.len()).collect(),
    };
    Ok(histories.iter().map(linked).collect())
}
