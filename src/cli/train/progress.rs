//! Shows on stderr how far a training run is.

use indicatif::{ProgressBar, ProgressStyle};

use crate::nn::fit::{EvaluationRecord, StepRecord, Watch};

/// A bar with rate, time left and loss, and a line for each evaluation.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts without a bar: the run tells its length.
    pub(super) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Watch for Progress {
    fn begin(&mut self, steps: usize, done: usize) {
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} steps, {per_sec}, {eta} left{msg}");
        self.0 = ProgressBar::new(steps as u64)
            .with_position(done as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.reset_eta();
    }

    fn step(&mut self, step: &StepRecord) {
        self.0.set_message(format!(", loss {:.4}", step.loss));
        self.0.inc(1);
    }

    fn evaluation(&mut self, evaluation: &EvaluationRecord, best: bool) {
        let figures = evaluation.figures.iter();
        let figures: Vec<String> =
            figures.filter_map(|(name, value)| Some(format!("{name} {:.4}", value.as_f64()?))).collect();
        let best = if best { ", the best so far" } else { "" };
        self.0.suspend(|| eprintln!("epoch {}: {}{best}", evaluation.epoch, figures.join(", ")));
    }
}
