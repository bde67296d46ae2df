//! `noso prompt`: lists, renders, checks, tries out and compares prompts, for who writes them.

mod account;
mod diff;
mod lint;

use std::{
    fmt::{self, Display, Formatter},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Subcommand;
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Map, Value, json};

use self::account::Account;
use super::{DONE, Format, llm::LlmArgs};
use crate::{
    catalog::Catalog,
    config::{PipelineConfig, RerankConfig, RetrievalConfig},
    data::{Document, Match, Mention, Message, Span},
    icd::IcdCode,
    pipeline::{Pipeline, load_encoder, load_retriever},
    prompt::{NamedBy, Prompt, Task, built_in_prompts},
};

/// Text that a prompt is rendered for if none is given.
const SAMPLE_TEXT: &str = "Осмотр: хр. гастрит вне обострения, плоскостопие 2 ст. с двух сторон.";
/// Mention in [`SAMPLE_TEXT`].
const SAMPLE_MENTION: &str = "хр. гастрит вне обострения";

/// List, render, check, try out or compare prompts
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the built-in prompts
    List(ListArgs),
    /// Render a prompt, as a language model would get it
    Show(ShowArgs),
    /// Say what is likely to go wrong with prompts, and how long they are
    Lint(lint::Args),
    /// Show which documents are coded otherwise by two cells of a run, better or worse, side by side
    Diff(diff::Args),
    /// Code one text and show every question, its answer and what became of it
    Try(TryArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example: the prompts, then one of them to start an own one from

  noso prompt list
  noso prompt show select-guidelines-ru")]
struct ListArgs {}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples: a prompt of one's own, first for extraction, then for the choice among given candidates

  noso prompt show my-ner.toml --text 'Хр. гастрит, ремиссия. Плоскостопие'
  noso prompt show my-select.toml --mention 'хр. гастрит' \\
    --candidate 'K29.5=Хронический гастрит' --candidate 'K29.7=Гастрит неуточненный'")]
struct ShowArgs {
    /// Built-in prompt or prompt file
    #[arg(value_name = "NAME|FILE")]
    prompt: String,
    /// Text of the document [default: the mention, else a sample]
    #[arg(long)]
    text: Option<String>,
    /// Words of the diagnosis that is asked about [default: the whole text, else a sample]
    #[arg(long)]
    mention: Option<String>,
    /// Code and words to choose from, such as `K29.5=Хронический гастрит` (may be given several times)
    /// [default: what the shipped index finds for the mention; to descend, the chapters]
    #[arg(long, value_name = "CODE=TEXT", value_parser = offer)]
    candidate: Vec<Offer>,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples: the built-in prompts, one of one's own, a server instead of a model in this process

  noso prompt try --model Qwen2.5-7B-Instruct 'Хр. гастрит, ремиссия. Плоскостопие'
  noso prompt try --model Qwen2.5-7B-Instruct --select-prompt my-select.toml \\
      'Хр. гастрит'
  noso prompt try --server http://127.0.0.1:8000/v1 --format json 'Хр. гастрит, ремиссия'")]
struct TryArgs {
    /// Text to code
    text: String,
    /// Built-in pipeline or pipeline file
    #[arg(long, value_name = "NAME|FILE", default_value = "llm")]
    pipeline: String,
    /// Built-in prompt or prompt file that asks for the diagnoses
    #[arg(long, value_name = "NAME|FILE")]
    ner_prompt: Option<String>,
    /// Built-in prompt or prompt file that asks for the candidate that fits
    #[arg(long, value_name = "NAME|FILE")]
    select_prompt: Option<String>,
    /// Change a key of the pipeline, such as `ner.llm.decoding=free` (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How to print the account
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    llm: LlmArgs,
}

/// What a model can choose.
#[derive(Debug, Clone)]
struct Offer {
    code: String,
    text: String,
    title: String,
}

/// Runs one of them.
///
/// # Errors
/// Whatever kept it from finishing.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::List(_) => list(),
        Action::Show(args) => args.run(),
        Action::Lint(args) => lint::run(args),
        Action::Diff(args) => diff::run(args),
        Action::Try(args) => args.run(),
    }
}

fn list() -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["name", "version", "language", "task", "examples"]);
    for name in built_in_prompts() {
        let prompt = Prompt::load(name)?;
        table.add_row([
            prompt.name().to_owned(),
            prompt.version().to_string(),
            name_of(prompt.language()),
            name_of(prompt.task()),
            prompt.examples().len().to_string(),
        ]);
    }
    super::show(&table)?;
    Ok(DONE)
}

