//! The training loop: what it reaches, that it can be cut off anywhere, and what it says when it cannot go on.

use std::path::Path;

use candle_core::{Device, Tensor};
use noso::{
    Error, Result,
    nn::{
        Init, Masks, Parameters,
        bert::Linear,
        fit::{
            Evaluation, FitSettings, History, Loss, Place, Schedule, StepRecord, Task, WarmUp, Watch, fingerprint, fit,
            fit_watched,
        },
        ops,
    },
};
use tempfile::tempdir;

use super::numbers::difference;

/// Learns `y = 2·a - b + 3` from 24 points, with dropout on the input if asked.
struct Line {
    model: Linear,
    points: Vec<([f32; 2], f32)>,
    drop: f32,
    /// Step from which the loss is no number: a target is infinite in this epoch.
    broken_in_epoch: Option<usize>,
    epoch: usize,
    /// Scores that the evaluations give, one an epoch; by default the negative loss.
    scores: Vec<f64>,
}

impl Line {
    fn new(drop: f32) -> (Parameters, Self) {
        let mut parameters = Parameters::new(&Device::Cpu, 5);
        let model = Linear::new(&mut parameters, "line", 1, 2, 0.02).unwrap();
        let points = (0..24)
            .map(|n| {
                let (a, b) = ((n as f32 * 0.7).sin(), (n as f32 * 1.3).cos());
                ([a, b], 2.0 * a - b + 3.0)
            })
            .collect();
        (parameters, Self { model, points, drop, broken_in_epoch: None, epoch: 0, scores: Vec::new() })
    }

    fn error(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Tensor> {
        let inputs: Vec<f32> = examples.iter().flat_map(|&e| self.points[e].0).collect();
        let mut targets: Vec<f32> = examples.iter().map(|&e| self.points[e].1).collect();
        if self.broken_in_epoch == Some(self.epoch) {
            targets[0] = f32::INFINITY;
        }
        let inputs = Tensor::from_vec(inputs, (examples.len(), 2), &Device::Cpu)?;
        let targets = Tensor::from_vec(targets, (examples.len(), 1), &Device::Cpu)?;
        let outputs = self.model.forward(&ops::dropout(&inputs, self.drop, masks)?)?;
        Ok((outputs - targets)?.sqr()?.sum_all()?)
    }
}

impl Task for Line {
    fn len(&self) -> usize {
        self.points.len()
    }

    fn fingerprint(&self) -> u64 {
        let points = self.points.iter().map(|(point, target)| (point.map(f32::to_bits), target.to_bits()));
        fingerprint(points.collect::<Vec<_>>())
    }

    fn tokens(&self, example: usize) -> usize {
        1 + example % 3
    }

