//! Where the finding turns: records whose true codes are known come in, and what is learnt from labels of every quality in between leaves.
//!
//! A label set is made worse step by step: in a share of the appointments its own codes are kept, in the others the true ones stand. One
//! model learns from each step of either set, so that every quality of doctors can be held against every quality of the coder.

use std::path::Path;

use candle_core::Device;

use super::{
    measured::judge,
    outcome::{Sweep, SweepPoint},
    run::StudyWatch,
    settings::{StudySettings, SweepSettings},
};
use crate::{
    diagnosis::{labels::LabelSet, model::DiagnosisModel, records::Records},
    error::Result,
    eval::multilabel::{per_class, weighted_f1},
    nn::{fit::ModelFolder, pretrained::Pretrained},
    train::diagnosis::{DiagnosisSettings, train},
};

/// Trains a model for each step of both label sets, in folders of their own within `folder`, and measures all on the records of the test.
///
/// # Errors
/// Those of the trainings.
pub(super) fn sweep(
    settings: &StudySettings,
    sweep: &SweepSettings,
    records: &Records,
    begin: impl Fn() -> Result<Pretrained>,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<Sweep> {
    let weights = records.weights();
    let mut point = |set: LabelSet, share: f64| -> Result<SweepPoint> {
        let mixed = records.mixed(set, share, sweep.records, settings.split.seed);
        let name = if share == 0.0 { "true".to_owned() } else { format!("{set:?}-{share}").to_lowercase() };
        watch.stage(&format!("training on labels of the sweep: {name}"), None);
        let folder = folder.join(format!("{name}-{}", sweep.records));
        let model = learn(&settings.training, begin()?, &mixed, set, &folder, watch)?;
        let judged = judge(records, &model, settings.training.fit.batch_tokens / 4)?;
        let counts = per_class(&judged, weights.len());
        Ok(SweepPoint { share, label_f1: label_f1(&mixed, set), weighted_f1: weighted_f1(&counts, &weights) })
    };
    let original = sweep.doctors.iter().map(|&share| point(LabelSet::Original, share)).collect::<Result<_>>()?;
    let linked = sweep.coder.iter().map(|&share| point(LabelSet::Linked, share)).collect::<Result<_>>()?;
    Ok(Sweep { records: sweep.records.min(records.train.len()) as u64, original, linked })
}

/// Trains a model, or reads it if it is there.
fn learn(
    settings: &DiagnosisSettings,
    encoder: Pretrained,
    records: &Records,
    set: LabelSet,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<DiagnosisModel> {
    if folder.join("config.json").exists() {
        return DiagnosisModel::load(&folder.display().to_string(), &Device::Cpu);
    }
    let claimed = ModelFolder::claim(folder, true)?;
    Ok(train(encoder, records, set, settings, &claimed, watch, false)?.0)
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
