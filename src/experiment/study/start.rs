//! What every model of a study begins with: an encoder that is named or drawn, and trained on hidden words of the histories if that is asked
//! for.

use std::path::{Path, PathBuf};

use super::{
    run::StudyWatch,
    settings::{PretrainingSettings, StudySettings},
};
use crate::{
    config::EncoderConfig,
    diagnosis::{History, dataset::Dataset, manual::Manual},
    embed::bert::{device, load_model},
    error::Result,
    nn::{fit::ModelFolder, pretrained::Pretrained},
    train::{
        diagnosis::DiagnosisSettings,
        encoder::{self, EncoderSettings},
    },
};

/// Where the encoder is kept that was trained for the study.
const FOLDER: &str = "encoder";

/// What models begin with.
pub(super) struct Start<'a> {
    pub settings: &'a StudySettings,
    /// What training patients' histories say, if words are learnt of them.
    texts: Vec<String>,
    /// The encoder that was trained for the study.
    pretrained: Option<PathBuf>,
}

impl<'a> Start<'a> {
    /// Reads the texts that are needed, and trains the encoder unless an earlier run did.
    ///
    /// # Errors
    /// Those of the dataset and the training.
    pub fn new(
        settings: &'a StudySettings,
        (dataset, manual): (&Dataset, &Manual),
        folder: &Path,
        watch: &mut dyn StudyWatch,
    ) -> Result<Self> {
        let mut start = Self { settings, texts: Vec::new(), pretrained: None };
        let pretrained = settings.pretraining.as_ref().map(|_| folder.join(FOLDER));
        let is_trained = pretrained.as_ref().is_some_and(|folder| folder.join("config.json").exists());
        if !is_trained && (settings.model.encoder.is_none() || settings.pretraining.is_some()) {
            // Patients that are measured on teach no words either.
            let is_measured = |history: &History| {
                let mut visits = history.visits.iter();
                settings.split.test == 0.0 && visits.any(|visit| manual.codes(&history.patient, &visit.id).is_some())
            };
            start.texts = settings.training.texts(dataset, |history| !is_measured(history))?;
        }
        if let Some(PretrainingSettings { fit }) = settings.pretraining.as_ref().filter(|_| !is_trained) {
            watch.stage("training the encoder on hidden words of the histories", None);
            let (length, fit) = (settings.training.max_tokens, fit.clone());
            let hidden = EncoderSettings { length, fit, ..EncoderSettings::default() };
            let claimed = ModelFolder::claim(&folder.join(FOLDER), true)?;
            encoder::train(start.encoder(&settings.training)?, &start.texts, &hidden, &claimed, watch)?;
        }
        start.pretrained = pretrained;
        Ok(start)
    }

    /// Returns an encoder for a training; a drawn one differs by its seed.
    ///
    /// # Errors
    /// Those of the encoder and the device.
    pub fn encoder(&self, training: &DiagnosisSettings) -> Result<Pretrained> {
        let model = &self.settings.model;
        match (&self.pretrained, &model.encoder) {
            (Some(folder), _) => {
                training.begin(Pretrained::load(&folder.display().to_string(), &device(model.device)?)?)
            }
            (None, Some(name)) => named(self.settings, name),
            (None, None) => training.draw(&self.texts, &model.new, &device(model.device)?),
        }
    }
}

/// Loads the encoder that the settings name.
///
/// # Errors
/// Those of the encoder.
pub(super) fn named(settings: &StudySettings, name: &str) -> Result<Pretrained> {
    let config = EncoderConfig { device: settings.model.device, ..EncoderConfig::of(name) };
    settings.training.begin(load_model(&config)?.0)
}
