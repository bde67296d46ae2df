//! The loop.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use candle_core::Var;

use super::{
    EvaluationRecord, FitSettings, History, StepRecord, Task, Watch, batches,
    checkpoint::{self, State},
    curve, gradients,
    history::Log,
    memory,
    optimiser::Optimiser,
};
use crate::{
    artifact,
    error::{Error, Result},
    nn::Parameters,
};

/// Added to a gradient's norm before it divides, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// Steps whose mean loss is held against that of the first step.
const WINDOW: usize = 20;
/// How far it may rise above that: so many times as high, and so much more.
const MOST_RISE: (f64, f64) = (3.0, 1.0);
/// Steps of which one with a loss beyond that puts a checkpoint off.
const DOUBTFUL: usize = 5;

/// Trains `parameters` on `task` without a word. See [`fit_watched`].
///
/// # Errors
/// As [`fit_watched`].
pub fn fit(
    parameters: &Parameters,
    task: &mut dyn Task,
    settings: &FitSettings,
    folder: &Path,
    resume: bool,
) -> Result<History> {
    fit_watched(parameters, task, settings, Place { folder, resume }, &mut ())
}

/// Where a run keeps its files.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Folder, made where it does not exist.
    pub folder: &'a Path,
    /// Whether to go on from the checkpoint in it; a run without one begins.
    pub resume: bool,
}

