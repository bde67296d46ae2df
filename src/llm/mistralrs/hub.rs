//! A model's name comes in; its folder or file on this machine leaves.

use std::path::{Path, PathBuf};

use super::{stage::load_error, weights};
use crate::error::Result;

/// Finds `name`: a path, or a hub id (`owner/model`) in the Hugging Face cache of this machine.
///
/// The cache is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`; its `main` is taken. A model that is not
/// there is downloaded if the hub can be reached.
///
/// # Errors
/// - [`crate::Error::ModelLoad`] if there is neither such a path nor such a model.
pub(in crate::llm) fn resolve(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let hint = "give a folder that holds config.json, tokenizer.json and model.safetensors, a .gguf file, or a hub id such as Qwen/Qwen2.5-7B-Instruct";
    if name.is_empty() {
        return Err(load_error(Path::new("(none)"), "no model is named".into(), &format!("{hint}, with --model")));
    }
    let is_id = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    match name.split_once('/') {
        Some((owner, model)) if is_id(owner) && is_id(model) => match cached(name) {
            Some(folder) => Ok(folder),
            None => download(name),
        },
        _ => Err(load_error(path, "there is no such file or folder".into(), hint)),
    }
}

fn cached(id: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface"));
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let hub = variable("HF_HUB_CACHE").or_else(|| variable("HF_HOME").or_else(home).map(|home| home.join("hub")))?;
    let model = hub.join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    let folder = model.join("snapshots").join(revision.trim());
    // A download that broke off leaves some of the files.
    let is_whole = folder.join("config.json").exists() && folder.join("tokenizer.json").exists();
    (is_whole && weights::files(&folder).is_ok()).then_some(folder)
}

fn download(id: &str) -> Result<PathBuf> {
    let failed = |reason: String| {
        let hint =
            "this machine cannot reach the hub or does not hold the model: copy its folder here and give the path";
        load_error(Path::new(id), reason, hint)
    };
    let api = hf_hub::api::sync::ApiBuilder::from_env().build().map_err(|e| failed(e.to_string()))?;
    let repository = api.model(id.to_owned());
    let files = repository.info().map_err(|e| failed(e.to_string()))?.siblings;
    let wanted = |name: &str| {
        !name.contains('/') && (name.ends_with(".json") || name.ends_with(".jinja") || name.ends_with(".safetensors"))
    };
    let mut folder = None;
    for file in files.iter().map(|file| &file.rfilename).filter(|name| wanted(name)) {
        let path = repository.get(file).map_err(|e| failed(format!("{file}: {e}")))?;
        folder = path.parent().map(Path::to_owned);
    }
    folder.ok_or_else(|| failed("the hub holds no file of this model".into()))
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
