//! A real encoder, all-MiniLM-L6-v2, where `scripts/minilm.sh` has put it: against figures of sentence-transformers.

use std::path::PathBuf;

use noso::{config::EncoderConfig, embed::Embed};
use serde::Deserialize;

use super::encoder;

#[derive(Deserialize)]
struct Row {
    text: String,
    vector: Vec<f32>,
}

#[test]
fn minilm_gives_the_vectors_of_sentence_transformers() {
    let Some(folder) = std::env::var_os("NOSO_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: NOSO_MINILM names no folder (scripts/minilm.sh fetches the model and runs this test)");
        return;
    };
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let encoder = encoder(&EncoderConfig::of(folder.to_str().unwrap()));
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let vectors = encoder.embed(&texts).unwrap();
    for (row, got) in rows.iter().zip(vectors.chunks_exact(encoder.dim())) {
        let difference = got.iter().zip(&row.vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let cosine: f32 = got.iter().zip(&row.vector).map(|(a, b)| a * b).sum();
        assert!(difference <= 1e-4 && cosine >= 0.99999, "{}: difference {difference}, cosine {cosine}", row.text);
    }
    eprintln!("{} texts, as sentence-transformers encodes them", rows.len());
}
