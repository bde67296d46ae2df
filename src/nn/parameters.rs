//! The weights of a model by name: read from a file or drawn, then shared with the layers that use them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{Format, Matrix, Use, ops::Frozen, weights::Stored};
use crate::error::{Error, Result};

/// How a weight that no file holds is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal distribution around 0 with this standard deviation.
    Normal(f32),
    /// Even distribution between minus this and this.
    Uniform(f32),
    /// The same number everywhere.
    Constant(f32),
    /// Must be in the file.
    Required,
}

/// Named trainable f32 tensors. Layers hold clones that share the storage, so an update of a variable is seen by them.
pub struct Parameters {
    name: String,
    device: Device,
    given: HashMap<String, Stored>,
    variables: BTreeMap<String, Var>,
    /// Weights that are used but not trained.
    frozen: BTreeMap<String, Tensor>,
    /// Matrices that are used but not trained.
    matrices: BTreeMap<String, Frozen>,
    /// Whether weights asked for from now on are among those, and how matrices are held.
    freezing: Option<Format>,
    rng: ChaCha8Rng,
}

impl Parameters {
    /// Starts without any weights: what layers ask for is drawn from `seed`.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self::from_tensors("(new)", HashMap::new(), device, seed)
    }

    /// Starts from given weights, such as those of a file called `name`; what layers ask for beyond them is drawn from `seed`.
    pub fn from_tensors(name: &str, given: HashMap<String, Tensor>, device: &Device, seed: u64) -> Self {
        let given = given.into_iter().map(|(name, tensor)| (name, Stored::Tensor(tensor))).collect();
        Self::from_stored(name, given, device, seed)
    }

    /// The same, from weights that may lie in files still.
    pub(super) fn from_stored(name: &str, given: HashMap<String, Stored>, device: &Device, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            name: name.into(),
            device: device.clone(),
            given,
            variables: BTreeMap::new(),
            frozen: BTreeMap::new(),
            matrices: BTreeMap::new(),
            freezing: None,
            rng,
        }
    }

    /// Draws weights that are not given from another seed from now on.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = ChaCha8Rng::seed_from_u64(seed);
    }

    /// Says whether weights asked for from now on stay as they are: no variables, they are neither trained nor saved. Matrices are held in
    /// this format, vectors in f32.
    pub fn freeze(&mut self, format: Option<Format>) {
        self.freezing = format;
    }

    /// Returns the weight of this name as a layer's tensor, and keeps it among the variables.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if the file lacks a required weight or has it in another shape.
    pub fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let known = self.variables.get(name).map(Var::as_tensor).or_else(|| self.frozen.get(name));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let tensor = match (self.take(name, shape)?, init) {
            (Some(stored), _) => stored.read()?.to_dtype(DType::F32)?.to_device(&self.device)?,
            (None, Init::Required) => return Err(self.broken(format!("`{name}` of shape {shape:?} is missing"))),
            (None, Init::Constant(value)) => Tensor::full(value, shape, &self.device)?,
            (None, Init::Normal(deviation)) => {
                let drawn = normal(&mut self.rng, shape.iter().product(), deviation);
                Tensor::from_vec(drawn, shape, &self.device)?
            }
            (None, Init::Uniform(most)) => {
                let drawn: Vec<f32> = (0..shape.iter().product()).map(|_| self.rng.random_range(-most..most)).collect();
                Tensor::from_vec(drawn, shape, &self.device)?
            }
        };
        if self.freezing.is_some() {
            self.frozen.insert(name.to_owned(), tensor.clone());
            return Ok(tensor);
        }
        let variable = Var::from_tensor(&tensor)?;
        let shared = variable.as_tensor().clone();
        self.variables.insert(name.to_owned(), variable);
        Ok(shared)
    }

    /// Returns the matrix of this name and `shape` (`[out, in]`): a variable, or, where weights are frozen, as it was given.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn matrix(&mut self, name: &str, shape: [usize; 2], init: Init, used: Use) -> Result<Matrix> {
        if let Some(known) = self.matrices.get(name) {
            return Ok(Matrix::Frozen(known.clone()));
        }
        if let Some(format) = self.freezing
            && let Some(stored) = self.take(name, &shape)?
        {
            let format = format.resolve(stored.dtype(), shape[1], used, &self.device);
            let matrix = Frozen::new(shape, format, &self.device, |rows| stored.read_rows(rows))?;
            self.matrices.insert(name.to_owned(), matrix.clone());
            return Ok(Matrix::Frozen(matrix));
        }
        Ok(Matrix::Free(self.get(name, &shape, init)?))
    }

    /// Takes a weight that was given.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Option<Stored>> {
        let stored = self.given.remove(name);
        match stored.as_ref().map(Stored::shape) {
            Some(other) if other != shape => {
                Err(self.broken(format!("`{name}` has shape {other:?}, the configuration asks for {shape:?}")))
            }
            _ => Ok(stored),
        }
    }

    fn broken(&self, reason: String) -> Error {
        Error::Artifact { what: "weights", name: self.name.clone(), reason }
    }

    /// Returns how many bytes the weights take that are not trained.
    pub fn frozen_bytes(&self) -> usize {
        let vectors = self.frozen.values().map(|tensor| 4 * tensor.elem_count());
        vectors.chain(self.matrices.values().map(Frozen::bytes)).sum()
    }

    /// Tells whether a weight of this name was given and not yet asked for, or is a variable.
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name) || self.variables.contains_key(name)
    }

    /// Returns the names of given weights that no layer asked for, in order.
    pub fn unused(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.given.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Returns all variables by name, in order of names.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// Takes given weights away that no layer has asked for, by the start of their names.
    pub fn forget(&mut self, prefix: &str) {
        self.given.retain(|name, _| !name.starts_with(prefix));
    }

    /// Takes a variable out: it is no longer trained or saved with the others.
    pub fn remove(&mut self, name: &str) -> Option<Var> {
        self.variables.remove(name)
    }

    /// Returns where the weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the number of trainable numbers.
    pub fn count(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }

    /// Tells whether every number is finite.
    ///
    /// # Errors
    /// Those of the device.
    pub fn are_finite(&self) -> Result<bool> {
        for variable in self.variables.values() {
            if !variable.flatten_all()?.to_vec1::<f32>()?.iter().all(|number| number.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets every variable to the tensor of the same name.
    ///
    /// # Errors
    /// - [`Error::Artifact`] if one is missing or has another shape.
    pub fn restore(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        for (name, variable) in &self.variables {
            let tensor = tensors.get(name).ok_or_else(|| self.broken(format!("`{name}` is missing")))?;
            if tensor.dims() != variable.dims() {
                let reason = format!("`{name}` has shape {:?}, expected {:?}", tensor.dims(), variable.dims());
                return Err(self.broken(reason));
            }
            variable.set(&tensor.to_device(&self.device)?)?;
        }
        Ok(())
    }

    /// Writes all variables to a safetensors file, atomically, under other names, with what is `said` of them: key and value.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save_as(&self, path: &Path, rename: impl Fn(&str) -> String, said: Option<(&str, &str)>) -> Result<()> {
        write(path, said, self.variables.iter().map(|(name, variable)| (rename(name), variable.as_tensor())))
    }

    /// Writes all variables to a safetensors file in another number format, atomically.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save_in(&self, path: &Path, dtype: DType) -> Result<()> {
        let tensors: Vec<(&String, Tensor)> =
            self.variables.iter().map(|(name, one)| Ok((name, one.to_dtype(dtype)?))).collect::<Result<_>>()?;
        write(path, None, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
    }

    /// Returns a hash over names, shapes and numbers, in hexadecimal digits.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for (name, variable) in &self.variables {
            hash.update(format!("{name} {:?}\n", variable.dims()));
            for number in variable.flatten_all()?.to_vec1::<f32>()? {
                hash.update(number.to_le_bytes());
            }
        }
        Ok(format!("{:x}", hash.finalize()))
    }
}

/// Draws numbers from a normal distribution around 0, by Box and Muller: the device's own generator cannot be seeded on the CPU.
fn normal(rng: &mut ChaCha8Rng, count: usize, deviation: f32) -> Vec<f32> {
    let pair = |rng: &mut ChaCha8Rng| {
        let (radius, angle) = (rng.random::<f64>(), rng.random::<f64>() * std::f64::consts::TAU);
        let radius = (-2.0 * (1.0 - radius).ln()).sqrt() * f64::from(deviation);
        [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
    };
    let mut drawn: Vec<f32> = (0..count.div_ceil(2)).flat_map(|_| pair(rng)).collect();
    drawn.truncate(count);
    drawn
}

fn write<'a, N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    said: Option<(&str, &str)>,
    tensors: impl Iterator<Item = (N, &'a Tensor)>,
) -> Result<()> {
    // One key alone: several would be written in another order each time.
    let (key, value) = said.unwrap_or(("format", "pt"));
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| Error::Artifact {
        what: "weights",
        name: path.display().to_string(),
        reason: e.to_string(),
    })?;
    crate::artifact::write_atomic(path, &bytes)
}
