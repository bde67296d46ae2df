//! Settings of an encoder that turns short texts into vectors with a BERT.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::{Device, setting};
use crate::error::Result;

/// Section `[encoder]`: which encoder, and how its tokens become one vector.
///
/// What is not said here is looked up, first found first: the preset named here; `noso.toml` in the encoder's folder, section
/// `[encoder]`; the files of sentence-transformers there; the preset of that hub id; else CLS, unit length, letters as they are, 512
/// tokens or what the model takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Folder or hub id. Default: the hub id of the preset.
    pub model: Option<String>,
    /// Settings by the name of a published encoder. Default: none.
    pub preset: Option<Preset>,
    /// How the vectors of the tokens become one.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length.
    pub normalise: Option<bool>,
    /// Whether texts are put in small letters first.
    pub lowercase: Option<bool>,
    /// Tokens of a text that are read, special ones included; `3..` what the model takes.
    pub max_tokens: Option<usize>,
    /// Tokens encoded at a time on a core, `1..=1000000`. Default 512: more no longer fits the cache. On a GPU, 16384 or more pay.
    pub batch_tokens: usize,
    /// Where it runs. Default `auto`.
    pub device: Device,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            model: None,
            preset: None,
            pooling: None,
            normalise: None,
            lowercase: None,
            max_tokens: None,
            batch_tokens: 512,
            device: Device::Auto,
        }
    }
}

impl EncoderConfig {
    /// Takes the encoder of a folder, a hub id or a preset's name as it says itself.
    pub fn of(name: &str) -> Self {
        match name.parse() {
            Ok(preset) if !Path::new(name).exists() => Self { preset: Some(preset), ..Self::default() },
            _ => Self { model: Some(name.to_owned()), ..Self::default() },
        }
    }

    /// Holds the values against their ranges; `section` is what messages call the place.
    ///
    /// # Errors
    /// - [`crate::Error::Setting`] for the first that is outside.
    pub fn check(&self, section: &str) -> Result<()> {
        let range = |key: &str, value: usize, least: usize, most: usize| {
            let expected = format!("a whole number from {least} to {most}");
            let wrong = || setting(&format!("{section}.{key}"), &expected, &value.to_string());
            (least..=most).contains(&value).then_some(()).ok_or_else(wrong)
        };
        if self.model.as_deref().unwrap_or_default().is_empty() && self.preset.is_none() {
            return Err(setting(&format!("{section}.model"), "a folder or hub id, or a preset", "none"));
        }
        range("batch_tokens", self.batch_tokens, 1, 1_000_000)?;
        self.max_tokens.map_or(Ok(()), |tokens| range("max_tokens", tokens, 3, 1_000_000))
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The vector of the first token.
    Cls,
    /// The mean over all tokens, special ones included.
    Mean,
    /// The vector of the first token after the model's pooler, a dense layer with tanh.
    Pooler,
}

/// A published encoder whose settings are known (`embed::preset` lists them with their sources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// BERGAMOT, multilingual.
    Bergamot,
    /// SapBERT on XLM-RoBERTa, cross-lingual.
    Sapbert,
    /// CODER, multilingual.
    Coder,
    /// BGE-M3, its dense vectors.
    BgeM3,
    /// RuBioBERT.
    Rubiobert,
}

impl std::str::FromStr for Pooling {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "cls" => Ok(Self::Cls),
            "mean" => Ok(Self::Mean),
            "pooler" => Ok(Self::Pooler),
            _ => Err(format!("expected cls, mean or pooler, got {name}")),
        }
    }
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 5] = [Self::Bergamot, Self::Sapbert, Self::Coder, Self::BgeM3, Self::Rubiobert];

    /// Returns the name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bergamot => "bergamot",
            Self::Sapbert => "sapbert",
            Self::Coder => "coder",
            Self::BgeM3 => "bge-m3",
            Self::Rubiobert => "rubiobert",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let all = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| format!("expected one of {all}, got {name}"))
    }
}
