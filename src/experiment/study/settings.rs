//! What a study is told: a TOML file comes in, typed settings leave.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    config::Device,
    diagnosis::simulate::SimulateSettings,
    error::{Error, Result, check_setting, line_at},
    nn::fit::FitSettings,
    train::{
        diagnosis::DiagnosisSettings,
        encoder::{EncoderSettings, Sizes},
    },
};

/// A study of what a coder's labels are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudySettings {
    /// Heading of the page.
    #[serde(default = "title")]
    pub title: String,
    /// Records of a hospital; either they or `simulate`.
    pub records: Option<RecordsSettings>,
    /// Records that are made up; their true codes are the manual ones.
    pub simulate: Option<SimulatedRecords>,
    /// Which patients are learnt from, and which records are measured on.
    #[serde(default)]
    pub split: SplitSettings,
    /// What codes the conclusions.
    #[serde(default)]
    pub coder: CoderSettings,
    /// The model that both trainings begin with.
    #[serde(default)]
    pub model: ModelSettings,
    /// How the encoder is trained beforehand, once for all models; not at all without it.
    pub pretraining: Option<PretrainingSettings>,
    /// How both are trained.
    #[serde(default)]
    pub training: DiagnosisSettings,
    /// Models that learn from each label set, by seeds from that of the training on: how much of a difference is chance of the training.
    /// Default 1, of which the intervals do not know it.
    #[serde(default = "runs")]
    pub runs: u64,
    /// How the labels' errors are varied; on made-up records alone. Default: not at all.
    pub sweep: Option<SweepSettings>,
    /// Resamples of the paired bootstrap. Default 2000.
    #[serde(default = "resamples")]
    pub resamples: usize,
}

/// A hospital's own records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsSettings {
    /// Table of appointments: .parquet, .csv, .tsv or .jsonl.
    pub table: PathBuf,
    /// Names of fields' columns, as `FIELD=COLUMN`.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Codes that people vouch for, a line `{"id": …, "patient": …, "codes": […]}` an appointment.
    pub manual: PathBuf,
}

/// Made-up records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedRecords {
    /// Patients; a few never come.
    pub patients: u64,
    /// Disease model of your own; default the shipped one.
    pub diseases: Option<PathBuf>,
    /// How they and their doctors are.
    #[serde(default)]
    pub settings: SimulateSettings,
}

/// Which patients are for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitSettings {
    /// Share of patients to choose checkpoints and thresholds on. Default 0.1.
    pub validation: f64,
    /// Share of patients to measure on, of whom records with manual codes count. 0: all patients with manual codes. Default 0.
    pub test: f64,
    /// Most records that are measured on, drawn by the seed; 0 is all. Default 0.
    pub test_records: usize,
    /// Seed of both choices. Default 1.
    pub seed: u64,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self { validation: 0.1, test: 0.0, test_records: 0, seed: 1 }
    }
}

/// The pipeline that codes conclusions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoderSettings {
    /// Built-in pipeline or pipeline file. Default `default`.
    pub pipeline: String,
    /// Changed keys, as `KEY=VALUE`.
    pub set: Vec<String>,
}

impl Default for CoderSettings {
    fn default() -> Self {
        Self { pipeline: "default".into(), set: Vec::new() }
    }
}

/// What both models begin with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Folder or hub id of a Longformer, or of a BERT that is made one; without it a new one is drawn.
    pub encoder: Option<String>,
    /// Where models are trained and predict. Default: on the GPU in a build for it, else on the CPU.
    pub device: Device,
    /// Sizes of a new one; its positions are those of the training's `max_tokens`.
    pub new: Sizes,
}

/// How an encoder is trained as a masked language model on the histories of training patients, in examples as long as an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainingSettings {
    /// The training loop.
    #[serde(deserialize_with = "read_fit")]
    pub fit: FitSettings,
}

fn read_fit<'de, D: Deserializer<'de>>(given: D) -> std::result::Result<FitSettings, D::Error> {
    PretrainingSettings::default().fit.read_over(given)
}

impl Default for PretrainingSettings {
    fn default() -> Self {
        Self { fit: EncoderSettings::default().fit }
    }
}

/// How good labels are made worse step by step. One model is trained for each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SweepSettings {
    /// Shares of the appointments that keep the codes that the doctor typed; the others have the true ones.
    pub doctors: Vec<f64>,
    /// The same of the coder's.
    pub coder: Vec<f64>,
    /// Most training records of a step.
    pub records: usize,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self { doctors: vec![0.0, 0.25, 0.5, 0.75, 1.0], coder: vec![0.0, 0.5, 1.0], records: 5000 }
    }
}

