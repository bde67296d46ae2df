//! The weights of a model's folder: files come in, tensors by the names in them leave, each read when it is asked for.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Tensor, safetensors::Load};
use rayon::prelude::*;
use safetensors::tensor::{TensorInfo, TensorView};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    shard::{self, Shard},
};

/// Name of the weights in a model's folder, where they are one file.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";

const INDEX_FILE: &str = "model.safetensors.index.json";
const PICKLE_FILE: &str = "pytorch_model.bin";
const DAMAGED: &str = "the file is cut short or damaged; copy or download it again";

/// Tells whether a folder has weights in a form that [`find`] knows.
pub(super) fn exist(folder: &Path, broken: Broken) -> bool {
    folder.join(PICKLE_FILE).exists() || safetensors(folder, broken).is_ok_and(|files| !files.is_empty())
}

/// Makes an error of a folder, a reason and a hint.
pub(super) type Broken = fn(&Path, String, &str) -> Error;

/// A tensor in memory, or in a file that stays open: no model is held a second time as the bytes of its files.
pub(super) enum Stored {
    /// In memory.
    Tensor(Tensor),
    /// In a safetensors file.
    InFile {
        /// The file, which others share.
        file: Arc<(Shard, Mutex<File>)>,
        /// Where in it.
        place: Range<u64>,
        /// Name in the file.
        name: String,
        /// Type and shape.
        info: TensorInfo,
    },
}

impl Stored {
    /// Returns the shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::InFile { info, .. } => &info.shape,
        }
    }

    /// Returns the type of its numbers; `None` where candle has none like it.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Self::Tensor(tensor) => Some(tensor.dtype()),
            Self::InFile { info, .. } => info.dtype.try_into().ok(),
        }
    }

    /// Reads the whole tensor, in its own type.
    ///
    /// # Errors
    /// - [`Error::Artifact`] with file and tensor if it cannot be read, or is of a type that candle lacks.
    pub fn read(&self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.clone()),
            Self::InFile { place, .. } => self.read_bytes(place.clone(), self.shape().to_vec()),
        }
    }

    /// Reads some rows of a matrix, in its own type.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_rows(&self, rows: Range<usize>) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.narrow(0, rows.start, rows.len())?),
            Self::InFile { place, info, .. } => {
                let row_bytes = (place.end - place.start) / (info.shape[0] as u64).max(1);
                let at = |row: usize| place.start + row as u64 * row_bytes;
                let shape = [&[rows.len()], &info.shape[1..]].concat();
                self.read_bytes(at(rows.start)..at(rows.end), shape)
            }
        }
    }

    fn read_bytes(&self, place: Range<u64>, shape: Vec<usize>) -> Result<Tensor> {
        let Self::InFile { file, name, info, .. } = self else { return self.read() };
        let (shard, file) = &**file;
        let broken = |reason: String| shard::broken(&shard.path, format!("`{name}`: {reason}"));
        let mut bytes = vec![0; (place.end - place.start) as usize];
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(place.start)).and_then(|_| file.read_exact(&mut bytes));
        drop(file);
        read.map_err(|e| broken(e.to_string()))?;
        let view = TensorView::new(info.dtype, shape, &bytes).map_err(|e| broken(e.to_string()))?;
        view.load(&Device::Cpu).map_err(|e| broken(e.to_string()))
    }
}

/// Finds all weights, and reads those of a pickle. Returns the name of the file for messages, too.
///
/// # Errors
/// - [`Error::Read`], and what `broken` makes of folder, reason and hint, if there are none or a file is damaged.
pub(super) fn find(folder: &Path, broken: Broken) -> Result<(String, HashMap<String, Stored>)> {
    let files = safetensors(folder, broken)?;
    if files.is_empty() && folder.join(PICKLE_FILE).exists() {
        let tensors = read_pickle(folder, broken)?.into_iter();
        return Ok((PICKLE_FILE.into(), tensors.map(|(name, tensor)| (name, Stored::Tensor(tensor))).collect()));
    }
    if files.is_empty() {
        let hint = "save the model with `save_pretrained`, or copy its weights into the folder";
        return Err(broken(folder, format!("there is neither {WEIGHTS_FILE} nor {PICKLE_FILE}"), hint));
    }
    let mut stored = HashMap::new();
    for path in &files {
        let (shard, file) = Shard::open(path).map_err(|e| match e {
            Error::Artifact { name, reason, .. } => broken(folder, format!("{name}: {reason}"), DAMAGED),
            other => other,
        })?;
        let file = Arc::new((shard, Mutex::new(file)));
        for name in file.0.names() {
            let (Some(place), Some(info)) = (file.0.place(&name), file.0.info(&name).cloned()) else { continue };
            stored.insert(name.clone(), Stored::InFile { file: file.clone(), place, name, info });
        }
    }
    Ok((if files.len() > 1 { INDEX_FILE } else { WEIGHTS_FILE }.into(), stored))
}

