//! Steps of the training loop: over a small network, within memory, and against those of PyTorch.

use std::path::Path;

use candle_core::{Device, Tensor};
use noso::{
    Error, Result,
    nn::{
        Init, Masks, Packed, Parameters,
        bert::{Bert, BertConfig, Linear},
        fit::{Evaluation, FitSettings, Loss, Schedule, Task, WarmUp, fingerprint, fit},
        ops,
    },
};
use tempfile::tempdir;

use super::numbers::difference;

fn bert_config() -> BertConfig {
    let json = r#"{"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 12, "type_vocab_size": 2}"#;
    serde_json::from_str(json).unwrap()
}

/// Tells sequences with token 7 from others.
struct Finds {
    bert: Bert,
    head: Linear,
    texts: Vec<Vec<u32>>,
    bytes_per_token: usize,
}

impl Finds {
    fn new() -> (Parameters, Self) {
        let mut parameters = Parameters::new(&Device::Cpu, 2);
        let bert = Bert::new(&bert_config(), &mut parameters, "", true).unwrap();
        let head = Linear::new(&mut parameters, "classifier", 2, 8, 0.02).unwrap();
        let texts = (0..32u32)
            .map(|n| (0..3 + n % 6).map(move |k| if k == 2 && n % 2 == 0 { 7 } else { 8 + (n * 5 + k * 3) % 11 }));
        (parameters, Self { bert, head, texts: texts.map(Iterator::collect).collect(), bytes_per_token: 0 })
    }
}

impl Task for Finds {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(&self.texts)
    }

    fn tokens(&self, example: usize) -> usize {
        self.texts[example].len()
    }

    fn bytes_per_token(&self, _: bool) -> usize {
        self.bytes_per_token
    }

    fn loss(&self, examples: &[usize], masks: Option<&mut Masks>) -> Result<Loss> {
        let batch = Packed::new(examples.iter().map(|&example| self.texts[example].as_slice()));
        let firsts = batch.pick_firsts(&self.bert.forward(&batch, masks)?)?;
        let targets: Vec<Option<u32>> = examples.iter().map(|&e| Some(u32::from(self.texts[e].contains(&7)))).collect();
        let sum = ops::cross_entropy(&self.head.forward(&firsts)?, &targets, 0.0)?;
        Ok(Loss { sum, weight: examples.len() as f64 })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        Ok(None)
    }
}

#[test]
fn a_tiny_bert_learns_to_classify() {
    let folder = tempdir().unwrap();
    let (parameters, mut task) = Finds::new();
    let settings = FitSettings { epochs: 25, batch: 8, learning_rate: 1e-2, ..FitSettings::default() };
    let history = fit(&parameters, &mut task, &settings, folder.path(), false).unwrap();
    let last = history.steps.len() - 4;
    let loss = history.steps[last..].iter().map(|step| step.loss).sum::<f32>() / 4.0;
    assert!(loss < 0.1, "{loss}");
    assert!(folder.path().join("best.safetensors").exists());
}

