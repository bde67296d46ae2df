//! Language models on OpenAI-compatible servers: chat requests go out over HTTP, answers come back.
//!
//! Made for vLLM, SGLang, llama.cpp, mistralrs-server and Ollama; any server with `/chat/completions` will do. One run spreads
//! over a fleet: a request goes to the least busy server that lives, and moves to another one when that server dies.
//!
//! Texts of patients leave this machine only if the settings say so. They never reach logs or errors, nor does what a server
//! wrote: it may quote them. Of a server's error only the status and its `type` and `code` are kept.

mod address;
mod choice;
mod fleet;
mod grammar;
mod identity;
mod message;
mod transport;

use std::{
    future::Future,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::runtime::Runtime;

pub use choice::choice_distribution;
use fleet::Fleet;

use super::{Answer, Generate, Request};
pub use crate::config::Structured;
use crate::{
    config::LlmConfig,
    error::{Error, Result},
};

/// Where the servers are and how they are asked.
#[derive(Clone)]
pub struct ServerSettings {
    /// Addresses, such as `http://127.0.0.1:8000/v1`; without a path `/v1` is meant. No user names, no queries.
    pub urls: Vec<String>,
    /// Model to ask for; `None`: the first one that a server lists. The servers must agree on it.
    pub model: Option<String>,
    /// Name of the environment variable that holds the key; the key is sent as a bearer token. `None`: no key is sent.
    pub api_key_env: Option<String>,
    /// Whether texts may leave this machine.
    pub allow_remote: bool,
    /// Requests that a server works on at a time, at least 1.
    pub max_in_flight: usize,
    /// Seconds for a request, from sending it to its whole answer, at least 1.
    pub timeout_s: u64,
    /// Tries after the first one.
    pub retries: u32,
    /// How the servers take a constraint on the answer.
    pub structured: Structured,
}

/// Shows neither addresses nor names of variables: a user may have put a password or the key itself there.
impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSettings")
            .field("servers", &self.urls.len())
            .field("model", &self.model)
            .field("has_key", &self.api_key_env.is_some())
            .field("allow_remote", &self.allow_remote)
            .field("max_in_flight", &self.max_in_flight)
            .field("timeout_s", &self.timeout_s)
            .field("retries", &self.retries)
            .field("structured", &self.structured)
            .finish()
    }
}

impl From<&LlmConfig> for ServerSettings {
    fn from(config: &LlmConfig) -> Self {
        Self {
            urls: config.servers.clone(),
            model: config.model.clone(),
            api_key_env: config.api_key_env.clone(),
            allow_remote: config.allow_remote,
            max_in_flight: config.requests_in_flight(),
            timeout_s: config.timeout_s,
            retries: config.retries,
            structured: config.structured,
        }
    }
}

/// One or more servers that serve the same model.
///
/// [`Constraint::Verbatim`](super::Constraint::Verbatim) holds by construction where the server takes a grammar; with
/// [`Structured::Openai`], [`Structured::None`], or a document of more than 2,000 words, answers are free.
pub struct Server {
    runtime: Background,
    fleet: Arc<Fleet>,
    fingerprint: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Server {
    /// Asks every server for its models. No text of a patient is sent yet. Servers that are down are left out for a minute, with
    /// a warning.
    ///
    /// # Errors
    /// - [`Error::Setting`] for an address that is none, a missing key, a limit of 0.
    /// - [`Error::ModelLoad`] if an address lies outside this machine and `allow_remote` is not set, if no server answers, if they
    ///   serve different models, or list none.
    pub fn connect(settings: &ServerSettings) -> Result<Self> {
        for (key, value) in [("max_in_flight", settings.max_in_flight as u64), ("timeout_s", settings.timeout_s)] {
            if value == 0 {
                return Err(Error::Setting { key: key.into(), expected: "at least 1".into(), got: "0".into() });
            }
        }
        let addresses = address::check(&settings.urls, settings.allow_remote)?;
        let key = address::key(settings.api_key_env.as_deref())?;
        let timeout = Duration::from_secs(settings.timeout_s);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("noso-servers")
            .enable_all()
            .build()
            .map_err(|error| {
                failed_to_load("servers", format!("no runtime: {error}"), "free some memory or threads")
            })?;
        let settings = settings.clone();
        let fleet = async move { Fleet::connect(&addresses, key.as_ref(), timeout, &settings).await };
        let runtime = Background(Some(runtime));
        let fleet = runtime.wait(fleet).unwrap_or_else(|| {
            Err(failed_to_load("servers", "the connection was given up".into(), "report this as a bug of noso"))
        })?;
        let fingerprint = fleet.fingerprint();
        Ok(Self { runtime, fleet: Arc::new(fleet), fingerprint })
    }
}

impl Generate for Server {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        let (done, results) = mpsc::channel();
        for (at, request) in requests.iter().cloned().enumerate() {
            let (fleet, done) = (self.fleet.clone(), done.clone());
            self.runtime.spawn(async move {
                // Fails only if the caller is gone, and then nobody waits for the answer.
                let _ = done.send((at, fleet.answer(&request).await));
            });
        }
        drop(done);
        let mut answers: Vec<Option<Result<Answer>>> = requests.iter().map(|_| None).collect();
        for (at, result) in results {
            answers[at] = Some(result);
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(given_up()))).collect()
    }

    /// Names what the servers say they are, the model, and how constraints are taken; no address.
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

/// A runtime that may be used and dropped where another one runs, which tokio's own methods refuse.
struct Background(Option<Runtime>);

impl Background {
    /// Starts `task`.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(task);
        }
    }

    /// Runs `task` to its end; `None` if it panicked.
    fn wait<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, result) = mpsc::channel();
        self.spawn(async move {
            let _ = done.send(task.await);
        });
        result.recv().ok()
    }
}

impl Drop for Background {
    /// Nothing is in flight here, as every caller waits for its tasks.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn given_up() -> Error {
    Error::Generation { engine: "the server".into(), reason: "the request was given up".into(), engine_lost: false }
}

fn failed_to_load(name: impl Into<String>, reason: String, hint: impl Into<String>) -> Error {
    Error::ModelLoad { name: name.into(), reason, hint: hint.into() }
}
