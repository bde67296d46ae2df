//! mistral.rs in this process: a model folder, GGUF file or hub id comes in, an engine leaves that answers requests.
//!
//! What mistral.rs 0.8.1 does not guard is guarded here: a model is checked before it is loaded (`stage`), loading runs on a
//! thread of its own so that a panic becomes an error, each request runs in a task that always drains its reply (a dropped
//! reply kills the engine), the number of requests in flight is bounded (queued ones preallocate caches), and an engine
//! that falls silent is given up.

mod choice;
mod engine;
mod gguf;
mod load;
mod record;
mod stage;
mod weights;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use mistralrs::{Constraint as Grammar, best_device};
use tokio::{runtime::Runtime, sync::Semaphore};

use self::{
    engine::{Engine, Job, finished, lost},
    load::{guarded, load_model, load_tokenizer, max_in_flight},
    record::{Heartbeat, Record},
    stage::{Limits, Staged, load_error},
};
use super::{
    Answer, Generate, Request,
    hub::resolve,
    turns::{control_tokens, end_tokens},
};
use crate::{
    config::{Device, LlmConfig},
    data::Message,
    error::Result,
};

/// A language model in this process.
pub struct MistralRs {
    engine: Arc<Engine>,
    runtime: Option<Runtime>,
    fingerprint: String,
}

impl MistralRs {
    /// Loads the model that `config` names, with `weights` in place of its folder where an adapter was merged.
    ///
    /// # Errors
    /// - [`crate::Error::ModelLoad`] if the model is missing, damaged, of an unknown architecture, or mistral.rs cannot load it.
    pub fn load(config: &LlmConfig, weights: Option<&Path>) -> Result<Self> {
        let named = config.model.clone().unwrap_or_default();
        let Checked { path: model, staged, fingerprint } = Checked::new(config, weights)?;
        if staged.is_none() {
            tracing::warn!("GGUF models run, but were not held against a reference token by token as safetensors were");
        }
        let tokenizer = staged.as_ref().map(|staged| load_tokenizer(&model, staged.path())).transpose()?;
        let settings = config.clone();
        let (runtime, model) = guarded(&model.clone(), {
            let folder = staged.as_ref().map(|staged| staged.path().to_owned());
            move || load_model(&settings, &model, folder)
        })?;
        let controls = tokenizer.as_ref().map(control_tokens).unwrap_or_default();
        let ends = tokenizer.as_ref().map(end_tokens).unwrap_or_default();
        let limits = staged.as_ref().map_or_else(Limits::default, |staged| staged.limits);
        let mut engine = Engine {
            model,
            _staged: staged,
            tokenizer,
            in_flight: Semaphore::new(max_in_flight(config)),
            heart: Heartbeat::new(),
            lost: AtomicBool::new(false),
            context_tokens: config.context_tokens.min(limits.max_tokens.unwrap_or(usize::MAX)),
            limits,
            timeout_s: config.timeout_s,
            ends,
            controls,
            labels: Mutex::default(),
            system_role: true,
        };
        engine.system_role = runtime.block_on(engine.takes_system_role()).map_err(|_| {
            let hint = "its chat template does not render; take the one that was published with the model";
            load_error(Path::new(&named), "the chat template is broken".into(), hint)
        })?;
        Ok(Self { engine: Arc::new(engine), runtime: Some(runtime), fingerprint })
    }

    /// Checks the same model and returns the fingerprint it would have, without loading it.
    ///
    /// # Errors
    /// - [`crate::Error::ModelLoad`] if it is missing, damaged or of an unknown architecture.
    pub fn identify(config: &LlmConfig, weights: Option<&Path>) -> Result<String> {
        Ok(Checked::new(config, weights)?.fingerprint)
    }

    /// Continues a text of `prompt` tokens greedily by at most `max_tokens`; returns the new tokens, the stop token included.
    ///
    /// # Errors
    /// - [`crate::Error::Generation`] if the engine gives no answer.
    pub fn continue_tokens(&self, prompt: &[u32], max_tokens: usize) -> Result<Vec<u32>> {
        let record = Arc::new(Mutex::new(Record::default()));
        let engine = self.engine.clone();
        let job = Job { prompt: prompt.to_vec(), max_tokens, temperature: 0.0, grammar: Grammar::None, led: false };
        let recorder = record::recorder(record.clone(), engine.heart.clone(), prompt.len());
        self.block_on(async move { engine.run(job, vec![recorder]).await })?;
        Ok(finished(&record, 0.0).iter().map(|(token, _)| *token).collect())
    }

    /// Renders a chat as the model's template has it and returns its tokens.
    ///
    /// # Errors
    /// - [`crate::Error::Generation`] if the template refuses the chat.
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let (engine, messages) = (self.engine.clone(), messages.to_vec());
        self.block_on(async move { engine.chat_tokens(&messages).await })
    }

    fn block_on<T>(&self, task: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(task),
            None => Err(lost("it was shut down")),
        }
    }
}

/// A model whose files were found to be whole.
struct Checked {
    path: PathBuf,
    /// `None` of a GGUF file.
    staged: Option<Staged>,
    fingerprint: String,
}

impl Checked {
    fn new(config: &LlmConfig, weights: Option<&Path>) -> Result<Self> {
        let path = match weights {
            Some(folder) => folder.to_owned(),
            None => resolve(config.model.as_deref().unwrap_or_default())?,
        };
        let (staged, print) = if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            gguf::check(&path)?;
            (None, stage::sample_hash(&path)?)
        } else {
            let staged = Staged::new(&path)?;
            let print = staged.fingerprint.clone();
            (Some(staged), print)
        };
        let quantization = config.quantization.as_deref().unwrap_or("none");
        // What `auto` comes to depends on it.
        let on_gpu = best_device(config.device == Device::Cpu).is_ok_and(|device| device.is_cuda());
        let device = if on_gpu { "cuda" } else { "cpu" };
        let fingerprint = format!("mistralrs-{print}-{device}-{:?}-{quantization}", config.dtype).to_lowercase();
        Ok(Self { path, staged, fingerprint })
    }
}

impl Drop for MistralRs {
    fn drop(&mut self) {
        // A wedged engine would hold an ordinary shutdown up for ever.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Generate for MistralRs {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        let Some(runtime) = &self.runtime else {
            return requests.iter().map(|_| Err(lost("it was shut down"))).collect();
        };
        let tasks: Vec<_> = requests
            .iter()
            .map(|request| {
                let (engine, request) = (self.engine.clone(), request.clone());
                // Detached: were this call given up, the task would still drain the engine's reply.
                runtime.spawn(async move { engine.answer(&request).await })
            })
            .collect();
        let joined = tasks.into_iter().map(|task| runtime.block_on(task));
        joined.map(|answer| answer.unwrap_or_else(|_| Err(lost("a task panicked")))).collect()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}
