//! The model that an adapter is merged into: a folder comes in, its files are found, checked and hashed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{MANIFEST, Progress};
use crate::{
    error::{Error, Result},
    shard::{self, Shard},
};

/// Weights of a model in one file.
const SINGLE: &str = "model.safetensors";
/// List of the files of a model in several.
const INDEX: &str = "model.safetensors.index.json";
/// Endings of files that hold weights in some format.
const WEIGHT_ENDINGS: [&str; 9] = ["safetensors", "bin", "gguf", "pt", "pth", "ckpt", "h5", "msgpack", "onnx"];

/// A model in safetensors files.
pub(super) struct Base {
    /// Its folder.
    pub folder: PathBuf,
    /// Its weights.
    pub shards: Vec<Shard>,
    /// Names of all its other files that loading may need, sorted.
    pub others: Vec<String>,
    /// Whether input embedding and output layer are one tensor.
    pub tied: bool,
}

impl Base {
    /// Reads the headers of all weights.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if the folder holds no model in safetensors files, or one of them is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join("config.json").is_file() {
            return Err(no_model(folder));
        }
        let config: Value = json(folder, "config.json")?;
        let names = shard_names(folder)?;
        let shards = names.iter().map(|name| open_shard(&folder.join(name))).collect::<Result<Vec<_>>>()?;
        refuse_twice(folder, &shards)?;
        let base = Self { folder: folder.to_owned(), others: other_files(folder)?, shards, tied: false };
        let says_tied = config.get("tie_word_embeddings").and_then(Value::as_bool) == Some(true);
        Ok(Self { tied: says_tied || base.tensor("lm_head.weight").is_none(), ..base })
    }

    /// Finds a tensor in any shard.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.shards.iter().find_map(|shard| shard.info(name))
    }

    /// Returns every file that goes into a merged folder with its XXH3-128, weights first.
    ///
    /// # Errors
    /// - [`Error::Read`] if one cannot be read.
    pub fn hashes(&self, progress: Progress) -> Result<Vec<(&str, u128)>> {
        let names: Vec<&str> = self.shards.iter().map(name).chain(self.others.iter().map(String::as_str)).collect();
        names.into_par_iter().map(|name| Ok((name, shard::hash(&self.folder.join(name), progress)?))).collect()
    }
}

impl Base {
    /// Names the model by `hashes` of its files; see [`shard::model_hash`].
    pub fn hash(&self, hashes: &[(&str, u128)]) -> String {
        shard::model_hash(hashes.iter().take(self.shards.len()).copied())
    }
}

/// Returns a weight file's name in its folder.
pub(super) fn name(shard: &Shard) -> &str {
    shard.path.file_name().and_then(OsStr::to_str).unwrap_or_default() // never: names come from JSON
}

/// Reads a file's header.
fn open_shard(path: &Path) -> Result<Shard> {
    Shard::open(path).map(|(shard, _)| shard).map_err(|e| match e {
        Error::Artifact { reason, .. } => Error::ModelLoad {
            name: path.display().to_string(),
            reason,
            hint: "download or copy the file again".into(),
        },
        other => other,
    })
}

/// A weight in two files could be changed in one and read from the other.
fn refuse_twice(folder: &Path, shards: &[Shard]) -> Result<()> {
    let mut seen = HashSet::new();
    let mut names = shards.iter().flat_map(Shard::names);
    match names.find(|name| !seen.insert(name.clone())) {
        None => Ok(()),
        Some(name) => Err(Error::ModelLoad {
            name: folder.display().to_string(),
            reason: format!("`{name}` stands in two files"),
            hint: "download the model again into an empty folder".into(),
        }),
    }
}

fn json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let bytes = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::ModelLoad {
        name: path.display().to_string(),
        reason: e.to_string(),
        hint: "download or copy the file again".into(),
    })
}

/// Names the weight files: those of the index, else `model.safetensors`.
fn shard_names(folder: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if !folder.join(INDEX).is_file() {
        return if folder.join(SINGLE).is_file() { Ok(vec![SINGLE.into()]) } else { Err(no_model(folder)) };
    }
    let names: BTreeSet<String> = json::<Index>(folder, INDEX)?.weight_map.into_values().collect();
    match names.iter().find(|name| Path::new(name).file_name() != Some(OsStr::new(name))) {
        Some(name) => Err(Error::ModelLoad {
            name: folder.join(INDEX).display().to_string(),
            reason: format!("expected names of files beside it, got `{name}`"),
            hint: "download or copy the file again".into(),
        }),
        None => Ok(names.into_iter().collect()),
    }
}

/// Names the files beside the weights. Left out: weights in other formats or layouts, adapters, and Mistral's `params.json`,
/// all of which a loader could take for the model.
fn other_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::read(folder, e))? {
        let path = entry.map_err(|e| Error::read(folder, e))?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        let is_weight = path.extension().is_some_and(|ending| WEIGHT_ENDINGS.iter().any(|weight| ending == *weight));
        let is_stray = name.starts_with(['.', '~'])
            || name.starts_with("adapter_")
            || name.starts_with("consolidated")
            || name.ends_with(".index.json") && name != INDEX
            || name == "params.json"
            || name == MANIFEST;
        // Follows links: the hub's cache is made of them.
        if path.is_file() && !is_weight && !is_stray {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Says what stands there instead of a model in safetensors files, and what to do.
fn no_model(path: &Path) -> Error {
    const TAKE: &str = "give the folder of a model with config.json and *.safetensors";
    let ends = |ending: &str| {
        let files = std::fs::read_dir(path).into_iter().flatten().flatten();
        files.map(|entry| entry.path()).any(|file| file.extension() == Some(OsStr::new(ending)))
    };
    let (reason, hint) = if path.extension() == Some(OsStr::new("gguf")) || ends("gguf") {
        let hint = format!("{TAKE}, from which the GGUF file was made; it can be quantised while it is loaded");
        ("adapters are not merged into GGUF files", hint)
    } else if ends("bin") {
        let hint =
            "convert it in Python: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)".to_owned();
        ("its weights are pytorch_model.bin, and adapters are merged into safetensors only", hint)
    } else if path.is_dir() {
        ("the folder lacks config.json, or model.safetensors with or without an index", TAKE.to_owned())
    } else {
        ("there is no such folder", TAKE.to_owned())
    };
    Error::ModelLoad { name: path.display().to_string(), reason: reason.into(), hint }
}
