//! mistral.rs in this process: a model folder, GGUF file or hub id comes in, an engine leaves that answers requests.
//!
//! What mistral.rs 0.8.1 does not guard is guarded here: a model is checked before it is loaded ([`stage`]), loading runs on a
//! thread of its own so that a panic becomes an error, each request runs in a task that always drains its reply (a dropped
//! reply kills the engine), the number of requests in flight is bounded (queued ones preallocate caches), and an engine
//! that falls silent is given up.

mod choice;
mod gguf;
mod grammar;
mod hub;
mod record;
mod stage;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mistralrs::{
    Constraint as Grammar, CustomLogitsProcessor, GgufModelBuilder, IsqBits, Model, ModelDType, NormalRequest,
    RequestMessage, Response, SamplingParams, StopTokens, TextMessageRole, TextMessages, TextModelBuilder, best_device,
    core::DeviceMapSetting, parse_isq_value,
};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, mpsc},
};

pub(super) use self::hub::resolve;
use self::{
    choice::{LabelTrie, Scorer},
    record::{Heartbeat, Record},
    stage::{Limits, Staged, load_error},
};
use super::{Answer, Constraint, Finish, Generate, Request, Token};
use crate::{
    config::{Device, Dtype, LlmConfig},
    data::{Message, Role},
    error::{Error, Result},
};

const NAME: &str = "mistral.rs";
/// How often a waiting request looks whether the engine still lives.
const LOOK: Duration = Duration::from_millis(500);

/// A language model in this process.
pub struct MistralRs {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
    fingerprint: String,
}

struct Inner {
    model: Model,
    /// Keeps the links that mistral.rs may read late.
    _staged: Option<Staged>,
    tokenizer: Option<tokenizers::Tokenizer>,
    in_flight: Semaphore,
    heart: Arc<Heartbeat>,
    lost: AtomicBool,
    context_tokens: usize,
    limits: Limits,
    timeout_s: u64,
    /// Tokens that end a text. A finished grammar asks for the one it knows, which is not always one that the model stops at.
    ends: Vec<u32>,
    /// Whether the chat template takes a system turn; if not, its words open the user's.
    system_role: bool,
}

impl MistralRs {
    /// Loads the model that `config` names, with `weights` in place of its folder where an adapter was merged.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if the model is missing, damaged, of an unknown architecture, or mistral.rs cannot load it.
    pub fn load(config: &LlmConfig, weights: Option<&Path>) -> Result<Self> {
        let named = config.model.clone().unwrap_or_default();
        let model = match weights {
            Some(folder) => folder.to_owned(),
            None => resolve(&named)?,
        };
        let is_file = model.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        let staged = if is_file {
            gguf::check(&model)?;
            None
        } else {
            Some(Staged::new(&model)?)
        };
        let tokenizer = staged.as_ref().map(|staged| load_tokenizer(&model, staged.path())).transpose()?;
        let print = match &staged {
            Some(staged) => staged.fingerprint.clone(),
            None => stage::sample_hash(&model)?,
        };
        let settings = config.clone();
        let (runtime, model) = guarded(&model.clone(), {
            let folder = staged.as_ref().map(|staged| staged.path().to_owned());
            move || load_model(&settings, &model, folder)
        })?;
        let ends = tokenizer.as_ref().map(end_tokens).unwrap_or_default();
        let limits = staged.as_ref().map_or_else(Limits::default, |staged| staged.limits);
        let mut inner = Inner {
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
            system_role: true,
        };
        inner.system_role = runtime.block_on(inner.takes_system_role())?;
        let quantization = config.quantization.as_deref().unwrap_or("none");
        let fingerprint = format!("mistralrs-{print}-{:?}-{quantization}", config.dtype).to_lowercase();
        Ok(Self { inner: Arc::new(inner), runtime: Some(runtime), fingerprint })
    }

    /// Continues a text of `prompt` tokens greedily by at most `max_tokens`; returns the new tokens, the stop token included.
    ///
    /// # Errors
    /// - [`Error::Generation`] if the engine gives no answer.
    pub fn continue_tokens(&self, prompt: &[u32], max_tokens: usize) -> Result<Vec<u32>> {
        let record = Arc::new(Mutex::new(Record::default()));
        let inner = self.inner.clone();
        let job = Job { prompt: prompt.to_vec(), max_tokens, temperature: 0.0, grammar: Grammar::None };
        let recorder = record::recorder(record.clone(), inner.heart.clone(), prompt.len());
        self.block_on(async move { inner.run(job, vec![recorder]).await })?;
        Ok(finished(&record).iter().map(|(token, _)| *token).collect())
    }