impl StudySettings {
    /// Reads a study's file; paths in it are taken from the folder that it lies in.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::Parse`] with the line; [`Error::Setting`] if a value is out of its range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let wrong = |e: toml::de::Error| Error::Parse {
            what: "study",
            path: path.to_owned(),
            line: e.span().map_or(1, |span| line_at(&text, span.start)),
            expected: "a study's keys and values".into(),
            got: e.message().to_owned(),
        };
        let mut settings: Self = toml::from_str(&text).map_err(wrong)?;
        let beside = |file: &mut PathBuf| {
            let named = path.parent().unwrap_or(Path::new("")).join(&*file);
            // One file has one name, from wherever the study is started.
            *file = named.canonicalize().unwrap_or(named);
        };
        if let Some(records) = &mut settings.records {
            beside(&mut records.table);
            beside(&mut records.manual);
        }
        if let Some(encoder) = &mut settings.model.encoder {
            let mut folder = PathBuf::from(&*encoder);
            beside(&mut folder);
            if folder.exists() {
                *encoder = folder.display().to_string(); // else it is a hub id
            }
        }
        settings.simulate.iter_mut().filter_map(|simulate| simulate.diseases.as_mut()).for_each(beside);
        settings.check()?;
        Ok(settings)
    }

    /// Returns the same settings without what is only shown, measured or computed otherwise, with the same figures.
    pub(super) fn essence(&self) -> Self {
        let mut essence = Self { title: String::new(), resamples: 0, runs: 0, sweep: None, ..self.clone() };
        essence.model.device = Device::default();
        let fits = essence.pretraining.iter_mut().map(|pretraining| &mut pretraining.fit);
        fits.chain([&mut essence.training.fit])
            .for_each(|fit| *fit = fit.clone().with_cost_of(&FitSettings::default()));
        essence
    }

    fn check(&self) -> Result<()> {
        let is_one = self.records.is_some() != self.simulate.is_some();
        let got = if self.records.is_some() { "both" } else { "neither" };
        check_setting(is_one, "records", "either [records] or [simulate]", got)?;
        let SplitSettings { validation, test, .. } = self.split;
        check_setting(validation > 0.0 && validation < 1.0, "split.validation", "between 0 and 1", validation)?;
        check_setting((0.0..1.0).contains(&(test + validation)), "split.test", "with validation below 1", test)?;
        check_setting(test >= 0.0, "split.test", "from 0", test)?;
        let simulated = self.simulate.is_some();
        check_setting(!simulated || test > 0.0, "split.test", "above 0: all made-up patients have true codes", test)?;
        if let Some(simulate) = &self.simulate {
            check_setting(simulate.patients > 0, "simulate.patients", "a whole number from 1", simulate.patients)?;
            simulate.settings.check()?;
        }
        if let Some(sweep) = &self.sweep {
            check_setting(simulated, "sweep", "made-up records, whose true codes are known", "[records]")?;
            let is_share = |share: &f64| (0.0..=1.0).contains(share);
            let wrong = sweep.doctors.iter().chain(&sweep.coder).find(|share| !is_share(share));
            check_setting(sweep.records > 0, "sweep.records", "a whole number from 1", sweep.records)?;
            let is_grid = !sweep.doctors.is_empty() && !sweep.coder.is_empty();
            check_setting(is_grid, "sweep", "shares of doctors and coder", "none")?;
            check_setting(wrong.is_none(), "sweep", "shares from 0 to 1", wrong.copied().unwrap_or_default())?;
        }
        if self.model.encoder.is_none() {
            self.model.new.check()?;
        }
        self.pretraining.as_ref().map_or(Ok(()), |pretraining| pretraining.fit.check())?;
        check_setting(self.runs > 0, "runs", "a whole number from 1", self.runs)?;
        check_setting(self.resamples > 0, "resamples", "a whole number from 1", self.resamples)?;
        self.training.check()
    }
}

fn title() -> String {
    "What automatic labels are worth".into()
}

fn runs() -> u64 {
    1
}

fn resamples() -> usize {
    2000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::fit::WarmUp;

    #[test]
    fn what_is_not_given_is_as_in_the_paper() {
        let text = "[simulate]\npatients = 9\n[pretraining]\n[training.fit]\nepochs = 3\n";
        let settings: StudySettings = toml::from_str(text).unwrap();
        let fit = FitSettings { epochs: 3, ..DiagnosisSettings::default().fit };
        assert_eq!((&settings.training.fit, fit.batch, fit.warm_up), (&fit, 4, WarmUp::Share(0.1)));
        assert_eq!(settings.pretraining, Some(PretrainingSettings::default()));
        let again: StudySettings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        let wrong =
            toml::from_str::<StudySettings>("[simulate]\npatients = 9\n[training.fit]\nepoch = 3\n").unwrap_err();
        assert!(wrong.message().contains("epoch") && wrong.span().is_some(), "{wrong}");
    }
}
