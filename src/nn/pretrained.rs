//! Encoders from folders: a folder or hub id comes in, a model with its tokenizer leaves; and the way back.

use std::{collections::HashMap, path::Path, sync::Arc};

use candle_core::{CpuStorage, Device, Storage, Tensor};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::{
    Parameters,
    bert::{AttentionWindow, Bert, BertConfig, Family},
    tokenizer::Tokenizer,
    weights::{self, WEIGHTS_FILE},
};
use crate::{
    artifact::write_atomic,
    error::{Error, Result},
    hub,
};

/// Name of the configuration in a model's folder.
const CONFIG_FILE: &str = "config.json";
/// More than any encoder has of anything; what lies beyond is damage.
const MOST: u64 = 1 << 24;

/// A BERT or XLM-RoBERTa encoder with its tokenizer.
pub struct Pretrained {
    /// Folder or hub id that it came from.
    pub name: String,
    /// Sizes.
    pub config: BertConfig,
    /// What else stands in `config.json`, such as `id2label`; written back by [`Self::save`].
    pub extra: Map<String, Value>,
    /// All weights: the encoder's as variables; heads (`classifier.weight`, …) are kept until a layer asks for them.
    pub parameters: Parameters,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The layers, which share the parameters' storage.
    pub bert: Bert,
}

