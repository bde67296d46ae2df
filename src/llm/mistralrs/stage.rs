//! A model folder comes in; a checked copy of links leaves, in the form that mistral.rs 0.8.1 reads.
//!
//! The user's folder is never changed. The copy links the weights and tokenizer, leaves out files that mistral.rs would take for
//! something else (adapters, `params.json`), and holds a `config.json` in the form of transformers 4: mistral.rs does not
//! know the `rope_parameters` of transformers 5.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use xxhash_rust::xxh3::Xxh3;

use super::weights;
use crate::error::{Error, Result};

/// Architectures that give Hugging Face's tokens exactly (`tests/llm`); others are refused rather than run unchecked.
const ARCHITECTURES: [&str; 5] =
    ["LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];
/// Files beside the weights that mistral.rs may read.
const COMPANIONS: [&str; 7] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];
/// Bytes of a weight file that go into the fingerprint at each of [`SAMPLES`] places.
const SAMPLE_BYTES: usize = 1 << 16;
const SAMPLES: u64 = 64;

/// A checked model folder, ready to load. Its links live as long as this value.
pub(super) struct Staged {
    folder: TempDir,
    /// Hash of configuration, tokenizer and samples of the weights.
    pub fingerprint: String,
    /// How long a text may be.
    pub limits: Limits,
}

/// How long a text may be, prompt and answer together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Limits {
    /// Longest text that the model reads as it does in transformers.
    pub max_tokens: Option<usize>,
    /// Length after which the model's other rotary factors hold.
    pub rope_change_tokens: Option<usize>,
}

impl Limits {
    fn of(config: &Map<String, Value>) -> Self {
        let number = |key: &str| config.get(key).and_then(Value::as_u64).map(|count| count as usize);
        // mistral.rs lets a token see one more than the window holds; within the window the two agree.
        let max_tokens = [number("max_position_embeddings"), number("sliding_window")].into_iter().flatten().min();
        let two_sets = config.get("rope_scaling").is_some_and(|rope| rope.get("long_factor").is_some());
        Self { max_tokens, rope_change_tokens: number("original_max_position_embeddings").filter(|_| two_sets) }
    }
}

impl Staged {
    /// Checks `model` and links it into a temporary folder.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if a file is missing or damaged, or the architecture is not one of the known ones.
    pub fn new(model: &Path) -> Result<Self> {
        let broken = |reason: String, hint: &str| load_error(model, reason, hint);
        let mut config = flattened(read_json(model, "config.json")?);
        check_architecture(model, &config)?;
        let weights = weights::files(model)?;
        weights::check(model, &weights, config.get("num_hidden_layers").and_then(Value::as_u64))?;
        read_json(model, "tokenizer.json")?;
        if model.join("generation_config.json").exists() {
            read_json(model, "generation_config.json")?; // damaged, it would leave the model without stop tokens
        }
        check_chat_template(model)?;

        let folder = tempfile::Builder::new()
            .prefix("noso-model-")
            .tempdir()
            .map_err(|e| Error::write("a temporary folder", e))?;
        let companions = COMPANIONS.iter().map(|name| model.join(name)).filter(|file| file.exists());
        for file in weights.iter().cloned().chain(companions) {
            let name = file.file_name().unwrap_or_default();
            if let Some(pinned) = pinned_date(&file)? {
                let path = folder.path().join(name);
                fs::write(&path, pinned).map_err(|e| Error::write(path, e))?;
                continue;
            }
            let target = fs::canonicalize(&file).map_err(|e| Error::read(&file, e))?;
            link(&target, &folder.path().join(name)).map_err(|e| Error::write(folder.path(), e))?;
        }
        // mistral.rs reads a single stop token here, for Phi-3 only; the ones it stops at are those of generation_config.json.
        let stops = config.remove("eos_token_id").filter(|_| !model.join("generation_config.json").exists());
        if let Some(stops) = stops.filter(|stops| !stops.is_null()) {
            let path = folder.path().join("generation_config.json");
            fs::write(&path, json!({"eos_token_id": stops}).to_string()).map_err(|e| Error::write(path, e))?;
        }
        let limits = Limits::of(&config);
        let flat = Value::Object(config);
        let text = serde_json::to_vec_pretty(&flat)
            .map_err(|e| broken(format!("config.json: {e}"), "copy the model folder again"))?;
        let path = folder.path().join("config.json");
        fs::write(&path, text).map_err(|e| Error::write(path, e))?;
        Ok(Self { fingerprint: fingerprint(model, &flat, &weights)?, folder, limits })
    }

