//! A Longformer made of a BERT or of a shorter Longformer.

use std::sync::Arc;

use candle_core::Device;
use noso::nn::{
    Packed, Parameters,
    bert::{BertConfig, Family},
    longformer::lengthen,
    pretrained::Pretrained,
    tokenizer::{Casing, Tokenizer},
};

use super::super::numbers::flat;

fn bert() -> Pretrained {
    let config: BertConfig = serde_json::from_value(serde_json::json!({
        "model_type": "bert", "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 10, "type_vocab_size": 2, "initializer_range": 0.5,
    }))
    .unwrap();
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "а", "##б", "в"].map(str::to_owned);
    let tokenizer = Tokenizer::from_pieces(&pieces, Casing::default()).unwrap();
    Pretrained::new("bert", config, Parameters::new(&Device::Cpu, 1), Arc::new(tokenizer)).unwrap()
}

fn vectors(model: &Pretrained, ids: &[u32]) -> Vec<f32> {
    flat(&model.bert.forward(&Packed::new([ids]), None).unwrap())
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_bert_computes_the_same_as_a_longformer_whose_window_covers_the_text() {
    let bert = bert();
    let long = lengthen(&bert, 20, 25).unwrap();
    assert_eq!((long.config.family, long.config.max_tokens()), (Family::Longformer, 25));
    for length in [1, 2, 9, 10] {
        let ids: Vec<u32> = [2].into_iter().chain((1..length).map(|at| 5 + at % 3)).collect();
        let difference = largest_difference(&vectors(&bert, &ids), &vectors(&long, &ids));
        assert!(difference < 1e-5, "{length} tokens: {difference}");
    }
    // The table's rows come again: the eleventh token stands where the first did.
    let table =
        |model: &Pretrained| model.parameters.variables()["embeddings.position_embeddings.weight"].to_vec2::<f32>();
    let (before, after) = (table(&bert).unwrap(), table(&long).unwrap());
    assert_eq!((after.len(), &after[1..11], &after[21..26]), (26, &before[..], &before[..5]));
}

#[test]
fn a_longformer_survives_its_folder_and_being_lengthened_again() {
    let long = lengthen(&bert(), 4, 12).unwrap();
    let folder = tempfile::tempdir().unwrap();
    long.save(folder.path()).unwrap();
    let read = Pretrained::load(folder.path().to_str().unwrap(), &Device::Cpu).unwrap();
    let ids = [2, 5, 6, 7, 5, 6, 7, 7, 6, 5, 3, 5];
    assert_eq!(vectors(&long, &ids), vectors(&read, &ids));
    let longer = lengthen(&read, 4, 50).unwrap();
    assert_eq!((vectors(&longer, &ids), longer.config.max_tokens()), (vectors(&read, &ids), 50));
    for (window, tokens) in [(3, 12), (0, 12), (4, 1)] {
        assert!(lengthen(&long, window, tokens).is_err());
    }
}
