//! Options and progress of the training loop, the same for every job that trains a network.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::stop::on_ctrl_c,
    nn::{
        fit::{EvaluationRecord, FitSettings, Memory, Schedule, StepRecord, WarmUp, Watch},
        memory::resident,
    },
};

/// Time between two lines where standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// How fast the shown loss follows the true one.
const FOLLOW: f64 = 0.05;

/// Settings of the training loop; what is left out is the job's own default.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training loop")]
pub struct FitArgs {
    /// Passes over the examples
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Examples a batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches whose gradients are averaged into one step
    #[arg(long, value_name = "N")]
    accumulation: Option<usize>,
    /// Highest learning rate
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Weight decay; biases and normalisations are spared
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// Course of the learning rate after the warm-up
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Warm-up of the learning rate: a share of all steps such as 0.1, or a number of steps
    #[arg(long, value_name = "SHARE|STEPS", value_parser = warm_up)]
    warm_up: Option<WarmUp>,
    /// Longest gradient; 0 clips none
    #[arg(long, value_name = "X")]
    clip_norm: Option<f64>,
    /// Seed of weights that are drawn, of the order of examples and of dropout
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Parts of a batch that are computed side by side: one a core is fastest
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Most tokens of a part that are computed at once; fewer need less memory
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// Compute the layers a second time on the way back instead of keeping what they gave: slower, needs far less memory
    #[arg(long)]
    recompute: bool,
    /// Steps between two evaluations [default: an epoch]
    #[arg(long, value_name = "N")]
    evaluate_steps: Option<usize>,
    /// Stop after this many evaluations without a better one; 0 is never
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Steps between two checkpoints [default: by time]
    #[arg(long, value_name = "N")]
    checkpoint_steps: Option<usize>,
    /// Minutes between two checkpoints; 0 is never
    #[arg(long, value_name = "X")]
    checkpoint_minutes: Option<f64>,
    /// Go on with an earlier run of the same command that was cut off
    #[arg(long)]
    pub resume: bool,
}

impl FitArgs {
    /// Returns a job's settings with what was typed put over them.
    pub fn over(&self, job: FitSettings) -> FitSettings {
        FitSettings {
            epochs: self.epochs.unwrap_or(job.epochs),
            batch: self.batch.unwrap_or(job.batch),
            accumulation: self.accumulation.unwrap_or(job.accumulation),
            learning_rate: self.learning_rate.unwrap_or(job.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(job.weight_decay),
            schedule: self.schedule.unwrap_or(job.schedule),
            warm_up: self.warm_up.unwrap_or(job.warm_up),
            clip_norm: self.clip_norm.unwrap_or(job.clip_norm),
            seed: self.seed.unwrap_or(job.seed),
            shards: self.shards.unwrap_or(job.shards),
            batch_tokens: self.batch_tokens.unwrap_or(job.batch_tokens),
            recompute: self.recompute || job.recompute,
            evaluate_steps: self.evaluate_steps.unwrap_or(job.evaluate_steps),
            patience: self.patience.unwrap_or(job.patience),
            checkpoint_steps: self.checkpoint_steps.unwrap_or(job.checkpoint_steps),
            checkpoint_minutes: self.checkpoint_minutes.unwrap_or(job.checkpoint_minutes),
            ..job
        }
    }
}

/// Says in words what a job's training loop does where nothing is typed, for its help.
pub fn defaults(job: &FitSettings) -> String {
    let FitSettings { epochs, batch, learning_rate, weight_decay, clip_norm, shards, batch_tokens, seed, .. } = job;
    let schedule = match job.schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "falling in a line",
        Schedule::Cosine => "falling along a cosine",
    };
    let warm_up = match job.warm_up {
        WarmUp::Steps(0) => "no warm-up".to_owned(),
        WarmUp::Steps(steps) => format!("{steps} steps of warm-up"),
        WarmUp::Share(share) => format!("{} % of warm-up", share * 100.0),
    };
    let clip = if *clip_norm > 0.0 { format!("gradients cut at {clip_norm}") } else { "gradients not cut".to_owned() };
    format!(
        "Defaults of the training loop: {epochs} epochs, batches of {batch}, learning rate {learning_rate:e} {schedule}, {warm_up}, weight decay\n{weight_decay}, {clip}, {shards} shards of at most {batch_tokens} tokens at once, seed {seed}, a checkpoint every {} minutes.",
        job.checkpoint_minutes
    )
}

