//! What a fine-tuning job is told: which adapters, and how they are trained.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Order, TAUGHT_PROMPTS},
    error::{Result, check_setting},
    nn::{
        Format,
        decoder::Lora,
        fit::{FitSettings, Schedule, WarmUp},
    },
    prompt::{Prompt, Task},
};

/// What an adapter is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To write out the diagnoses of a note.
    Ner,
    /// To choose among candidates.
    Rerank,
}

/// What is done with a text that is longer than `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is left out, and counted.
    Skip,
    /// Words go from the note's start until it fits, and with them the diagnoses that stood there.
    Cut,
}

/// What is done with a mention whose code is not among the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// The answer is 0, none of these.
    None,
    /// It is left out, and counted.
    Drop,
}

/// One adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSettings {
    /// Name of its folder.
    pub name: String,
    /// What it is taught.
    pub task: Kind,
    /// Prompt that it is taught with: built-in name or file. Default: the one that the base model was taught, else `ner-ru` or `select-ru`.
    /// Where candidates are shuffled, it does not tell of their order.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Rerank: order of the candidates. Default shuffled.
    #[serde(default = "shuffled")]
    pub order: Order,
    /// Rerank: a mention whose code is not among the candidates. Default none.
    #[serde(default = "none")]
    pub absent: Absent,
    /// Rerank: candidates offered, from 1. Default 15.
    #[serde(default = "fifteen")]
    pub candidates: usize,
}

fn shuffled() -> Order {
    Order::Shuffled
}

fn none() -> Absent {
    Absent::None
}

fn fifteen() -> usize {
    15
}

impl AdapterSettings {
    /// Checks the settings, and that the prompt is there and of the task.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) with the setting's name and range; those of the prompt.
    pub fn check(&self) -> Result<()> {
        let range = (1..=1000).contains(&self.candidates);
        check_setting(range, "adapter.candidates", "a whole number from 1 to 1000", self.candidates)?;
        let prompt = self.prompt()?;
        let can_be_said = self.task == Kind::Ner || self.absent == Absent::Drop || prompt.none_allowed();
        check_setting(can_be_said, "adapter.absent", "drop, or a prompt with `none_allowed = true`", "none")
    }

    /// Loads the prompt that is taught.
    ///
    /// # Errors
    /// Those of the prompt.
    pub fn prompt(&self) -> Result<Prompt> {
        let (task, usual) = match self.task {
            Kind::Ner => (Task::Extract, "ner-ru"),
            Kind::Rerank => (Task::Select, "select-ru"),
        };
        let prompt = Prompt::load_for(self.prompt.as_deref().unwrap_or(usual), task)?;
        if self.order == Order::Shuffled { prompt.silent_of_order() } else { Ok(prompt) }
    }

    /// Returns the settings with the prompt that the model in a folder was taught for the task, where they name none.
    pub fn with_prompt_of(&self, base: &Path) -> Self {
        let taught = base.join(TAUGHT_PROMPTS[self.task as usize]);
        let taught = taught.exists().then(|| taught.display().to_string());
        Self { prompt: self.prompt.clone().or(taught), ..self.clone() }
    }
}

/// What the best checkpoint is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Best {
    /// Loss of held-out answers.
    Loss,
    /// What the model says to held-out questions, asked as in use: entity F1, or the share of right codes.
    Score,
}

/// How adapters are trained. The defaults are the paper's (Table 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneSettings {
    /// Longest text, in tokens; never longer than the model's positions. Default 768.
    pub max_tokens: usize,
    /// What is done with a longer one. Default skip.
    pub too_long: TooLong,
    /// What the best checkpoint is chosen by. Default loss.
    pub best: Best,
    /// Questions asked for a score, spread evenly over the held-out ones, from 1. Default 200.
    pub score_questions: usize,
    /// Whether all weights are trained instead of an adapter's: a whole model is written. Default no.
    pub full: bool,
    /// How the base model is held, which decides most of the memory: `auto`, `f32`, `bf16`, `q8` or `q4`; see [`Format`]. Default auto.
    pub base_format: Format,
    /// Rank, scale, dropout and targets. Default: 16, 16, 0.1, query and value.
    pub lora: Lora,
    /// The training loop.
    pub fit: FitSettings,
}

impl FinetuneSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        self.fit.check().map_err(|e| e.within("finetune.fit"))?;
        self.lora.check().map_err(|e| e.within("finetune.lora"))?;
        let whole = |key: &str, value: usize| check_setting(value > 0, key, "a whole number from 1", value);
        whole("finetune.max_tokens", self.max_tokens)?;
        whole("finetune.score_questions", self.score_questions)
    }
}

impl Default for FinetuneSettings {
    fn default() -> Self {
        let fit = FitSettings {
            epochs: 33,
            batch: 2,
            accumulation: 8,
            learning_rate: 5e-5,
            weight_decay: 0.01,
            schedule: Schedule::Linear,
            warm_up: WarmUp::Share(0.1),
            evaluate_first: true,
            evaluate_steps: 100,
            checkpoint_steps: 100,
            patience: 3,
            ..FitSettings::default()
        };
        let lora = Lora::default();
        Self {
            max_tokens: 768,
            too_long: TooLong::Skip,
            best: Best::Loss,
            score_questions: 200,
            full: false,
            base_format: Format::Auto,
            lora,
            fit,
        }
    }
}
