//! Language models from folders: a folder in Hugging Face's form comes in, a decoder with its weights leaves.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, quantized::GgmlDType};
use serde_json::{Map, Value};

use super::{Decoder, DecoderConfig, TABLES};
use crate::{
    artifact::write_atomic,
    error::{Error, Result},
    nn::{
        Format, Parameters, Use, memory,
        weights::{self, Stored},
    },
};

const CONFIG_FILE: &str = "config.json";
const DAMAGED: &str = "the file is damaged; copy the model folder again";
const SUPPORTED: &str = "Llama, Mistral, Phi-3, Qwen2 and Qwen3 models can be trained";

/// A decoder with all its weights.
pub struct LanguageModel {
    /// What stands in `config.json`.
    pub stated: Map<String, Value>,
    /// Its weights: variables, or as they are.
    pub parameters: Parameters,
    /// The layers, which share the parameters' storage.
    pub decoder: Decoder,
}

impl LanguageModel {
    /// Reads a folder with `config.json` and `model.safetensors` or its shards. `frozen` weights stay as they are, in f32: only what is put
    /// on them is trained.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if a file is missing, damaged, or does not fit the others; it names file and tensor.
    pub fn load(folder: &Path, device: &Device, frozen: bool) -> Result<Self> {
        Self::read(folder, device, frozen.then_some(Format::F32))
    }

    /// Reads a folder whose weights stay as they are, its matrices held in `format`.
    ///
    /// # Errors
    /// As [`Self::load`]; [`Error::Memory`] if they would not fit, before they are read. On a GPU nothing is refused.
    pub fn load_frozen(folder: &Path, device: &Device, format: Format) -> Result<Self> {
        Self::read(folder, device, Some(format))
    }

    /// Reads the sizes of the model in a folder.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn sizes(folder: &Path) -> Result<DecoderConfig> {
        sizes(folder, &read_config(folder)?)
    }

    /// Names the model in a folder by its weights: adapters belong to one with the same name.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::ModelLoad`] if there are no weights.
    pub fn hash(folder: &Path) -> Result<String> {
        weights::hash(folder, broken)
    }

    fn read(folder: &Path, device: &Device, frozen: Option<Format>) -> Result<Self> {
        let stated = read_config(folder)?;
        let config = sizes(folder, &stated)?;
        let (file, given) = weights::find(folder, broken)?;
        if let Some(format) = frozen.filter(|_| device.is_cpu()) {
            let lower = "the bits in which its weights are held, or take a smaller one";
            memory::check("the base model", lower, needed(&given, format, device))?;
        }
        let mut parameters = Parameters::from_stored(&file, given, device, 0);
        parameters.freeze(frozen);
        let decoder = Decoder::new(&config, &mut parameters, false).map_err(|e| match e {
            Error::Artifact { name, reason, .. } => {
                let hint = "config.json and weights belong to different models, or the file is cut short; copy the folder again";
                broken(folder, format!("{name}: {reason}"), hint)
            }
            other => other,
        })?;
        parameters.freeze(None);
        Ok(Self { stated, parameters, decoder })
    }
}

impl LanguageModel {
    /// Puts a model together that no folder holds yet, its weights drawn from `seed`.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if the configuration is none of these layers.
    pub fn draw(stated: Map<String, Value>, seed: u64, device: &Device) -> Result<Self> {
        let config = sizes(Path::new("(new)"), &stated)?;
        let mut parameters = Parameters::new(device, seed);
        let decoder = Decoder::new(&config, &mut parameters, true)?;
        Ok(Self { stated, parameters, decoder })
    }

    /// Writes `model.safetensors` in bf16 and `config.json`, the configuration last: a folder with it is whole.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&mut self, folder: &Path) -> Result<()> {
        self.parameters.save_in(&folder.join(weights::WEIGHTS_FILE), DType::BF16)?;
        self.stated.insert("dtype".into(), "bfloat16".into());
        let config = format!("{:#}\n", Value::Object(self.stated.clone()));
        write_atomic(&folder.join(CONFIG_FILE), config.as_bytes())
    }
}

/// Estimates the bytes of weights whose matrices are held in `format`.
fn needed(given: &HashMap<String, Stored>, format: Format, device: &Device) -> f64 {
    let bytes = |(name, stored): (&String, &Stored)| {
        let used = if TABLES.contains(&name.as_str()) { Use::Vocabulary } else { Use::Map };
        let held = match *stored.shape() {
            [_, columns] => format.resolve(stored.dtype(), columns, used, device),
            _ => GgmlDType::F32,
        };
        stored.shape().iter().product::<usize>() as f64 / held.block_size() as f64 * held.type_size() as f64
    };
    given.iter().map(bytes).sum()
}

fn sizes(folder: &Path, stated: &Map<String, Value>) -> Result<DecoderConfig> {
    DecoderConfig::read(stated).map_err(|reason| broken(folder, format!("{CONFIG_FILE}: {reason}"), SUPPORTED))
}

fn read_config(folder: &Path) -> Result<Map<String, Value>> {
    if !folder.is_dir() {
        return Err(Error::read(folder, std::io::ErrorKind::NotFound.into()));
    }
    let path = folder.join(CONFIG_FILE);
    let text = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let hint = "a model folder holds config.json, tokenizer.json and model.safetensors, as `save_pretrained` writes them";
            broken(folder, format!("it holds no {CONFIG_FILE}"), hint)
        }
        _ => Error::read(&path, e),
    })?;
    serde_json::from_slice(&text).map_err(|e| broken(folder, format!("{CONFIG_FILE}: no JSON object: {e}"), DAMAGED))
}

fn broken(folder: &Path, reason: String, hint: &str) -> Error {
    Error::ModelLoad { name: folder.display().to_string(), reason, hint: hint.into() }
}
