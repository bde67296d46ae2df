//! The weights of a model's folder: files come in, tensors by the names in them leave.

use std::{
    collections::HashMap,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::error::{Error, Result};

/// Name of the weights in a model's folder, where they are one file.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";

const INDEX_FILE: &str = "model.safetensors.index.json";
const PICKLE_FILE: &str = "pytorch_model.bin";
const DAMAGED: &str = "the file is cut short or damaged; copy or download it again";

/// Tells whether a folder has weights in a form that [`read`] knows.
pub(super) fn exist(folder: &Path, broken: Broken) -> bool {
    folder.join(PICKLE_FILE).exists() || safetensors(folder, broken).is_ok_and(|files| !files.is_empty())
}

/// Makes an error of a folder, a reason and a hint.
pub(super) type Broken = fn(&Path, String, &str) -> Error;

/// Reads all weights. Returns the name of the file for messages, too.
///
/// # Errors
/// - [`Error::Read`], and what `broken` makes of folder, reason and hint, if there are none or a file is damaged.
pub(super) fn read(folder: &Path, device: &Device, broken: Broken) -> Result<(String, HashMap<String, Tensor>)> {
    let mut given = HashMap::new();
    let files = safetensors(folder, broken)?;
    let name = match files.as_slice() {
        [] if folder.join(PICKLE_FILE).exists() => {
            given.extend(read_pickle(folder, device, broken)?);
            PICKLE_FILE
        }
        [] => {
            let hint = "save the model with `save_pretrained`, or copy its weights into the folder";
            return Err(broken(folder, format!("there is neither {WEIGHTS_FILE} nor {PICKLE_FILE}"), hint));
        }
        files => {
            for file in files {
                let short = file.file_name().unwrap_or_default().to_string_lossy();
                let bytes = std::fs::read(file).map_err(|e| Error::read(file, e))?;
                let tensors = candle_core::safetensors::load_buffer(&bytes, device)
                    .map_err(|e| broken(folder, format!("{short}: {e}"), DAMAGED))?;
                given.extend(tensors);
            }
            if files.len() > 1 { INDEX_FILE } else { WEIGHTS_FILE }
        }
    };
    Ok((name.to_owned(), given))
}

/// Lists `model.safetensors`, or every shard that the index names; nothing if there is neither.
fn safetensors(folder: &Path, broken: Broken) -> Result<Vec<PathBuf>> {
    let single = folder.join(WEIGHTS_FILE);
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        return Ok(Vec::new());
    }
    let wrong = |reason: String| broken(folder, format!("{INDEX_FILE}: {reason}"), DAMAGED);
    let text = std::fs::read(&index).map_err(|e| Error::read(&index, e))?;
    let map: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let map = map.get("weight_map").and_then(Value::as_object).ok_or_else(|| wrong("it has no weight_map".into()))?;
    let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !folder.join(name).exists()) {
        Some(missing) => Err(wrong(format!("the shard {missing} is missing"))),
        None => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
    }
}

/// Reads a file of `torch.save`, as the zip archive that it has been since PyTorch 1.6.
fn read_pickle(folder: &Path, device: &Device, broken: Broken) -> Result<Vec<(String, Tensor)>> {
    let path = folder.join(PICKLE_FILE);
    let wrong = |reason: String| {
        let hint = "the file is cut short or damaged, or older than PyTorch 1.6: load it with transformers and save it again with `save_pretrained`";
        broken(folder, format!("{PICKLE_FILE}: {reason}"), hint)
    };
    // The reader of pickles takes some of their structure on trust.
    let tensors = catch_unwind(|| candle_core::pickle::read_all(&path))
        .map_err(|_| wrong("it contradicts itself".into()))?
        .map_err(|e| wrong(e.to_string()))?;
    if tensors.is_empty() {
        return Err(wrong("it holds no tensors".into()));
    }
    tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(device)?))).collect()
}
