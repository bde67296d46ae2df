//! `noso prompt lint`.

use std::process::ExitCode;

#[cfg(feature = "neural")]
use super::ShowArgs;
use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES, show},
    experiment::lint::{Level, lint},
    prompt::Prompt,
};

/// Say what is likely to go wrong with prompts, and how long they are
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Told are: variables that are not defined (which also keeps a prompt from being used) or never shown, an answer whose form is not stated,
letters of another language and words that mix two, examples whose own answers are not well formed; and with the model's tokenizer and chat
template how many tokens a question has. Exit code 2 if there is more than notes.

Example

  noso prompt lint my-select.toml --model models/Qwen2.5-7B-Instruct")]
pub(super) struct Args {
    /// Built-in prompts or prompt files
    #[arg(required = true, value_name = "NAME|FILE")]
    prompts: Vec<String>,
    /// Model whose tokenizer and chat template are applied: a folder or a hub id [default: the one that ships, where this build has it]
    #[cfg(feature = "neural")]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
}

/// Prints the findings to stdout.
///
/// # Errors
/// If the model's tokenizer or chat template cannot be read. A prompt that cannot be loaded is a finding.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut is_clean = true;
    #[cfg(feature = "neural")]
    let model = Model::load(args.model.as_deref())?;
    for name in &args.prompts {
        let found = Prompt::load(name).and_then(|prompt| Ok((lint(&prompt)?, prompt)));
        let (findings, prompt) = match found {
            Ok(found) => found,
            Err(error) => {
                is_clean = false;
                show(format!("{name}: wrong: {error}"))?;
                continue;
            }
        };
        for finding in &findings {
            is_clean &= finding.level == Level::Note;
            show(format!("{name}:{}: {}: {}", finding.line, finding.level, finding.message))?;
        }
        #[cfg(feature = "neural")]
        if let Some(model) = &model {
            model.tell_length(&prompt, name)?;
        }
        #[cfg(not(feature = "neural"))]
        let _ = prompt;
    }
    Ok(if is_clean { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

/// A model's tokenizer and chat template.
#[cfg(feature = "neural")]
struct Model {
    name: String,
    chat: crate::llm::chat::Chat,
}

#[cfg(feature = "neural")]
impl Model {
    /// Reads those of a model, else of the one that ships, if there is one.
    fn load(model: Option<&str>) -> crate::Result<Option<Self>> {
        let Some(folder) = model.map(str::to_owned).map_or_else(shipped, |model| Ok(Some(model)))? else {
            return Ok(None);
        };
        let path = crate::llm::hub::on_this_machine(&folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(Self { name, chat: crate::llm::chat::Chat::load(&path)? }))
    }

    /// Says how many tokens a question has, as the model's own template writes it.
    fn tell_length(&self, prompt: &Prompt, name: &str) -> anyhow::Result<()> {
        let asked = ShowArgs { prompt: name.to_owned(), text: None, mention: None, candidate: Vec::new() };
        let messages = prompt.render(&asked.variables(prompt)?, &[])?;
        let tokens = self.chat.prompt(&messages)?.len();
        let system =
            if self.chat.takes_system() { "" } else { "; it takes no system turn, whose words open the user’s" };
        show(format!("{name}: a sample question has {tokens} tokens in the chat template of {}{system}", self.name))?;
        Ok(())
    }
}

/// Returns the folder of the model that ships.
#[cfg(all(feature = "neural", feature = "llm"))]
fn shipped() -> crate::Result<Option<String>> {
    Ok(crate::llm::filled_in(&crate::config::LlmConfig::default())?.model)
}

#[cfg(all(feature = "neural", not(feature = "llm")))]
fn shipped() -> crate::Result<Option<String>> {
    Ok(None)
}