/// Trains `parameters` on `task`, which leaves them at the best evaluation, or at the end of the run where nothing is evaluated.
///
/// Into `place.folder` go `checkpoint.safetensors` (weights, moments and the place in the run), `best.safetensors` (the weights that are
/// left), `losses.jsonl`, and the same as a table and a picture, `losses.csv` and `losses.svg`. A run that goes on from a checkpoint comes to the same bits as one that was never cut off,
/// with any number of threads; `settings.shards` alone decides the order of sums. Examples and settings must be those of the checkpoint, but
/// for what costs time or memory alone, and for learning rate and clipping: lower ones cure a loss that diverged.
///
/// # Errors
/// - [`Error::Setting`] or [`Error::Training`] if it cannot start; [`Error::Memory`] if a step would not fit.
/// - [`Error::Write`] if the folder cannot be written, or holds a checkpoint and `place.resume` is off.
/// - [`Error::NotFinite`] if the weights that it begins with give no numbers.
/// - [`Error::Diverged`] if the loss or a gradient is no number, or the loss rises far above where it began; [`Error::Stopped`] if `watch` asked for it.
/// - [`Error::Artifact`] if the checkpoint is damaged or belongs to another run; those of the task.
pub fn fit_watched(
    parameters: &Parameters,
    task: &mut dyn Task,
    settings: &FitSettings,
    place: Place<'_>,
    watch: &mut dyn Watch,
) -> Result<History> {
    settings.check()?;
    if task.is_empty() {
        return Err(Error::Training { what: "on this corpus", reason: "it holds no examples".into() });
    }
    let path = checkpoint::path(place.folder);
    if !place.resume && path.exists() {
        return Err(Error::write(path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut optimiser = Optimiser::new(parameters, settings)?;
    let state = checkpoint::load(place.folder, parameters, &mut optimiser, settings, task)?;
    let memory = memory::estimate(parameters, task, settings);
    watch.memory(&memory);
    memory.check()?;
    let log = Log::open(place.folder, state.step, state.evaluations)?;
    let per_epoch = task.len().div_ceil(settings.batch).div_ceil(settings.accumulation);
    let steps = settings.epochs.saturating_mul(per_epoch);
    watch.begin(steps, state.step);
    let variables = parameters.variables().values().collect();
    let run = Run {
        resumed: state.step,
        parameters,
        settings,
        folder: place.folder,
        watch,
        optimiser,
        state,
        log,
        steps,
        variables,
        saved: Instant::now(),
    };
    run.go(task)
}

/// A run under way.
struct Run<'a> {
    parameters: &'a Parameters,
    settings: &'a FitSettings,
    folder: &'a Path,
    watch: &'a mut dyn Watch,
    optimiser: Optimiser,
    state: State,
    log: Log,
    /// Of the whole run.
    steps: usize,
    variables: Vec<&'a Var>,
    /// Steps done before this run went on.
    resumed: usize,
    /// When the last checkpoint was written.
    saved: Instant,
}

impl Run<'_> {
    fn go(mut self, task: &mut dyn Task) -> Result<History> {
        if self.settings.evaluate_first && self.state.step == 0 && self.state.evaluated_step.is_none() {
            self.evaluate(task)?;
        }
        while !self.state.exhausted && self.state.epoch < self.settings.epochs {
            self.epoch(task)?;
        }
        if let Some(loss) = self.lost() {
            return Err(self.diverged(self.state.step, loss));
        }
        if self.state.evaluated_step != Some(self.state.step) {
            self.evaluate(task)?;
        }
        self.save(task)?;
        match self.state.best_step {
            Some(_) => checkpoint::load_best(self.folder, self.parameters)?,
            None => checkpoint::save_best(self.folder, self.parameters, self.state.step)?,
        }
        self.log.history.best_step = self.state.best_step;
        self.report()?;
        Ok(self.log.history)
    }

    /// Does the rest of the present epoch.
    fn epoch(&mut self, task: &mut dyn Task) -> Result<()> {
        let settings = self.settings;
        task.begin_epoch(self.state.epoch)?;
        let order = batches::order(task.len(), self.state.epoch, settings);
        let batches: Vec<&[usize]> = order.chunks(settings.batch).collect();
        while let Some(rest) = batches.get(self.state.batch..).filter(|rest| !rest.is_empty()) {
            self.step(task, &rest[..rest.len().min(settings.accumulation)])?;
            if self.state.step.is_multiple_of(settings.evaluate_steps) {
                self.evaluate(task)?;
                if self.state.exhausted {
                    return Ok(());
                }
            }
            self.save_if_due(task)?;
        }
        if settings.evaluate_steps == 0 && self.state.evaluated_step != Some(self.state.step) {
            self.evaluate(task)?;
        }
        self.state.epoch += 1;
        self.state.batch = 0;
        Ok(())
    }

    /// Returns the learning rate of the step after `done`.
    fn learning_rate(&self, done: usize) -> f64 {
        let warm_up = self.settings.warm_up.steps(self.steps);
        self.settings.learning_rate * self.settings.schedule.factor(done, warm_up, self.steps)
    }

    fn diverged(&self, step: usize, loss: f64) -> Error {
        let learning_rate = self.learning_rate(step.saturating_sub(1));
        let there = |path: PathBuf| Some(path).filter(|path| path.exists());
        let best = self.state.best_step.and_then(|_| there(checkpoint::best_path(self.folder)));
        Error::Diverged { step, loss, learning_rate, checkpoint: there(checkpoint::path(self.folder)), best }
    }

    /// Refuses weights that the last step threw out of all bounds before they replace good ones.
    fn check_weights(&self) -> Result<()> {
        match self.parameters.are_finite()? {
            true => Ok(()),
            false if self.state.step == 0 => Err(no_numbers()),
            false => Err(self.diverged(self.state.step, f64::NAN)),
        }
    }

    fn step(&mut self, task: &dyn Task, batches: &[&[usize]]) -> Result<()> {
        let settings = self.settings;
        let learning_rate = self.learning_rate(self.state.step);
        let found = gradients::compute(task, &self.variables, settings, self.state.step, batches)?;
        let norm = gradients::norm(&found.gradients)? * found.scale;
        if self.state.step == 0 && !found.loss.is_finite() {
            return Err(no_numbers());
        }
        if !found.loss.is_finite() || !norm.is_finite() {
            return Err(self.diverged(self.state.step + 1, found.loss));
        }
        let clip = if settings.clip_norm > 0.0 { (settings.clip_norm / (norm + CLIP_EPSILON)).min(1.0) } else { 1.0 };
        self.optimiser.step(&found.gradients, found.scale * clip, learning_rate)?;
        self.state.step += 1;
        self.state.batch += batches.len();
        let record = StepRecord {
            step: self.state.step,
            epoch: self.state.epoch + 1,
            loss: found.loss as f32,
            learning_rate: learning_rate as f32,
            gradient_norm: norm as f32,
            tokens: found.tokens,
        };
        self.watch.step(&record);
        self.log.step(record)?;
        match self.exploded() {
            Some(loss) => Err(self.diverged(self.state.step, loss)),
            None => Ok(()),
        }
    }

    /// Measures the model, keeps it if it is the best so far, and ends the run if it has not been for long.
    fn evaluate(&mut self, task: &dyn Task) -> Result<()> {
        self.check_weights()?;
        let Some(evaluation) = task.evaluate()? else { return Ok(()) };
        if evaluation.score.is_nan() {
            return Err(match self.state.step {
                0 => no_numbers(),
                step => self.diverged(step, f64::NAN),
            });
        }
        // Weights on the way to an explosion replace no good ones.
        let best = self.state.score(if self.lost().is_some() { f64::NAN } else { evaluation.score });
        if best {
            checkpoint::save_best(self.folder, self.parameters, self.state.step)?;
        }
        let finite = evaluation.figures.into_iter().filter(|(_, value)| value.is_finite());
        let figures = finite.map(|(name, value)| (name.to_owned(), value as f32)).collect();
        let (step, epoch) = (self.state.step, self.state.epoch.min(self.settings.epochs - 1) + 1);
        let record = EvaluationRecord { step, epoch, score: evaluation.score as f32, figures };
        self.watch.evaluation(&record, best);
        self.log.evaluation(record)?;
        self.state.exhausted = self.settings.patience > 0 && self.state.stale >= self.settings.patience;
        if best {
            self.save(task)?; // a run that goes on knows of the best weights
        }
        self.report()
    }

    /// Writes the history as a picture and as a table.
    fn report(&self) -> Result<()> {
        let history = &self.log.history;
        curve::draw(history, &self.folder.join("losses.svg"))?;
        artifact::write_atomic(&self.folder.join("losses.csv"), &history.table()?)
    }

    fn save_if_due(&mut self, task: &dyn Task) -> Result<()> {
        let settings = self.settings;
        let stop = self.watch.stop();
        let by_steps = self.state.step.is_multiple_of(settings.checkpoint_steps); // no step is one of 0
        let minutes = Duration::from_secs_f64(settings.checkpoint_minutes * 60.0);
        let by_time = settings.checkpoint_minutes > 0.0 && self.saved.elapsed() >= minutes;
        if stop || ((by_steps || by_time) && !self.is_exploding()) {
            self.save(task)?;
        }
        if stop {
            let checkpoint = checkpoint::path(self.folder);
            return Err(Error::Stopped { step: self.state.step, steps: self.steps, checkpoint });
        }
        Ok(())
    }

    /// Returns the mean loss of the last steps of this run if it lies far above that of the very first step, before which nothing had been
    /// learnt, and does not fall.
    fn exploded(&self) -> Option<f64> {
        let steps = &self.log.history.steps;
        let last = steps[self.resumed.min(steps.len())..].last_chunk::<WINDOW>()?;
        let mean = |some: &[StepRecord]| some.iter().map(|step| f64::from(step.loss)).sum::<f64>() / some.len() as f64;
        let (before, after) = last.split_at(WINDOW / 2);
        (mean(last) > bearable(steps) && mean(after) >= mean(before)).then_some(mean(last))
    }

    /// Tells whether the last steps are on the way to an explosion: such weights replace no good ones.
    fn is_exploding(&self) -> bool {
        let steps = &self.log.history.steps;
        let last = &steps[steps.len().saturating_sub(DOUBTFUL)..];
        last.iter().any(|step| f64::from(step.loss) > bearable(steps))
    }

    /// Returns the mean loss of the last steps if it lies far above that of the very first.
    fn lost(&self) -> Option<f64> {
        let steps = &self.log.history.steps;
        let last = &steps[steps.len().saturating_sub(DOUBTFUL)..];
        let mean = last.iter().map(|step| f64::from(step.loss)).sum::<f64>() / last.len().max(1) as f64;
        (mean > bearable(steps)).then_some(mean)
    }

    fn save(&mut self, task: &dyn Task) -> Result<()> {
        self.check_weights()?;
        checkpoint::save(self.folder, self.parameters, &self.optimiser, &self.state, self.settings, task)?;
        self.saved = Instant::now();
        Ok(())
    }
}

/// Says that a model gives no numbers before it has learnt anything: no matter of the learning rate.
fn no_numbers() -> Error {
    Error::NotFinite { model: "the model, before its first step,".into() }
}

/// Returns how high the loss may rise.
fn bearable(steps: &[StepRecord]) -> f64 {
    let began = steps.first().map_or(f64::INFINITY, |step| f64::from(step.loss));
    MOST_RISE.0 * began.max(0.0) + MOST_RISE.1
}
