//! An adapter on disk, as Hugging Face PEFT writes it.

use std::{collections::HashMap, path::Path};

use candle_core::Tensor;
use serde_json::json;

use crate::{
    artifact::write_atomic,
    error::{Error, Result},
    nn::{Parameters, decoder::Lora},
    shard::BASE_HASH,
};

/// Name of the configuration in an adapter's folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the weights in an adapter's folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of a causal language model's weights.
const PREFIX: &str = "base_model.model.";

/// Writes the weights, and the configuration last: a folder with it is whole. `base` is the model that the adapter belongs to, and
/// `base_hash` its name by its weights ([`LanguageModel::hash`](crate::nn::decoder::LanguageModel::hash)): merged into another it is refused.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub fn save(folder: &Path, parameters: &Parameters, lora: &Lora, base: &Path, base_hash: &str) -> Result<()> {
    let said = Some((BASE_HASH, base_hash));
    parameters.save_as(&folder.join(WEIGHTS_FILE), |name| format!("{PREFIX}{name}"), said)?;
    // As it was typed: f32 as f64 would show the digits that f32 lacks.
    let dropout: f64 = lora.dropout.to_string().parse().unwrap_or(0.0);
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": true,
        "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": dropout, "target_modules": lora.targets,
        "bias": "none", "fan_in_fan_out": false, "init_lora_weights": true, "use_rslora": false, "use_dora": false,
        "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {},
    });
    write_atomic(&folder.join(CONFIG_FILE), format!("{config:#}\n").as_bytes())
}

/// Reads the weights of an adapter that [`save`] or PEFT wrote, by the names that layers have here.
///
/// # Errors
/// - [`Error::Read`] or [`Error::Adapter`] if there are none, or they are damaged.
pub fn load_weights(folder: &Path) -> Result<HashMap<String, Tensor>> {
    let path = folder.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &candle_core::Device::Cpu)
        .map_err(|e| Error::Adapter { path: folder.to_owned(), reason: format!("{WEIGHTS_FILE}: {e}") })?;
    let short = |name: String| name.strip_prefix(PREFIX).map(str::to_owned).unwrap_or(name);
    Ok(tensors.into_iter().map(|(name, tensor)| (short(name), tensor)).collect())
}