/// Reads a share such as `0.1` or a number of steps such as `500`.
fn warm_up(text: &str) -> Result<WarmUp, String> {
    match usize::from_str(text) {
        Ok(steps) => Ok(WarmUp::Steps(steps)),
        Err(_) => match f64::from_str(text) {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(WarmUp::Share(share)),
            _ => Err("expected a share from 0 to 1, or a whole number of steps".into()),
        },
    }
}

/// Shows a run on stderr, and stops it after a step when Ctrl-C is pressed.
pub struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    started: Instant,
    tokens: usize,
    loss: Option<f64>,
    /// When a line was last written, where no bar can be drawn.
    told: Instant,
    steps: usize,
    /// Bytes of a model that is not trained.
    base: Option<usize>,
}

impl Bar {
    /// Starts to listen to Ctrl-C and SIGTERM; once a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> anyhow::Result<Self> {
        let stop = on_ctrl_c("this step")?;
        let now = Instant::now();
        Ok(Self {
            bar: ProgressBar::hidden(),
            stop,
            started: now,
            tokens: 0,
            loss: None,
            told: now,
            steps: 0,
            base: None,
        })
    }
}

impl Bar {
    /// Names the bytes of a model that is not trained beside what the run needs.
    pub fn beside(mut self, base: Option<usize>) -> Self {
        self.base = base;
        self
    }
}

impl Watch for Bar {
    fn memory(&mut self, memory: &Memory) {
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / 1048576.0);
        let (base, of_weights) = match self.base {
            Some(bytes) => (format!("base model {}, ", mib(bytes as f64)), "adapter and optimiser"),
            None => (String::new(), "weights and optimiser"),
        };
        let Memory { weights, activations, free } = *memory;
        let free = free.map(|free| format!("; {} free", mib(free))).unwrap_or_default();
        eprintln!("memory: {base}{of_weights} about {}, activations {}{free}", mib(weights), mib(activations));
    }

    fn begin(&mut self, steps: usize, done: usize) {
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} steps, {msg}, {eta} left");
        self.bar = ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        self.started = Instant::now();
        (self.steps, self.tokens, self.loss) = (steps, 0, None);
    }

    fn step(&mut self, step: &StepRecord) {
        self.tokens += step.tokens;
        let new = f64::from(step.loss);
        let loss = self.loss.map_or(new, |old| old + FOLLOW * (new - old));
        self.loss = Some(loss);
        let speed = self.tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let memory = resident().map(|bytes| format!(", {} MiB", bytes >> 20)).unwrap_or_default();
        let state = format!("loss {loss:.4}, lr {:.2e}, {speed:.0} tokens/s{memory}", step.learning_rate);
        if self.bar.is_hidden() && (step.step == self.steps || self.told.elapsed() >= LINE_INTERVAL) {
            eprintln!("epoch {}, step {} of {}: {state}", step.epoch, step.step, self.steps);
            self.told = Instant::now();
        }
        self.bar.set_message(state);
        self.bar.set_position(step.step as u64);
    }

    fn evaluation(&mut self, evaluation: &EvaluationRecord, best: bool) {
        let figures: String = evaluation.figures.iter().map(|(name, value)| format!(", {name} {value:.4}")).collect();
        let loss = self.loss.map(|loss| format!(", training loss {loss:.4}")).unwrap_or_default();
        let EvaluationRecord { step, epoch, score, .. } = evaluation;
        // A score that is a loss turned round would only be told twice.
        let score = match evaluation.figures.values().any(|value| *value == -score) {
            true => String::new(),
            false => format!(", score {score:.4}"),
        };
        let best = if best { "" } else { ", not better" };
        self.bar.suspend(|| eprintln!("epoch {epoch}, step {step}{score}{figures}{loss}{best}"));
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
