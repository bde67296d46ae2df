//! A language model's name comes in; its folder or file on this machine leaves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    error::{Error, Result},
    hub,
};

const FILES: hub::Files = hub::Files {
    hint: "give a folder that holds config.json, tokenizer.json and model.safetensors, a .gguf file, or a hub id such as Qwen/Qwen2.5-7B-Instruct",
    error: |name, reason, hint| Error::ModelLoad { name, reason, hint },
    is_whole,
    wanted: |name, _| {
        !name.contains('/') && [".json", ".jinja", ".safetensors"].iter().any(|ending| name.ends_with(ending))
    },
};

/// Finds `name`: a path, or a hub id (see [`hub::resolve`]).
///
/// # Errors
/// - [`Error::ModelLoad`] if there is neither such a path nor such a model.
pub fn resolve(name: &str) -> Result<PathBuf> {
    hub::resolve(name, &FILES)
}

/// Finds it without asking the hub.
///
/// # Errors
/// - [`Error::ModelLoad`] if it is not on this machine.
pub fn on_this_machine(name: &str) -> Result<PathBuf> {
    hub::on_this_machine(name).ok_or_else(|| Error::ModelLoad {
        name: name.to_owned(),
        reason: "it is not on this machine".into(),
        hint: FILES.hint.into(),
    })
}

/// Tells whether a folder holds a model with all its weights.
fn is_whole(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).exists();
    let shards = || -> Option<bool> {
        let index = std::fs::read(folder.join("model.safetensors.index.json")).ok()?;
        let index: Value = serde_json::from_slice(&index).ok()?;
        let files = index.get("weight_map")?.as_object()?;
        Some(!files.is_empty() && files.values().all(|file| file.as_str().is_some_and(has)))
    };
    has("config.json") && has("tokenizer.json") && (has("model.safetensors") || shards() == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_and_no_id_is_refused_with_a_hint() {
        for name in ["", "no/such/folder", "./missing", "missing", "../x/y"] {
            let error = resolve(name).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("config.json")), "{error}");
        }
    }

    #[test]
    fn a_download_that_broke_off_is_no_model() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["config.json", "tokenizer.json", "a.safetensors"] {
            write(name, "");
        }
        write("model.safetensors.index.json", r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        assert!(!is_whole(folder.path()));
        write("b.safetensors", "");
        assert!(is_whole(folder.path()));
    }
}
