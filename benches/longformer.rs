//! Times a Longformer classifier at one length, forward pass alone or whole training steps: a folder of
//! `scripts/peers/longformer.py --make` comes in (`config.json`, `model.safetensors`, `texts.json`), one line of JSON leaves. Run by
//! `scripts/bench_longformer.sh`.

mod peak;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, safetensors};
use noso::nn::{
    Masks, Packed, Parameters, SequenceClassifier,
    bert::{Bert, BertConfig},
    divide,
    fit::{self, Evaluation, FitSettings, Loss, Place, Schedule, StepRecord, Task, Watch},
    ops,
};
use rayon::prelude::*;

use peak::peak_mib;

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Token ids of all batches, one after another, and the classes of each sequence.
#[derive(serde::Deserialize)]
struct Texts {
    batch_tokens: usize,
    ids: Vec<u32>,
    labels: Vec<Vec<usize>>,
}

struct Labelling {
    classifier: SequenceClassifier,
    classes: usize,
    texts: Texts,
    /// Tokens of a sequence.
    length: usize,
}

impl Labelling {
    /// Returns the number of sequences in a batch.
    fn batch(&self) -> usize {
        self.texts.batch_tokens / self.length
    }

    /// Computes `(examples, classes)`; the first token of each is global.
    fn logits(&self, examples: &[usize], masks: Option<&mut Masks>) -> noso::Result<Tensor> {
        let sequence = |&example: &usize| &self.texts.ids[example * self.length..][..self.length];
        self.classifier.forward(&Packed::new(examples.iter().map(sequence)), masks)
    }
}

impl Task for Labelling {
    fn len(&self) -> usize {
        self.texts.ids.len() / self.length
    }

    fn fingerprint(&self) -> u64 {
        fit::fingerprint(&self.texts.ids)
    }

    fn tokens(&self, _: usize) -> usize {
        self.length
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> noso::Result<Loss> {
        let logits = self.logits(examples, masks)?;
        let mut targets = vec![0.0f32; examples.len() * self.classes];
        for (row, &example) in targets.chunks_exact_mut(self.classes).zip(examples) {
            self.texts.labels[example].iter().for_each(|&class| row[class] = 1.0);
        }
        let targets = Tensor::from_vec(targets, logits.shape(), logits.device())?;
        let sum = ops::binary_cross_entropy(&logits, &targets, None)?;
        Ok(Loss { sum, weight: (examples.len() * self.classes) as f64 })
    }

    fn evaluate(&self) -> noso::Result<Option<Evaluation>> {
        Ok(None)
    }
}

/// What was timed, without the first batch, and what was computed: logits or losses.
struct Measured {
    milliseconds: Vec<f64>,
    numbers: Vec<f32>,
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
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (folder, length, work) = match arguments.as_slice() {
        [folder, length, work] if ["forward", "train"].contains(&work.as_str()) => (Path::new(folder), length, work),
        _ => bail!("usage: longformer FOLDER LENGTH forward|train (FOLDER by scripts/peers/longformer.py --make)"),
    };
    let length: usize = length.parse().with_context(|| format!("{length} is no number of tokens"))?;
    let read = |name: &str| std::fs::read(folder.join(name)).with_context(|| format!("{}/{name}", folder.display()));
    let texts: Texts = serde_json::from_slice(&read("texts.json")?)?;
    if length == 0 || !texts.batch_tokens.is_multiple_of(length) || texts.labels.len() < texts.ids.len() / length {
        bail!("a batch of {} tokens is not made of labelled sequences of {length}", texts.batch_tokens);
    }
    let config: BertConfig = serde_json::from_slice(&read("config.json")?)?;
    let before = peak_mib()?;
    let device = Device::Cpu;
    let weights = safetensors::load(folder.join("model.safetensors"), &device)?;
    let classes = weights.get("classifier.out_proj.bias").context("the model has no classifier")?.elem_count();
    let mut parameters = Parameters::from_tensors("model.safetensors", weights, &device, 1);
    let bert = Bert::new(&config, &mut parameters, "longformer", false)?;
    let classifier = SequenceClassifier::new(&bert, &mut parameters, classes)?;
    let task = Labelling { classifier, classes, texts, length };
    let measured = if work == "train" { train(&parameters, task)? } else { forward(task)? };
    let line = serde_json::json!({
        "engine": "noso", "ms": measured.milliseconds, "numbers": measured.numbers, "before_mib": before, "peak_mib": peak_mib()?,
    });
    println!("{line}");
    Ok(())
}

/// Computes logits as the stages do that encode texts: a batch is divided among the threads.
fn forward(mut task: Labelling) -> Result<Measured> {
    task.classifier = task.classifier.detached();
    let examples: Vec<usize> = (0..task.len()).collect();
    let share = task.texts.batch_tokens.div_ceil(rayon::current_num_threads());
    let (mut milliseconds, mut numbers) = (Vec::new(), Vec::new());
    for batch in examples.chunks(task.batch()) {
        let began = Instant::now();
        let parts = divide(batch, |example| task.tokens(example), share);
        let logits: Vec<Tensor> = parts.par_iter().map(|part| task.logits(part, None)).collect::<noso::Result<_>>()?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        numbers.extend(Tensor::cat(&logits, 0)?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(Measured { milliseconds: milliseconds.into_iter().skip(1).collect(), numbers })
}

/// Trains as every job does; a step ends where the next begins.
fn train(parameters: &Parameters, mut task: Labelling) -> Result<Measured> {
    let settings = FitSettings {
        epochs: 1,
        batch: task.batch(),
        schedule: Schedule::Constant,
        shuffle: false,
        checkpoint_minutes: 0.0,
        ..FitSettings::default()
    };
    let place = tempfile::tempdir()?;
    let mut clock = Clock::default();
    fit::fit_watched(parameters, &mut task, &settings, Place { folder: place.path(), resume: false }, &mut clock)?;
    let steps = clock.0.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64() * 1e3);
    Ok(Measured { milliseconds: steps.collect(), numbers: clock.0.iter().map(|(_, loss)| *loss).collect() })
}
