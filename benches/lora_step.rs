//! Times the steps of LoRA fine-tuning, by the code behind `noso train lora`: a folder of `scripts/peers/lora.py --make` comes in (a model,
//! `texts.json`), one line of JSON leaves. Run by `scripts/bench_lora.sh`.

mod peak;

use std::{path::Path, time::Instant};

use anyhow::{Result, bail};
use noso::{
    config::Device,
    embed::bert::device,
    nn::{
        Parameters,
        decoder::{LanguageModel, Lora},
        fit::{FitSettings, Place, StepRecord, Watch, fit_watched},
    },
    train::lora::{AnswerTask, Example, settings::FinetuneSettings},
};

use peak::peak_mib;

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(serde::Deserialize)]
struct Texts {
    batch: usize,
    accumulation: usize,
    examples: Vec<Text>,
}

#[derive(serde::Deserialize)]
struct Text {
    ids: Vec<u32>,
    answer: usize,
}

/// Notes when each step ended, and what it was.
#[derive(Default)]
struct Clock(Vec<(Instant, StepRecord)>);

impl Watch for Clock {
    fn step(&mut self, step: &StepRecord) {
        self.0.push((Instant::now(), step.clone()));
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (folder, device) = match arguments.as_slice() {
        [folder] => (Path::new(folder), device(Device::Cpu)?),
        [folder, kind] if kind == "cuda" => (Path::new(folder), device(Device::Cuda)?),
        _ => bail!("usage: lora_step FOLDER [cuda] (written by scripts/peers/lora.py --make)"),
    };
    let texts: Texts = serde_json::from_slice(&std::fs::read(folder.join("texts.json"))?)?;
    let FinetuneSettings { lora, fit, .. } = FinetuneSettings::default();
    let settings = FitSettings {
        epochs: 1,
        batch: texts.batch,
        accumulation: texts.accumulation,
        shuffle: false,
        evaluate_steps: 0,
        checkpoint_steps: 0,
        checkpoint_minutes: 0.0,
        ..fit
    };
    let mut decoder = LanguageModel::load(folder, &device, true)?.decoder;
    let mut parameters = Parameters::new(&device, settings.seed);
    let lora = Lora { targets: decoder.usual_targets(), ..lora };
    decoder.adapt(&mut parameters, &lora)?;
    let example = |text: Text| Example { ids: text.ids, answer: text.answer, weight: 1 };
    let examples = texts.examples.into_iter().map(example).collect();
    let mut task = AnswerTask::new(decoder, examples, Vec::new(), settings.batch_tokens);
    let place = tempfile::tempdir()?;
    let mut clock = Clock::default();
    fit_watched(&parameters, &mut task, &settings, Place { folder: place.path(), resume: false }, &mut clock)?;
    let seconds: Vec<f64> = clock.0.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect();
    let tokens: Vec<usize> = clock.0.iter().map(|(_, step)| step.tokens).collect();
    let losses: Vec<f32> = clock.0.iter().map(|(_, step)| step.loss).collect();
    let line = serde_json::json!({
        "engine": "noso", "step_s": seconds, "tokens": tokens, "losses": losses, "peak_mib": peak_mib()?,
    });
    println!("{line}");
    Ok(())
}
