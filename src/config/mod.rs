//! Every setting of a pipeline: TOML comes in, checked structs leave.

mod encoder;
mod llm;
mod load;
mod prompts;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::encoder::{EncoderConfig, Pooling, Preset};
pub use self::llm::{
    Device, Dtype, ExtractConfig, ExtractDecoding, LlmConfig, OnBadAnswer, Order, ReportedSpan, SecondLookConfig,
    SelectConfig, SelectDecoding, Structured,
};
pub use self::load::built_in_pipelines;
pub(crate) use self::prompts::SHIPPED_PROMPTS;
pub use self::prompts::{TAUGHT_PROMPT, TAUGHT_PROMPTS};
use crate::error::{Error, Result};

/// A pipeline: which engine does each stage, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Recognition of mentions.
    #[serde(default)]
    pub ner: NerConfig,
    /// Retrieval of candidates.
    #[serde(default)]
    pub retrieval: RetrievalConfig,
    /// Choice among candidates.
    #[serde(default)]
    pub rerank: RerankConfig,
    /// When to give a code.
    #[serde(default)]
    pub decision: DecisionConfig,
    /// The language model of the stages with engine `llm`.
    #[serde(default)]
    pub llm: LlmConfig,
    /// What is tried when a language model finds no candidate that fits.
    #[serde(default)]
    pub second_look: SecondLookConfig,
}

/// Section `[ner]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NerConfig {
    /// Engine. Default `crf`.
    pub engine: NerEngine,
    /// Engine `crf`: model file of `noso train crf`; default: the shipped one. Engine `bert`: folder of `noso train ner`, or a token
    /// classifier of transformers (folder or hub id).
    pub model: Option<PathBuf>,
    /// Engine `bert`: entity types that are mentions, of a model that knows several. Default: all it knows.
    pub types: Vec<String>,
    /// Engine `bert` with a model of kind `binder`: whether mentions may lie within others. Default yes.
    pub nested: bool,
    /// Engine `bert`: where it runs. Default `auto`.
    pub device: Device,
    /// Mentions less probable than this are left out, `0..=1`. Default 0. Engine `bert`: the probability of the least sure decision that
    /// makes the mention up; a bi-encoder's mentions are above 0.5.
    pub min_probability: f32,
    /// Engine `llm`: how it asks.
    pub llm: ExtractConfig,
}

/// An engine that finds mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NerEngine {
    /// Token classifier or bi-encoder.
    Bert,
    /// Conditional random field, shipped.
    Crf,
    /// Language model with a prompt.
    Llm,
}

/// Section `[retrieval]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// Kind of encoder; an index of another kind is refused (a hybrid counts as a BERT). Default: the one that the index was built with.
    pub encoder: Option<Encoder>,
    /// Where the encoder is: a file of n-grams, or the folder or hub id of a BERT (of a hybrid too). Default: as the index says.
    pub encoder_model: Option<String>,
    /// BERT: where it runs. Default `auto`.
    pub device: Device,
    /// BERT: tokens encoded at a time on a core, `1..=1000000`. Default 512.
    pub batch_tokens: usize,
    /// How the two parts of a hybrid encoder decide together. Default `weighted`.
    pub fusion: Fusion,
    /// Index folder. Default: the shipped one.
    pub index: Option<PathBuf>,
    /// Catalogue file; only its codes are proposed. Default: the shipped one, without that restriction.
    pub catalog: Option<PathBuf>,
    /// Abbreviation list that expands mentions before they are looked up: a file (`.yaml`, or two columns with a tab), or
    /// `shipped`. Default: none.
    pub abbreviations: Option<PathBuf>,
    /// Nearest texts looked at for a mention, `1..=4096`. Default 96.
    pub neighbours: usize,
    /// Power to which a text's similarity is raised in the vote that orders codes, `1..=1000`: the higher, the more the nearest
    /// decide. Default 8, for n-grams; vectors of a BERT lie closer together and want more.
    pub vote_power: f32,
    /// What a candidate is. Default `code`.
    pub unit: CandidateUnit,
}

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateUnit {
    /// A code, shown by its title, ordered by the vote of its nearest rows.
    Code,
    /// An index entry, shown by its words, ordered by nearness: as in the paper. Two may have one code.
    Entry,
}

