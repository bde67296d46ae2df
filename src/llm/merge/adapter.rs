//! PEFT LoRA adapters: a folder comes in, checked updates of a model's weights leave.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::{
    config::Config,
    update::{Matrix, Precision, Update},
};
use crate::{
    error::{Error, Result},
    shard::BASE_HASH,
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT writes before the name of a module.
const PREFIX: &str = "base_model.model.";

/// What a PEFT LoRA adapter holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// Model that it was trained on, as its configuration says.
    pub base_model: Option<String>,
    /// Rank `r` of modules that no pattern names.
    pub rank: usize,
    /// `α` of modules that no pattern names.
    pub alpha: f64,
    /// Whether factors are scaled with `α/√r` instead of `α/r`.
    pub rslora: bool,
    /// Ranks of modules by pattern; the first that matches counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// `α` of modules by pattern; the first that matches counts.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Targets as its configuration names them: names of modules, or one regular expression.
    pub targets: Vec<String>,
    /// Modules that it holds factors for, sorted.
    pub modules: Vec<String>,
    /// Numbers in all factors.
    pub parameters: usize,
    /// XXH3-128 of its two files, hexadecimal.
    pub hash: String,
    /// Why it cannot be merged, whatever the model; `None` if it can.
    pub unsupported: Option<String>,
}

/// Reads a PEFT folder and describes the adapter in it.
///
/// # Errors
/// - [`Error::Adapter`] if a file is missing or damaged, or holds no LoRA adapter.
pub fn info(adapter: &Path) -> Result<AdapterInfo> {
    let adapter = Adapter::open(adapter)?;
    let unsupported = adapter.check().err();
    let config = adapter.config;
    Ok(AdapterInfo {
        base_model: config.base_model,
        rank: config.rank,
        alpha: config.alpha,
        rslora: config.rslora,
        rank_pattern: config.ranks.into_iter().map(|pattern| (pattern.key, pattern.value)).collect(),
        alpha_pattern: config.alphas.into_iter().map(|pattern| (pattern.key, pattern.value)).collect(),
        targets: config.targets,
        parameters: adapter.modules.values().flat_map(Factors::matrices).map(|matrix| matrix.values.len()).sum(),
        modules: adapter.modules.into_keys().collect(),
        hash: format!("{:032x}", adapter.hash),
        unsupported,
    })
}

/// An adapter as its files hold it.
pub(super) struct Adapter {
    /// Its folder.
    pub folder: PathBuf,
    /// XXH3-128 of its two files.
    pub hash: u128,
    /// The model that it was trained on.
    pub trained_on: TrainedOn,
    config: Config,
    /// By name of the module in the model.
    modules: BTreeMap<String, Factors>,
    /// Tensors that are no LoRA factor.
    strays: Vec<String>,
}

/// What an adapter says of the model that it was trained on.
#[derive(Debug, Clone)]
pub(super) struct TrainedOn {
    /// Its folder or hub id at that time.
    pub name: Option<String>,
    /// Hash of its weights.
    pub hash: Option<String>,
}

/// The two factors of a module's update, `B · A`.
#[derive(Default)]
struct Factors {
    /// `(rank, in)`
    a: Option<Matrix>,
    /// `(out, rank)`
    b: Option<Matrix>,
    /// Whether the module is an embedding, whose weight is stored `(in, out)`.
    embedding: bool,
}

impl Factors {
    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.a.iter().chain(&self.b)
    }
}

impl Adapter {
    /// Reads both files.
    ///
    /// # Errors
    /// - [`Error::Adapter`] if one is missing or damaged, or they hold no LoRA adapter.
    pub fn open(folder: &Path) -> Result<Self> {
        let refuse = |reason| Error::Adapter { path: folder.to_owned(), reason };
        let read = |name: &str| std::fs::read(folder.join(name)).map_err(|e| refuse(unreadable(folder, name, &e)));
        let (json, bytes) = (read(CONFIG)?, read(WEIGHTS)?);
        let config = Config::parse(&json).map_err(|reason| refuse(format!("{CONFIG}: {reason}")))?;
        let damaged = |reason: String| refuse(format!("{WEIGHTS}: {reason}"));
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let base_hash = metadata.metadata().as_ref().and_then(|said| said.get(BASE_HASH)).cloned();
        let trained_on = TrainedOn { name: config.base_model.clone(), hash: base_hash };
        let mut hash = Xxh3::new();
        for file in [&json, &bytes] {
            hash.update(&(file.len() as u64).to_le_bytes());
            hash.update(file);
        }
        let mut adapter = Self {
            folder: folder.to_owned(),
            hash: hash.digest128(),
            trained_on,
            config,
            modules: BTreeMap::new(),
            strays: Vec::new(),
        };
        for (name, tensor) in tensors.iter() {
            adapter.take(name, &tensor).map_err(damaged)?;
        }
        adapter.strays.sort();
        Ok(adapter)
    }

    fn take(&mut self, name: &str, tensor: &TensorView) -> std::result::Result<(), String> {
        let Some((module, side, embedding)) = parse_name(name) else {
            self.strays.push(name.to_owned());
            return Ok(());
        };
        let matrix = matrix(tensor).map_err(|reason| format!("`{name}`: {reason}"))?;
        let factors = self.modules.entry(module.to_owned()).or_default();
        factors.embedding |= embedding;
        let place = if side == 'A' { &mut factors.a } else { &mut factors.b };
        if place.replace(matrix).is_some() {
            return Err(format!("`{module}` has lora_{side} twice"));
        }
        Ok(())
    }

