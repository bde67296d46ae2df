//! Options of the commands that may ask a language model: where it runs and with which adapters.

use std::path::{Path, PathBuf};

/// Where the language model runs. Each option sets a key of the pipeline's section `[llm]`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Language model")]
pub(super) struct LlmArgs {
    /// Language model: folder in Hugging Face form, `.gguf` file or hub id; with --server, the name it is served by
    #[arg(long, value_name = "PATH|HUB_ID")]
    model: Option<String>,
    /// OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`; several share the work (may be given several times)
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// Let texts leave this machine, for servers elsewhere
    #[arg(long)]
    allow_remote: bool,
    /// LoRA adapter (PEFT folder) for the prompts that find diagnoses
    #[arg(long, value_name = "DIR")]
    adapter_ner: Option<PathBuf>,
    /// LoRA adapter (PEFT folder) for the prompts that choose a code
    #[arg(long, value_name = "DIR")]
    adapter_rerank: Option<PathBuf>,
}

impl LlmArgs {
    /// Returns the assignments that the options stand for, as [`crate::config::PipelineConfig::load`] takes them.
    pub(super) fn settings(&self) -> Vec<String> {
        let folder = |path: &Path| path.display().to_string().into();
        let values: [(&str, Option<toml::Value>); 5] = [
            ("model", self.model.as_deref().map(toml::Value::from)),
            ("servers", (!self.server.is_empty()).then(|| self.server.clone().into())),
            ("allow_remote", self.allow_remote.then(|| true.into())),
            ("adapter_ner", self.adapter_ner.as_deref().map(folder)),
            ("adapter_rerank", self.adapter_rerank.as_deref().map(folder)),
        ];
        values.into_iter().filter_map(|(key, value)| Some(format!("llm.{key}={}", value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::PipelineConfig;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        llm: LlmArgs,
    }

    fn settings(arguments: &[&str]) -> Vec<String> {
        Command::parse_from(std::iter::once(&"command").chain(arguments)).llm.settings()
    }

    #[test]
    fn options_become_keys_whatever_they_are_spelled_with() {
        assert!(settings(&[]).is_empty());
        let arguments = [
            "--model=models/it's \"mine\"",
            "--server=http://127.0.0.1:1/v1",
            "--server=http://127.0.0.1:2/v1",
            "--allow-remote",
            "--adapter-ner=C:\\adapters\\1.5",
            "--adapter-rerank=true",
        ];
        let llm = PipelineConfig::load("llm", &settings(&arguments)).unwrap().llm;
        assert_eq!(llm.model.as_deref(), Some("models/it's \"mine\""));
        assert_eq!(llm.servers, ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]);
        assert!(llm.allow_remote);
        assert_eq!(llm.adapter_ner, Some("C:\\adapters\\1.5".into()));
        assert_eq!(llm.adapter_rerank, Some("true".into()));
    }
}
