//! Settings of language models: where one runs, how, and how it is asked.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CandidateUnit, NerEngine, PipelineConfig, RerankEngine, prompts::SHIPPED_PROMPTS, setting};
use crate::error::Result;

/// Section `[llm]`: the model that the stages with engine `llm` ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmConfig {
    /// Folder in Hugging Face form, `.gguf` file, or hub id. Default: the shipped model, unless `servers` are given.
    pub model: Option<String>,
    /// Addresses of OpenAI-compatible servers, such as `http://127.0.0.1:8000/v1`; the run is spread over them. Default: none,
    /// the model runs in this process.
    pub servers: Vec<String>,
    /// LoRA adapter (PEFT folder) for extraction. Default: none; with the shipped model, its own.
    pub adapter_ner: Option<PathBuf>,
    /// LoRA adapter (PEFT folder) for selection, rewording and descending. Default: none; with the shipped model, its own.
    pub adapter_rerank: Option<PathBuf>,
    /// Where the model runs. Default `auto`: the first GPU if this build has CUDA and one is there.
    pub device: Device,
    /// Number format. Default `auto`: f32 on the CPU, bf16 on a GPU.
    pub dtype: Dtype,
    /// In-situ quantisation while loading, as mistral.rs names it: `q4k`, `q8_0`, `4`, `8`, … Default: none.
    pub quantization: Option<String>,
    /// Most tokens of prompt and answer together, 64 to 1,048,576. Default 4096.
    pub context_tokens: usize,
    /// Requests worked on at a time, for each model or server, 1 to 1024. Default 1 in process, 8 for servers.
    pub max_in_flight: Option<usize>,
    /// Seconds after which an engine without a new token, or a server without an answer, counts as lost, 1 to 86,400. Default 300.
    pub timeout_s: u64,
    /// Servers: tries after the first one, 0 to 10. Default 3.
    pub retries: u32,
    /// Servers: environment variable that holds the key. Default: none.
    pub api_key_env: Option<String>,
    /// Servers: how they take a constraint on the answer. Default `auto`.
    pub structured: Structured,
    /// Servers: whether texts may leave this machine. Default no.
    pub allow_remote: bool,
}

/// Where a model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first visible NVIDIA GPU.
    Cuda,
}

/// Number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// f32 on the CPU, bf16 on a GPU.
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, bfloat.
    Bf16,
    /// 16 bits, IEEE.
    F16,
}

/// How a server takes a constraint on the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structured {
    /// As the server says it is, where it says so; else [`Structured::None`].
    Auto,
    /// vLLM: `structured_outputs`, and `guided_choice` or `guided_grammar` for versions before 0.12.
    Vllm,
    /// llama.cpp: `grammar`, GBNF.
    LlamaCpp,
    /// mistralrs-server: `grammar`, Lark. It gives no log-probabilities that could be used.
    Mistralrs,
    /// SGLang: `ebnf`.
    Sglang,
    /// OpenAI's `response_format`, which Ollama has too: choices only; lists of words of a document stay free.
    Openai,
    /// Not at all: answers are free and checked afterwards.
    None,
}

impl Structured {
    /// Returns the name used in settings.
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama-cpp",
            Self::Mistralrs => "mistralrs",
            Self::Sglang => "sglang",
            Self::Openai => "openai",
            Self::None => "none",
        }
    }
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            model: None,
            servers: Vec::new(),
            adapter_ner: None,
            adapter_rerank: None,
            device: Device::Auto,
            dtype: Dtype::Auto,
            quantization: None,
            context_tokens: 4096,
            max_in_flight: None,
            timeout_s: 300,
            retries: 3,
            api_key_env: None,
            structured: Structured::Auto,
            allow_remote: false,
        }
    }
}

impl LlmConfig {
    /// Tells whether the shipped model is meant: neither a model nor a server is named.
    pub fn asks_shipped(&self) -> bool {
        self.model.is_none() && self.servers.is_empty()
    }

    /// Returns how many requests a model in process, or each server, may be given at a time. The engine may take fewer.
    pub fn requests_in_flight(&self) -> usize {
        self.max_in_flight.unwrap_or(if self.servers.is_empty() { 1 } else { 8 })
    }
}

