//! Options of the commands that code texts: which pipeline, with which changes.

use std::path::{Path, PathBuf};

use super::llm::LlmArgs;
use crate::{config::PipelineConfig, error::Result};

/// Which pipeline codes, and what is changed in it.
#[derive(Debug, clap::Args)]
pub(super) struct PipelineArgs {
    /// Built-in pipeline (`default`, `bert`, `llm`, `paper-zero-shot`, `paper-tuned`) or pipeline file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pipeline: String,
    /// Change a key of the pipeline, such as `retrieval.neighbours=32` (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Catalogue to code with instead of the shipped one; only its codes are given
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Index folder to search instead of the shipped one
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
}

impl PipelineArgs {
    /// Loads the pipeline's settings, those of `llm` and of `more` options over them.
    ///
    /// # Errors
    /// As [`PipelineConfig::load`].
    pub fn config(&self, llm: &LlmArgs, more: impl IntoIterator<Item = String>) -> Result<PipelineConfig> {
        let mut set = llm.settings();
        set.extend(self.set.iter().cloned());
        let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        set.extend(self.catalog.as_deref().map(|path| format!("retrieval.catalog={}", quoted(path))));
        set.extend(self.index.as_deref().map(|path| format!("retrieval.index={}", quoted(path))));
        set.extend(more);
        PipelineConfig::load(&self.pipeline, &set)
    }
}
