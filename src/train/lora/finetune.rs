//! Adapters for a language model: coded notes, an index's encoder and a base model come in, folders in PEFT's form leave.

use std::{path::Path, sync::Arc};

use candle_core::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    adapter,
    choices::{Choice, choices_between, choices_of_notes},
    compose::Note,
    lessons::{Order, Writer},
    task::{AnswerTask, Example},
};
use crate::{
    catalog::Catalog,
    data::AnnotatedDocument,
    embed::Embed,
    error::{Error, Result},
    llm::chat::Chat,
    nn::{
        Format, Parameters,
        decoder::{LanguageModel, Lora},
        fit::{FitSettings, History, ModelFolder, Schedule, WarmUp, Watch, fit_watched},
    },
    prompt::{Prompt, Task},
};

/// Parts into which notes are cut, so that no mention finds itself.
const FOLDS: usize = 5;

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
    /// Prompt that it is taught with: built-in name or file. Default: `ner-ru` or `select-ru`.
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

/// How adapters are trained. The defaults are the paper's (Table 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneSettings {
    /// Longest text, in tokens. Default 768.
    pub max_tokens: usize,
    /// What is done with a longer one. Default skip.
    pub too_long: TooLong,
    /// How the base model is held, which decides most of the memory: `auto`, `f32`, `bf16`, `q8` or `q4`; see [`Format`]. Default auto.
    pub base_format: Format,
    /// Rank, scale, dropout and targets. Default: 16, 16, 0.1, query and value.
    pub lora: Lora,
    /// The training loop.
    pub fit: FitSettings,
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
            evaluate_steps: 100,
            checkpoint_steps: 100,
            patience: 3,
            ..FitSettings::default()
        };
        let lora = Lora { rank: 16, alpha: 16.0, dropout: 0.1, targets: Vec::new() };
        Self { max_tokens: 768, too_long: TooLong::Skip, base_format: Format::Auto, lora, fit }
    }
}

/// What adapters are trained from.
pub struct Lessons<'a> {
    /// Notes to learn from.
    pub taught: &'a [AnnotatedDocument],
    /// Notes to choose the best checkpoint on; may be empty.
    pub held_out: &'a [AnnotatedDocument],
    /// Codes that are candidates.
    pub catalog: &'a Arc<Catalog>,
    /// Finds candidates.
    pub encoder: &'a Arc<dyn Embed>,
}

/// What became of the texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Texts taught.
    pub taught: usize,
    /// Texts measured on.
    pub held_out: usize,
    /// Texts that were too long and were cut.
    pub cut: usize,
    /// Texts left out: too long, or without a right answer.
    pub left_out: usize,
}

/// A base model, ready for adapters.
pub struct Finetuning {
    name: String,
    base: LanguageModel,
    chat: Chat,
    settings: FinetuneSettings,
}

impl Finetuning {
    /// Loads a base model from its folder; its weights stay as they are.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if it cannot be used; [`Error::Setting`] if a setting is out of its range.
    pub fn load(folder: &Path, mut settings: FinetuneSettings, device: &Device) -> Result<Self> {
        settings.fit.check()?;
        settings.lora.check()?;
        let chat = Chat::load(folder)?;
        let base = LanguageModel::load_frozen(folder, device, settings.base_format)?;
        if settings.lora.targets.is_empty() {
            settings.lora.targets = base.decoder.usual_targets();
        }
        Ok(Self { name: folder.display().to_string(), base, chat, settings })
    }

    /// Returns how many bytes the base model takes.
    pub fn base_bytes(&self) -> usize {
        self.base.parameters.frozen_bytes()
    }

    /// Returns the settings, with the targets that were taken.
    pub fn settings(&self) -> &FinetuneSettings {
        &self.settings
    }

    /// Trains an adapter and writes its folder.
    ///
    /// # Errors
    /// - [`Error::Training`] if no text is left to learn from; those of the prompt, of [`fit_watched`] and of writing.
    pub fn train(
        &self,
        adapter: &AdapterSettings,
        lessons: &Lessons<'_>,
        folder: &ModelFolder,
        watch: &mut dyn Watch,
    ) -> Result<(History, Counts)> {
        let (taught, held_out, counts) = self.write(adapter, lessons)?;
        if taught.is_empty() {
            let reason = format!("none of {} notes gives a text to learn from", lessons.taught.len());
            return Err(Error::Training { what: "an adapter", reason });
        }
        let FinetuneSettings { lora, fit, .. } = &self.settings;
        let mut decoder = self.base.decoder.clone();
        let mut parameters = Parameters::new(self.base.parameters.device(), fit.seed);
        decoder.adapt(&mut parameters, lora)?;
        let mut task = AnswerTask::new(decoder, taught, held_out, fit.batch_tokens / 4);
        let history = fit_watched(&parameters, &mut task, fit, folder.place(), watch)?;
        adapter::save(folder.path(), &parameters, lora, &self.name)?;
        Ok((history, counts))
    }

