//! Times the steps of training a token classifier: a folder of `scripts/peers/train_step.py --make` comes in (`config.json`,
//! `model.safetensors`, `batches.json`), one line of JSON leaves. Run by `scripts/bench_train_step.sh`.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use candle_core::{Device, safetensors};
use noso::nn::{
    Masks, Packed, Parameters,
    bert::{Bert, BertConfig, Linear},
    fit::{self, Evaluation, FitSettings, Loss, Place, Schedule, StepRecord, Task, WarmUp, Watch},
    ops,
};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sequences and the label of each token.
#[derive(serde::Deserialize)]
struct Batches {
    batch: usize,
    ids: Vec<Vec<u32>>,
    labels: Vec<Vec<u32>>,
}

struct Tagging {
    bert: Bert,
    classifier: Linear,
    batches: Batches,
}

impl Task for Tagging {
    fn len(&self) -> usize {
        self.batches.ids.len()
    }

    fn fingerprint(&self) -> u64 {
        fit::fingerprint(&self.batches.ids)
    }

    fn tokens(&self, example: usize) -> usize {
        self.batches.ids[example].len()
    }

    fn loss(&self, examples: &[usize], mut masks: Option<&mut Masks>) -> noso::Result<Loss> {
        let packed = Packed::new(examples.iter().map(|&example| self.batches.ids[example].as_slice()));
        let labels: Vec<Option<u32>> = examples
            .iter()
            .flat_map(|&example| self.batches.labels[example].iter().map(|&label| Some(label)))
            .collect();
        let hidden = self.bert.forward(&packed, masks.as_deref_mut())?;
        let hidden = ops::dropout(&hidden, self.bert.config().hidden_dropout_prob, masks)?;
        let sum = ops::cross_entropy(&self.classifier.forward(&hidden)?, &labels, 0.0)?;
        Ok(Loss { sum, weight: labels.len() as f64 })
    }

    fn evaluate(&self) -> noso::Result<Option<Evaluation>> {
        Ok(None)
    }
}

/// Notes when each step ended, and its loss.
#[derive(Default)]
struct Clock(Vec<(Instant, f32)>);

impl Watch for Clock {
    fn step(&mut self, step: &StepRecord) {
        self.0.push((Instant::now(), step.loss));
    }
}

fn main() -> Result<()> {
    let Some(folder) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        bail!("usage: train_step FOLDER (written by scripts/peers/train_step.py --make)");
    };
    let folder = Path::new(&folder);
    let read = |name: &str| std::fs::read(folder.join(name)).with_context(|| format!("{}/{name}", folder.display()));
    let config: BertConfig = serde_json::from_slice(&read("config.json")?)?;
    let batches: Batches = serde_json::from_slice(&read("batches.json")?)?;
    let device = Device::Cpu;
    let weights = safetensors::load(folder.join("model.safetensors"), &device)?;
    let mut parameters = Parameters::from_tensors("model.safetensors", weights, &device, 1);
    let bert = Bert::new(&config, &mut parameters, "", false)?;
    let classifier = Linear::new(&mut parameters, "classifier", 3, config.hidden_size, config.initializer_range)?;
    let settings = FitSettings {
        epochs: 1,
        batch: batches.batch,
        schedule: Schedule::Constant,
        warm_up: WarmUp::Steps(0),
        shuffle: false,
        checkpoint_minutes: 0.0,
        ..FitSettings::default()
    };
    let place = tempfile::tempdir()?;
    let mut clock = Clock::default();
    let mut task = Tagging { bert, classifier, batches };
    let place = Place { folder: place.path(), resume: false };
    fit::fit_watched(&parameters, &mut task, &settings, place, &mut clock)?;
    let steps: Vec<f64> = clock.0.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64() * 1e3).collect();
    let losses: Vec<f32> = clock.0.iter().map(|(_, loss)| *loss).collect();
    println!("{}", serde_json::json!({"engine": "noso", "step_ms": steps, "losses": losses}));
    Ok(())
}
