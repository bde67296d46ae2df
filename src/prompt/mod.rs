//! Prompts: TOML files come in, checked templates leave; with the values of a question, the messages of a chat.
//!
//! A prompt is data: who writes a new one needs no Rust. Its templates are minijinja and strict: a variable that the task does
//! not have is refused when the prompt is loaded. Texts of patients are values, never template source, so that nothing in
//! them is ever evaluated.

mod built_in;
mod shots;
mod template;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

pub use built_in::built_in_prompts;
pub use shots::{draw_extract_shots, python_list};

use crate::{
    data::{Message, Role},
    error::{Error, Result, line_at},
};

/// What a prompt asks for; says which variables its templates have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// The diagnoses in `text`, as a list of quotations.
    Extract,
    /// The number (or title, see [`NamedBy`]) of the one of `candidates` (each with `number`, `text`, `title`, `code`, and `name`, by which the answer
    /// names it) that fits `mention`, which stands in `document`; 0 for none of them if `none_allowed`. They stand in retrieval's order if
    /// `ranked`.
    Select,
    /// Other wordings of `mention`, which stands in `document`, as a list; `titles` were offered for it and refused.
    Reword,
    /// The number of the one of `branches` of the classification (each with `number`, `title`, `code`) that holds `mention`,
    /// which stands in `document`; 0 for none of them if `none_allowed`.
    Descend,
}

/// The language a prompt speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Russian.
    Ru,
    /// English.
    En,
}

/// What a candidate is named by in an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedBy {
    /// Its number in the list.
    #[default]
    Number,
    /// Its title: a model that is too small to tell numbers by what they stand for can still write what a mention means.
    Title,
}

/// A question with the answer that it should get, shown to the model before the question that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// The answer, as the model should give it.
    pub answer: String,
    /// Values of the task's variables.
    pub variables: Map<String, Value>,
}

/// A checked prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    content: Content,
    /// Name of a built-in prompt, or path, for messages.
    origin: String,
    /// What the file says.
    source: String,
}

/// What a prompt file holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// Name, as in the file's name.
    name: String,
    /// Counts the changes of its wording, from 1.
    version: u32,
    language: Language,
    task: Task,
    /// Template of the system message; none is sent if it is empty.
    #[serde(default)]
    system: String,
    /// Template of the user's message.
    user: String,
    /// Whether 0, for "none of these", may be answered. Only for tasks that choose. Default no.
    none_allowed: Option<bool>,
    /// What the answer names a candidate by. Only for the task that selects. Default its number.
    named_by: Option<NamedBy>,
    /// Whether candidates that stand in retrieval's order are said to. Only for the task that selects. Default yes; who was taught on
    /// shuffled ones was told nothing.
    tells_order: Option<bool>,
    /// Examples shown before every question.
    #[serde(default)]
    examples: Vec<Shot>,
}

impl Task {
    /// Returns the variables of its templates.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Extract => &["text"],
            Self::Select => &["mention", "document", "candidates", "none_allowed", "ranked"],
            Self::Reword => &["mention", "document", "titles"],
            Self::Descend => &["mention", "document", "branches", "none_allowed"],
        }
    }

    fn chooses(self) -> bool {
        matches!(self, Self::Select | Self::Descend)
    }

    /// Returns values for every variable, to try templates out with.
    pub fn sample(self) -> Map<String, Value> {
        let mut sample = Map::new();
        for &variable in self.variables() {
            let value = match variable {
                "candidates" => json!([{"number": 1, "name": "1", "text": "а", "title": "б", "code": "A00"}]),
                "branches" => json!([{"number": 1, "title": "б", "code": "A00"}]),
                "titles" => json!(["а"]),
                "none_allowed" | "ranked" => json!(true),
                _ => json!("а"),
            };
            sample.insert(variable.to_owned(), value);
        }
        sample
    }
}

impl Prompt {
    /// Reads a built-in prompt by name or a prompt file by path, and tries its templates and examples out.
    ///
    /// # Errors
    /// - [`Error::Prompt`] if there is neither such a prompt nor such a file, or if the file breaks the form: unknown key,
    ///   wrong type, template with a wrong syntax or with a variable that the task does not have.
    /// - [`Error::Read`] if the file cannot be read.
    pub fn load(name_or_path: &str) -> Result<Self> {
        if let Some(source) = built_in::source(name_or_path) {
            return Self::parse(name_or_path, source);
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let names = built_in_prompts().collect::<Vec<_>>().join(", ");
            return Err(wrong(name_or_path, format!("expected a file, or a built-in one of: {names}")));
        }
        let source = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        Self::parse(name_or_path, &source)
    }

    /// Reads a prompt as [`Prompt::load`] does and refuses one for another task.
    ///
    /// # Errors
    /// - [`Error::Prompt`] as for [`Prompt::load`], and for a prompt that asks for something else.
    pub fn load_for(name_or_path: &str, task: Task) -> Result<Self> {
        let prompt = Self::load(name_or_path)?;
        if prompt.task() == task {
            return Ok(prompt);
        }
        let reason = format!("expected a prompt with task {:?}, got one with task {:?}", task, prompt.task());
        Err(wrong(name_or_path, reason.to_lowercase()))
    }

