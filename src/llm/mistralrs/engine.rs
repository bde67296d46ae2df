//! A loaded model and its requests: chats come in, are tokenised, run within their constraint and watched; answers leave.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mistralrs::{
    Constraint as Grammar, CustomLogitsProcessor, Model, NormalRequest, RequestMessage, Response, SamplingParams,
    StopTokens, TextMessageRole, TextMessages,
};
use tokio::sync::{Semaphore, mpsc};

use super::{
    choice::Scorer,
    record::{self, Heartbeat, Record},
    stage::{Limits, Staged},
};
use crate::{
    data::{Message, Role},
    error::{Error, Result},
    llm::{
        Answer, Constraint, Finish, Request, Token, grammar,
        labels::LabelTrie,
        turns::{without_controls, without_system},
    },
};

const NAME: &str = "mistral.rs";
/// How often a waiting request looks whether the engine still lives.
const LOOK: Duration = Duration::from_millis(500);

/// Tokens of a prompt that the slowest machine worth waiting for reads in a second.
const SLOWEST_PROMPT_TOKENS_S: f64 = 4.0;

/// A loaded model.
pub(super) struct Engine {
    pub model: Model,
    /// Keeps the links that mistral.rs may read late.
    pub _staged: Option<Staged>,
    pub tokenizer: Option<tokenizers::Tokenizer>,
    pub in_flight: Semaphore,
    pub heart: Arc<Heartbeat>,
    pub lost: AtomicBool,
    pub context_tokens: usize,
    pub limits: Limits,
    pub timeout_s: u64,
    /// Tokens that end a text. A finished grammar asks for the one it knows, which is not always one that the model stops at.
    pub ends: Vec<u32>,
    /// What the tokenizer would take for a control token wherever it stands.
    pub controls: Vec<String>,
    /// Tokens of the labels asked so far: a look-up goes through the engine's queue.
    pub labels: Mutex<HashMap<String, Vec<u32>>>,
    /// Whether the chat template takes a system turn; if not, its words open the user's.
    pub system_role: bool,
}

/// A generation, in tokens.
pub(super) struct Job {
    pub prompt: Vec<u32>,
    pub max_tokens: usize,
    pub temperature: f64,
    pub grammar: Grammar,
    /// Whether every token is chosen for it, the one that ends it too.
    pub led: bool,
}