    /// Returns the folder of links.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes the error of a model that cannot be loaded.
pub(super) fn load_error(model: &Path, reason: String, hint: &str) -> Error {
    Error::ModelLoad { name: model.display().to_string(), reason, hint: hint.into() }
}

pub(super) fn read_json(model: &Path, name: &str) -> Result<Map<String, Value>> {
    let path = model.join(name);
    let text = fs::read(&path).map_err(|e| {
        load_error(
            model,
            format!("{name}: {e}"),
            "a model folder holds config.json, tokenizer.json and model.safetensors, as `save_pretrained` writes them",
        )
    })?;
    serde_json::from_slice(&text)
        .map_err(|e| load_error(model, format!("{name}: {e}"), "the file is damaged; copy the model folder again"))
}

/// Refuses what mistral.rs would not refuse but compute differently from transformers.
fn check_architecture(model: &Path, config: &Map<String, Value>) -> Result<()> {
    let named = config.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    let Some(name) = named.filter(|name| ARCHITECTURES.contains(name)) else {
        return Err(load_error(
            model,
            format!(
                "architecture {} is not one that was checked against transformers",
                named.unwrap_or("(none named)")
            ),
            &format!("use a model of {}, or a server with --server", ARCHITECTURES.join(", ")),
        ));
    };
    let number = |key: &str| config.get(key).and_then(Value::as_u64);
    let is_set = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let derived_head =
        number("hidden_size").zip(number("num_attention_heads")).and_then(|(all, heads)| all.checked_div(heads));
    let rope = config.get("rope_scaling").and_then(|rope| rope.get("rope_type")).and_then(Value::as_str);
    let rope_is_known = match name {
        "LlamaForCausalLM" => matches!(rope, None | Some("llama3")),
        "Phi3ForCausalLM" => matches!(rope, None | Some("longrope" | "su")),
        _ => rope.is_none(),
    };
    let free_head = matches!(name, "MistralForCausalLM" | "Qwen3ForCausalLM");
    let faults = [
        (!rope_is_known, format!("rope scaling `{}` is not computed as in transformers", rope.unwrap_or_default())),
        (
            !free_head && number("head_dim").is_some() && number("head_dim") != derived_head,
            "`head_dim` other than hidden_size / num_attention_heads is not read".into(),
        ),
        (is_set("attention_bias") || is_set("mlp_bias"), "biases of attention or MLP are not read".into()),
        (is_set("use_sliding_window"), "a sliding window in some layers is not computed as in transformers".into()),
        (
            config.get("rope_scaling").is_some_and(|rope| rope.get("attention_factor").is_some_and(|it| !it.is_null())),
            "`attention_factor` of the rope scaling is not read".into(),
        ),
    ];
    match faults.into_iter().find(|(wrong, _)| *wrong) {
        None => Ok(()),
        Some((_, fault)) => Err(load_error(
            model,
            format!("{name}: {fault} by mistral.rs 0.8.1"),
            "serve this model with vLLM or llama.cpp and use --server, or take another one",
        )),
    }
}

fn check_chat_template(model: &Path) -> Result<()> {
    let in_config = || {
        read_json(model, "tokenizer_config.json").is_ok_and(|it| it.get("chat_template").is_some_and(|t| !t.is_null()))
    };
    if ["chat_template.jinja", "chat_template.json"].iter().any(|name| model.join(name).exists()) || in_config() {
        return Ok(());
    }
    Err(load_error(
        model,
        "it has no chat template".into(),
        "use an instruction-tuned model; its tokenizer_config.json or chat_template.jinja holds the template",
    ))
}

/// Rewrites the configuration of transformers 5 as transformers 4 wrote it; one of transformers 4 stays as it is.
fn flattened(mut config: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(mut rope)) = config.remove("rope_parameters") {
        if let Some(theta) = rope.remove("rope_theta") {
            config.entry("rope_theta").or_insert(theta);
        }
        if let Some(share) = rope.remove("partial_rotary_factor") {
            config.entry("partial_rotary_factor").or_insert(share);
        }
        let kind =
            rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default").to_owned();
        if kind != "default" {
            // transformers 4 kept this one beside `rope_scaling`, and mistral.rs looks for it there.
            if let Some(original) = rope.get("original_max_position_embeddings").filter(|_| kind == "longrope") {
                config.entry("original_max_position_embeddings").or_insert(original.clone());
            }
            config.entry("rope_scaling").or_insert(Value::Object(rope));
        }
    }
    if let Some(Value::Object(rope)) = config.get_mut("rope_scaling") {
        // Either name stands for the other.
        for (have, lack) in [("rope_type", "type"), ("type", "rope_type")] {
            if let Some(kind) = rope.get(have).cloned() {
                rope.entry(lack).or_insert(kind);
            }
        }
    }
    // mistral.rs applies Qwen2's window even where the configuration switches it off.
    if config.get("use_sliding_window") == Some(&Value::Bool(false)) {
        config.insert("sliding_window".into(), Value::Null);
    }
    if let Some(dtype) = config.remove("dtype") {
        config.entry("torch_dtype").or_insert(dtype);
    }
    config
}

