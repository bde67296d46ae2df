//! What a training was: command, settings, data and machine, kept with the run's files.

use serde::Serialize;
use serde_json::Value;

use crate::{
    artifact,
    cli::manifest::machine,
    error::Result,
    nn::fit::{History, ModelFolder},
};

/// Name of a model's weights in its folder.
pub const MODEL_WEIGHTS: &str = "model.safetensors";

/// Name of the manifest within a run's folder.
const MANIFEST_FILE: &str = "manifest.json";

/// Everything that could change what a training comes to.
#[derive(Serialize)]
pub struct Manifest {
    command: Vec<String>,
    noso: &'static str,
    commit: &'static str,
    machine: String,
    threads: usize,
    settings: Value,
    /// Hash of what was learnt from and measured on.
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// How a training ended.
#[derive(Serialize)]
struct Outcome {
    steps: usize,
    best_step: Option<usize>,
    /// SHA-256 of the weights' file.
    weights: String,
}

impl Manifest {
    /// Gathers what is known before the first step, and writes it to `training/manifest.json`, unless that of a run that goes on is there.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin(folder: &ModelFolder, settings: &impl Serialize, data: u64) -> Result<Self> {
        let manifest = Self {
            command: std::env::args().collect(),
            noso: env!("CARGO_PKG_VERSION"),
            commit: env!("NOSO_COMMIT"),
            machine: machine(),
            threads: rayon::current_num_threads(),
            settings: serde_json::to_value(settings).unwrap_or_default(),
            data: format!("{data:016x}"),
            outcome: None,
        };
        if !folder.has_checkpoint() {
            manifest.write(folder)?;
        }
        Ok(manifest)
    }

    /// Tells whether a folder holds a training that has ended; if so, says it to the user, and what in its settings or data was other than
    /// now.
    pub fn tell_finished(folder: &ModelFolder, settings: &impl Serialize, data: u64) -> bool {
        let text = std::fs::read(folder.place().folder.join(MANIFEST_FILE)).unwrap_or_default();
        let before = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        if before["outcome"].is_null() {
            return false;
        }
        let mut other = Vec::new();
        differences("", &before["settings"], &serde_json::to_value(settings).unwrap_or_default(), &mut other);
        if before["data"] != format!("{data:016x}") {
            other.push("other notes".to_owned());
        }
        let path = folder.path().display();
        eprintln!("{path}: it is finished, and stays as it is");
        if !other.is_empty() {
            eprintln!(
                "warning: {path} was trained with other settings ({}); --output with another folder trains anew",
                other.join("; ")
            );
        }
        true
    }

    /// Adds how it ended.
    ///
    /// # Errors
    /// If the folder cannot be written, or the model in it cannot be read.
    pub fn finish(mut self, folder: &ModelFolder, weights: &str, history: &History) -> Result<()> {
        let weights = artifact::sha256_of_file(&folder.path().join(weights))?;
        self.outcome = Some(Outcome { steps: history.steps.len(), best_step: history.best_step, weights });
        self.write(folder)
    }

    fn write(&self, folder: &ModelFolder) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        artifact::write_atomic(&folder.place().folder.join(MANIFEST_FILE), &json)
    }
}

/// Lists the values of settings that were others before.
fn differences(name: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in now {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                differences(&name, before.get(key).unwrap_or(&Value::Null), value, found);
            }
        }
        _ if before != now => found.push(format!("{name} was {before}, is {now}")),
        _ => {}
    }
}
