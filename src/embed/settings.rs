//! How an encoder's tokens become a vector: what the settings, the encoder's folder and its preset say comes in, one answer leaves.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::preset::Published;
use crate::{
    artifact::write_atomic,
    config::{EncoderConfig, Pooling},
    error::{Error, Result},
};

/// Name of our own settings file in an encoder's folder.
const FILE: &str = "noso.toml";
/// Tokens read where nobody says anything.
const USUAL_TOKENS: usize = 512;

/// How the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderSettings {
    /// How the vectors of the tokens become one.
    pub pooling: Pooling,
    /// Whether vectors are scaled to unit length.
    pub normalise: bool,
    /// Whether texts are put in small letters first.
    pub lowercase: bool,
    /// Tokens of a text that are read, special ones included.
    pub max_tokens: usize,
}

/// What one source says; the next one is asked for the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stated {
    pub pooling: Option<Pooling>,
    pub normalise: Option<bool>,
    pub lowercase: Option<bool>,
    pub max_tokens: Option<usize>,
}

impl Stated {
    fn or(self, next: Self) -> Self {
        Self {
            pooling: self.pooling.or(next.pooling),
            normalise: self.normalise.or(next.normalise),
            lowercase: self.lowercase.or(next.lowercase),
            max_tokens: self.max_tokens.or(next.max_tokens),
        }
    }
}

/// Our own settings file.
#[derive(Debug, Default, Deserialize)]
struct Own {
    #[serde(default)]
    encoder: Stated,
}

impl EncoderSettings {
    /// Answers from all sources in the order that [`EncoderConfig`] documents. `folder` is the encoder's; `most_tokens` is what the
    /// model takes.
    ///
    /// # Errors
    /// - [`Error::Setting`] if `config` asks for more tokens than the model takes; [`Error::EncoderLoad`] if a file of the folder is
    ///   damaged or asks for a pooling that is not supported.
    pub fn resolve(config: &EncoderConfig, folder: &Path, most_tokens: usize) -> Result<Self> {
        if let Some(tokens) = config.max_tokens.filter(|&tokens| tokens > most_tokens) {
            return Err(Error::Setting {
                key: "encoder.max_tokens".into(),
                expected: format!("at most {most_tokens}, the positions of {}", folder.display()),
                got: tokens.to_string(),
            });
        }
        let EncoderConfig { pooling, normalise, lowercase, max_tokens, .. } = *config;
        let named = config.preset.and_then(Published::named).map(Published::stated).unwrap_or_default();
        let implied = config.model.as_deref().and_then(Published::of_hub_id).map(Published::stated).unwrap_or_default();
        let stated = Stated { pooling, normalise, lowercase, max_tokens }
            .or(named)
            .or(read_own(folder)?)
            .or(read_sentence_transformers(folder)?)
            .or(implied);
        Ok(Self {
            pooling: stated.pooling.unwrap_or(Pooling::Cls),
            normalise: stated.normalise.unwrap_or(true),
            lowercase: stated.lowercase.unwrap_or(false),
            max_tokens: stated.max_tokens.unwrap_or(USUAL_TOKENS).min(most_tokens),
        })
    }

    /// Returns the settings of a masked language model: nothing taught its first token to stand for the text, so the mean does.
    pub fn of_masked_language_model(most_tokens: usize) -> Self {
        Self { pooling: Pooling::Mean, normalise: true, lowercase: false, max_tokens: USUAL_TOKENS.min(most_tokens) }
    }

    /// Writes the settings into an encoder's folder, where they are found again.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Self { normalise, lowercase, max_tokens, .. } = self;
        let pooling = match self.pooling {
            Pooling::Cls => "cls",
            Pooling::Mean => "mean",
            Pooling::Pooler => "pooler",
        };
        let text = format!(
            "# How this encoder turns a text into a vector.\n[encoder]\npooling = \"{pooling}\"\nnormalise = {normalise}\nlowercase = {lowercase}\nmax_tokens = {max_tokens}\n"
        );
        write_atomic(&folder.join(FILE), text.as_bytes())
    }
}

fn broken(folder: &Path, reason: String, hint: &str) -> Error {
    Error::EncoderLoad { name: folder.display().to_string(), reason, hint: hint.into() }
}

fn read_own(folder: &Path) -> Result<Stated> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(Stated::default());
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
    let hint = "section [encoder] knows the keys pooling, normalise, lowercase and max_tokens";
    let own: Own = toml::from_str(&text).map_err(|e| broken(folder, format!("{FILE}: {}", e.message()), hint))?;
    Ok(own.encoder)
}

fn read_json<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>> {
    let path = folder.join(file);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    let damaged = |e: serde_json::Error| broken(folder, format!("{file}: {e}"), "copy the folder again");
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Reads `modules.json`, the configuration of its pooling, and `sentence_bert_config.json`.
///
/// A model without a `Normalize` module is still compared by the cosine as a rule, so that says nothing of the length.
fn read_sentence_transformers(folder: &Path) -> Result<Stated> {
    let mut stated = Stated::default();
    if let Some(Value::Object(config)) = read_json(folder, "sentence_bert_config.json")? {
        stated.max_tokens = config.get("max_seq_length").and_then(Value::as_u64).map(|tokens| tokens as usize);
        stated.lowercase = config.get("do_lower_case").and_then(Value::as_bool);
    }
    let modules: Vec<Value> = read_json(folder, "modules.json")?.unwrap_or_default();
    for module in &modules {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type").rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Normalize" => stated.normalise = Some(true),
            "Pooling" => stated.pooling = read_pooling(folder, text("path"))?,
            other => {
                let hint = "the modules Transformer, Pooling and Normalize are supported; without modules.json the encoder alone is used";
                return Err(broken(folder, format!("modules.json: the module {other} is not supported"), hint));
            }
        }
    }
    Ok(stated)
}

fn read_pooling(folder: &Path, path: &str) -> Result<Option<Pooling>> {
    let path = if path.is_empty() || path.contains("..") { "1_Pooling" } else { path };
    let file = format!("{path}/config.json");
    let Some(config) = read_json::<Value>(folder, &file)? else { return Ok(None) };
    let said = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mode = config.get("pooling_mode").and_then(Value::as_str);
    let modes = config.as_object().into_iter().flatten();
    let on = modes.filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true)).count();
    match mode {
        Some("cls") => Ok(Some(Pooling::Cls)),
        Some("mean") => Ok(Some(Pooling::Mean)),
        None if on == 1 && said("pooling_mode_cls_token") => Ok(Some(Pooling::Cls)),
        None if on == 1 && said("pooling_mode_mean_tokens") => Ok(Some(Pooling::Mean)),
        None if on == 0 => Ok(None),
        _ => {
            let hint =
                "set `pooling` (--pooling) to `cls` or `mean` after removing the file, or choose another encoder";
            Err(broken(folder, format!("{file}: only the poolings cls and mean are supported"), hint))
        }
    }
}
