//! Models by name: a path or a hub id comes in, the folder or file on this machine leaves.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

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

/// Finds `name`: a path, also one within `NOSO_HOME`, beside the executable or in its checkout, or in `models/` there; or a hub id
/// (`owner/model`) in the Hugging Face cache of this machine.
///
/// The cache is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`; its `main` is taken. A model that is not
/// there is downloaded if the hub can be reached, this build can download (feature `llm`) and `HF_HUB_OFFLINE` is not set.
///
/// # Errors
/// - That of `files.error` if there is neither such a path nor such a model.
pub fn resolve(name: &str, files: &Files) -> Result<PathBuf> {
    if let Some(found) = local(name) {
        return Ok(found);
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

/// Whether nothing is downloaded, whatever the environment says.
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// Has nothing downloaded from here on: a dry run only looks.
pub fn stay_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// Returns the folder for what Noso makes for itself: `NOSO_HOME`, else `noso` in the user's cache folder.
pub fn cache_folder() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_else(std::env::temp_dir);
    cache_folder_of(std::env::var_os("NOSO_HOME"), std::env::var_os("XDG_CACHE_HOME"), &home)
}

/// The standard for `XDG_CACHE_HOME` ignores relative paths.
fn cache_folder_of(noso_home: Option<OsString>, xdg_cache: Option<OsString>, home: &Path) -> PathBuf {
    if let Some(noso_home) = noso_home.filter(|folder| !folder.is_empty()) {
        return PathBuf::from(noso_home);
    }
    let cache = xdg_cache.map(PathBuf::from).filter(|folder| folder.is_absolute());
    cache.unwrap_or_else(|| home.join(".cache")).join("noso")
}

/// Finds a path, as it is or within one of the folders that hold models by name.
pub fn local(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.exists() { Some(path.to_owned()) } else { at_home(path, &homes()) }
}

/// Returns the folders that may hold models by name, the first to be searched first.
fn homes() -> Vec<PathBuf> {
    let executable = std::env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
    let mut homes: Vec<PathBuf> = std::env::var_os("NOSO_HOME").map(PathBuf::from).into_iter().collect();
    homes.extend(executable.parent().map(Path::to_owned));
    homes.extend(executable.ancestors().find(|folder| folder.join("Cargo.toml").exists()).map(Path::to_owned));
    homes
}

/// Finds a relative path within one of some folders, or in `models/` there.
fn at_home(path: &Path, homes: &[PathBuf]) -> Option<PathBuf> {
    let is_name =
        path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)));
    let places = homes.iter().filter(|_| is_name).flat_map(|home| [home.join(path), home.join("models").join(path)]);
    places.into_iter().find(|place| place.exists())
}

/// Finds a path, as [`local`] does, or what the Hugging Face cache of this machine holds of a hub id, be it whole or not.
pub fn on_this_machine(name: &str) -> Option<PathBuf> {
    local(name).or_else(|| snapshot(name))
}

/// Finds a hub id in the Hugging Face cache of this machine.
pub fn cached(id: &str, files: &Files) -> Option<PathBuf> {
    snapshot(id).filter(|folder| (files.is_whole)(folder))
}

fn snapshot(id: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface"));
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let hub = variable("HF_HUB_CACHE").or_else(|| variable("HF_HOME").or_else(home).map(|home| home.join("hub")))?;
    let model = hub.join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    Some(model.join("snapshots").join(revision.trim())).filter(|folder| folder.exists())
}

/// Says that a name is neither a path nor a hub id that can be had.
fn absent(id: &str, reason: &str, files: &Files) -> Error {
    let hint = "copy the model's folder here and give the path, or its name in NOSO_HOME/models";
    (files.error)(id.to_owned(), format!("there is no such folder, and as a hub id: {reason}"), hint.to_owned())
}

#[cfg(feature = "llm")]
fn download(id: &str, files: &Files) -> Result<PathBuf> {
    let failed = |reason: String| absent(id, &reason, files);
    if OFFLINE.load(Ordering::Relaxed) {
        return Err(failed("it is not in the cache, and a dry run downloads nothing".into()));
    }
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
    Err(absent(id, "it is not in the cache, and this build does not download", files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lies_where_the_user_wants_it() {
        let folder = |noso: Option<&str>, xdg: Option<&str>| {
            cache_folder_of(noso.map(OsString::from), xdg.map(OsString::from), Path::new("/home/a"))
        };
        assert_eq!(folder(Some("/n"), Some("/x")), Path::new("/n"));
        assert_eq!(folder(None, Some("/x")), Path::new("/x/noso"));
        assert_eq!(folder(Some(""), Some("x")), Path::new("/home/a/.cache/noso"));
    }

    #[test]
    fn a_name_is_looked_up_at_home_first_found_first() {
        let root = tempfile::tempdir().unwrap();
        let homes = ["first", "second"].map(|home| root.path().join(home));
        let found = |name: &str| at_home(Path::new(name), &homes);
        std::fs::create_dir_all(homes[1].join("models/owner/model")).unwrap();
        assert_eq!(found("owner/model"), Some(homes[1].join("models/owner/model")));
        assert_eq!(found("models/owner/model"), Some(homes[1].join("models/owner/model")));
        std::fs::create_dir_all(homes[0].join("owner/model")).unwrap();
        assert_eq!(found("owner/model"), Some(homes[0].join("owner/model")));
        for absent in ["", "model", "../second/models", "./owner/model/.."] {
            assert_eq!(found(absent), None, "{absent}");
        }
    }
}