    /// Says what forbids to merge the adapter, whatever the model.
    ///
    /// # Errors
    /// The reason, with file and field or tensor.
    pub fn check(&self) -> std::result::Result<(), String> {
        if let Some(reason) = &self.config.unsupported {
            return Err(format!("{CONFIG}: {reason}"));
        }
        if let Some(name) = self.strays.first() {
            return Err(format!("{WEIGHTS}: `{name}` {}", describe_stray(name)));
        }
        if self.modules.is_empty() {
            return Err(format!("{WEIGHTS}: expected LoRA factors, got no tensor"));
        }
        self.modules.iter().try_for_each(|(name, factors)| self.check_module(name, factors))
    }

    fn check_module(&self, name: &str, factors: &Factors) -> std::result::Result<(), String> {
        let (a, b) = match (&factors.a, &factors.b) {
            (Some(a), Some(b)) => (a, b),
            (Some(_), None) => return Err(format!("{WEIGHTS}: `{name}` has lora_A, but no lora_B")),
            _ => return Err(format!("{WEIGHTS}: `{name}` has lora_B, but no lora_A")),
        };
        let rank = self.config.rank(name);
        if rank == 0 || a.rows != rank || b.columns != rank {
            return Err(format!(
                "`{name}`: expected rank {rank} (`r` or `rank_pattern` in {CONFIG}), got lora_A ({}, {}) and lora_B ({}, {})",
                a.rows, a.columns, b.rows, b.columns
            ));
        }
        let scale = self.config.scale(name) as f32;
        if !scale.is_finite() || factors.matrices().any(|matrix| matrix.values.iter().any(|x| !x.is_finite())) {
            return Err(format!(
                "{WEIGHTS}: `{name}` has factors with infinite or undefined numbers (training diverged?)"
            ));
        }
        Ok(())
    }

    /// Returns the updates by the name of the weight that they change.
    ///
    /// # Errors
    /// - [`Error::Adapter`] if the adapter asks for more than `scale · B · A` or its tensors do not fit each other.
    pub fn into_updates(self) -> Result<BTreeMap<String, Update>> {
        self.check().map_err(|reason| Error::Adapter { path: self.folder.clone(), reason })?;
        let update = |(name, factors): (String, Factors)| {
            let (a, b) = (factors.a?, factors.b?);
            let transposed = factors.embedding || self.config.fan_in_fan_out;
            let (left, right) = if transposed { (a.transposed(), b.transposed()) } else { (b, a) };
            Some((format!("{name}.weight"), Update { left, right, scale: self.config.scale(&name) as f32 }))
        };
        Ok(self.modules.into_iter().filter_map(update).collect())
    }
}

/// Splits the name of a factor into module, side and whether it belongs to an embedding.
fn parse_name(name: &str) -> Option<(&str, char, bool)> {
    const FORMS: [(&str, char, bool); 8] = [
        (".lora_A.weight", 'A', false),
        (".lora_B.weight", 'B', false),
        (".lora_A.default.weight", 'A', false),
        (".lora_B.default.weight", 'B', false),
        (".lora_embedding_A", 'A', true),
        (".lora_embedding_B", 'B', true),
        (".lora_embedding_A.default", 'A', true),
        (".lora_embedding_B.default", 'B', true),
    ];
    let name = name.strip_prefix(PREFIX)?;
    FORMS.iter().find_map(|&(ending, side, embedding)| Some((name.strip_suffix(ending)?, side, embedding)))
}

fn matrix(tensor: &TensorView) -> std::result::Result<Matrix, String> {
    let &[rows, columns] = tensor.shape() else {
        return Err(format!("expected a matrix, got shape {:?}", tensor.shape()));
    };
    let precision = Precision::of(tensor.dtype())
        .ok_or_else(|| format!("expected numbers of type F32, F16 or BF16, got {}", tensor.dtype()))?;
    let mut values = vec![0.0; rows * columns];
    precision.decode(tensor.data(), &mut values);
    Ok(Matrix { rows, columns, values })
}

fn describe_stray(name: &str) -> &'static str {
    if !name.starts_with(PREFIX) {
        "has not the name that PEFT gives (base_model.model.…)"
    } else if name.contains("lora_magnitude_vector") {
        "is a magnitude of DoRA (`use_dora`), which noso does not merge"
    } else if name.ends_with("bias") {
        "is a bias (`bias` or `lora_bias` in adapter_config.json), which noso does not merge"
    } else if name.ends_with(".base_layer.weight") {
        "is a copy of the model's own weight; save the adapter with save_embedding_layers=False"
    } else {
        "is no LoRA factor (`modules_to_save`?), and noso merges nothing else"
    }
}

fn unreadable(folder: &Path, name: &str, error: &std::io::Error) -> String {
    let old = folder.join("adapter_model.bin").is_file();
    match error.kind() {
        std::io::ErrorKind::NotFound if name == WEIGHTS && old => {
            format!("it holds adapter_model.bin; save it with safe_serialization=True to get {WEIGHTS}")
        }
        std::io::ErrorKind::NotFound if !folder.exists() => "there is no such folder".into(),
        std::io::ErrorKind::NotFound => format!("the folder holds no {name}"),
        _ => format!("failed to read {name}: {error}"),
    }
}