impl Engine {
    pub async fn answer(&self, request: &Request) -> Result<Answer> {
        let prompt = self.chat_tokens(&request.messages).await?;
        let room = self.room(prompt.len());
        if room == 0 {
            let (prompt, context) = (prompt.len(), self.context_tokens);
            let reason = format!("the prompt has {prompt} tokens, the context {context} (`llm.context_tokens`)");
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
        let job = Job { prompt, max_tokens, temperature: request.temperature, grammar, led: false };
        let done = self.run(job, vec![recorder]).await?;
        let mut tokens = finished(&record, request.temperature);
        // mistral.rs 0.8.1 takes one step more after an answer of one token, and the record may show it.
        tokens.truncate(done.tokens);
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
        let scorer = Scorer::new(trie, self.ends.first().copied());
        let mut answer_tokens = 0;
        while let Some((path, max_tokens)) = scorer.next() {
            if self.room(prompt.len()) < max_tokens {
                return Err(refused(
                    "the context has no room for the answer; shorten the text or raise `llm.context_tokens`",
                ));
            }
            let heart = record::recorder(Arc::default(), self.heart.clone(), prompt.len());
            let processor = scorer.walk(path.clone(), prompt.len());
            let job = Job { prompt: prompt.clone(), max_tokens, temperature: 0.0, grammar: Grammar::None, led: true };
            answer_tokens += self.run(job, vec![heart, processor]).await?.tokens;
            if scorer.next().is_some_and(|(next, _)| next == path) {
                return Err(lost("it gave no logits to choose by"));
            }
        }
        let choice = scorer.distribution();
        Ok(Answer::chosen(labels, choice, prompt.len(), answer_tokens))
    }

    /// Returns the tokens that write `label` at the start of an answer.
    async fn label_tokens(&self, label: &str) -> Result<Vec<u32>> {
        let known = self.labels.lock().ok().and_then(|labels| labels.get(label).cloned());
        if let Some(tokens) = known {
            return Ok(tokens);
        }
        let tokens = match self.answered(label).await? {
            Some(tokens) => tokens,
            None => self.alone(label).await?,
        };
        if let Ok(mut labels) = self.labels.lock() {
            labels.insert(label.to_owned(), tokens.clone());
        }
        Ok(tokens)
    }

    /// Returns the tokens of an answer within a chat, as a model is taught them: some templates or tokenizers put a blank before it.
    /// `None` where the template writes an answer otherwise than a question lets expect, or nothing ends it.
    async fn answered(&self, answer: &str) -> Result<Option<Vec<u32>>> {
        let turn = |role, content: &str| Message { role, content: content.into() };
        let question = turn(Role::User, "?");
        let before = self.chat_tokens(std::slice::from_ref(&question)).await?;
        let Ok(whole) = self.tokens_of(&[question, turn(Role::Assistant, answer)], false).await else {
            return Ok(None);
        };
        let rest = whole.strip_prefix(before.as_slice()).unwrap_or_default();
        let end = rest.iter().position(|token| self.ends.contains(token));
        Ok(end.filter(|&end| end > 0).map(|end| rest[..end].to_vec()))
    }

    /// Returns the tokens of a text by itself, without the blank that some tokenizers put before one.
    async fn alone(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.model.tokenize(either::Either::Right(text.to_owned()), None, false, false, None).await;
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

    /// Returns the tokens of a chat in which the model speaks next.
    pub async fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.tokens_of(messages, true).await
    }

    async fn tokens_of(&self, messages: &[Message], generation: bool) -> Result<Vec<u32>> {
        let messages = if self.system_role { messages.to_vec() } else { without_system(messages) };
        let mut chat = TextMessages::new();
        for Message { role, content } in messages {
            let content = without_controls(&self.controls, content);
            let role = match role {
                Role::System => TextMessageRole::System,
                Role::User => TextMessageRole::User,
                Role::Assistant => TextMessageRole::Assistant,
            };
            chat = chat.add_message(role, content);
        }
        let tokens = self.model.tokenize(either::Either::Left(chat), None, false, generation, Some(false)).await;
        // The engine's message could quote the chat, so it is not passed on.
        tokens.map_err(|_| refused("the model's chat template refuses the chat"))
    }

    pub async fn takes_system_role(&self) -> Result<bool> {
        const WORDS: &str = "S-Y-S";
        let turn = |role, content: &str| Message { role, content: content.into() };
        // A template that takes no user's turn is broken; one that leaves a system turn's words out takes none.
        self.chat_tokens(&[turn(Role::User, "?")]).await?;
        let Ok(both) = self.chat_tokens(&[turn(Role::System, WORDS), turn(Role::User, "?")]).await else {
            return Ok(false);
        };
        let text = self.model.detokenize(both, false).await.map_err(|_| lost("it does not detokenise"))?;
        Ok(text.contains(WORDS))
    }

    pub async fn run(&self, job: Job, processors: Vec<Arc<dyn CustomLogitsProcessor>>) -> Result<Done> {
        let _place = self.in_flight.acquire().await.map_err(|_| lost("it was shut down"))?;
        if self.lost.load(Ordering::Relaxed) {
            return Err(lost("it was given up"));
        }
        // The first token comes after the whole prompt was read, and only then the sampler shows that the engine lives.
        let patience_s = self.timeout_s as f64 + job.prompt.len() as f64 / SLOWEST_PROMPT_TOKENS_S;
        let (reply, mut replies) = mpsc::channel(1);
        let constrained = job.led || !matches!(job.grammar, Grammar::None);
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
                Err(_) if self.heart.silence_s() > patience_s => {
                    // Should it answer after all, its reply must still be taken: an engine panics where nobody listens.
                    tokio::spawn(async move { while replies.recv().await.is_some() {} });
                    return Err(self.give_up(&format!("no token for {patience_s:.0} s (`llm.timeout_s` allows more)")));
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
pub(super) struct Done {
    text: String,
    finish: Finish,
    /// Tokens of the answer, with the one that ended it.
    tokens: usize,
}

impl Done {
    fn of(response: Response) -> Result<Self> {
        match response {
            Response::CompletionDone(done) => {
                let tokens = done.usage.completion_tokens;
                let choice = done.choices.into_iter().next().ok_or_else(|| refused("it gave no choice"))?;
                let finish = if choice.finish_reason == "length" { Finish::Length } else { Finish::Stop };
                Ok(Self { text: choice.text, finish, tokens })
            }
            // A validation message may quote the request; the others come from the computation.
            Response::ValidationError(_) => Err(refused("it refused the request")),
            Response::InternalError(error) => Err(refused(&error.to_string())),
            Response::CompletionModelError(error, _) | Response::ModelError(error, _) => Err(refused(&error)),
            _ => Err(refused("it gave an answer of another kind")),
        }
    }
}

pub(super) fn finished(record: &Mutex<Record>, temperature: f64) -> Vec<(u32, f32)> {
    let Ok(mut record) = record.lock() else { return Vec::new() };
    record.finish(temperature == 0.0);
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

pub(super) fn lost(reason: &str) -> Error {
    Error::Generation { engine: NAME.into(), reason: reason.into(), engine_lost: true }
}

fn refused(reason: &str) -> Error {
    Error::Generation { engine: NAME.into(), reason: reason.into(), engine_lost: false }
}
