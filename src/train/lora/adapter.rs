//! An adapter on disk, as Hugging Face PEFT writes it.

use std::{collections::HashMap, path::Path};

use candle_core::Tensor;
use serde_json::json;

use crate::{
    artifact::write_atomic,
    config::TAUGHT_PROMPT,
    error::{Error, Result},
    nn::{Parameters, decoder::Lora},
    prompt::Prompt,
    shard::BASE_HASH,
};

/// Name of the configuration in an adapter's folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the weights in an adapter's folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of a causal language model's weights.
const PREFIX: &str = "base_model.model.";

/// Writes the weights and the prompt that was taught, and the configuration last: a folder with it is whole. `base` is the path or hub id of the model that the adapter belongs to, and
/// `base_hash` its name by its weights ([`LanguageModel::hash`](crate::nn::decoder::LanguageModel::hash)): merged into another it is refused.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub fn save(
    folder: &Path,
    parameters: &Parameters,
    lora: &Lora,
    prompt: &Prompt,
    (base, base_hash): (&str, &str),
) -> Result<()> {
    let said = Some((BASE_HASH, base_hash));
    parameters.save_as(&folder.join(WEIGHTS_FILE), |name| format!("{PREFIX}{name}"), said)?;
    write_atomic(&folder.join(TAUGHT_PROMPT), prompt.source().as_bytes())?;
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": true,
        "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": lora.targets,
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