    fn begin_epoch(&mut self, epoch: usize) -> Result<()> {
        self.epoch = epoch;
        Ok(())
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        Ok(Loss { sum: self.error(examples, masks)?, weight: examples.len() as f64 })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        let all: Vec<usize> = (0..self.points.len()).collect();
        let error = f64::from(self.error(&all, None)?.to_scalar::<f32>()?) / 24.0;
        let score = self.scores.get(self.epoch).copied().unwrap_or(-error);
        Ok(Some(Evaluation { score, figures: vec![("error", error)] }))
    }
}

fn settings() -> FitSettings {
    FitSettings {
        epochs: 4,
        batch: 5,
        learning_rate: 0.05,
        warm_up: WarmUp::Share(0.1),
        checkpoint_minutes: 0.0,
        ..FitSettings::default()
    }
}

fn weights(parameters: &Parameters) -> Vec<f32> {
    parameters.variables().values().flat_map(|v| v.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

/// Stops after a number of steps.
struct StopAfter {
    steps: usize,
    seen: usize,
}

impl Watch for StopAfter {
    fn step(&mut self, _: &StepRecord) {
        self.seen += 1;
    }

    fn stop(&self) -> bool {
        self.seen >= self.steps
    }
}

/// Trains a fresh line and returns its weights and history.
fn train(settings: &FitSettings, drop: f32) -> (Vec<f32>, History) {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(drop);
    let history = fit(&parameters, &mut task, settings, folder.path(), false).unwrap();
    (weights(&parameters), history)
}

#[test]
fn learns_and_leaves_its_record() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let settings = FitSettings { epochs: 60, weight_decay: 0.0, learning_rate: 0.1, ..settings() };
    let history = fit(&parameters, &mut task, &settings, folder.path(), false).unwrap();
    assert!(history.steps.last().unwrap().loss < 1e-3, "{:?}", history.steps.last());
    assert!(difference(&weights(&parameters), &[3.0, 2.0, -1.0]) < 0.05, "{:?}", weights(&parameters));
    assert_eq!((history.steps.len(), history.evaluations.len()), (300, 60));
    let lines = std::fs::read_to_string(folder.path().join("losses.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 360);
    let curve = std::fs::read_to_string(folder.path().join("losses.svg")).unwrap();
    for words in ["training loss", "evaluation score", "step"] {
        assert!(curve.contains(words), "{words}");
    }
}

#[test]
fn a_run_cut_off_anywhere_comes_to_the_same_bits() {
    let settings = FitSettings { accumulation: 2, shards: 3, evaluate_steps: 4, ..settings() };
    let (whole, history) = train(&settings, 0.3);
    // 24 examples: 5 batches, 3 steps an epoch. Cut in the middle of an epoch, at its end, and at an evaluation.
    for cuts in [vec![1], vec![3], vec![4, 1], vec![2, 2, 3, 1]] {
        let folder = tempdir().unwrap();
        for (number, &steps) in cuts.iter().enumerate() {
            let (parameters, mut task) = Line::new(0.3);
            let place = Place { folder: folder.path(), resume: number > 0 };
            let stopped = fit_watched(&parameters, &mut task, &settings, place, &mut StopAfter { steps, seen: 0 });
            let error = stopped.unwrap_err();
            assert!(matches!(error, Error::Stopped { steps: 12, .. }), "{error}");
            assert!(error.hint().unwrap().contains("--resume"));
        }
        let (parameters, mut task) = Line::new(0.3);
        let resumed = fit(&parameters, &mut task, &settings, folder.path(), true).unwrap();
        assert_eq!(weights(&parameters), whole, "{cuts:?}");
        assert_eq!(resumed, history, "{cuts:?}");
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let settings = FitSettings { checkpoint_steps: 3, ..settings() };
    let (whole, history) = train(&settings, 0.3);
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.3);
    task.broken_in_epoch = Some(2); // dies in step 11; the checkpoint is of step 9
    fit(&parameters, &mut task, &settings, folder.path(), false).unwrap_err();
    let (parameters, mut task) = Line::new(0.3);
    let resumed = fit(&parameters, &mut task, &settings, folder.path(), true).unwrap();
    assert_eq!(weights(&parameters), whole);
    assert_eq!(resumed, history);
}

#[test]
fn shards_and_pieces_change_nothing_but_the_last_digits() {
    let (one, _) = train(&FitSettings { shards: 1, ..settings() }, 0.0);
    for (shards, batch_tokens) in [(2, 8192), (4, 8192), (2, 3)] {
        let (many, _) = train(&FitSettings { shards, batch_tokens, ..settings() }, 0.0);
        assert!(difference(&one, &many) < 1e-6, "{shards} shards of {batch_tokens}: {one:?} {many:?}");
    }
    assert_eq!(train(&settings(), 0.3).0, train(&settings(), 0.3).0);
}

#[test]
fn accumulated_batches_equal_one_large_batch() {
    let small = FitSettings { batch: 6, accumulation: 2, ..settings() };
    let (accumulated, steps) = train(&small, 0.0);
    let (large, others) = train(&FitSettings { batch: 12, accumulation: 1, ..small }, 0.0);
    assert_eq!(steps.steps.len(), others.steps.len());
    assert!(difference(&accumulated, &large) < 1e-6, "{accumulated:?} {large:?}");
}

#[test]
fn long_gradients_are_shortened() {
    // AdamW hardly minds the gradient's length, so two steps of very different ones tell clipping from none.
    let (_, free) = train(&FitSettings { clip_norm: 0.0, ..settings() }, 0.0);
    let (_, clipped) = train(&FitSettings { clip_norm: 0.01, ..settings() }, 0.0);
    assert!(free.steps[0].gradient_norm > 1.0);
    assert_eq!(
        free.steps[0].gradient_norm, clipped.steps[0].gradient_norm,
        "the record tells the norm before clipping"
    );
    assert_ne!(free.steps.last().unwrap().loss, clipped.steps.last().unwrap().loss);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    task.broken_in_epoch = Some(1);
    let settings = FitSettings { checkpoint_steps: 2, schedule: Schedule::Constant, ..settings() };
    let error = fit(&parameters, &mut task, &settings, folder.path(), false).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 6, .. }), "{error}");
    assert!(error.to_string().contains("step 6, at learning rate 5.000e-2"), "{error}");
    let hint = error.hint().unwrap();
    for part in ["learning rate", "checkpoint.safetensors", "best.safetensors"] {
        assert!(hint.contains(part), "{hint}");
    }
    assert!(weights(&parameters).iter().all(|weight| weight.is_finite()));
    assert!(folder.path().join("checkpoint.safetensors").exists());
    assert!(folder.path().join("best.safetensors").exists());
}

#[test]
fn best_weights_later_than_the_checkpoint_are_not_taken_for_its_own() {
    let folder = tempdir().unwrap();
    let (checkpoint, old) = (folder.path().join("checkpoint.safetensors"), folder.path().join("old"));
    let part = |settings: &FitSettings, scores: &[f64], resume, steps| {
        let (parameters, mut task) = Line::new(0.0);
        task.scores = scores.to_vec();
        let place = Place { folder: folder.path(), resume };
        let ran = fit_watched(&parameters, &mut task, settings, place, &mut StopAfter { steps, seen: 0 });
        (weights(&parameters), ran)
    };
    // As if the run had been killed after step 10, between writing the best weights and the checkpoint.
    let (after_six, _) = part(&settings(), &[0.5, 0.9], false, 6);
    std::fs::copy(&checkpoint, &old).unwrap();
    let (_, stopped) = part(&settings(), &[0.5, 0.9], true, 5);
    assert!(matches!(stopped, Err(Error::Stopped { step: 11, .. })));
    std::fs::rename(&old, &checkpoint).unwrap();
    // At next to no learning rate the weights stay; no later evaluation is better than that of step 5.
    let slow = FitSettings { learning_rate: 1e-12, ..settings() };
    let (left, ran) = part(&slow, &[0.5, 0.4, 0.3, 0.2], true, usize::MAX);
    assert_eq!(ran.unwrap().best_step, Some(10));
    assert!(difference(&left, &after_six) < 1e-6, "{left:?} {after_six:?}");
}

#[test]
fn a_last_step_that_throws_the_weights_out_of_bounds_leaves_nothing_behind() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let settings = FitSettings {
        epochs: 1,
        batch: 1000,
        learning_rate: 1e39,
        warm_up: WarmUp::Steps(0),
        schedule: Schedule::Constant,
        ..settings()
    };
    let error = fit(&parameters, &mut task, &settings, folder.path(), false).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 1, checkpoint: None, .. }), "{error}");
    assert!(!folder.path().join("best.safetensors").exists() && !folder.path().join("checkpoint.safetensors").exists());
}