impl Pretrained {
    /// Reads a folder in Hugging Face's form, or a model of that hub id from this machine's cache (see [`hub::resolve`]).
    ///
    /// Weights: `model.safetensors`, its shards, or `pytorch_model.bin`, in f32, f16 or bf16; names with or without the prefix
    /// `bert.`, `roberta.` or `longformer.`; `gamma` and `beta` are old names of a normalisation's `weight` and `bias`.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if a file is missing, damaged, or does not fit the others; it names file and tensor.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let folder = hub::resolve(name, &HUB_FILES)?;
        let (config, extra) = read_config(&folder)?;
        let tokenizer = Tokenizer::load(&folder)?;
        check_tokens(&folder, tokenizer.size(), config.vocab_size)?;
        let (file, given) = weights::find(&folder, broken)?;
        let given = rename(given);
        let mut parameters = Parameters::from_stored(&file, given, device, 0);
        let bert = Bert::new(&config, &mut parameters, "", false).map_err(|e| match e {
            Error::Artifact { name, reason, .. } => broken(
                &folder,
                format!("{name}: {reason}"),
                "config.json and weights belong to different models, or the file is cut short; copy the folder again",
            ),
            other => other,
        })?;
        Ok(Self { name: name.to_owned(), config, extra, parameters, tokenizer: Arc::new(tokenizer), bert })
    }

    /// Puts a model together that no folder holds yet, its weights drawn from `parameters`' seed where they are not given.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if a given weight has another shape.
    pub fn new(name: &str, config: BertConfig, mut parameters: Parameters, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let bert = Bert::new(&config, &mut parameters, "", true)?;
        Ok(Self { name: name.to_owned(), config, extra: Map::new(), parameters, tokenizer, bert })
    }

    /// Says in the configuration for which class of transformers the weights are: `head` follows the family's name there, as in
    /// `ForTokenClassification`, or `Model` for none.
    pub fn set_class(&mut self, head: &str) {
        let family = match self.config.family {
            Family::Bert => "Bert",
            Family::Roberta => "Roberta",
            Family::XlmRoberta => "XLMRoberta",
            Family::Longformer => "Longformer",
        };
        self.extra.insert("architectures".into(), json!([format!("{family}{head}")]));
    }

    /// Makes it the bare encoder: what the configuration says of a head goes, for its weights are not written.
    pub fn forget_heads(&mut self) {
        const OF_HEADS: [&str; 6] =
            ["id2label", "label2id", "binder", "classifier_dropout", "problem_type", "tie_word_embeddings"];
        OF_HEADS.iter().for_each(|key| drop(self.extra.remove(*key)));
        self.set_class("Model");
    }

    /// Writes `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, which transformers loads, each
    /// atomically; the configuration last, so that a folder without it is an unfinished one. Given
    /// weights that no layer asked for are not written.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let prefix = self.prefix();
        let is_encoders = |name: &str| ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part));
        let whole_name = |name: &str| if is_encoders(name) { format!("{prefix}{name}") } else { name.to_owned() };
        self.parameters.save_as(&folder.join(WEIGHTS_FILE), whole_name, None)?;
        self.tokenizer.save(folder, self.config.max_tokens())?;
        let mut whole = self.extra.clone();
        whole.append(&mut self.config_json());
        whole.insert("dtype".into(), "float32".into());
        write_atomic(&folder.join(CONFIG_FILE), format!("{:#}\n", Value::Object(whole)).as_bytes())
    }

    /// Returns the prefix under which transformers keeps the encoder's weights in the class that `architectures` names: none in the bare
    /// encoder's own class.
    fn prefix(&self) -> &'static str {
        let class = self.extra.get("architectures").and_then(|classes| classes.get(0)?.as_str()).unwrap_or("Model");
        match self.config.family {
            _ if class.ends_with("Model") => "",
            Family::Bert => "bert.",
            Family::Roberta | Family::XlmRoberta => "roberta.",
            Family::Longformer => "longformer.",
        }
    }

    /// Returns a hash over configuration, variables and tokenizer, 16 hexadecimal digits, which changes whenever the vectors would.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Xxh3::new();
        hash.update(Value::Object(self.config_json()).to_string().as_bytes());
        hash.update(self.tokenizer.sha256().as_bytes());
        for (name, variable) in self.parameters.variables() {
            hash.update(format!("{name} {:?}\n", variable.dims()).as_bytes());
            hash_numbers(&mut hash, variable.as_tensor())?;
        }
        Ok(format!("{:016x}", hash.digest()))
    }

    fn config_json(&self) -> Map<String, Value> {
        match serde_json::to_value(&self.config) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// What a folder of an encoder holds, for those that are looked up or fetched by their hub id.
pub(crate) const HUB_FILES: hub::Files = hub::Files {
    hint: "give a folder that holds config.json, model.safetensors and tokenizer.json, or a hub id such as cambridgeltl/SapBERT-UMLS-2020AB-all-lang-from-XLMR",
    error: |name, reason, hint| Error::EncoderLoad { name, reason, hint },
    is_whole: |folder| {
        let any = |files: &[&str]| files.iter().any(|file| folder.join(file).exists());
        any(&[CONFIG_FILE]) && any(&["tokenizer.json", "vocab.txt"]) && weights::exist(folder, broken)
    },
    wanted: |name, all| {
        let safe = all.iter().any(|other| other.ends_with(".safetensors") && !other.contains('/'));
        let weights = if safe { name.ends_with(".safetensors") } else { name == "pytorch_model.bin" };
        let small = name.ends_with(".json") || name == "vocab.txt" || name == "noso.toml";
        name == "1_Pooling/config.json" || !name.contains('/') && (small || weights)
    },
};

fn broken(folder: &Path, reason: String, hint: &str) -> Error {
    Error::EncoderLoad { name: folder.display().to_string(), reason, hint: hint.into() }
}

/// Holds a tokenizer's number of tokens against the model's rows. Some models have a few rows more, for speed; half as many again is
/// another model.
fn check_tokens(folder: &Path, tokens: usize, rows: usize) -> Result<()> {
    if tokens > rows || tokens < rows / 2 {
        return Err(broken(
            folder,
            format!("the tokenizer has {tokens} tokens, the model's vocabulary {rows}"),
            "tokenizer and weights belong to different models; copy both from one folder",
        ));
    }
    if tokens < rows / 10 * 9 {
        let folder = folder.display();
        tracing::warn!("{folder}: {tokens} tokens, rows for {rows}: do tokenizer and weights belong to one model?");
    }
    Ok(())
}

/// Strips the prefix under which a model with a head keeps its encoder, and gives normalisations their present names.
fn rename<T>(given: HashMap<String, T>) -> HashMap<String, T> {
    let current = |name: &str| -> String {
        let name =
            ["bert.", "roberta.", "longformer."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        match name.rsplit_once('.') {
            Some((layer, "gamma")) => format!("{layer}.weight"),
            Some((layer, "beta")) => format!("{layer}.bias"),
            _ => name.to_owned(),
        }
    };
    given.into_iter().map(|(name, weight)| (current(&name), weight)).collect()
}

/// Reads `config.json`, refuses what these layers cannot do, and returns the sizes and all other keys.
fn read_config(folder: &Path) -> Result<(BertConfig, Map<String, Value>)> {
    let supported = "BERT, RoBERTa, XLM-RoBERTa and Longformer encoders with absolute positions are supported";
    let wrong = |reason: String| broken(folder, format!("{CONFIG_FILE}: {reason}"), supported);
    let path = folder.join(CONFIG_FILE);
    let text = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => broken(folder, format!("it holds no {CONFIG_FILE}"), HUB_FILES.hint),
        _ => Error::read(&path, e),
    })?;
    let damaged = "the file is damaged; copy the folder again";
    let mut map: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|e| broken(folder, format!("{CONFIG_FILE}: no JSON object: {e}"), damaged))?;
    map.retain(|_, value| !value.is_null());
    let family = map.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    if !["bert", "roberta", "xlm-roberta", "longformer"].contains(&family) {
        return Err(wrong(format!("expected model_type bert, roberta, xlm-roberta or longformer, got {family}")));
    }
    let kind = map.get("position_embedding_type").and_then(Value::as_str).unwrap_or("absolute");
    if kind != "absolute" {
        return Err(wrong(format!("expected position_embedding_type absolute, got {kind}")));
    }
    let said = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    if let Some(key) = ["is_decoder", "relative_attention", "add_cross_attention"].into_iter().find(|key| said(key)) {
        return Err(wrong(format!("expected {key} false, got true")));
    }
    let config: BertConfig = serde_json::from_value(Value::Object(map.clone())).map_err(|e| wrong(format!("{e}")))?;
    check(&config).map_err(|reason| broken(folder, format!("{CONFIG_FILE}: {reason}"), damaged))?;
    if let Ok(Value::Object(known)) = serde_json::to_value(&config) {
        map.retain(|key, _| {
            !known.contains_key(key) && !["torch_dtype", "transformers_version"].contains(&key.as_str())
        });
    }
    Ok((config, map))
}

