//! Which prompt a language model is asked with: settings come in, a built-in name or a path leaves.

use std::path::PathBuf;

use super::PipelineConfig;
use crate::hub;

/// Prompts that the shipped model was taught.
pub(crate) const SHIPPED_PROMPTS: [&str; 2] = ["ner-short-ru", "select-short-ru"];

/// Name of the file in an adapter's folder that holds the prompt that it was taught.
pub const TAUGHT_PROMPT: &str = "prompt.toml";
/// Names of the files in a model's folder with the prompts that it was taught, to find diagnoses and to choose a code.
pub const TAUGHT_PROMPTS: [&str; 2] = ["prompt-ner.toml", "prompt-rerank.toml"];

impl PipelineConfig {
    /// Returns the name of the prompt that asks for the diagnoses of a document, or its path: the one that is set, or that the adapter
    /// or the model was taught, or the usual one.
    pub fn extract_prompt(&self) -> String {
        self.prompt(&self.ner.llm.prompt, &self.llm.adapter_ner, TAUGHT_PROMPTS[0], [SHIPPED_PROMPTS[0], "ner-ru"])
    }

    /// Returns the same for the prompt that asks for the candidate that fits.
    pub fn select_prompt(&self) -> String {
        let (set, adapter) = (&self.rerank.llm.prompt, &self.llm.adapter_rerank);
        self.prompt(set, adapter, TAUGHT_PROMPTS[1], [SHIPPED_PROMPTS[1], "select-ru"])
    }

    fn prompt(
        &self,
        set: &Option<String>,
        adapter: &Option<PathBuf>,
        of_model: &str,
        [shipped, usual]: [&str; 2],
    ) -> String {
        let there = |path: PathBuf| path.exists().then(|| path.to_string_lossy().into_owned());
        let model = || hub::on_this_machine(self.llm.model.as_deref()?);
        let taught = || there(adapter.as_ref()?.join(TAUGHT_PROMPT));
        let taught = || taught().or_else(|| there(model()?.join(of_model)));
        let set = set.clone().or_else(taught);
        set.unwrap_or_else(|| if self.llm.asks_shipped() { shipped } else { usual }.to_owned())
    }
}