#[test]
fn stops_when_patience_runs_out_and_returns_the_best() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    task.scores = vec![0.1, 0.5, 0.3, 0.4, 0.9];
    let settings = FitSettings { epochs: 9, patience: 2, ..settings() };
    let history = fit(&parameters, &mut task, &settings, folder.path(), false).unwrap();
    assert_eq!(history.evaluations.len(), 4);
    assert_eq!(history.best_step, Some(10));
    let best = candle_core::safetensors::load(folder.path().join("best.safetensors"), &Device::Cpu).unwrap();
    let mut kept: Vec<f32> = best["line.bias"].to_vec1().unwrap();
    kept.extend(best["line.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(weights(&parameters), kept);
    // The run is over: going on does nothing.
    let again = fit(&parameters, &mut task, &settings, folder.path(), true).unwrap();
    assert_eq!(again.steps, history.steps);
    // Other settings would make another model of it.
    for (other, told) in [
        (FitSettings { epochs: 12, ..settings.clone() }, "epochs 9 instead of 12"),
        (FitSettings { weight_decay: 0.5, ..settings.clone() }, "weight decay 0.01 instead of 0.5"),
    ] {
        let error = fit(&parameters, &mut task, &other, folder.path(), true).unwrap_err();
        assert!(error.to_string().ends_with(told), "{error}");
    }
    let easier = FitSettings { recompute: true, checkpoint_minutes: 1.0, learning_rate: 1e-3, ..settings };
    assert_eq!(fit(&parameters, &mut task, &easier, folder.path(), true).unwrap().steps, history.steps);
}

#[test]
fn a_score_that_is_no_number_stops_the_run() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    task.scores = vec![0.1, f64::NAN];
    let error = fit(&parameters, &mut task, &settings(), folder.path(), false).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 10, best: Some(_), .. }), "{error}");
}

