//! Thirty steps of BioSyn held against PyTorch (`scripts/fixtures/biosyn_training.py`).

use std::path::Path;

use noso::{
    config::EncoderConfig,
    embed::bert::load_model,
    nn::fit::{FitSettings, Place, fit_watched},
    train::linker::{LinkerSettings, LinkerTraining, Wording, Wordings},
};
use serde_json::Value;

use super::{Kept, figure, how, task};

fn rows(value: &Value) -> Vec<Wording> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| Wording { text: text(&row[0]), label: text(&row[1]), record: row.get(2).map(text) };
    value.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn thirty_steps_give_the_losses_and_lambdas_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn/biosyn");
    let expected = std::fs::read(folder.join("expected-torch-2.15.0-transformers-5.24.0.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let setting = |key: &str| expected["settings"][key].as_f64().unwrap();
    let mentions = rows(&expected["mentions"]);
    let names = [rows(&expected["titles"]), mentions.clone()].concat();
    let (mut model, _) = load_model(&EncoderConfig::of(folder.to_str().unwrap())).unwrap();
    let linker = LinkerSettings { candidates: setting("candidates") as usize, ..LinkerSettings::default() };
    let LinkerTraining { fit, linker, .. } = how(linker, setting("epochs") as usize);
    let fit = FitSettings {
        learning_rate: setting("learning_rate"),
        weight_decay: setting("weight_decay"),
        batch: setting("batch") as usize,
        shuffle: false,
        evaluate_steps: 1, // λ is among the figures
        ..fit
    };
    // Records "1", "2", … are those of the mentions; the held-out rows only make the run evaluate.
    let wordings = Wordings { names, mentions: mentions.clone(), held_out: mentions };
    let mut task = task(&mut model, &wordings, linker).unwrap();
    let run = tempfile::tempdir().unwrap();
    let mut kept = Kept::default();
    let place = Place { folder: run.path(), resume: false };
    let history = fit_watched(&model.parameters, &mut task, &fit, place, &mut kept).unwrap();
    let numbers = |key: &str| expected[key].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>();
    let (losses, lambdas) = (numbers("losses"), numbers("lambda"));
    assert_eq!((history.steps.len(), kept.figures.len(), losses.len()), (30, 30, 30));
    for (step, (loss, lambda)) in losses.iter().zip(lambdas).enumerate() {
        let got = f64::from(history.steps[step].loss);
        assert!((got / loss - 1.0).abs() < 1e-3, "step {step}: loss {got}, PyTorch {loss}");
        let got = figure(&kept.figures[step], "lambda");
        assert!((got - lambda).abs() < 1e-3 * lambda.abs().max(0.01), "step {step}: λ {got}, PyTorch {lambda}");
    }
}