    /// Writes the texts of an adapter's task.
    fn write(&self, adapter: &AdapterSettings, lessons: &Lessons<'_>) -> Result<(Vec<Example>, Vec<Example>, Counts)> {
        let (task, usual) = match adapter.task {
            Kind::Ner => (Task::Extract, "ner-ru"),
            Kind::Rerank => (Task::Select, "select-ru"),
        };
        let prompt = Prompt::load_for(adapter.prompt.as_deref().unwrap_or(usual), task)?;
        let writer = Writer { chat: &self.chat, prompt: &prompt, max_tokens: self.settings.max_tokens, weight: 1 };
        let mut counts = Counts::default();
        let Lessons { taught, held_out, catalog, encoder } = lessons;
        let (taught, held_out) = match adapter.task {
            Kind::Ner => (self.notes(&writer, taught, &mut counts)?, self.notes(&writer, held_out, &mut counts)?),
            Kind::Rerank => {
                let offered = adapter.candidates;
                let known = choices_of_notes(taught, catalog, encoder, offered, FOLDS)?;
                let asked = choices_between(taught, held_out, catalog, encoder, offered)?;
                let mut write = |choices: &[Choice]| self.choices(&writer, adapter, choices, &mut counts);
                (write(&known)?, write(&asked)?)
            }
        };
        (counts.taught, counts.held_out) = (taught.len(), held_out.len());
        Ok((taught, held_out, counts))
    }

    fn notes(&self, writer: &Writer<'_>, notes: &[AnnotatedDocument], counts: &mut Counts) -> Result<Vec<Example>> {
        let mut examples = Vec::with_capacity(notes.len());
        for annotated in notes {
            let mut written = writer.note(&Note::of(annotated))?;
            if written.is_none() && self.settings.too_long == TooLong::Cut {
                written = shortest_cut(annotated, |note| writer.note(note))?;
                counts.cut += usize::from(written.is_some());
            }
            counts.left_out += usize::from(written.is_none());
            examples.extend(written);
        }
        Ok(examples)
    }

    fn choices(
        &self,
        writer: &Writer<'_>,
        adapter: &AdapterSettings,
        choices: &[Choice],
        counts: &mut Counts,
    ) -> Result<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.fit.seed);
        let mut examples = Vec::with_capacity(choices.len());
        for choice in choices {
            let is_there = choice.candidates.iter().any(|candidate| candidate.code == choice.right);
            let written = match is_there || adapter.absent == Absent::None {
                true => writer.choice(&choice.words, choice, adapter.order, &mut rng)?,
                false => None,
            };
            counts.left_out += usize::from(written.is_none());
            examples.extend(written);
        }
        Ok(examples)
    }
}

/// Takes words from a note's start until what is left can be written; a diagnosis that is cut goes.
fn shortest_cut(
    annotated: &AnnotatedDocument,
    write: impl Fn(&Note) -> Result<Option<Example>>,
) -> Result<Option<Example>> {
    let text = &annotated.document.text;
    let starts: Vec<usize> = text
        .char_indices()
        .zip(text.chars().skip(1))
        .filter(|((_, c), next)| c.is_whitespace() && !next.is_whitespace())
        .map(|((at, c), _)| at + c.len_utf8())
        .collect();
    let cut = |start: usize| {
        let kept = annotated.outermost().into_iter().filter(|entity| entity.span.start_byte() >= start);
        Note {
            text: text[start..].to_owned(),
            diagnoses: kept.map(|entity| entity.span.slice(text).to_owned()).collect(),
        }
    };
    // The less is cut, the longer: the first start that fits is found by halving.
    let (mut low, mut high) = (0, starts.len());
    while low < high {
        let middle = (low + high) / 2;
        if write(&cut(starts[middle]))?.is_some() { high = middle } else { low = middle + 1 }
    }
    match starts.get(low) {
        Some(&start) => write(&cut(start)),
        None => Ok(None),
    }
}
