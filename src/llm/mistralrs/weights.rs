//! A model folder's safetensors files: found, and held against what they and the configuration say of them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::stage::{load_error, read_json};
use crate::error::{Error, Result};

/// A safetensors header longer than this is damage.
const MAX_HEADER_BYTES: u64 = 100 << 20;

/// Lists `model.safetensors`, or every shard that the index names.
pub(super) fn files(model: &Path) -> Result<Vec<PathBuf>> {
    let single = model.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    if !model.join("model.safetensors.index.json").exists() {
        let other = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors"];
        let found = other.iter().find(|name| model.join(name).exists());
        return Err(load_error(
            model,
            found.map_or("there is no model.safetensors".into(), |name| {
                format!("there is {name}, but no model.safetensors")
            }),
            "save the model with `save_pretrained(..., safe_serialization=True)`",
        ));
    }
    let index = read_json(model, "model.safetensors.index.json")?;
    let map = index.get("weight_map").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut files: Vec<PathBuf> = map.values().filter_map(Value::as_str).map(|name| model.join(name)).collect();
    files.sort();
    files.dedup();
    match files.iter().find(|file| !file.exists()) {
        None if !files.is_empty() => Ok(files),
        missing => Err(load_error(
            model,
            format!(
                "the shard {} is missing",
                missing.map_or_else(|| "list".into(), |file| file.display().to_string())
            ),
            "download the model again",
        )),
    }
}

/// Checks that each file is as long as its header says, and that together they hold as many layers as the configuration says.
///
/// # Errors
/// - [`Error::ModelLoad`] if not; mistral.rs would run a model with too few layers without a word.
pub(super) fn check(model: &Path, files: &[PathBuf], layers: Option<u64>) -> Result<()> {
    let mut found = 0;
    for file in files {
        found = found.max(layers_of(model, file)?);
    }
    match layers.filter(|layers| *layers != found) {
        None => Ok(()),
        Some(layers) => Err(load_error(
            model,
            format!("config.json says {layers} layers, the weights hold {found}"),
            "the files belong to different models, or one is missing; copy the model folder again",
        )),
    }
}

/// Checks a file's length and returns one more than its highest layer.
fn layers_of(model: &Path, file: &Path) -> Result<u64> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let broken = |reason: &str| {
        load_error(model, format!("{name}: {reason}"), "the file is cut short or damaged; download it again")
    };
    let mut opened = File::open(file).map_err(|e| Error::read(file, e))?;
    let bytes = opened.metadata().map_err(|e| Error::read(file, e))?.len();
    let mut length = [0u8; 8];
    opened.read_exact(&mut length).map_err(|_| broken("it is empty"))?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES.min(bytes.saturating_sub(8)) {
        return Err(broken("its header is longer than the file"));
    }
    let mut header = vec![0u8; header_bytes as usize];
    opened.read_exact(&mut header).map_err(|_| broken("its header is cut short"))?;
    let tensors: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| broken("its header is no JSON"))?;
    let ends = tensors.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    let expected = 8 + header_bytes + ends.max().unwrap_or(0);
    if bytes != expected {
        return Err(broken(&format!("expected {expected} bytes, got {bytes}")));
    }
    let layer = |name: &String| name.split_once("layers.")?.1.split('.').next()?.parse::<u64>().ok();
    Ok(tensors.keys().filter_map(layer).max().map_or(0, |highest| highest + 1))
}
