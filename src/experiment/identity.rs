//! What a cell is made from: its settings, the files they name and the program come in, a hash leaves that changes whenever its result could.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    cache::Cache,
    cells::Cell,
    settings::{Mentions, names_file},
};
use crate::{
    artifact,
    config::{NerEngine, PipelineConfig, RerankEngine},
    error::Result,
    hub,
    prompt::Prompt,
};

/// What a result is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of all below, of the settings and the documents.
    pub sha256: String,
    /// Files and folders that the settings name, by key.
    pub files: Vec<NamedFile>,
    /// Prompts that are asked with.
    pub prompts: Vec<NamedPrompt>,
    /// Hash of the program: it holds the shipped models, index and catalogue.
    pub program_sha256: String,
}

/// A file or folder that settings name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFile {
    /// Key, such as `retrieval.index`.
    pub key: String,
    /// Where it lies.
    pub path: String,
    /// Hash of its content.
    pub sha256: String,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPrompt {
    /// Key, such as `ner.llm.prompt`.
    pub key: String,
    /// Name and version.
    pub name: String,
    /// The whole file.
    pub source: String,
}

impl Identity {
    /// Gathers what a cell is made from; `documents` is the hash of the corpus.
    ///
    /// # Errors
    /// - [`crate::Error::Read`] if a file cannot be read; [`crate::Error::Prompt`] if there is no such prompt.
    pub fn of(cell: &Cell, documents: &str, mentions: Mentions, cache: &Cache) -> Result<Self> {
        let config = serde_json::to_value(&cell.config).unwrap_or_default();
        let mut files = Vec::new();
        named_files(&config, "", cache, &mut files)?;
        let prompts = prompts(&cell.config)?;
        let program_sha256 = cache.program_sha256()?;
        let mut identity = Self { sha256: String::new(), files, prompts, program_sha256 };
        identity.sha256 = identity.hash(&cell.config, documents, mentions);
        Ok(identity)
    }

    /// Returns the hash that it should have with a pipeline, the hash of a corpus, and whose mentions are linked.
    pub fn hash(&self, config: &PipelineConfig, documents: &str, mentions: Mentions) -> String {
        let sources: Vec<_> = self.prompts.iter().map(|prompt| (&prompt.key, &prompt.source)).collect();
        let contents: Vec<_> = self.files.iter().map(|file| (&file.key, &file.sha256)).collect();
        let all = serde_json::to_vec(&(config, contents, sources, documents, mentions, &self.program_sha256));
        format!("{:x}", Sha256::digest(all.unwrap_or_default()))
    }

    /// Says what a section of the settings is carried out with: the program, and the contents of the files that the section names.
    pub fn of_section(&self, section: &str) -> String {
        let files = self.files.iter().filter(|file| file.key.starts_with(&format!("{section}.")));
        let contents: Vec<_> = files.map(|file| (&file.key, &file.sha256)).collect();
        format!("{} {contents:?}", self.program_sha256)
    }

    /// Returns a hash of what someone chose: settings, files and prompts, not documents and program.
    pub fn choice(&self, config: &PipelineConfig) -> String {
        Self { program_sha256: String::new(), ..self.clone() }.hash(config, "", Mentions::Own)
    }
}

/// Finds the files that settings name, at any depth.
fn named_files(value: &Value, key: &str, cache: &Cache, found: &mut Vec<NamedFile>) -> Result<()> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            named_files(value, &key, cache, found)
        }),
        Value::String(name) if names_file(key) && !name.is_empty() => {
            // Models may be found by name. An index, a folder, holds the hash of the encoder that it was made with.
            let path = if key.ends_with("model") { hub::on_this_machine(name) } else { Some(name.into()) };
            match path.filter(|path: &std::path::PathBuf| path.exists()) {
                None => Ok(()),
                Some(path) => {
                    let sha256 = cache.sha256(&path)?;
                    found.push(NamedFile { key: key.to_owned(), path: path.display().to_string(), sha256 });
                    Ok(())
                }
            }
        }
        _ => Ok(()),
    }
}

const EXTRACT: &str = "ner.llm.prompt";
const SELECT: &str = "rerank.llm.prompt";
const REWORD: &str = "second_look.reword";
const DESCEND: &str = "second_look.descend";

/// Loads the prompts that a pipeline asks with.
fn prompts(config: &PipelineConfig) -> Result<Vec<NamedPrompt>> {
    let prompt = |(key, name): (&str, String)| {
        let prompt = Prompt::load(&name)?;
        let name = format!("{} {}", prompt.name(), prompt.version());
        Ok(NamedPrompt { key: key.to_owned(), name, source: prompt.source().to_owned() })
    };
    named_prompts(config).map(prompt).collect()
}

/// Returns what a prompt of a pipeline says now; `None` if it is gone.
pub(super) fn current_source(config: &PipelineConfig, key: &str) -> Option<String> {
    let (_, name) = named_prompts(config).find(|(of, _)| *of == key)?;
    Some(Prompt::load(&name).ok()?.source().to_owned())
}

/// Lists the keys of the prompts that a pipeline asks with, and their names or paths.
fn named_prompts(config: &PipelineConfig) -> impl Iterator<Item = (&'static str, String)> {
    let look = &config.second_look;
    let asks = [
        (config.ner.engine == NerEngine::Llm, EXTRACT, config.extract_prompt()),
        (config.rerank.engine == RerankEngine::Llm, SELECT, config.select_prompt()),
        (look.rounds > 1, REWORD, look.reword.clone()),
        (look.rounds > 2 && !look.descend.is_empty(), DESCEND, look.descend.clone()),
    ];
    asks.into_iter().filter(|(asks, ..)| *asks).map(|(_, key, name)| (key, name))
}

/// Has a pipeline ask with prompts as they were, which are written into a folder.
///
/// # Errors
/// - [`crate::Error::Write`] if that fails.
pub(super) fn ask_with(prompts: &[NamedPrompt], config: &mut PipelineConfig, folder: &Path) -> Result<()> {
    for (number, NamedPrompt { key, source, .. }) in prompts.iter().enumerate() {
        let path = folder.join(format!("{number}.toml"));
        artifact::write_atomic(&path, source.as_bytes())?;
        let path = path.display().to_string();
        match key.as_str() {
            EXTRACT => config.ner.llm.prompt = Some(path),
            SELECT => config.rerank.llm.prompt = Some(path),
            REWORD => config.second_look.reword = path,
            _ => config.second_look.descend = path,
        }
    }
    Ok(())
}
