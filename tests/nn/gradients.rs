//! Every operation and every layer against finite differences.

use candle_core::{Device, Tensor};
use noso::nn::{
    Masks, Packed, Parameters,
    bert::{Bert, BertConfig},
    ops::{self, Activation, Heads, Sight, Span, Window},
};

use super::numbers::{angles, check_gradients, flat, variable};

const LENGTHS: [usize; 5] = [3, 0, 1, 5, 2];

fn config() -> BertConfig {
    serde_json::from_value(serde_json::json!({
        "model_type": "bert", "vocab_size": 13, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 6, "type_vocab_size": 2, "initializer_range": 0.4
    }))
    .unwrap()
}

fn batch() -> Packed {
    Packed::new([&[1, 4, 7][..], &[], &[5], &[2, 12, 2, 9, 4], &[11, 3]])
}

#[test]
fn linear_maps() {
    let (x, weight, bias) = (variable(&[5, 4], 1), variable(&[3, 4], 2), variable(&[3], 3));
    check_gradients(&[&x, &weight, &bias], &|| ops::linear(&x, &weight, Some(&bias)).unwrap());
    check_gradients(&[&x, &weight], &|| ops::linear(&x, &weight, None).unwrap());
}

#[test]
fn layer_norms() {
    let (x, residual, weight, bias) =
        (variable(&[4, 6], 1), variable(&[4, 6], 2), variable(&[6], 3), variable(&[6], 4));
    check_gradients(&[&x, &weight, &bias], &|| ops::layer_norm(&x, None, &weight, &bias, 1e-5).unwrap());
    let all = [&x, &residual, &weight, &bias];
    check_gradients(&all, &|| ops::layer_norm(&x, Some(&residual), &weight, &bias, 1e-5).unwrap());
}

#[test]
fn the_parts_of_a_decoder() {
    let (x, up, weight) = (variable(&[5, 6], 1), variable(&[5, 6], 2), variable(&[6], 3));
    check_gradients(&[&x, &weight], &|| ops::rms_norm(&x, &weight, 1e-5).unwrap());
    check_gradients(&[&x, &up], &|| ops::gate(&x, &up).unwrap());
    check_gradients(&[&x], &|| ops::rotate(&x, &angles(5, 3)).unwrap());
    let (q, lengths) = (variable(&[LENGTHS.iter().sum(), 12], 1), LENGTHS);
    let [k, v] = [2, 3].map(|seed| variable(&[LENGTHS.iter().sum(), 6], seed));
    for window in [None, Some(2)] {
        let heads = Heads { count: 4, key_count: 2, sight: Sight::Past { window }, drop: 0.0 };
        check_gradients(&[&q, &k, &v], &|| ops::attention(&q, &k, &v, &lengths, heads, None).unwrap());
    }
}

#[test]
fn activations() {
    let x = variable(&[7, 5], 1);
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Tanh] {
        check_gradients(&[&x], &|| ops::activate(&(x.as_tensor() * 3.0).unwrap(), activation).unwrap());
    }
    // not at its corner
    check_gradients(&[&x], &|| ops::activate(&(x.exp().unwrap() - 0.2).unwrap(), Activation::Relu).unwrap());
}

#[test]
fn attention_over_sequences_of_any_length() {
    let [q, k, v] = [1, 2, 3].map(|seed| variable(&[LENGTHS.iter().sum(), 6], seed));
    let heads = Heads::all(2, 0.3);
    check_gradients(&[&q, &k, &v], &|| ops::attention(&q, &k, &v, &LENGTHS, heads, None).unwrap());
    check_gradients(&[&q, &k, &v], &|| ops::attention(&q, &k, &v, &LENGTHS, heads, Some(&mut Masks::new(5))).unwrap());
}

