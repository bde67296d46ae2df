//! Models by name: a path or a hub id comes in, the folder or file on this machine leaves.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What a kind of model consists of, and how its absence is told.
pub struct Files {
    /// The way out where there is no such model.
    pub hint: &'static str,
    /// Makes the error from name, reason and hint.
    pub error: fn(String, String, String) -> Error,
    /// Tells whether a cached folder is complete: a download that broke off leaves some of the files.
    pub is_whole: fn(&Path) -> bool,
    /// Tells whether a file of the hub belongs to it; it is also given the names of all files.
    pub wanted: fn(&str, &[&str]) -> bool,
}

/// Finds `name`: a path, or a hub id (`owner/model`) in the Hugging Face cache of this machine.
///
/// The cache is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`; its `main` is taken. A model that is not
/// there is downloaded if the hub can be reached, this build can download (feature `llm`) and `HF_HUB_OFFLINE` is not set.
///
/// # Errors
/// - That of `files.error` if there is neither such a path nor such a model.
pub fn resolve(name: &str, files: &Files) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let failed = |reason: &str, hint: String| Err((files.error)(name.to_owned(), reason.to_owned(), hint));
    if name.is_empty() {
        return Err((files.error)("(none)".into(), "no model is named".into(), files.hint.to_owned()));
    }
    let is_id = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    match name.split_once('/') {
        Some((owner, model)) if is_id(owner) && is_id(model) => match cached(name, files) {
            Some(folder) => Ok(folder),
            None => download(name, files),
        },
        _ => failed("there is no such file or folder", files.hint.to_owned()),
    }
}

/// Finds a hub id in the Hugging Face cache of this machine.
pub fn cached(id: &str, files: &Files) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface"));
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let hub = variable("HF_HUB_CACHE").or_else(|| variable("HF_HOME").or_else(home).map(|home| home.join("hub")))?;
    let model = hub.join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    let folder = model.join("snapshots").join(revision.trim());
    (files.is_whole)(&folder).then_some(folder)
}

const ABSENT: &str =
    "this machine cannot reach the hub or does not hold the model: copy its folder here and give the path";

#[cfg(feature = "llm")]
fn download(id: &str, files: &Files) -> Result<PathBuf> {
    let failed = |reason: String| (files.error)(id.to_owned(), reason, ABSENT.to_owned());
    if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| !value.is_empty() && value != "0") {
        return Err(failed("it is not in the cache, and HF_HUB_OFFLINE is set".into()));
    }
    let api = hf_hub::api::sync::ApiBuilder::from_env().build().map_err(|e| failed(e.to_string()))?;
    let repository = api.model(id.to_owned());
    let listed = repository.info().map_err(|e| failed(e.to_string()))?.siblings;
    let all: Vec<&str> = listed.iter().map(|file| file.rfilename.as_str()).collect();
    let mut folder = None;
    for file in all.iter().filter(|name| (files.wanted)(name, &all)) {
        let path = repository.get(file).map_err(|e| failed(format!("{file}: {e}")))?;
        if !file.contains('/') {
            folder = path.parent().map(Path::to_owned);
        }
    }
    folder.ok_or_else(|| failed("the hub holds no file of this model".into()))
}

#[cfg(not(feature = "llm"))]
fn download(id: &str, files: &Files) -> Result<PathBuf> {
    let reason = "it is not in the cache, and this build does not download".to_owned();
    Err((files.error)(id.to_owned(), reason, ABSENT.to_owned()))
}
