//! A language model's name comes in; its folder or file on this machine leaves.

use std::path::PathBuf;

use super::weights;
use crate::{
    error::{Error, Result},
    hub,
};

const FILES: hub::Files = hub::Files {
    hint: "give a folder that holds config.json, tokenizer.json and model.safetensors, a .gguf file, or a hub id such as Qwen/Qwen2.5-7B-Instruct, with --model",
    error: |name, reason, hint| Error::ModelLoad { name, reason, hint },
    is_whole: |folder| {
        let has = |file| folder.join(file).exists();
        has("config.json") && has("tokenizer.json") && weights::files(folder).is_ok()
    },
    wanted: |name, _| {
        !name.contains('/') && [".json", ".jinja", ".safetensors"].iter().any(|ending| name.ends_with(ending))
    },
};

/// Finds `name`: a path, or a hub id (see [`hub::resolve`]).
///
/// # Errors
/// - [`Error::ModelLoad`] if there is neither such a path nor such a model.
pub(in crate::llm) fn resolve(name: &str) -> Result<PathBuf> {
    hub::resolve(name, &FILES)
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
}
