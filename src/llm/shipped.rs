//! The language model that ships in the binary: settings that name no model come in, those of the shipped one leave, unpacked.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::merge::unpack;
use crate::{config::LlmConfig, error::Result, hub};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_bytes!(concat!("../../", $name)).as_slice())),+]
    };
}

/// Files by their paths in the repository: the model, and its adapters.
static FILES: [(&str, &[u8]); 13] = files![
    "models/noso-lm/config.json",
    "models/noso-lm/generation_config.json",
    "models/noso-lm/model.safetensors",
    "models/noso-lm/prompt-ner.toml",
    "models/noso-lm/prompt-rerank.toml",
    "models/noso-lm/tokenizer.json",
    "models/noso-lm/tokenizer_config.json",
    "adapters/noso-lm-ner/adapter_config.json",
    "adapters/noso-lm-ner/adapter_model.safetensors",
    "adapters/noso-lm-ner/prompt.toml",
    "adapters/noso-lm-rerank/adapter_config.json",
    "adapters/noso-lm-rerank/adapter_model.safetensors",
    "adapters/noso-lm-rerank/prompt.toml",
];

/// Fills in what `config` leaves to the shipped model: the model, and an adapter for each task, as folders in the user's cache. Settings
/// that name a model or servers come back as they are.
///
/// # Errors
/// - [`Error::Cache`](crate::Error::Cache) if the cache cannot be written.
pub fn filled_in(config: &LlmConfig) -> Result<LlmConfig> {
    if !config.asks_shipped() {
        return Ok(config.clone());
    }
    let folder = unpacked(&hub::cache_folder().join("shipped"))?;
    let path = |name: &str| folder.join(name);
    let adapter = |given: &Option<PathBuf>, name| Some(given.clone().unwrap_or_else(|| path(name)));
    Ok(LlmConfig {
        model: Some(path("models/noso-lm").display().to_string()),
        adapter_ner: adapter(&config.adapter_ner, "adapters/noso-lm-ner"),
        adapter_rerank: adapter(&config.adapter_rerank, "adapters/noso-lm-rerank"),
        ..config.clone()
    })
}

/// Writes the files into a folder of `cache` that is named by their contents, once.
fn unpacked(cache: &Path) -> Result<PathBuf> {
    let mut hash = Xxh3::new();
    for (name, bytes) in FILES {
        hash.update(name.as_bytes());
        hash.update(bytes);
    }
    let folder = cache.join(format!("{:032x}", hash.digest128()));
    unpack(&folder, || FILES.iter().copied()).map_err(|e| e.of_cache(cache))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;

    #[test]
    fn the_shipped_files_are_unpacked_once_and_again_where_one_is_gone() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpacked(cache.path()).unwrap();
        let weights = folder.join("models/noso-lm/model.safetensors");
        let written = weights.metadata().unwrap().modified().unwrap();
        assert_eq!(unpacked(cache.path()).unwrap(), folder);
        assert_eq!(weights.metadata().unwrap().modified().unwrap(), written);
        std::fs::remove_file(&weights).unwrap();
        unpacked(cache.path()).unwrap();
        assert!(weights.exists());
    }

    #[test]
    fn the_shipped_model_and_adapters_were_taught_the_built_in_prompts() {
        for (task, prompt) in [("ner", "ner-short-ru"), ("rerank", "select-short-ru")] {
            for file in [format!("adapters/noso-lm-{task}/prompt.toml"), format!("models/noso-lm/prompt-{task}.toml")] {
                let taught = FILES.iter().find(|(name, _)| *name == file).unwrap().1;
                assert_eq!(taught, Prompt::load(prompt).unwrap().source().as_bytes(), "{file}");
            }
        }
    }

    #[test]
    fn settings_that_name_a_model_stay_as_they_are() {
        let named = LlmConfig { model: Some("models/mine".into()), ..LlmConfig::default() };
        assert_eq!(filled_in(&named).unwrap(), named);
    }
}