#[test]
fn recomputed_layers_give_the_same_gradients() {
    let (parameters, task) = Finds::new();
    let variables: Vec<_> = parameters.variables().values().collect();
    let gradients = |mut masks: Masks| {
        let loss = task.loss(&[0, 1, 2, 3], Some(&mut masks)).unwrap();
        masks.into_tape().backward(&loss.sum, &variables).unwrap()
    };
    let (kept, again) = (gradients(Masks::new(9)), gradients(Masks::recomputing(9)));
    for ((name, kept), again) in parameters.variables().keys().zip(&kept).zip(&again) {
        let flat = |gradient: &Option<Tensor>| -> Vec<f32> {
            gradient
                .as_ref()
                .unwrap_or_else(|| panic!("no gradient for {name}"))
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        let (kept, again) = (flat(kept), flat(again));
        let largest = kept.iter().fold(0f32, |most, g| most.max(g.abs()));
        assert!(difference(&kept, &again) <= 1e-5 * largest, "{name}");
        assert!(kept.iter().any(|&g| g != 0.0) || name.contains("key.bias"), "{name} has a gradient of 0");
    }
}

#[test]
fn a_step_too_large_for_the_memory_is_refused_before_it_starts() {
    let (parameters, mut task) = Finds::new();
    task.bytes_per_token = 1 << 42;
    let error = fit(&parameters, &mut task, &FitSettings::default(), tempdir().unwrap().path(), false).unwrap_err();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--batch-tokens"));
}

/// Its loss has the gradient that the fixture gives for each example, whatever the weights are.
struct Given {
    weight: Tensor,
    bias: Tensor,
    slopes: Vec<Vec<f32>>,
}

impl Task for Given {
    fn len(&self) -> usize {
        self.slopes.len()
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(self.slopes.len())
    }

    fn tokens(&self, _: usize) -> usize {
        1
    }

    fn loss(&self, examples: &[usize], _: Option<&mut Masks>) -> Result<Loss> {
        let mut sum = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
        for &example in examples {
            let slopes = Tensor::new(self.slopes[example].as_slice(), &Device::Cpu)?;
            let of_weight = (&self.weight * slopes.narrow(0, 0, 6)?.reshape((2, 3))?)?.sum_all()?;
            let of_bias = (&self.bias * slopes.narrow(0, 6, 3)?)?.sum_all()?;
            sum = ((sum + of_weight)? + of_bias)?;
        }
        // A loss of slopes alone may rise without end, which a run takes for an explosion where it begins near 0.
        Ok(Loss { sum: (sum + 10.0 * examples.len() as f64)?, weight: examples.len() as f64 })
    }

    fn evaluate(&self) -> Result<Option<Evaluation>> {
        Ok(None)
    }
}

#[test]
fn steps_equal_those_of_torch_with_the_schedules_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn/training-loop-torch-2.15.0.json");
    let fixture: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let numbers = |value: &serde_json::Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    let slopes: Vec<Vec<f32>> = fixture["slopes"].as_array().unwrap().iter().map(numbers).collect();
    for (name, schedule) in
        [("linear", Schedule::Linear), ("cosine", Schedule::Cosine), ("constant", Schedule::Constant)]
    {
        let start: Vec<f32> = (0..6).map(|n| -0.5 + 0.25 * n as f32).collect();
        let given = [
            ("weight".to_owned(), Tensor::from_vec(start, (2, 3), &Device::Cpu).unwrap()),
            ("bias".to_owned(), Tensor::new(&[0.1f32, -0.2, 0.3], &Device::Cpu).unwrap()),
        ];
        let mut parameters = Parameters::from_tensors("given", given.into(), &Device::Cpu, 0);
        let weight = parameters.get("weight", &[2, 3], Init::Required).unwrap();
        let bias = parameters.get("bias", &[3], Init::Required).unwrap();
        let mut task = Given { weight: weight.clone(), bias: bias.clone(), slopes: slopes.clone() };
        let settings = FitSettings {
            epochs: 2,
            batch: 1,
            accumulation: 2,
            learning_rate: 0.05,
            weight_decay: 0.1,
            warm_up: WarmUp::Steps(3),
            schedule,
            shuffle: false,
            ..FitSettings::default()
        };
        let history = fit(&parameters, &mut task, &settings, tempdir().unwrap().path(), false).unwrap();
        let expected = &fixture[name];
        for (step, expected) in history.steps.iter().zip(expected["steps"].as_array().unwrap()) {
            let close = |a: f32, b: &serde_json::Value| (f64::from(a) - b.as_f64().unwrap()).abs() < 1e-6;
            assert!(close(step.learning_rate, &expected["learning_rate"]), "{name}: {step:?} {expected}");
            assert!(close(step.gradient_norm, &expected["gradient_norm"]), "{name}: {step:?} {expected}");
        }
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(difference(&flat(&weight), &numbers(&expected["weight"])) < 1e-6, "{name}");
        assert!(difference(&flat(&bias), &numbers(&expected["bias"])) < 1e-6, "{name}");
    }
}
