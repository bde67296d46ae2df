//! Encoders from folders, held against what transformers computes with the same files.

mod broken;
mod parity;
mod real;

use std::path::{Path, PathBuf};

use noso::{
    config::{EncoderConfig, Pooling},
    embed::bert::BertEncoder,
};

/// Folder of a tiny encoder that `scripts/fixtures/tiny_encoders.py` wrote.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nn/encoders-transformers-5.24.0").join(name)
}

/// Copies a tiny encoder into a folder that a test may damage.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture(name)).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn config(folder: &Path, pooling: Pooling) -> EncoderConfig {
    let model = Some(folder.to_str().unwrap().to_owned());
    EncoderConfig { model, pooling: Some(pooling), max_tokens: None, ..EncoderConfig::default() }
}

fn encoder(config: &EncoderConfig) -> BertEncoder {
    BertEncoder::load(config).unwrap_or_else(|e| panic!("{e}"))
}