/// Section `[ner.llm]`: how diagnoses are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtractConfig {
    /// Built-in prompt or prompt file. Default: the one that the adapter or the shipped model was taught, else `ner-ru`.
    pub prompt: Option<String>,
    /// `free` (the paper's) or `verbatim` (only words of the document can be said). Default `verbatim`.
    pub decoding: ExtractDecoding,
    /// Most Levenshtein edits between quoted words and the text, 0 to 8. Default: a quarter of the characters, at most 2. The
    /// paper: 2.
    pub max_edits: Option<usize>,
    /// Most diagnoses of a document, 1 to 1000. Default 64.
    pub max_items: usize,
    /// Most tokens of an answer, 1 to 32,768. Default 512.
    pub max_tokens: usize,
    /// Randomness, 0 to 2. Default 0, as in the paper.
    pub temperature: f64,
    /// Start of the random numbers of an answer that is drawn; servers take it, a model in process draws as it likes. In an experiment
    /// another seed asks anew. Default 0.
    pub seed: u64,
    /// Examples shown before the question, drawn from `examples`, 0 to 32. Default 0.
    pub shots: usize,
    /// Annotated brat folder that examples are drawn from. Default: none, the prompt's own examples stand.
    pub examples: Option<PathBuf>,
}

/// How freely diagnoses are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractDecoding {
    /// Anything; checked against the text afterwards.
    Free,
    /// A list of pieces of the document, from word boundary to word boundary.
    Verbatim,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self {
            prompt: None,
            decoding: ExtractDecoding::Verbatim,
            max_edits: None,
            max_items: 64,
            max_tokens: 512,
            temperature: 0.0,
            seed: 0,
            shots: 0,
            examples: None,
        }
    }
}

/// Section `[rerank.llm]`: how a candidate is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Built-in prompt or prompt file. Default: the one that the adapter or the shipped model was taught, else `select-ru`.
    pub prompt: Option<String>,
    /// `free` (the paper's) or `choice` (only what was offered can be said). Default `choice`.
    pub decoding: SelectDecoding,
    /// In which order candidates are offered. Default `ranked`.
    pub order: Order,
    /// Whether 0, none of these, may be answered. Default: as the prompt says.
    pub none_allowed: Option<bool>,
    /// Weight of retrieval's scores beside the model's distribution, where it tells one: 0, the model alone (the paper's), to 1. Default 0.
    pub prior: f64,
    /// Whether an index entry with the mention's words is taken without asking. Default yes, as in the paper.
    pub direct_match: bool,
    /// What an answer that cannot be used leads to. Default `reject`.
    pub on_bad_answer: OnBadAnswer,
    /// Which place is reported. Default `mention`.
    pub span: ReportedSpan,
    /// Examples shown before the question, drawn from `examples`, 0 to 32. Default 0.
    pub shots: usize,
    /// Annotated brat folder that examples are drawn from. Default: none, the prompt's own examples stand.
    pub examples: Option<PathBuf>,
    /// Most tokens of a free answer, 1 to 4096; where titles are answered, 96 or more. Default 16.
    pub max_tokens: usize,
    /// Randomness, 0 to 2. Default 0, as in the paper.
    pub temperature: f64,
    /// Which order `shuffled` is, and the start of the random numbers as in `[ner.llm]`. Default 0.
    pub seed: u64,
}

/// How freely a candidate is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectDecoding {
    /// Anything; the number, or title, is looked for afterwards.
    Free,
    /// One of the numbers, or titles, offered; the model's distribution over them gives the confidence.
    Choice,
}

/// In which order candidates are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As retrieval ranks them.
    Ranked,
    /// In another one for each mention, the same in each run: the rank tells nothing. In training, another one each time.
    Shuffled,
}

/// What an answer that cannot be used leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadAnswer {
    /// No code.
    Reject,
    /// The first candidate, as in the authors' zero-shot runs.
    First,
}

/// Which place is reported for a mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedSpan {
    /// Where the mention stands.
    Mention,
    /// Where the chosen entry's words stand in the lower-cased document, as in the authors' zero-shot runs; none if nowhere.
    ChosenEntry,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self {
            prompt: None,
            decoding: SelectDecoding::Choice,
            order: Order::Ranked,
            none_allowed: None,
            prior: 0.0,
            direct_match: true,
            on_bad_answer: OnBadAnswer::Reject,
            span: ReportedSpan::Mention,
            shots: 0,
            examples: None,
            max_tokens: 16,
            temperature: 0.0,
            seed: 0,
        }
    }
}