    /// Renders a chat as the model's template has it and returns its tokens.
    ///
    /// # Errors
    /// - [`Error::Generation`] if the template refuses the chat.
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let (inner, messages) = (self.inner.clone(), messages.to_vec());
        self.block_on(async move { inner.chat_tokens(&messages).await })
    }

    fn block_on<T>(&self, task: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(task),
            None => Err(lost("it was shut down")),
        }
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
                let (inner, request) = (self.inner.clone(), request.clone());
                // Detached: were this call given up, the task would still drain the engine's reply.
                runtime.spawn(async move { inner.answer(&request).await })
            })
            .collect();
        let joined = tasks.into_iter().map(|task| runtime.block_on(task));
        joined.map(|answer| answer.unwrap_or_else(|_| Err(lost("a task panicked")))).collect()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

/// A generation, in tokens.
struct Job {
    prompt: Vec<u32>,
    max_tokens: usize,
    temperature: f64,
    grammar: Grammar,
}

/// Finds the tokens that, by their names, end a text or a turn.
fn end_tokens(tokenizer: &tokenizers::Tokenizer) -> Vec<u32> {
    const NAMES: [&str; 7] =
        ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "<|end|>", "<eos>"];
    let mut ends: Vec<u32> = NAMES.iter().filter_map(|name| tokenizer.token_to_id(name)).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

impl Inner {
    async fn answer(&self, request: &Request) -> Result<Answer> {
        let prompt = self.chat_tokens(&request.messages).await?;
        let room = self.room(prompt.len());
        if room == 0 {
            let reason = format!("the prompt has {} tokens, the context {}", prompt.len(), self.context_tokens);
            return Err(refused(&reason));
        }
        let max_tokens = request.max_tokens.min(room);
        match &request.constraint {
            Constraint::Free => self.free(prompt, request, max_tokens, Grammar::None).await,
            Constraint::Verbatim { source, max_items } => {
                let grammar = Grammar::Lark(grammar::verbatim(source, *max_items));
                self.free(prompt, request, max_tokens, grammar).await
            }
            Constraint::Choice { labels } => self.choose(prompt, labels).await,
        }
    }

    /// Returns how many tokens an answer to a prompt of `prompt_tokens` may have.
    ///
    /// A model with two sets of rotary factors changes them at a length where transformers starts its cache anew and mistral.rs
    /// does not, so an answer may not cross it.
    fn room(&self, prompt_tokens: usize) -> usize {
        let limit = match self.limits.rope_change_tokens {
            Some(change) if prompt_tokens <= change => self.context_tokens.min(change),
            _ => self.context_tokens,
        };
        limit.saturating_sub(prompt_tokens)
    }

    async fn free(&self, prompt: Vec<u32>, request: &Request, max_tokens: usize, grammar: Grammar) -> Result<Answer> {
        let prompt_tokens = prompt.len();
        let record = Arc::new(Mutex::new(Record::default()));
        let recorder = record::recorder(record.clone(), self.heart.clone(), prompt_tokens);
        let job = Job { prompt, max_tokens, temperature: request.temperature, grammar };
        let done = self.run(job, vec![recorder]).await?;
        let tokens = finished(&record);
        Ok(Answer {
            text: done.text,
            finish: done.finish,
            answer_tokens: tokens.len(),
            tokens: tokens
                .into_iter()
                .map(|(id, log_probability)| Token { text: self.token_text(id), log_probability })
                .collect(),
            choice: None,
            prompt_tokens,
        })
    }

    /// Reads the distribution over `labels` in as few forward passes as the tokenizer allows.
    async fn choose(&self, prompt: Vec<u32>, labels: &[String]) -> Result<Answer> {
        let mut sequences = Vec::with_capacity(labels.len());
        for label in labels {
            sequences.push(self.label_tokens(label).await?);
        }
        let trie = LabelTrie::new(&sequences).ok_or_else(|| refused("the tokenizer cannot tell the labels apart"))?;
        let trie = Arc::new(trie);
        let scorer = Scorer::new(trie.clone());
        let mut answer_tokens = 0;
        for walk in trie.walks() {
            let max_tokens = walk.len() + 1;
            answer_tokens += max_tokens;
            let heart = record::recorder(Arc::default(), self.heart.clone(), prompt.len());
            let processor = scorer.walk(walk, prompt.len());
            let job = Job { prompt: prompt.clone(), max_tokens, temperature: 0.0, grammar: Grammar::None };
            self.run(job, vec![heart, processor]).await?;
        }
        let choice = scorer.distribution();
        let best = (0..labels.len()).max_by(|&a, &b| choice[a].total_cmp(&choice[b]).then(b.cmp(&a))).unwrap_or(0);
        Ok(Answer {
            text: labels.get(best).cloned().unwrap_or_default(),
            finish: Finish::Stop,
            tokens: Vec::new(),
            choice: Some(choice),
            prompt_tokens: prompt.len(),
            answer_tokens,
        })
    }