#[test]
fn where_no_step_made_them_better_the_first_weights_stay() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let before = weights(&parameters);
    // Too few steps, and a loss that falls again: what came of it is no better all the same.
    let fast = FitSettings { learning_rate: 5.5, evaluate_first: true, epochs: 1, ..settings() };
    let history = fit(&parameters, &mut task, &fast, folder.path(), false).unwrap();
    assert_eq!((history.evaluations[0].step, history.evaluations.len()), (0, 2));
    assert!(history.best_step == Some(0) && weights(&parameters) == before, "{:?}", history.evaluations);

    let folder = tempdir().unwrap();
    let lost = FitSettings { learning_rate: 500.0, ..fast };
    let error = fit(&parameters, &mut task, &lost, folder.path(), false).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 5, best: Some(_), .. }), "{error}");
    fit(&parameters, &mut task, &FitSettings { learning_rate: 0.05, ..lost }, folder.path(), true).unwrap();
}

#[test]
fn a_loss_that_rises_far_above_where_it_began_stops_the_run() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let fast = FitSettings {
        epochs: 50,
        learning_rate: 50.0,
        clip_norm: 0.0,
        schedule: Schedule::Constant,
        warm_up: WarmUp::Steps(20),
        checkpoint_steps: 1,
        ..settings()
    };
    let error = fit(&parameters, &mut task, &fast, folder.path(), false).unwrap_err();
    assert!(error.to_string().contains("far above where it began"), "{error}");
    // The cure that the hint names works.
    assert!(error.hint().unwrap().starts_with("lower the learning rate or clip gradients harder; with --resume"));
    let slow = FitSettings { learning_rate: 0.05, ..fast };
    let history = fit(&parameters, &mut task, &slow, folder.path(), true).unwrap();
    assert!(history.steps.last().unwrap().loss < history.steps[0].loss);
}

#[test]
fn weights_that_begin_as_no_numbers_are_not_blamed_on_the_learning_rate() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    task.broken_in_epoch = Some(0);
    let error = fit(&parameters, &mut task, &settings(), folder.path(), false).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}

#[test]
fn groups_have_their_own_rate_and_frozen_weights_stay() {
    use noso::nn::fit::Group;
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let before = weights(&parameters);
    let frozen = Group { prefix: "line.weight".into(), learning_rate: 0.0, weight_decay: None };
    fit(&parameters, &mut task, &FitSettings { groups: vec![frozen], ..settings() }, folder.path(), false).unwrap();
    let after = weights(&parameters);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
}

#[test]
fn says_what_keeps_it_from_starting() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Line::new(0.0);
    let run = |task: &mut Line, settings: &FitSettings, path: &Path, resume| {
        fit(&parameters, task, settings, path, resume).unwrap_err()
    };
    let error = run(&mut task, &FitSettings { shards: 0, ..settings() }, folder.path(), false);
    assert_eq!(error.to_string(), "setting `shards`: expected 1 to 256, got 0");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = run(&mut task, &settings(), &file, false);
    assert!(matches!(error, Error::Write { .. }), "{error}");
    fit(&parameters, &mut task, &settings(), folder.path(), false).unwrap();
    let error = run(&mut task, &settings(), folder.path(), false);
    assert!(error.hint().unwrap().contains("--resume"), "{error}");
    let error = run(&mut task, &FitSettings { batch: 7, ..settings() }, folder.path(), true);
    assert!(error.to_string().ends_with("it belongs to a run with batch 5 instead of 7"), "{error}");
    let (mut wider, mut other) = Line::new(0.0);
    wider.get("more", &[3], Init::Constant(0.0)).unwrap();
    let error = fit(&wider, &mut other, &settings(), folder.path(), true).unwrap_err();
    assert!(error.to_string().ends_with("a model of another shape"), "{error}");
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let bytes = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let error = run(&mut task, &settings(), folder.path(), true);
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    task.points.clear();
    let error = run(&mut task, &settings(), tempdir().unwrap().path(), false);
    assert!(error.to_string().contains("no examples"), "{error}");
}

#[test]
fn weights_that_no_example_touches_stay_as_they_are() {
    let mut parameters = Parameters::new(&Device::Cpu, 5);
    parameters.get("unused", &[2, 2], Init::Constant(1.0)).unwrap();
    let (_, mut line) = Line::new(0.0);
    line.model = Linear::new(&mut parameters, "line", 1, 2, 0.02).unwrap();
    fit(&parameters, &mut line, &settings(), tempdir().unwrap().path(), false).unwrap();
    let unused = parameters.variables()["unused"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(unused, [1.0; 4]);
}
