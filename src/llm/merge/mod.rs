//! LoRA adapters: a model and a PEFT adapter come in, a folder with the merged model leaves, `W += scale · B · A`.
//!
//! A merged model is an ordinary model: every engine loads it, and it runs as fast as the bare one. Merging goes through the
//! weights once, in f32 and a few megabytes of memory, and rounds once to the model's own type.
//!
//! # Source
//! LoRA: <https://arxiv.org/abs/2106.09685>; rsLoRA: <https://arxiv.org/abs/2312.03732>; files and settings as in PEFT 0.21.

mod adapter;
mod base;
mod config;
mod update;
mod write;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub use adapter::{AdapterInfo, info};

use self::{
    adapter::{Adapter, TrainedOn},
    base::Base,
    update::{Precision, Update},
    write::ShardWriter,
};
use crate::{
    artifact,
    error::{Error, Result},
    hub,
    shard::Shard,
};

/// What a merged folder says of itself.
const MANIFEST: &str = "noso-merge.toml";
/// Changes when the same files would be merged into other bytes.
const FORMAT: u32 = 1;

/// Told how many bytes were just hashed or written.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Merges an adapter into a model, or finds the folder where that was done before.
///
/// `model` is a folder with `config.json` and safetensors files, `adapter` a PEFT folder, `cache` a folder that is made where it
/// does not exist. The name of the folder returned is a hash over all files that go into it, so it never grows stale.
///
/// Two threads or processes that ask for the same merge wait for each other; a crash leaves nothing that would be taken for a
/// model.
///
/// # Errors
/// - [`Error::ModelLoad`] if the model has no safetensors files, or a damaged one.
/// - [`Error::Adapter`] if the adapter is damaged, asks for more than LoRA, or does not fit the model.
/// - [`Error::Read`], [`Error::Cache`] if a file cannot be read or written.
pub fn merged(model: &Path, adapter: &Path, cache: &Path) -> Result<PathBuf> {
    Merge::open(model, adapter)?.cached(cache, &|_| ()).map_err(|e| e.of_cache(cache))
}

/// Writes files into `folder` by their paths within it; where they lie there already, nothing is done.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub(super) fn unpack<'a, I: Iterator<Item = (&'a str, &'a [u8])>>(folder: &Path, files: impl Fn() -> I) -> Result<()> {
    let is_there =
        || files().all(|(name, bytes)| folder.join(name).metadata().is_ok_and(|file| file.len() == bytes.len() as u64));
    if is_there() {
        return Ok(());
    }
    let _lock = write::lock(folder.parent().unwrap_or(folder))?;
    if is_there() {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    }
    write::publish(folder, |partial| {
        files().try_for_each(|(name, bytes)| artifact::write_atomic(&partial.join(name), bytes))
    })
}

/// Returns the user's folder for merged models.
pub fn merged_folder() -> PathBuf {
    hub::cache_folder().join("merged")
}

/// A model and an adapter that were found to fit each other.
pub struct Merge {
    base: Base,
    adapter: PathBuf,
    adapter_hash: u128,
    trained_on: TrainedOn,
    /// By name of the weight.
    updates: BTreeMap<String, (Precision, Update)>,
}

/// Content of [`MANIFEST`].
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    noso: String,
    model: PathBuf,
    adapter: PathBuf,
    adapter_hash: String,
    files: Vec<ManifestFile>,
}

#[derive(Serialize, Deserialize)]
struct ManifestFile {
    name: String,
    bytes: u64,
    /// Of the file in the model's folder.
    source_hash: String,
}

impl Merge {
    /// Reads the adapter and the headers of the model, and checks that the one fits the other.
    ///
    /// # Errors
    /// As [`merged`].
    pub fn open(model: &Path, adapter: &Path) -> Result<Self> {
        let base = Base::open(model)?;
        let adapter = Adapter::open(adapter)?;
        let (folder, adapter_hash, trained_on) = (adapter.folder.clone(), adapter.hash, adapter.trained_on.clone());
        let fit = |(name, update): (String, Update)| {
            let precision = fit(&base, &name, &update)
                .map_err(|reason| Error::Adapter { path: folder.clone(), reason: format!("`{name}`: {reason}") })?;
            Ok((name, (precision, update)))
        };
        let updates = adapter.into_updates()?.into_iter().map(fit).collect::<Result<_>>()?;
        Ok(Self { base, adapter: folder, adapter_hash, trained_on, updates })
    }