    /// Returns the tokens that write `label` at the start of an answer: without the blank that some tokenizers put before a text.
    async fn label_tokens(&self, label: &str) -> Result<Vec<u32>> {
        let tokens = self.model.tokenize(either::Either::Right(label.to_owned()), None, false, false, None).await;
        let mut tokens = tokens.map_err(|_| lost("it does not tokenise"))?;
        while let Some(&first) = tokens.first() {
            let text = self.model.detokenize(vec![first], true).await.map_err(|_| lost("it does not detokenise"))?;
            if tokens.len() == 1 || !text.trim().is_empty() {
                break;
            }
            tokens.remove(0);
        }
        Ok(tokens)
    }

    async fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let messages = if self.system_role { messages.to_vec() } else { without_system(messages) };
        let mut chat = TextMessages::new();
        for Message { role, content } in messages {
            let role = match role {
                Role::System => TextMessageRole::System,
                Role::User => TextMessageRole::User,
                Role::Assistant => TextMessageRole::Assistant,
            };
            chat = chat.add_message(role, content);
        }
        let tokens = self.model.tokenize(either::Either::Left(chat), None, false, true, Some(false)).await;
        // The engine's message could quote the chat, so it is not passed on.
        tokens.map_err(|_| refused("the model's chat template refuses the chat"))
    }

    async fn takes_system_role(&self) -> Result<bool> {
        let turn = |role| Message { role, content: "?".into() };
        Ok(self.chat_tokens(&[turn(Role::System), turn(Role::User)]).await.is_ok())
    }

    async fn run(&self, job: Job, processors: Vec<Arc<dyn CustomLogitsProcessor>>) -> Result<Done> {
        let _place = self.in_flight.acquire().await.map_err(|_| lost("it was shut down"))?;
        if self.lost.load(Ordering::Relaxed) {
            return Err(lost("it was given up"));
        }
        let (reply, mut replies) = mpsc::channel(1);
        let constrained = !matches!(job.grammar, Grammar::None);
        let request = NormalRequest {
            logits_processors: Some(processors),
            constraint: job.grammar,
            ..NormalRequest::new_simple(
                RequestMessage::CompletionTokens(job.prompt),
                SamplingParams {
                    stop_toks: constrained.then(|| StopTokens::Ids(self.ends.clone())),
                    ..sampling(job.temperature, job.max_tokens)
                },
                reply,
                0,
                None,
                None,
            )
        };
        self.heart.beat();
        let sender = self.model.inner().get_sender(None).map_err(|_| self.give_up("it has stopped"))?;
        let request = mistralrs::Request::Normal(Box::new(request));
        sender.send(request).await.map_err(|_| self.give_up("it has stopped"))?;
        loop {
            match tokio::time::timeout(LOOK, replies.recv()).await {
                Ok(Some(response)) => return Done::of(response),
                Ok(None) => return Err(self.give_up("it has stopped")),
                Err(_) if self.heart.silence_s() > self.timeout_s as f64 => {
                    return Err(self.give_up(&format!("no token for {} s", self.timeout_s)));
                }
                Err(_) => {}
            }
        }
    }

    fn give_up(&self, reason: &str) -> Error {
        self.lost.store(true, Ordering::Relaxed);
        lost(reason)
    }

    fn token_text(&self, id: u32) -> String {
        self.tokenizer.as_ref().and_then(|tokenizer| tokenizer.decode(&[id], false).ok()).unwrap_or_default()
    }
}

/// A finished generation.
struct Done {
    text: String,
    finish: Finish,
}

impl Done {
    fn of(response: Response) -> Result<Self> {
        match response {
            Response::CompletionDone(done) => {
                let choice = done.choices.into_iter().next().ok_or_else(|| refused("it gave no choice"))?;
                let finish = if choice.finish_reason == "length" { Finish::Length } else { Finish::Stop };
                Ok(Self { text: choice.text, finish })
            }
            // A validation message may quote the request; the others come from the computation.
            Response::ValidationError(_) => Err(refused("it refused the request")),
            Response::InternalError(error) => Err(refused(&error.to_string())),
            Response::CompletionModelError(error, _) | Response::ModelError(error, _) => Err(refused(&error)),
            _ => Err(refused("it gave an answer of another kind")),
        }
    }
}

fn finished(record: &Mutex<Record>) -> Vec<(u32, f32)> {
    let Ok(mut record) = record.lock() else { return Vec::new() };
    record.finish();
    std::mem::take(&mut record.tokens)
}

/// Greedy decoding is asked for as sampling from the one likeliest token: plain greedy reads logits as probabilities.
fn sampling(temperature: f64, max_tokens: usize) -> SamplingParams {
    let greedy = temperature == 0.0;
    SamplingParams {
        temperature: Some(if greedy { 1.0 } else { temperature }),
        top_k: greedy.then_some(1),
        max_len: Some(max_tokens),
        ..SamplingParams::neutral()
    }
}

