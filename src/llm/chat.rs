//! Chats as a model's own template writes them: messages come in, text or token ids leave.
//!
//! Training and use go through here alike, so that a model is asked in the words in which it was taught.

use std::{fs, path::Path};

use minijinja::{Environment, ErrorKind, context};
use serde_json::{Map, Value};

use super::turns::{control_tokens, end_tokens, without_controls, without_system};
use crate::{
    data::{Message, Role},
    error::{Error, Result},
};

/// What a template is told is today, or the same text would be another prompt tomorrow.
const DATE: &str = "26 Jul 2024";
/// Files that may hold the template, first found first.
const FILES: [&str; 3] = ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"];

/// A model's chat template and tokenizer.
pub struct Chat {
    name: String,
    template: Environment<'static>,
    bos: String,
    eos: String,
    tokenizer: tokenizers::Tokenizer,
    /// What the tokenizer would take for a control token wherever it stands.
    controls: Vec<String>,
    /// Whether the template takes a system turn; if not, its words open the user's.
    system_role: bool,
}

/// A chat with its last answer, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredChat {
    /// Prompt and answer.
    pub ids: Vec<u32>,
    /// Place of the answer's first token.
    pub answer: usize,
}

impl Chat {
    /// Reads tokenizer and template of a model's folder.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if there is none, or it is damaged, or takes no chat of one user's turn.
    pub fn load(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        let broken = |reason: String, hint: &str| Error::ModelLoad { name: name.clone(), reason, hint: hint.into() };
        let damaged = "the file is damaged; copy the model folder again";
        let tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json"))
            .map_err(|e| broken(format!("tokenizer.json: {e}"), damaged))?;
        let settings = read_json(&folder.join("tokenizer_config.json"))
            .map_err(|e| broken(format!("tokenizer_config.json: {e}"), damaged))?;
        let source = source(folder, &settings).ok_or_else(|| {
            let hint =
                "use an instruction-tuned model; its tokenizer_config.json or chat_template.jinja holds the template";
            broken("it has no chat template".into(), hint)
        })?;
        let mut template = Environment::new();
        template.set_trim_blocks(true);
        template.set_lstrip_blocks(true);
        template.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        template.add_function("raise_exception", raise);
        template.add_function("strftime_now", |_: String| DATE);
        template
            .add_template_owned("chat", source.replace("[::-1]", "|reverse"))
            .map_err(|e| broken(format!("its chat template: {}", e.kind()), damaged))?;
        let token = |key: &str| token_text(settings.get(key));
        let mut chat = Self {
            bos: token("bos_token"),
            eos: token("eos_token"),
            name,
            template,
            controls: control_tokens(&tokenizer),
            tokenizer,
            system_role: true,
        };
        let turn = |role, content: &str| Message { role, content: content.into() };
        let both = chat.render(&[turn(Role::System, "S-Y-S"), turn(Role::User, "?")], true);
        // Some templates refuse a system turn, others leave it out without a word.
        chat.system_role = both.is_ok_and(|text| text.contains("S-Y-S"));
        chat.render(&[turn(Role::User, "?")], true)?;
        Ok(chat)
    }

    /// Tells whether the template takes a system turn; if not, its words open the user's.
    pub fn takes_system(&self) -> bool {
        self.system_role
    }