/// Section `[second_look]`: what is tried when no candidate fits or the choice is unsure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecondLookConfig {
    /// Rounds in all, 1 to 16. Default 1, the paper's: no second look.
    pub rounds: usize,
    /// A choice less sure than this is looked at again, `0..=1`; one whose probability the model does not tell is not.
    /// Default 0.5.
    pub below: f32,
    /// Built-in prompt or prompt file that asks for other wordings. Default `reword-ru`.
    pub reword: String,
    /// Built-in prompt or prompt file that walks down the classification in the last round. Default `descend-ru`; empty: no walk.
    pub descend: String,
}

impl Default for SecondLookConfig {
    fn default() -> Self {
        Self { rounds: 1, below: 0.5, reword: "reword-ru".into(), descend: "descend-ru".into() }
    }
}

/// Checks the ranges of everything here, and that a model is named if one is asked.
pub(super) fn check(config: &PipelineConfig) -> Result<()> {
    let PipelineConfig { llm, second_look, .. } = config;
    let (extract, select) = (&config.ner.llm, &config.rerank.llm);
    let range = |key: &str, value: usize, least: usize, most: usize| match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(setting(key, &format!("a whole number from {least} to {most}"), &value.to_string())),
    };
    range("llm.context_tokens", llm.context_tokens, 64, 1 << 20)?;
    range("llm.max_in_flight", llm.max_in_flight.unwrap_or(1), 1, 1024)?;
    range("llm.timeout_s", llm.timeout_s as usize, 1, 86_400)?;
    range("llm.retries", llm.retries as usize, 0, 10)?;
    range("ner.llm.max_edits", extract.max_edits.unwrap_or(0), 0, 8)?;
    range("ner.llm.max_items", extract.max_items, 1, 1000)?;
    range("ner.llm.max_tokens", extract.max_tokens, 1, 32_768)?;
    range("ner.llm.shots", extract.shots, 0, 32)?;
    range("rerank.llm.shots", select.shots, 0, 32)?;
    range("rerank.llm.max_tokens", select.max_tokens, 1, 4096)?;
    range("second_look.rounds", second_look.rounds, 1, 16)?;
    for (key, value, most) in [
        ("ner.llm.temperature", extract.temperature, 2.0),
        ("rerank.llm.temperature", select.temperature, 2.0),
        ("rerank.llm.prior", select.prior, 1.0),
        ("second_look.below", f64::from(second_look.below), 1.0),
    ] {
        if !(0.0..=most).contains(&value) {
            return Err(setting(key, &format!("a number from 0 to {most}"), &value.to_string()));
        }
    }
    for (section, shots, examples) in
        [("ner.llm", extract.shots, &extract.examples), ("rerank.llm", select.shots, &select.examples)]
    {
        if shots > 0 && examples.is_none() {
            let expected = format!("an annotated brat folder to draw `{section}.shots` from");
            return Err(setting(&format!("{section}.examples"), &expected, "none"));
        }
    }
    let asks = config.ner.engine == NerEngine::Llm || config.rerank.engine == RerankEngine::Llm;
    let names =
        llm.model.is_some() || !llm.servers.is_empty() || llm.adapter_ner.is_some() || llm.adapter_rerank.is_some();
    if names && !asks {
        return Err(setting(
            "llm",
            "a pipeline that asks a language model (--pipeline llm)",
            "a model and no stage that asks it",
        ));
    }
    // An adapter of one's own may have been taught another, and a file may hold another wording of the one that was taught.
    let is_file = |prompt: &str| Path::new(prompt).extension().is_some_and(|ending| ending == "toml");
    let strange = |set: &Option<String>, adapter: &Option<PathBuf>, shipped| {
        adapter.is_none() && set.as_deref().is_some_and(|prompt| prompt != shipped && !is_file(prompt))
    };
    let strange = strange(&extract.prompt, &llm.adapter_ner, SHIPPED_PROMPTS[0])
        || strange(&select.prompt, &llm.adapter_rerank, SHIPPED_PROMPTS[1]);
    if asks && llm.asks_shipped() && (strange || second_look.rounds > 1) {
        return Err(setting(
            "llm.model",
            "a model folder, .gguf file or hub id (--model), or a server (--server)",
            "none, and the shipped model answers no built-in prompts but its own, without a second look",
        ));
    }
    if config.retrieval.unit == CandidateUnit::Entry && config.rerank.engine == RerankEngine::Nearest {
        return Err(setting("retrieval.unit", "`code` with the `nearest` engine in `rerank`", "entry"));
    }
    if second_look.rounds > 1 && config.rerank.engine != RerankEngine::Llm {
        return Err(setting(
            "second_look.rounds",
            "1, or the `llm` engine in `rerank`",
            &second_look.rounds.to_string(),
        ));
    }
    Ok(())
}