impl ShowArgs {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let prompt = Prompt::load(&self.prompt)?;
        let messages = prompt.render(&self.variables(&prompt)?, &[])?;
        super::show(prompt.fingerprint())?;
        for message in &messages {
            super::show(format_args!("\n{}", Turn { message, indent: 0 }))?;
        }
        Ok(DONE)
    }

    /// Gives the task's variables their values.
    fn variables(&self, prompt: &Prompt) -> anyhow::Result<Map<String, Value>> {
        let known = prompt.task().variables();
        let choices = ["candidates", "branches", "titles"].into_iter().find(|variable| known.contains(variable));
        for (option, given, taken) in [
            ("--mention", self.mention.is_some(), known.contains(&"mention")),
            ("--candidate", !self.candidate.is_empty(), choices.is_some()),
        ] {
            if given && !taken {
                bail!("{option} has no place in {}: it asks to {}", prompt.name(), name_of(prompt.task()));
            }
        }
        let text = self.text.as_ref().or(self.mention.as_ref()).map_or(SAMPLE_TEXT, String::as_str);
        let mention = self.mention.as_ref().or(self.text.as_ref()).map_or(SAMPLE_MENTION, String::as_str);
        let mut values = Map::new();
        for &variable in known {
            let value = match variable {
                "text" | "document" => text.into(),
                "mention" => mention.into(),
                "titles" => self.offers(mention, false)?.into_iter().map(|offer| Value::from(offer.text)).collect(),
                "candidates" => numbered(self.offers(mention, false)?, prompt.named_by()),
                "branches" => numbered(self.offers(mention, true)?, NamedBy::Number),
                // Rendering takes it from the prompt.
                _ => continue,
            };
            values.insert(variable.to_owned(), value);
        }
        Ok(values)
    }

    /// Returns what was given to choose from, else the chapters or what the shipped index finds.
    fn offers(&self, mention: &str, chapters: bool) -> anyhow::Result<Vec<Offer>> {
        if !self.candidate.is_empty() {
            return Ok(self.candidate.clone());
        }
        if chapters {
            let offer = |code, title: &str| Offer { code, text: title.to_owned(), title: title.to_owned() };
            return Ok(Catalog::shipped()?.tree().into_iter().map(|part| offer(part.code, &part.title)).collect());
        }
        let config = RetrievalConfig::default();
        let retriever = load_retriever(&config, &load_encoder(&config)?)?;
        let span = Span::new(mention, 0, mention.len()).context("the mention to look up is empty")?;
        let mention = Mention { span, text: mention.to_owned(), matched: Match::Exact, probability: 1.0 };
        let found = retriever.retrieve(&[mention])?.into_iter().flatten().take(RerankConfig::default().candidates);
        Ok(found
            .map(|found| Offer {
                code: found.code.to_string(),
                text: found.text.to_string(),
                title: found.title.to_string(),
            })
            .collect())
    }
}

/// Lists offers as templates are given them, each with the name by which an answer chooses it.
fn numbered(offers: Vec<Offer>, named_by: NamedBy) -> Value {
    let numbered = (1..).zip(offers);
    numbered
        .map(|(number, Offer { code, text, title })| {
            let name = match named_by {
                NamedBy::Number => number.to_string(),
                NamedBy::Title => title.clone(),
            };
            json!({ "number": number, "name": name, "text": text, "title": title, "code": code })
        })
        .collect()
}

/// Reads `CODE=TEXT`.
fn offer(argument: &str) -> Result<Offer, String> {
    let (code, text) = argument.split_once('=').ok_or("expected CODE=TEXT, such as K29.5=Хронический гастрит")?;
    let code: IcdCode = code.trim().parse().map_err(|e: crate::Error| e.to_string())?;
    let text = text.trim().to_owned();
    Ok(Offer { code: code.to_string(), title: text.clone(), text })
}

impl TryArgs {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let config = self.config()?;
        self.check_prompts()?;
        let pipeline = Pipeline::load(&config)?;
        let document = Document { id: "text".into(), text: self.text.clone() };
        for coded in pipeline.code(std::slice::from_ref(&document)) {
            let coded = coded?;
            let account = Account::new(&document, &coded);
            match self.format {
                Format::Table => super::show(&account)?,
                Format::Json => super::show(serde_json::to_string_pretty(&account)?)?,
            }
        }
        Ok(DONE)
    }

    fn config(&self) -> crate::Result<PipelineConfig> {
        let mut set = self.set.clone();
        let quoted = |name: &str| toml::Value::from(name).to_string();
        set.extend(self.ner_prompt.as_deref().map(|name| format!("ner.llm.prompt={}", quoted(name))));
        set.extend(self.select_prompt.as_deref().map(|name| format!("rerank.llm.prompt={}", quoted(name))));
        set.extend(self.llm.settings());
        PipelineConfig::load(&self.pipeline, &set)
    }

    /// Tells what is wrong with a prompt before a model is loaded, which takes long.
    fn check_prompts(&self) -> anyhow::Result<()> {
        for (option, name, task) in
            [("--ner-prompt", &self.ner_prompt, Task::Extract), ("--select-prompt", &self.select_prompt, Task::Select)]
        {
            let Some(name) = name else { continue };
            let got = Prompt::load(name)?.task();
            if got != task {
                bail!("{option}: expected a prompt that asks to {}; {name} asks to {}", name_of(task), name_of(got));
            }
        }
        Ok(())
    }
}

/// A message under the name of who speaks.
struct Turn<'a> {
    message: &'a Message,
    /// Blanks before the name; what is said stands two further in.
    indent: usize,
}

impl Display for Turn<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { message, indent } = self;
        write!(f, "{:indent$}{}", "", name_of(message.role))?;
        indented(f, &message.content, indent + 2)
    }
}

/// Writes each line of a text on a new line after `indent` blanks; blank lines stay blank.
fn indented(f: &mut Formatter<'_>, text: &str, indent: usize) -> fmt::Result {
    text.lines().try_for_each(|line| match line.trim().is_empty() {
        true => f.write_str("\n"),
        false => write!(f, "\n{:indent$}{line}", ""),
    })
}

/// Returns the name of a task, language, role or step, as prompt files spell it.
fn name_of(value: impl fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}