    /// Returns the ids of a chat in which the model speaks next.
    ///
    /// # Errors
    /// - [`Error::Generation`] if the template refuses the chat.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.encode(&self.render(messages, true)?)
    }

    /// Returns the ids of a chat and the answer that the model should give, with what ends its turn.
    ///
    /// # Errors
    /// - [`Error::Generation`] if the template refuses the chat, or writes an answered chat otherwise than a question.
    pub fn answered(&self, messages: &[Message], answer: &str) -> Result<AnsweredChat> {
        let question = self.render(messages, true)?;
        let answered = Message { role: Role::Assistant, content: answer.to_owned() };
        let whole = self.render(&[messages, &[answered]].concat(), false)?;
        let Some(rest) = whole.strip_prefix(&question) else {
            return Err(self.refused("writes a chat with its answer otherwise than the question alone"));
        };
        // What stands behind the token that ends the turn is never asked for.
        let end = self.controls.iter().filter_map(|control| Some(rest.find(control.as_str())? + control.len())).min();
        let rest = &rest[..end.unwrap_or(rest.len())];
        if rest.trim().is_empty() {
            return Err(self.refused("leaves the answer of a chat out"));
        }
        let mut ids = self.encode(&question)?;
        let answer = ids.len();
        // Some tokenizers put a blank before a text of its own, which no model writes within a chat.
        match self.encode(&format!("{question}{rest}"))? {
            whole if whole.starts_with(&ids) => ids = whole,
            _ => ids.extend(self.encode(rest)?),
        }
        Ok(AnsweredChat { ids, answer })
    }

    /// Returns the tokens that write `text` at the start of an answer, as [`Chat::answered`] teaches them: some templates or
    /// tokenizers put a blank before it.
    ///
    /// # Errors
    /// - [`Error::Generation`] if the tokenizer refuses it.
    pub fn answer_start(&self, text: &str) -> Result<Vec<u32>> {
        let question = [Message { role: Role::User, content: "?".into() }];
        if let Ok(AnsweredChat { ids, answer }) = self.answered(&question, text) {
            let ends = self.ends();
            let end = ids[answer..].iter().position(|id| ends.contains(id));
            if let Some(end) = end.filter(|&end| end > 0) {
                return Ok(ids[answer..answer + end].to_vec());
            }
        }
        let ids = self.encode(text)?;
        let blank = |id: &u32| self.tokenizer.decode(&[*id], true).is_ok_and(|text| text.trim().is_empty());
        let blanks = ids.iter().take_while(|id| blank(id)).count();
        Ok(ids[blanks.min(ids.len().saturating_sub(1))..].to_vec())
    }

    /// Returns the tokens that end a turn or a text, in order.
    pub fn ends(&self) -> Vec<u32> {
        let mut ends = end_tokens(&self.tokenizer);
        ends.extend(self.tokenizer.token_to_id(&self.eos));
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &tokenizers::Tokenizer {
        &self.tokenizer
    }

    fn render(&self, messages: &[Message], generation: bool) -> Result<String> {
        let messages = if self.system_role { messages.to_vec() } else { without_system(messages) };
        let turns: Vec<Value> = messages
            .into_iter()
            .map(|Message { role, content }| {
                let role = match role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                serde_json::json!({ "role": role, "content": without_controls(&self.controls, content) })
            })
            .collect();
        let values = context! {
            messages => turns,
            add_generation_prompt => generation,
            bos_token => self.bos,
            eos_token => self.eos,
            date_string => DATE,
            enable_thinking => false,
        };
        // The library's message could quote the chat, so it is not passed on.
        let rendered = self.template.get_template("chat").and_then(|template| template.render(values));
        rendered.map_err(|_| self.refused("refuses the chat"))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.tokenizer.encode_fast(text, false);
        Ok(encoded.map_err(|_| self.refused("writes what the tokenizer refuses"))?.get_ids().to_vec())
    }

    fn refused(&self, what: &str) -> Error {
        let reason = format!("the chat template of {} {what}", self.name);
        Error::Generation { engine: "the model".into(), reason, engine_lost: false }
    }
}

fn raise(message: String) -> std::result::Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn read_json(path: &Path) -> std::io::Result<Map<String, Value>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Finds the template's source.
fn source(folder: &Path, settings: &Map<String, Value>) -> Option<String> {
    let of = |value: &Value| match value {
        Value::String(source) => Some(source.clone()),
        // Several by name: the usual one.
        Value::Array(named) => {
            let usual = named.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"))?;
            usual.get("template").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    FILES.iter().find_map(|name| match *name {
        "chat_template.jinja" => fs::read_to_string(folder.join(name)).ok(),
        "chat_template.json" => of(read_json(&folder.join(name)).ok()?.get("chat_template")?),
        _ => of(settings.get("chat_template")?),
    })
}

/// Returns the text of a token that `tokenizer_config.json` names by itself or with its settings.
fn token_text(token: Option<&Value>) -> String {
    let text = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    text.unwrap_or_default().to_owned()
}
