//! The Longformer: what it computes, how it learns, and how a BERT becomes one.

mod lengthened;
mod parity;
mod training;

/// Sizes small enough for finite differences.
fn tiny(layers: usize, segments: usize) -> noso::nn::bert::BertConfig {
    serde_json::from_value(serde_json::json!({
        "model_type": "longformer", "vocab_size": 13, "hidden_size": 4, "num_hidden_layers": layers, "num_attention_heads": 2,
        "intermediate_size": 6, "max_position_embeddings": 16, "type_vocab_size": segments, "initializer_range": 0.5,
        "pad_token_id": 1, "attention_window": 4, "attention_probs_dropout_prob": 0.2,
    }))
    .unwrap()
}