    /// Returns the length of the model's weights.
    pub fn bytes(&self) -> u64 {
        self.base.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// Does what [`merged`] does. `progress` hears of every byte twice: when it is hashed and when it is written.
    ///
    /// # Errors
    /// As [`merged`].
    pub fn cached(&self, cache: &Path, progress: Progress) -> Result<PathBuf> {
        let manifest = self.manifest(progress)?;
        let folder = cache.join(manifest.key());
        if is_complete(&folder) {
            return Ok(folder);
        }
        let _lock = write::lock(cache)?;
        if !is_complete(&folder) {
            write::sweep(cache)?;
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(|e| Error::write(&folder, e))?;
            }
            self.publish(&folder, &manifest, progress)?;
        }
        Ok(folder)
    }

    /// Writes the merged model to `folder`, which must be new or empty. `progress` as in [`Merge::cached`].
    ///
    /// # Errors
    /// As [`merged`]; [`Error::Write`] if the folder holds something.
    pub fn write(&self, folder: &Path, progress: Progress) -> Result<()> {
        self.publish(folder, &self.manifest(progress)?, progress)
    }

    fn publish(&self, folder: &Path, manifest: &Manifest, progress: Progress) -> Result<()> {
        write::publish(folder, |partial| {
            self.base.shards.par_iter().try_for_each(|shard| self.write_shard(shard, partial, progress))?;
            for name in &self.base.others {
                let (from, to) = (self.base.folder.join(name), partial.join(name));
                let bytes = std::fs::read(&from).map_err(|e| Error::read(&from, e))?;
                artifact::write_atomic(&to, &bytes)?;
            }
            let text = toml::to_string_pretty(manifest).map_err(|e| Error::write(folder, std::io::Error::other(e)))?;
            artifact::write_atomic(&partial.join(MANIFEST), text.as_bytes())
        })
    }

    fn write_shard(&self, shard: &Shard, to: &Path, progress: Progress) -> Result<()> {
        let writer = ShardWriter::new(shard, to, progress)?;
        match writer.run(shard, &self.updates)? {
            None => Ok(()),
            Some(name) => {
                let reason = format!("`{name}` would get infinite or undefined numbers");
                Err(Error::Adapter { path: self.adapter.clone(), reason })
            }
        }
    }

    fn manifest(&self, progress: Progress) -> Result<Manifest> {
        let file = |(name, hash): (&str, u128)| {
            let path = self.base.folder.join(name);
            let bytes = path.metadata().map_err(|e| Error::read(&path, e))?.len();
            Ok(ManifestFile { name: name.to_owned(), bytes, source_hash: format!("{hash:032x}") })
        };
        let hashes = self.base.hashes(progress)?;
        let TrainedOn { name, hash } = &self.trained_on;
        if hash.as_ref().is_some_and(|hash| *hash != self.base.hash(&hashes)) {
            let (own, given) = (name.as_deref().unwrap_or("another model"), self.base.folder.display());
            let reason = format!("it was trained on {own}, and the weights of {given} are others");
            return Err(Error::Adapter { path: self.adapter.clone(), reason });
        }
        Ok(Manifest {
            format: FORMAT,
            noso: env!("CARGO_PKG_VERSION").into(),
            model: self.base.folder.clone(),
            adapter: self.adapter.clone(),
            adapter_hash: format!("{:032x}", self.adapter_hash),
            files: hashes.into_iter().map(file).collect::<Result<_>>()?,
        })
    }
}

impl Manifest {
    /// Names the folder; depends on contents only, not on where they lie.
    fn key(&self) -> String {
        let mut text = format!("{} {}\n", self.format, self.adapter_hash);
        self.files.iter().for_each(|file| text += &format!("{} {}\n", file.source_hash, file.name));
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }
}

/// Finds the type in which an update can be added to a weight.
fn fit(base: &Base, name: &str, update: &Update) -> std::result::Result<Precision, String> {
    let of = format!("the model {}", base.folder.display());
    if base.tied && (name == "lm_head.weight" || name.ends_with("embed_tokens.weight")) {
        return Err(format!(
            "{of} shares this weight between input embedding and output layer, so it cannot change for one"
        ));
    }
    let Some(tensor) = base.tensor(name) else { return Err(format!("{of} has no such weight")) };
    if tensor.shape != update.shape() {
        return Err(format!("the adapter changes a weight of shape {:?}, {of} has {:?}", update.shape(), tensor.shape));
    }
    Precision::of(tensor.dtype).ok_or_else(|| {
        format!("{of} holds it as {}, expected F32, F16 or BF16: merge first, then quantise", tensor.dtype)
    })
}

/// Whether a folder holds every file of its manifest at its length.
fn is_complete(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join(MANIFEST)).ok();
    let manifest = manifest.and_then(|text| toml::from_str::<Manifest>(&text).ok());
    let has = |file: &ManifestFile| folder.join(&file.name).metadata().is_ok_and(|found| found.len() == file.bytes);
    manifest.is_some_and(|manifest| manifest.files.iter().all(has))
}
