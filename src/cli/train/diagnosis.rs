//! `noso train diagnosis`.

use std::{path::PathBuf, process::ExitCode};

use super::{
    fit::{Bar, FitArgs, defaults},
    manifest::{MODEL_WEIGHTS, Manifest},
    sizes::SizesArgs,
};
use crate::{
    cli::DONE,
    config::{Device, EncoderConfig},
    diagnosis::{
        InputSettings,
        dataset::Dataset,
        decision::Thresholds,
        labels::LabelSet,
        records::{Records, Wanted},
    },
    embed::bert::{device, load_model},
    nn::{
        fit::{Group, ModelFolder},
        pretrained::Pretrained,
    },
    train::diagnosis::{ClassWeights, DiagnosisSettings, Lesson, train},
};

/// Train a Longformer that predicts the codes of an appointment from what came before it
#[derive(Debug, clap::Args)]
#[command(after_long_help = defaults(&DiagnosisSettings::default().fit) + "
They are the paper's, for a pretrained encoder of 4096 tokens. A small one from scratch needs more, such as
--max-tokens 512 --window 64 --learning-rate 1e-3 --epochs 6 --batch 16.

Examples

  noso train diagnosis --dataset study --labels linked --encoder rubert-base --output predictor
  noso train diagnosis --dataset study --labels original --layers 2 --hidden 128 --output small")]
pub struct Args {
    /// Folder that `noso diagnosis build` wrote
    #[arg(long, value_name = "DIR")]
    dataset: PathBuf,
    /// Whose codes are learnt
    #[arg(long, value_enum)]
    labels: LabelSet,
    /// Learn all codes and appointments of these labels; else only codes that both sets have, and appointments with one of each
    #[arg(long)]
    alone: bool,
    /// Folder or hub id of a Longformer, or of a BERT that is made one; else a new one is drawn
    #[arg(long, value_name = "DIR|ID", conflicts_with_all = ["vocabulary", "layers", "hidden", "heads"])]
    encoder: Option<String>,
    #[command(flatten)]
    sizes: SizesArgs,
    /// Most tokens of an input: the newest are kept
    #[arg(long, value_name = "N", default_value_t = DiagnosisSettings::default().max_tokens)]
    max_tokens: usize,
    /// Tokens that one sees, half of them on either side [default: the encoder's, or 512]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Keep the conclusions of earlier appointments from the model
    #[arg(long)]
    no_conclusions: bool,
    /// Keep the codes of earlier appointments from the model
    #[arg(long)]
    no_codes: bool,
    /// How much what speaks for a code counts
    #[arg(long, value_enum, default_value_t)]
    class_weights: ClassWeights,
    /// Which thresholds are chosen on the validation patients
    #[arg(long, value_enum, default_value_t)]
    thresholds: Thresholds,
    /// Most validation records that are evaluated on; 0 is all
    #[arg(long, value_name = "N", default_value_t = DiagnosisSettings::default().validation_records)]
    validation_records: usize,
    /// Learning rate of what is put on the encoder [default: the encoder's]
    #[arg(long, value_name = "X")]
    head_learning_rate: Option<f64>,
    /// Where it is trained
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Folder to write, in the form of Hugging Face
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    fit: FitArgs,
}

/// Trains the model and writes its folder.
///
/// # Errors
/// If dataset or encoder cannot be read, teach nothing, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = ModelFolder::claim(&args.output, args.fit.resume)?;
    let settings = args.settings();
    settings.check()?;
    let dataset = Dataset::new(&args.dataset);
    let encoder = args.begin(&settings, &dataset)?;
    let labels = args.alone.then_some(args.labels);
    let records = Records::read(&dataset, &settings.reader(&encoder), &Wanted { labels, ..Wanted::default() })?;
    let counts = records.counts(args.labels);
    eprintln!(
        "to learn: {} appointments, {} codes ({} of them once); validation: {}",
        records.train.len(),
        records.classes.len(),
        counts.iter().filter(|&&count| count == 1).count(),
        records.validation.len(),
    );
    if records.validation.is_empty() {
        eprintln!(
            "without validation patients the last weights are kept, probabilities are not calibrated, and thresholds are 0.5"
        );
    }
    if records.leaks > 0 {
        eprintln!("{} appointments held codes that the coder found in complaints or tests: cut out", records.leaks);
    }
    let said = (&args.encoder, args.labels, args.alone, &settings);
    let data = records.fingerprint();
    if Manifest::tell_finished(&folder, &said, data) {
        return Ok(DONE);
    }
    let manifest = Manifest::begin(&folder, &said, data)?;
    let lesson = Lesson { records: &records, labels: args.labels, watched: 0 };
    let (_, report) = train(encoder, lesson, &settings, &folder, &mut Bar::new()?)?;
    manifest.finish(&folder, MODEL_WEIGHTS, &report.history)?;
    if let Some(reached) = report.reached {
        eprintln!(
            "validation: weighted F1 {:.4}, micro F1 {:.4}, P@1 {:.4}",
            reached.weighted_f1, reached.micro_f1, reached.precision_at_1
        );
    }
    eprintln!("{}: written", args.output.display());
    Ok(DONE)
}

impl Args {
    fn settings(&self) -> DiagnosisSettings {
        let defaults = DiagnosisSettings::default();
        let mut fit = self.fit.over(defaults.fit.clone());
        let group = |learning_rate| Group { prefix: "classifier.".into(), learning_rate, weight_decay: None };
        fit.groups.extend(self.head_learning_rate.map(group));
        DiagnosisSettings {
            input: InputSettings { conclusions: !self.no_conclusions, codes: !self.no_codes },
            max_tokens: self.max_tokens,
            window: self.window,
            class_weights: self.class_weights,
            thresholds: self.thresholds,
            validation_records: self.validation_records,
            fit,
        }
    }

    fn begin(&self, settings: &DiagnosisSettings, dataset: &Dataset) -> anyhow::Result<Pretrained> {
        if let Some(name) = &self.encoder {
            let encoder = load_model(&EncoderConfig { device: self.device, ..EncoderConfig::of(name) })?.0;
            return Ok(settings.begin(encoder)?);
        }
        let texts = settings.texts(dataset, |_| true)?;
        Ok(settings.draw(&texts, &self.sizes.sizes(), &device(self.device)?)?)
    }
}