/// Names the model in a folder by its weight files; see [`shard::model_hash`].
///
/// # Errors
/// - [`Error::Read`], and what `broken` makes of folder, reason and hint.
pub(super) fn hash(folder: &Path, broken: Broken) -> Result<String> {
    let files = safetensors(folder, broken)?;
    let hashes = files.par_iter().map(|file| shard::hash(file, &|_| ())).collect::<Result<Vec<_>>>()?;
    let names = files.iter().map(|file| file.file_name().and_then(OsStr::to_str).unwrap_or_default());
    Ok(shard::model_hash(names.zip(hashes)))
}

/// Lists `model.safetensors`, or every shard that the index names; nothing if there is neither.
fn safetensors(folder: &Path, broken: Broken) -> Result<Vec<PathBuf>> {
    let single = folder.join(WEIGHTS_FILE);
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        return Ok(Vec::new());
    }
    let wrong = |reason: String| broken(folder, format!("{INDEX_FILE}: {reason}"), DAMAGED);
    let text = std::fs::read(&index).map_err(|e| Error::read(&index, e))?;
    let map: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let map = map.get("weight_map").and_then(Value::as_object).ok_or_else(|| wrong("it has no weight_map".into()))?;
    let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !folder.join(name).exists()) {
        Some(missing) => Err(wrong(format!("the shard {missing} is missing"))),
        None => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
    }
}

/// Reads a file of `torch.save`, as the zip archive that it has been since PyTorch 1.6.
fn read_pickle(folder: &Path, broken: Broken) -> Result<Vec<(String, Tensor)>> {
    let path = folder.join(PICKLE_FILE);
    let wrong = |reason: String| {
        let hint = "the file is cut short or damaged, or older than PyTorch 1.6: load it with transformers and save it again with `save_pretrained`";
        broken(folder, format!("{PICKLE_FILE}: {reason}"), hint)
    };
    // The reader of pickles takes some of their structure on trust.
    let tensors = catch_unwind(|| candle_core::pickle::read_all(&path))
        .map_err(|_| wrong("it contradicts itself".into()))?
        .map_err(|e| wrong(e.to_string()))?;
    if tensors.is_empty() {
        return Err(wrong("it holds no tensors".into()));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_gets_shorter_before_it_is_read_is_named_with_the_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHTS_FILE);
        let numbers = Tensor::arange(0f32, 12.0, &Device::Cpu).and_then(|numbers| numbers.reshape((4, 3))).unwrap();
        candle_core::safetensors::save(&HashMap::from([("one", numbers)]), &path).unwrap();
        let broken: Broken = |_, reason, _| Error::Tensor(reason);
        let (_, stored) = find(folder.path(), broken).unwrap();
        let one = &stored["one"];
        assert_eq!((one.shape(), one.dtype()), (&[4, 3][..], Some(DType::F32)));
        let rows: Vec<Vec<f32>> = one.read_rows(1..3).unwrap().to_vec2().unwrap();
        assert_eq!(rows, [[3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]);
        assert_eq!(one.read().unwrap().to_vec2::<f32>().unwrap()[3], [9.0, 10.0, 11.0]);
        File::options().write(true).open(&path).unwrap().set_len(path.metadata().unwrap().len() - 1).unwrap();
        let told = one.read().unwrap_err().to_string();
        assert!(told.contains(WEIGHTS_FILE) && told.contains("`one`"), "{told}");
        assert!(one.read_rows(0..2).is_ok());
    }
}