/// Holds the sizes against reason, before anything is allocated by them.
fn check(config: &BertConfig) -> std::result::Result<(), String> {
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("num_hidden_layers", config.num_hidden_layers),
        ("num_attention_heads", config.num_attention_heads),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
        ("type_vocab_size", config.type_vocab_size),
    ];
    if let Some((key, size)) = sizes.into_iter().find(|(_, size)| *size == 0 || *size as u64 > MOST) {
        return Err(format!("expected {key} from 1 to {MOST}, got {size}"));
    }
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(format!("expected hidden_size as a multiple of num_attention_heads, got {hidden} and {heads}"));
    }
    let layers = config.num_hidden_layers;
    match &config.attention_window {
        Some(AttentionWindow::Each(windows)) if windows.len() != layers => {
            return Err(format!("expected an attention_window for each of {layers} layers, got {}", windows.len()));
        }
        Some(AttentionWindow::Same(window)) => check_window(*window)?,
        Some(AttentionWindow::Each(windows)) => windows.iter().try_for_each(|&window| check_window(window))?,
        None => {}
    }
    if config.max_tokens() < 2 {
        return Err(format!("expected room for two tokens or more, got {}", config.max_tokens()));
    }
    if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
        return Err(format!("expected layer_norm_eps between 0 and 1, got {}", config.layer_norm_eps));
    }
    Ok(())
}

fn check_window(window: usize) -> std::result::Result<(), String> {
    match window > 0 && window.is_multiple_of(2) && window as u64 <= MOST {
        true => Ok(()),
        false => Err(format!("expected attention_window as an even number from 2 to {MOST}, got {window}")),
    }
}

fn hash_numbers(hash: &mut Xxh3, tensor: &Tensor) -> Result<()> {
    let tensor = tensor.contiguous()?.to_device(&Device::Cpu)?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(numbers)) = &*storage else {
        return Err(Error::Tensor("a weight is not in f32".into()));
    };
    let numbers = layout.contiguous_offsets().and_then(|(start, end)| numbers.get(start..end)).unwrap_or(&[]);
    let mut bytes = Vec::with_capacity(1 << 16);
    for part in numbers.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|number| number.to_le_bytes()));
        hash.update(&bytes);
    }
    Ok(())
}