#[test]
fn attention_within_a_window() {
    let [q, k, v] = [1, 2, 3].map(|seed| variable(&[14, 4], seed));
    let spans = [(9, vec![0, 4]), (1, vec![]), (4, vec![3])].map(|(length, globals)| Span { length, globals });
    let window = Window { heads: 2, reach: 2, drop: 0.3 };
    for drops in [false, true] {
        let masks = || drops.then(|| Masks::new(5));
        check_gradients(&[&q, &k, &v], &|| {
            ops::window_attention(&q, &k, &v, &spans, window, masks().as_mut()).unwrap()
        });
    }
}

#[test]
fn dropout_with_a_fixed_mask() {
    let x = variable(&[9, 7], 1);
    check_gradients(&[&x], &|| ops::dropout(&x, 0.4, Some(&mut Masks::new(3))).unwrap());
}

#[test]
fn embedding_of_ids_that_repeat() {
    let table = variable(&[5, 3], 1);
    check_gradients(&[&table], &|| ops::embed(&table, &[4, 0, 4, 4, 2]).unwrap());
}

#[test]
fn losses() {
    let logits = variable(&[6, 5], 1);
    let targets = [Some(1), None, Some(4), Some(0), None, Some(1)];
    for smoothing in [0.0, 0.2] {
        check_gradients(&[&logits], &|| ops::cross_entropy(&logits, &targets, smoothing).unwrap());
    }
    check_gradients(&[&logits], &|| ops::log_softmax(&logits).unwrap());
    let targets = Tensor::from_vec((0..30).map(|n| (n % 3) as f32 / 2.0).collect(), (6, 5), &Device::Cpu).unwrap();
    for weights in [None, Some([1.0, 3.0, 0.5, 7.0, 0.0].as_slice())] {
        check_gradients(&[&logits], &|| ops::binary_cross_entropy(&logits, &targets, weights).unwrap());
    }
}

#[test]
fn a_transformer_layer() {
    let mut parameters = Parameters::new(&Device::Cpu, 1);
    let bert = Bert::new(&config(), &mut parameters, "", true).unwrap();
    let x = variable(&[LENGTHS.iter().sum(), 8], 1);
    let of_layer = parameters.variables().iter().filter(|(name, _)| name.starts_with("encoder.layer.0."));
    let mut variables: Vec<_> = of_layer.map(|(_, variable)| variable).collect();
    assert_eq!(variables.len(), 16);
    variables.push(&x);
    check_gradients(&variables, &|| bert.layers()[0].forward(&x, &batch().spans(), Some(&mut Masks::new(2))).unwrap());
}

#[test]
fn a_whole_encoder() {
    let mut parameters = Parameters::new(&Device::Cpu, 1);
    let bert = Bert::new(&config(), &mut parameters, "", true).unwrap();
    let variables: Vec<_> = parameters.variables().values().collect();
    check_gradients(&variables, &|| bert.forward(&batch(), Some(&mut Masks::new(2))).unwrap());
}

#[test]
fn every_weight_of_an_encoder_learns() {
    let mut parameters = Parameters::new(&Device::Cpu, 1);
    let bert = Bert::new(&config(), &mut parameters, "", true).unwrap();
    let out = bert.forward(&batch(), Some(&mut Masks::new(2))).unwrap();
    let store = (out.sqr().unwrap() * &out).unwrap().sum_all().unwrap().backward().unwrap();
    for (name, variable) in parameters.variables() {
        let gradient = store.get(variable).map(flat).unwrap_or_default();
        // A key's bias moves all scores of a query alike, which softmax takes away again: in theory its gradient is 0.
        let theory = if name.ends_with("key.bias") { 0.0 } else { 1e-3 };
        let largest = gradient.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!(gradient.len() == variable.elem_count() && largest >= theory, "{name}: {largest}");
    }
}

#[test]
fn frozen_weights_are_given_no_gradient() {
    let (x, bias) = (variable(&[5, 4], 1), variable(&[3], 3));
    let frozen = variable(&[3, 4], 2).as_detached_tensor();
    let store = ops::linear(&x, &frozen, Some(&bias)).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&frozen).is_none());
    assert!(store.get(&x).is_some() && store.get(&bias).is_some());
}
