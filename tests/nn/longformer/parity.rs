//! The Longformer against transformers, number by number, and against finite differences.

use std::path::Path;

use candle_core::{Device, Tensor};
use noso::nn::{
    Masks, Packed, Parameters,
    bert::{AttentionWindow, Bert, BertConfig},
};
use serde::Deserialize;

use super::super::numbers::{check_gradients, flat};

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    globals: Vec<usize>,
    vectors: Vec<Vec<f32>>,
}

fn fixture() -> (BertConfig, Bert, Vec<Case>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn/longformer-transformers-5.24.0");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let config: BertConfig = serde_json::from_slice(&read("config.json")).unwrap();
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut parameters = Parameters::from_tensors("longformer", weights, &Device::Cpu, 0);
    let model = Bert::new(&config, &mut parameters, "", false).unwrap();
    (config, model, serde_json::from_slice(&read("expected.json")).unwrap())
}

fn largest_difference(vectors: &Tensor, case: &[&Case]) -> f32 {
    let expected: Vec<f32> = case.iter().flat_map(|case| case.vectors.concat()).collect();
    let found = flat(vectors);
    assert_eq!(found.len(), expected.len());
    found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_are_those_of_transformers_whatever_the_length_and_the_global_tokens() {
    let (config, model, cases) = fixture();
    assert_eq!((config.reach(0), config.reach(1), config.max_tokens()), (Some(2), Some(4), 64));
    let mut all = Packed::default();
    for case in &cases {
        let mut one = Packed::default();
        for packed in [&mut one, &mut all] {
            packed.push_with_globals(&case.ids, case.globals.clone());
        }
        let vectors = model.forward(&one, None).unwrap();
        let difference = largest_difference(&vectors, &[case]);
        assert!(difference < 1e-4, "{} tokens, globals {:?}: {difference}", case.ids.len(), case.globals);
    }
    let together = model.forward(&all, None).unwrap();
    assert!(largest_difference(&together, &cases.iter().collect::<Vec<_>>()) < 1e-4);
    // The first token is the global one where none is named.
    let first = cases.iter().find(|case| case.globals == [0] && case.ids.len() == 33).unwrap();
    let vectors = model.forward(&Packed::new([first.ids.as_slice()]), None).unwrap();
    assert!(largest_difference(&vectors, &[first]) < 1e-4);
}

#[test]
fn a_text_of_more_tokens_than_positions_is_refused() {
    let (_, model, _) = fixture();
    let told = model.forward(&Packed::new([[5; 65].as_slice()]), None).unwrap_err().to_string();
    assert!(told.contains("at most 64 tokens") && told.contains("65"), "{told}");
}

#[test]
fn every_weight_of_a_longformer_learns_what_it_should() {
    let config = super::tiny(1, 1);
    assert_eq!(config.attention_window, Some(AttentionWindow::Same(4)));
    let mut parameters = Parameters::new(&Device::Cpu, 3);
    let model = Bert::new(&config, &mut parameters, "", true).unwrap();
    let mut batch = Packed::default();
    batch.push_with_globals(&[2, 7, 3, 3, 9, 11, 4, 8], vec![0, 3]);
    batch.push(&[2, 5]);
    // A bias of keys moves all scores of a row alike, so it has no gradient.
    let learns = |name: &str| !name.ends_with("key.bias") && !name.ends_with("key_global.bias");
    let variables: Vec<_> =
        parameters.variables().iter().filter(|(name, _)| learns(name)).map(|(_, variable)| variable).collect();
    check_gradients(&variables, &|| model.forward(&batch, Some(&mut Masks::new(2))).unwrap());
    let loss = model.forward(&batch, None).unwrap().sqr().unwrap().sqr().unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    for (name, variable) in parameters.variables().iter().filter(|(name, _)| learns(name)) {
        let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name}"));
        assert!(flat(gradient).iter().any(|number| number.abs() > 1e-7), "{name}");
    }
}