/// An encoder of short texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// Hashed character n-grams, shipped.
    #[default]
    Ngram,
    /// BERT or XLM-RoBERTa.
    Bert,
    /// A BERT and n-grams, their weighted vectors side by side.
    Hybrid,
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ngram => "ngram",
            Self::Bert => "bert",
            Self::Hybrid => "hybrid",
        })
    }
}

/// How two encoders decide together which texts are nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// By the weighted sum of their cosines; the weight was chosen when the index was built.
    #[default]
    Weighted,
    /// By the sum of `1 / (60 + rank)` over the two rankings. Flat and SQ8 indexes rank each part exactly; a graph (HNSW) or
    /// clusters (IVF) were made for the weighted sum and may miss rows of a part.
    ///
    /// # Source
    /// Cormack, Clarke and Büttcher 2009, <https://doi.org/10.1145/1571941.1572114>.
    Rrf,
}

/// Section `[rerank]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RerankConfig {
    /// Engine. Default `nearest`.
    pub engine: RerankEngine,
    /// Model file of `noso train nearest`. Default: the shipped one.
    pub model: Option<PathBuf>,
    /// Candidates kept for a mention, `1..=1000`. Default 15, the paper's top-k.
    pub candidates: usize,
    /// Engine `llm`: how it asks.
    pub llm: SelectConfig,
}

/// An engine that chooses a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RerankEngine {
    /// Weighted vote of the nearest rows, shipped.
    Nearest,
    /// The first candidate of the retrieval.
    First,
    /// Language model with a prompt.
    Llm,
}

/// Section `[decision]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// A code less sure than this is not given, `0..=1`. Default 0.
    pub min_confidence: f32,
    /// Whether the three-character group is given where it is sure enough and the code is not. Default no.
    pub back_off: bool,
}

impl Default for NerConfig {
    fn default() -> Self {
        Self {
            engine: NerEngine::Crf,
            model: None,
            types: Vec::new(),
            nested: true,
            device: Device::Auto,
            min_probability: 0.0,
            llm: ExtractConfig::default(),
        }
    }
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            encoder: None,
            encoder_model: None,
            device: Device::Auto,
            batch_tokens: 512,
            fusion: Fusion::Weighted,
            index: None,
            catalog: None,
            abbreviations: None,
            neighbours: 96,
            vote_power: 8.0,
            unit: CandidateUnit::Code,
        }
    }
}

impl Default for RerankConfig {
    fn default() -> Self {
        Self { engine: RerankEngine::Nearest, model: None, candidates: 15, llm: SelectConfig::default() }
    }
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self { min_confidence: 0.0, back_off: false }
    }
}

impl PipelineConfig {
    /// Checks the ranges of all values.
    fn check(&self) -> Result<()> {
        let share = |key: &str, value: f32| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(setting(key, "a number from 0 to 1", &value.to_string()))
            }
        };
        let count = |key: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(setting(key, &format!("a whole number from 1 to {most}"), &value.to_string()))
            }
        };
        share("ner.min_probability", self.ner.min_probability)?;
        share("decision.min_confidence", self.decision.min_confidence)?;
        count("retrieval.batch_tokens", self.retrieval.batch_tokens, 1_000_000)?;
        count("retrieval.neighbours", self.retrieval.neighbours, 4096)?;
        if !(1.0..=1000.0).contains(&self.retrieval.vote_power) {
            let got = self.retrieval.vote_power.to_string();
            return Err(setting("retrieval.vote_power", "a number from 1 to 1000", &got));
        }
        count("rerank.candidates", self.rerank.candidates, 1000)?;
        llm::check(self)
    }
}

fn setting(key: &str, expected: &str, got: &str) -> Error {
    Error::Setting { key: key.into(), expected: expected.into(), got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_know_the_sections() {
        let pipeline = toml::Table::try_from(toml::from_str::<PipelineConfig>("").unwrap()).unwrap();
        assert!(pipeline.keys().all(|section| crate::error::SECTIONS.contains(&section.as_str())));
        assert_eq!(pipeline.len(), crate::error::SECTIONS.len());
    }
}
