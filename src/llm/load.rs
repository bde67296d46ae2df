//! Settings come in; the engine they name leaves, loaded.

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
    if !config.servers.is_empty() {
        return match adapter {
            None => Ok(Arc::new(Server::connect(&config.into())?)),
            Some(_) => Err(crate::Error::Setting {
                key: "llm.servers".into(),
                expected: "no adapter beside servers: start the server with it".into(),
                got: "both".into(),
            }),
        };
    }
    let weights = match adapter {
        None => None,
        Some(adapter) => {
            let base = hub::resolve(config.model.as_deref().unwrap_or_default())?;
            Some(merge::merged(&base, adapter, &merge::cache_folder())?)
        }
    };
    let config = config.clone();
    let load = move || Ok(Arc::new(MistralRs::load(&config, weights.as_deref())?) as Arc<dyn Generate>);
    Ok(Arc::new(Restarting::new(load)?))
}

/// Says that this build has no language models.
///
/// # Errors
/// Always [`Error::NotBuilt`].
#[cfg(not(feature = "llm"))]
pub fn load(_: &LlmConfig, _: Option<&Path>) -> Result<Arc<dyn Generate>> {
    Err(Error::NotBuilt { engine: "the language model engine", feature: "llm" })
}