/// Hashes configuration, tokenizer, and 64 places of each weight file: all of a file of up to 4 MB, enough of a larger one to
/// tell two models or two merges apart without reading 15 GB at every start.
fn fingerprint(model: &Path, config: &Value, weights: &[PathBuf]) -> Result<String> {
    let mut hash = Xxh3::new();
    hash.update(config.to_string().as_bytes());
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        if let Ok(bytes) = fs::read(model.join(name)) {
            hash.update(&bytes);
        }
    }
    weights.iter().try_for_each(|file| sample(file, &mut hash))?;
    Ok(format!("{:032x}", hash.digest128()))
}

/// Hashes 64 places of a file that is a model by itself.
///
/// # Errors
/// - [`Error::Read`] if it cannot be read.
pub(super) fn sample_hash(file: &Path) -> Result<String> {
    let mut hash = Xxh3::new();
    sample(file, &mut hash)?;
    Ok(format!("{:032x}", hash.digest128()))
}

fn sample(file: &Path, hash: &mut Xxh3) -> Result<()> {
    let mut block = vec![0u8; SAMPLE_BYTES];
    let mut read = || -> std::io::Result<()> {
        let mut opened = File::open(file)?;
        let bytes = opened.metadata()?.len();
        hash.update(&bytes.to_le_bytes());
        let step = (bytes / SAMPLES).max(SAMPLE_BYTES as u64);
        for place in (0..bytes).step_by(step as usize) {
            opened.seek(SeekFrom::Start(place))?;
            let wanted = block.len().min((bytes - place) as usize);
            opened.read_exact(&mut block[..wanted])?;
            hash.update(&block[..wanted]);
        }
        Ok(())
    };
    read().map_err(|e| Error::read(file, e))
}

/// Returns a chat template's file with the date fixed, if it writes one: mistral.rs hands today's to it, so that the same text
/// would get another prompt tomorrow.
fn pinned_date(file: &Path) -> Result<Option<String>> {
    const DATE: &str = "{%- set date_string = '26 Jul 2024' -%}";
    let name = file.file_name().unwrap_or_default();
    let is_template = name == "chat_template.jinja";
    if !is_template && name != "tokenizer_config.json" && name != "chat_template.json" {
        return Ok(None);
    }
    let text = fs::read_to_string(file).map_err(|e| Error::read(file, e))?;
    if !text.contains("date_string") {
        return Ok(None);
    }
    if is_template {
        return Ok(Some(format!("{DATE}{text}")));
    }
    let mut json: Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(Value::String(template)) = json.get_mut("chat_template") {
        template.insert_str(0, DATE);
    }
    Ok(Some(json.to_string()))
}

#[cfg(unix)]
fn link(target: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, place)
}

#[cfg(not(unix))]
fn link(target: &Path, place: &Path) -> std::io::Result<()> {
    fs::hard_link(target, place).or_else(|_| fs::copy(target, place).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(config: Value) -> Value {
        Value::Object(flattened(config.as_object().unwrap().clone()))
    }

    #[test]
    fn rope_parameters_are_flattened_and_older_forms_kept() {
        let llama3 = json!({"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0});
        assert_eq!(
            flat(json!({"rope_parameters": llama3, "dtype": "bfloat16"})),
            json!({"rope_theta": 5e5, "torch_dtype": "bfloat16",
                   "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "type": "llama3"}})
        );
        assert_eq!(
            flat(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})),
            json!({"rope_theta": 1e4})
        );
        let long = json!({"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64, "short_factor": [1.0]});
        assert_eq!(flat(json!({"rope_parameters": long}))["original_max_position_embeddings"], 64);
        let old = json!({"rope_theta": 1e6, "rope_scaling": null, "torch_dtype": "float32"});
        assert_eq!(flat(old.clone()), old);
    }
}
