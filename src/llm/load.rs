//! Settings come in; the engine they name leaves, loaded.

#[cfg(feature = "llm")]
use std::path::PathBuf;
use std::{path::Path, sync::Arc};

use super::Generate;
#[cfg(feature = "llm")]
use super::{hub, merge, mistralrs::MistralRs, openai::Server, restart::Restarting};
#[cfg(not(feature = "llm"))]
use crate::error::Error;
use crate::{config::LlmConfig, error::Result};

/// Loads the model of `config`, with `adapter` merged into it where one is given, or connects to its servers.
///
/// # Errors
/// Those of loading, merging or connecting; [`crate::Error::NotBuilt`] in a build without language models.
#[cfg(feature = "llm")]
pub fn load(config: &LlmConfig, adapter: Option<&Path>) -> Result<Arc<dyn Generate>> {
    match config.servers.is_empty() {
        true => Ok(Arc::new(Restarting::new(loading(config, merged(config, adapter)?))?)),
        false => connect(config, adapter),
    }
}

/// Does the same, but a model in process is only checked; the first request loads it, also after it was released.
///
/// # Errors
/// As [`load`], but for what only loading finds.
#[cfg(feature = "llm")]
pub fn on_demand(config: &LlmConfig, adapter: Option<&Path>) -> Result<Arc<dyn Generate>> {
    if !config.servers.is_empty() {
        return connect(config, adapter);
    }
    let weights = merged(config, adapter)?;
    let fingerprint = MistralRs::identify(config, weights.as_deref())?;
    Ok(Arc::new(Restarting::on_demand(fingerprint, loading(config, weights))))
}

#[cfg(feature = "llm")]
fn loading(config: &LlmConfig, weights: Option<PathBuf>) -> impl Fn() -> Result<Arc<dyn Generate>> + use<> {
    let config = config.clone();
    move || Ok(Arc::new(MistralRs::load(&config, weights.as_deref())?))
}

/// Merges the adapter into the model, if there is one.
#[cfg(feature = "llm")]
fn merged(config: &LlmConfig, adapter: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(adapter) = adapter else { return Ok(None) };
    let base = hub::resolve(config.model.as_deref().unwrap_or_default())?;
    merge::merged(&base, adapter, &merge::merged_folder()).map(Some)
}

#[cfg(feature = "llm")]
fn connect(config: &LlmConfig, adapter: Option<&Path>) -> Result<Arc<dyn Generate>> {
    match adapter {
        None => Ok(Arc::new(Server::connect(&config.into())?)),
        Some(_) => Err(crate::Error::Setting {
            key: "llm.servers".into(),
            expected: "no adapter beside servers: start the server with it".into(),
            got: "both".into(),
        }),
    }
}

/// Says that this build has no language models.
///
/// # Errors
/// Always [`Error::NotBuilt`].
#[cfg(not(feature = "llm"))]
pub fn load(_: &LlmConfig, _: Option<&Path>) -> Result<Arc<dyn Generate>> {
    Err(Error::NotBuilt { engine: "the language model engine", feature: "llm" })
}

/// Says the same.
///
/// # Errors
/// Always [`Error::NotBuilt`].
#[cfg(not(feature = "llm"))]
pub fn on_demand(config: &LlmConfig, adapter: Option<&Path>) -> Result<Arc<dyn Generate>> {
    load(config, adapter)
}