    /// Reads the text of a prompt file; `origin` is what messages call it.
    ///
    /// # Errors
    /// - [`Error::Prompt`] as for [`Prompt::load`].
    pub fn parse(origin: &str, source: &str) -> Result<Self> {
        let mut content: Content = toml::from_str(source).map_err(|e| {
            let line = e.span().map_or(1, |span| line_at(source, span.start));
            wrong(origin, format!("line {line}: {}", e.message()))
        })?;
        if content.none_allowed.is_some() && !content.task.chooses() {
            return Err(wrong(
                origin,
                "key `none_allowed`: expected it only where a number is chosen (select, descend)".to_owned(),
            ));
        }
        for (key, is_there) in
            [("named_by", content.named_by.is_some()), ("tells_order", content.tells_order.is_some())]
        {
            if is_there && content.task != Task::Select {
                return Err(wrong(origin, format!("key `{key}`: expected it only where a candidate is selected")));
            }
        }
        // Line breaks that TOML's quotation marks bring are not part of the template.
        for template in [&mut content.system, &mut content.user] {
            *template = template.trim().to_owned();
        }
        let prompt = Self { content, origin: origin.to_owned(), source: source.to_owned() };
        for (key, template) in prompt.templates() {
            template::check(origin, key, template, prompt.task().variables(), first_line(source, key, template))?;
        }
        prompt.render(&prompt.task().sample(), &[])?;
        Ok(prompt)
    }

    /// Returns the text of the prompt's file.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes the chat that asks for an answer: the system message, a pair of messages for each of `shots`, then the question
    /// with `variables`. Without `shots`, the prompt's own examples are shown.
    ///
    /// `variables` has a field for each of [`Task::variables`] that the prompt uses; `none_allowed` may be left out and
    /// is then [`Prompt::none_allowed`], `ranked` is then true. Examples take them from the question.
    ///
    /// # Errors
    /// - [`Error::Prompt`] if a variable is missing; names it, the template and the line, and never a value.
    pub fn render(&self, variables: &impl Serialize, shots: &[Shot]) -> Result<Vec<Message>> {
        let Ok(Value::Object(mut variables)) = serde_json::to_value(variables) else {
            return Err(wrong(&self.origin, "expected variables with names to render it with".to_owned()));
        };
        if self.task().chooses() {
            variables.entry("none_allowed").or_insert_with(|| self.none_allowed().into());
        }
        if self.task() == Task::Select {
            variables.entry("ranked").or_insert(true.into());
        }
        let shots = if shots.is_empty() { &self.content.examples } else { shots };
        let mut messages = Vec::with_capacity(2 + 2 * shots.len());
        let mut say = |role, content| messages.push(Message { role, content });
        if !self.content.system.is_empty() {
            say(Role::System, self.fill("system", &self.content.system, &variables)?);
        }
        for shot in shots {
            let mut values = shot.variables.clone();
            for asked in ["none_allowed", "ranked"] {
                values.extend(variables.get(asked).map(|value| (asked.to_owned(), value.clone())));
            }
            say(Role::User, self.fill("user", &self.content.user, &values)?);
            say(Role::Assistant, shot.answer.clone());
        }
        say(Role::User, self.fill("user", &self.content.user, &variables)?);
        Ok(messages)
    }

    /// Returns a name that changes with the file: `ner-ru v1 89abcdef01234567`.
    pub fn fingerprint(&self) -> String {
        format!("{} v{} {:016x}", self.content.name, self.content.version, xxh3_64(self.source.as_bytes()))
    }

    /// Returns the name that the file gives.
    pub fn name(&self) -> &str {
        &self.content.name
    }

    /// Returns the version of its wording.
    pub fn version(&self) -> u32 {
        self.content.version
    }

    /// Returns the language it speaks.
    pub fn language(&self) -> Language {
        self.content.language
    }

    /// Returns what it asks for.
    pub fn task(&self) -> Task {
        self.content.task
    }

    /// Tells whether 0, for "none of these", is offered unless the question says otherwise.
    pub fn none_allowed(&self) -> bool {
        self.content.none_allowed.unwrap_or(false)
    }

    /// Returns what the answer names a candidate by.
    pub fn named_by(&self) -> NamedBy {
        self.content.named_by.unwrap_or_default()
    }

    /// Tells whether candidates that stand in retrieval's order are said to.
    pub fn tells_order(&self) -> bool {
        self.content.tells_order.unwrap_or(true)
    }

    /// Returns the same prompt, silent of the candidates' order; itself if it is.
    ///
    /// # Errors
    /// - [`Error::Prompt`] if its file cannot be changed so.
    pub fn silent_of_order(&self) -> Result<Self> {
        let is_silent =
            !self.tells_order() || self.templates().iter().all(|(_, template)| !template.contains("ranked"));
        match self.content.tells_order {
            _ if is_silent => Ok(self.clone()),
            None => Self::parse(&self.origin, &format!("tells_order = false\n{}", self.source)),
            Some(_) => Self::parse(&self.origin, &self.source.replacen("tells_order = true", "tells_order = false", 1)),
        }
    }

    /// Returns its own examples.
    pub fn examples(&self) -> &[Shot] {
        &self.content.examples
    }

    /// Returns the templates by their keys.
    pub fn templates(&self) -> [(&'static str, &str); 2] {
        [("system", &self.content.system), ("user", &self.content.user)]
    }

    fn fill(&self, key: &str, template: &str, variables: &Map<String, Value>) -> Result<String> {
        template::fill(&self.origin, key, template, variables)
    }
}

/// Returns the line of a prompt's file on which a template begins, from 1.
fn first_line(source: &str, key: &str, template: &str) -> usize {
    let begins = template.lines().next().unwrap_or_default();
    let is_key = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    let at_key = source.lines().position(is_key).unwrap_or(0);
    let below = source.lines().skip(at_key).position(|line| line.contains(begins));
    // With an escape it does not stand in the file as it is.
    let opens = || source.lines().nth(at_key).is_some_and(|line| line.ends_with("\"\"\"") || line.ends_with("'''"));
    let below = below.unwrap_or_else(|| usize::from(opens()));
    at_key + below + 1
}

fn wrong(origin: &str, reason: String) -> Error {
    Error::Prompt { name: origin.to_owned(), reason }
}