/// Puts the words of a system turn before those of the first user turn.
fn without_system(messages: &[Message]) -> Vec<Message> {
    let (system, mut rest): (Vec<Message>, Vec<Message>) =
        messages.iter().cloned().partition(|message| message.role == Role::System);
    if let Some(first) = rest.first_mut() {
        let words = system.into_iter().map(|message| message.content).chain([std::mem::take(&mut first.content)]);
        first.content = words.collect::<Vec<_>>().join("\n\n");
    }
    rest
}

fn load_tokenizer(model: &Path, folder: &Path) -> Result<tokenizers::Tokenizer> {
    tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).map_err(|e| {
        load_error(model, format!("tokenizer.json: {e}"), "the file is damaged; copy the model folder again")
    })
}

/// Runs `load` on a thread of its own and turns a panic into an error.
fn guarded<T: Send + 'static>(model: &Path, load: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().name("noso-load".into()).spawn(load);
    let thread = thread.map_err(|e| load_error(model, e.to_string(), "free some memory"))?;
    thread.join().unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = format!("mistral.rs panicked: {}", said.unwrap_or("no message"));
        Err(load_error(model, reason, "check that the files of the model are whole and belong together"))
    })
}

fn load_model(config: &LlmConfig, model: &Path, folder: Option<PathBuf>) -> Result<(Runtime, Model)> {
    let broken = |reason: String| {
        let hint = "check that the files of the model are whole, and that it fits into memory (`quantization` makes it smaller)";
        load_error(model, reason, hint)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| broken(e.to_string()))?;
    let device = best_device(config.device == Device::Cpu).map_err(|e| broken(e.to_string()))?;
    if config.device == Device::Cuda && !device.is_cuda() {
        return Err(Error::NotBuilt { engine: "CUDA", feature: "cuda" });
    }
    let quantization = config.quantization.as_deref().map(|name| quantization(name, &device)).transpose()?;
    let max_sequences = max_in_flight(config);
    let loaded = match folder {
        Some(folder) => {
            let mut builder = TextModelBuilder::new(folder.display())
                .with_dtype(dtype(config.dtype, device.is_cuda()))
                .with_max_num_seqs(max_sequences)
                // Never evicted on the CPU, so it would grow with every prompt.
                .with_prefix_cache_n(None);
            if !device.is_cuda() {
                builder = builder.with_force_cpu().with_device_mapping(DeviceMapSetting::dummy());
            }
            if let Some(kind) = quantization {
                builder = builder.with_isq(kind);
            }
            runtime.block_on(builder.build())
        }
        None => {
            let parent = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = model.file_name().unwrap_or_default().to_string_lossy();
            let mut builder = GgufModelBuilder::new(parent.display(), vec![name])
                .with_max_num_seqs(max_sequences)
                .with_prefix_cache_n(None);
            if !device.is_cuda() {
                builder = builder.with_force_cpu().with_device_mapping(DeviceMapSetting::dummy());
            }
            runtime.block_on(builder.build())
        }
    };
    Ok((runtime, loaded.map_err(|e| broken(format!("{e:#}")))?))
}

/// Returns how many requests may be worked on at a time: one on the CPU, where mistral.rs 0.8.1 gives all sequences that it
/// continues together the attention of the last one (`flash_attn_cpu_single_q` has one scratch buffer for the whole batch).
fn max_in_flight(config: &LlmConfig) -> usize {
    let on_cpu = config.device == Device::Cpu || best_device(false).is_ok_and(|device| device.is_cpu());
    if on_cpu { 1 } else { config.max_in_flight.unwrap_or(1) }
}

fn dtype(wanted: Dtype, on_gpu: bool) -> ModelDType {
    match wanted {
        // mistral.rs's own choice needs nvidia-smi on a GPU, and formats that the CPU cannot multiply.
        Dtype::Auto if on_gpu => ModelDType::BF16,
        Dtype::Auto | Dtype::F32 => ModelDType::F32,
        Dtype::Bf16 => ModelDType::BF16,
        Dtype::F16 => ModelDType::F16,
    }
}

fn quantization(name: &str, device: &mistralrs::Device) -> Result<mistralrs::IsqType> {
    if let Ok(bits) = IsqBits::try_from(name) {
        return Ok(bits.resolve(device));
    }
    parse_isq_value(name, Some(device)).map_err(|_| Error::Setting {
        key: "llm.quantization".into(),
        expected: "a kind that mistral.rs knows, such as q4k, q8_0, 4 or 8".into(),
        got: name.into(),
    })
}

fn lost(reason: &str) -> Error {
    Error::Generation { engine: NAME.into(), reason: reason.into(), engine_lost: true }
}

fn refused(reason: &str) -> Error {
    Error::Generation { engine: NAME.into(), reason: reason.into(), engine_lost: false }
}
