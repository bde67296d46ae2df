//! Thirty training steps against PyTorch and transformers.

use std::{fs, path::Path};

use candle_core::{Device, Tensor};
use noso::nn::{
    Masks, Packed, Parameters, SequenceClassifier,
    bert::{Bert, BertConfig},
    fit::{self, Evaluation, FitSettings, Loss, Task, WarmUp, fit},
    ops,
};
use serde::Deserialize;

use super::super::numbers::{check_gradients, flat};

const CLASSES: usize = 5;

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Vec<u32>>,
    labels: Vec<Vec<usize>>,
    weights: Vec<f32>,
    batch: usize,
    learning_rate: f64,
    weight_decay: f64,
    warm_up: usize,
    losses: Vec<f32>,
    before: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
}

struct Labelling {
    classifier: SequenceClassifier,
    expected: Expected,
}

impl Labelling {
    fn logits(&self, examples: &[usize], masks: Option<&mut Masks>) -> noso::Result<Tensor> {
        let packed = Packed::new(examples.iter().map(|&example| self.expected.sequences[example].as_slice()));
        self.classifier.forward(&packed, masks)
    }

    fn largest_difference(&self, expected: &[Vec<f32>]) -> f32 {
        let examples: Vec<usize> = (0..expected.len()).collect();
        let found = flat(&self.logits(&examples, None).unwrap());
        assert_eq!(found.len(), expected.len() * CLASSES);
        found.iter().zip(expected.concat()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}

impl Task for Labelling {
    fn len(&self) -> usize {
        self.expected.sequences.len()
    }

    fn fingerprint(&self) -> u64 {
        fit::fingerprint(&self.expected.sequences)
    }

    fn tokens(&self, example: usize) -> usize {
        self.expected.sequences[example].len()
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> noso::Result<Loss> {
        let logits = self.logits(examples, masks)?;
        let mut targets = vec![0.0f32; examples.len() * CLASSES];
        for (row, &example) in examples.iter().enumerate() {
            self.expected.labels[example].iter().for_each(|&class| targets[row * CLASSES + class] = 1.0);
        }
        let targets = Tensor::from_vec(targets, (examples.len(), CLASSES), &Device::Cpu)?;
        let weighted = examples[0] >= self.expected.sequences.len() / 2;
        let weights = weighted.then_some(self.expected.weights.as_slice());
        let sum = ops::binary_cross_entropy(&logits, &targets, weights)?;
        Ok(Loss { sum, weight: (examples.len() * CLASSES) as f64 })
    }

    fn evaluate(&self) -> noso::Result<Option<Evaluation>> {
        Ok(None)
    }
}

#[test]
fn steps_of_a_classifier_equal_those_of_torch_with_and_without_weights_of_classes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/nn/longformer-training-torch-2.15.0-transformers-5.24.0");
    let config: BertConfig = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let weights = weights.into_iter().map(|(name, weight)| (name.replace("longformer.", ""), weight)).collect();
    let mut parameters = Parameters::from_tensors("longformer", weights, &Device::Cpu, 0);
    let bert = Bert::new(&config, &mut parameters, "", false).unwrap();
    let classifier = SequenceClassifier::new(&bert, &mut parameters, CLASSES).unwrap();
    assert!(parameters.unused().is_empty(), "{:?}", parameters.unused());
    let expected: Expected = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let mut task = Labelling { classifier, expected };
    assert!(task.largest_difference(&task.expected.before) < 1e-4);
    let settings = FitSettings {
        epochs: 1,
        batch: task.expected.batch,
        learning_rate: task.expected.learning_rate,
        weight_decay: task.expected.weight_decay,
        warm_up: WarmUp::Steps(task.expected.warm_up),
        shuffle: false,
        ..FitSettings::default()
    };
    let run = tempfile::tempdir().unwrap();
    let history = fit(&parameters, &mut task, &settings, run.path(), false).unwrap();
    assert_eq!(history.steps.len(), 30);
    for (step, expected) in history.steps.iter().zip(&task.expected.losses) {
        assert!((step.loss - expected).abs() < 1e-3, "step {}: {} is not {expected}", step.step, step.loss);
    }
    let difference = task.largest_difference(&task.expected.after);
    assert!(difference < 1e-3, "{difference}");
}

#[test]
fn every_weight_of_a_classifier_learns_but_those_that_no_first_token_looks_at() {
    let config = super::tiny(2, 2);
    let mut parameters = Parameters::new(&Device::Cpu, 3);
    let bert = Bert::new(&config, &mut parameters, "", true).unwrap();
    let classifier = SequenceClassifier::new(&bert, &mut parameters, 3).unwrap();
    let mut batch = Packed::default();
    batch.push_segments(&[2, 7, 3, 3, 9, 11, 4, 8], 5);
    batch.push(&[2, 5]);
    // The last layer is computed for first tokens alone, which have projections of their own; a bias of keys moves all scores alike.
    let local = ["query", "key", "value"].map(|part| format!("encoder.layer.1.attention.self.{part}."));
    let learns = |name: &str| {
        let is_local = local.iter().any(|part| name.starts_with(part));
        !is_local && !name.ends_with("key.bias") && !name.ends_with("key_global.bias")
    };
    let variables: Vec<_> =
        parameters.variables().iter().filter(|(name, _)| learns(name)).map(|(_, variable)| variable).collect();
    assert!(variables.len() > 40);
    check_gradients(&variables, &|| classifier.forward(&batch, Some(&mut Masks::new(2))).unwrap());
    // The same vectors as if all were computed.
    let (all, firsts) = (bert.forward(&batch, None).unwrap(), bert.forward_firsts(&batch, None).unwrap());
    let difference = (batch.pick_firsts(&all).unwrap() - firsts).unwrap();
    assert!(flat(&difference).iter().all(|number| number.abs() < 1e-6));
}
