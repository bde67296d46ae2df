//! Where the finding turns: records whose true codes are known come in, and what is learnt from labels of every quality in between leaves.
//!
//! A label set is made worse step by step: in a share of the appointments its own codes are kept, in the others the true ones stand. One
//! model learns from each step of either set, so that every quality of doctors can be held against every quality of the coder.

use std::path::Path;

use super::{
    measured::{judge, likelier_than_not},
    outcome::{Sweep, SweepPoint},
    run::{StudyWatch, trained},
    settings::{StudySettings, SweepSettings},
    start::Start,
};
use crate::{
    diagnosis::{labels::LabelSet, records::Records},
    error::Result,
    eval::multilabel::{Judged, per_class, weighted_f1},
    train::diagnosis::Lesson,
};

/// Trains a model for each step of both label sets, in folders of their own within `folder`, and measures all on the records of the test.
/// Returns `None` where none is asked for.
///
/// # Errors
/// Those of the trainings.
pub(super) fn sweep(
    settings: &StudySettings,
    records: &Records,
    start: &Start<'_>,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<Option<Sweep>> {
    let Some(SweepSettings { doctors, coder, records: most }) = &settings.sweep else { return Ok(None) };
    let weights = records.weights();
    let mut point = |set: LabelSet, share: f64| -> Result<SweepPoint> {
        let mixed = records.mixed(set, share, *most, settings.split.seed);
        let name = if share == 0.0 { "true".to_owned() } else { format!("{set:?}-{share}").to_lowercase() };
        watch.stage(&format!("training on labels of the sweep: {name}"), None);
        let lesson = Lesson { records: &mixed, labels: set, watched: 0 };
        let folder = folder.join(format!("{name}-{most}"));
        let (model, _) = trained(&settings.training, lesson, start, &folder, watch)?;
        let judged = judge(records, &model, settings.training.fit.batch_tokens / 4)?;
        let f1 = |judged: &[Judged]| weighted_f1(&per_class(judged, weights.len()), &weights);
        Ok(SweepPoint {
            share,
            label_f1: label_f1(&mixed, set),
            weighted_f1: f1(&judged),
            even_f1: f1(&likelier_than_not(&judged)),
        })
    };
    let original = doctors.iter().map(|&share| point(LabelSet::Original, share)).collect::<Result<_>>()?;
    let linked = coder.iter().map(|&share| point(LabelSet::Linked, share)).collect::<Result<_>>()?;
    Ok(Some(Sweep { records: (*most).min(records.train.len()) as u64, original, linked }))
}

/// Returns the F1 of a label set against the true codes, over all training records and codes together.
fn label_f1(records: &Records, set: LabelSet) -> f64 {
    let (mut both, mut all) = (0, 0);
    for record in &records.train {
        let (labels, truth) = (record.labels(set), record.labels(LabelSet::Manual));
        both += labels.iter().filter(|class| truth.binary_search(class).is_ok()).count();
        all += labels.len() + truth.len();
    }
    2.0 * both as f64 / (all as f64).max(1.0)
}
