//! Adapters for a language model: coded notes, an index's encoder and a base model come in, folders in PEFT's form leave.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{
    adapter,
    choices::Choice,
    compose::Note,
    judge::{self, Judge},
    lessons::{Lessons, Writer},
    settings::{Absent, AdapterSettings, Best, FinetuneSettings, Kind, TooLong},
    task::{AnswerTask, Example},
};
use crate::{
    config::Order,
    data::AnnotatedDocument,
    error::{Error, Result, check_setting},
    llm::{chat::Chat, own::Own},
    nn::{
        Parameters,
        decoder::{Decoder, LanguageModel},
        fit::{FitSettings, History, ModelFolder, Watch, fit_watched},
    },
    prompt::Prompt,
};

/// Files of a model beside its weights and sizes.
const COMPANIONS: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

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

/// A base model, ready for adapters, or to be trained whole.
pub struct Finetuning {
    folder: PathBuf,
    device: Device,
    /// `None` where all weights are trained: each adapter's task then has a copy of its own.
    base: Option<LanguageModel>,
    /// Names the base model by its weights.
    hash: String,
    chat: Arc<Chat>,
    settings: FinetuneSettings,
}

impl Finetuning {
    /// Loads a base model from its folder; its weights stay as they are, unless all are trained.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if it cannot be used; [`Error::Setting`] if a setting is out of its range, or names a projection that the
    ///   model lacks.
    pub fn load(folder: &Path, mut settings: FinetuneSettings, device: &Device) -> Result<Self> {
        settings.check()?;
        let sizes = LanguageModel::sizes(folder)?;
        settings.max_tokens = settings.max_tokens.min(sizes.max_position_embeddings);
        let chat = Arc::new(Chat::load(folder)?);
        let load = || LanguageModel::load_frozen(folder, device, settings.base_format);
        let base = (!settings.full).then(load).transpose()?;
        if let Some(LanguageModel { decoder, .. }) = &base {
            if settings.lora.targets.is_empty() {
                settings.lora.targets = decoder.usual_targets();
            }
            let mut tried = Parameters::new(device, 0);
            decoder.clone().adapt(&mut tried, &settings.lora).map_err(|e| e.within("finetune.lora"))?;
        }
        let hash = LanguageModel::hash(folder)?;
        Ok(Self { folder: folder.to_owned(), device: device.clone(), base, hash, chat, settings })
    }

    /// Returns how many bytes the base model takes that is not trained.
    pub fn base_bytes(&self) -> Option<usize> {
        self.base.as_ref().map(|base| base.parameters.frozen_bytes())
    }

    /// Names the base model by its weights.
    pub fn base_hash(&self) -> &str {
        &self.hash
    }

    /// Returns the settings, with the targets that were taken.
    pub fn settings(&self) -> &FinetuneSettings {
        &self.settings
    }

    /// Trains an adapter, or a copy of the whole model, and writes its folder.
    ///
    /// # Errors
    /// - [`Error::Training`] if no text is left to learn from; [`Error::Setting`] if a score is asked for and nothing is held out.
    /// - Those of the prompt, of [`fit_watched`] and of writing.
    pub fn train(
        &self,
        adapter: &AdapterSettings,
        lessons: &Lessons<'_>,
        folder: &ModelFolder,
        watch: &mut dyn Watch,
    ) -> Result<(History, Counts)> {
        let Some(base) = &self.base else {
            let mut model = LanguageModel::load(&self.folder, &self.device, false)?;
            let trained = self.fit(&model.decoder, &model.parameters, adapter, lessons, folder, watch)?;
            for name in COMPANIONS {
                let (from, to) = (self.folder.join(name), folder.path().join(name));
                if from.exists() {
                    fs::copy(&from, &to).map_err(|e| Error::write(to, e))?;
                }
            }
            model.save(folder.path())?;
            return Ok(trained);
        };
        let mut decoder = base.decoder.clone();
        let mut parameters = Parameters::new(&self.device, self.settings.fit.seed);
        decoder.adapt(&mut parameters, &self.settings.lora)?;
        let trained = self.fit(&decoder, &parameters, adapter, lessons, folder, watch)?;
        let prompt = adapter.prompt()?;
        adapter::save(folder.path(), &parameters, &self.settings.lora, &prompt, (&self.folder, &self.hash))?;
        Ok(trained)
    }

    /// Teaches a decoder, whose trained weights are `parameters`, an adapter's task.
    fn fit(
        &self,
        decoder: &Decoder,
        parameters: &Parameters,
        adapter: &AdapterSettings,
        lessons: &Lessons<'_>,
        folder: &ModelFolder,
        watch: &mut dyn Watch,
    ) -> Result<(History, Counts)> {
        let fit = &self.settings.fit;
        let prompt = adapter.prompt()?;
        let writer = Writer { chat: &self.chat, prompt: &prompt, max_tokens: self.settings.max_tokens, weight: 1 };
        let mut counts = Counts::default();
        let (known, asked) = match adapter.task {
            Kind::Ner => (Vec::new(), Vec::new()),
            Kind::Rerank => lessons.choices(adapter.candidates)?,
        };
        let (taught, held_out) = match adapter.task {
            Kind::Ner => {
                (self.notes(&writer, lessons.taught, &mut counts)?, self.notes(&writer, lessons.held_out, &mut counts)?)
            }
            Kind::Rerank => (
                self.choices(&writer, adapter, &known, &mut counts)?,
                self.choices(&writer, adapter, &asked, &mut counts)?,
            ),
        };
        (counts.taught, counts.held_out) = (taught.len(), held_out.len());
        if taught.is_empty() {
            let reason = format!("none of {} notes gives a text to learn from", lessons.taught.len());
            return Err(Error::Training { what: "an adapter", reason });
        }
        if held_out.is_empty() && !lessons.held_out.is_empty() {
            let reason = format!("none of {} held-out notes gives a text to measure on", lessons.held_out.len());
            return Err(Error::Training { what: "an adapter", reason });
        }
        let judge = self.judge(decoder, adapter, &prompt, lessons, &asked)?;
        let examples = taught.iter().map(|(_, example)| example.clone()).collect();
        let held_out = held_out.into_iter().map(|(_, example)| example).collect();
        let mut task = AnswerTask::new(decoder.clone(), examples, held_out, fit.batch_tokens / 4);
        if adapter.task == Kind::Rerank && adapter.order == Order::Shuffled {
            task = task.renewed(Box::new(|epoch| self.shuffled(&writer, &taught, epoch)), 0.0)?;
        }
        // The loop's own settings are held against the checkpoint's by the loop.
        let settings = FinetuneSettings { fit: FitSettings::default(), ..self.settings.clone() };
        task = task.set_by(&(&self.hash, adapter, settings)).judged(judge);
        Ok((fit_watched(parameters, &mut task, fit, folder.place(), watch)?, counts))
    }

    /// Makes the judge of a score, where one is asked for.
    fn judge<'a>(
        &self,
        decoder: &Decoder,
        adapter: &AdapterSettings,
        prompt: &Prompt,
        lessons: &Lessons<'a>,
        asked: &[Choice],
    ) -> Result<Option<Judge<'a>>> {
        if self.settings.best == Best::Loss {
            return Ok(None);
        }
        let there = if adapter.task == Kind::Ner { lessons.held_out.len() } else { asked.len() };
        check_setting(
            there > 0,
            "finetune.best",
            "loss, or a folder in `tune` to ask about",
            "score and nothing held out",
        )?;
        let spread = judge::spread(there, self.settings.score_questions);
        let model = Arc::new(Own::new(decoder, self.chat.clone())?);
        Ok(Some(match adapter.task {
            Kind::Ner => judge::extraction(model, prompt.clone(), spread.map(|at| &lessons.held_out[at]).collect()),
            Kind::Rerank => {
                let choices = spread.map(|at| asked[at].clone()).collect();
                judge::selection(model, prompt.clone(), choices, adapter.order, adapter.candidates)
            }
        }))
    }

    fn notes<'a>(
        &self,
        writer: &Writer<'_>,
        notes: &'a [AnnotatedDocument],
        counts: &mut Counts,
    ) -> Result<Vec<Written<'a>>> {
        let mut examples = Vec::with_capacity(notes.len());
        for annotated in notes {
            let mut written = writer.note(&Note::of(annotated))?;
            if written.is_none() && self.settings.too_long == TooLong::Cut {
                written = longest_rest(annotated, |note| writer.note(note))?;
                counts.cut += usize::from(written.is_some());
            }
            counts.left_out += usize::from(written.is_none());
            examples.extend(written.map(|example| (None, example)));
        }
        Ok(examples)
    }

    fn choices<'a>(
        &self,
        writer: &Writer<'_>,
        adapter: &AdapterSettings,
        choices: &'a [Choice],
        counts: &mut Counts,
    ) -> Result<Vec<Written<'a>>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.fit.seed);
        let mut examples = Vec::with_capacity(choices.len());
        for choice in choices {
            let is_there = choice.candidates.iter().any(|candidate| candidate.code == choice.right);
            let written = match is_there || adapter.absent == Absent::None {
                true => writer.choice(&choice.words, choice, adapter.order, &mut rng)?,
                false => None,
            };
            counts.left_out += usize::from(written.is_none());
            examples.extend(written.map(|example| (Some(choice), example)));
        }
        Ok(examples)
    }

    /// Writes choices with their candidates in another order; one that does not fit so stays as it is.
    fn shuffled(&self, writer: &Writer<'_>, taught: &[Written<'_>], epoch: usize) -> Result<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.fit.seed.wrapping_add(epoch as u64));
        let mut again = |(choice, example): &Written<'_>| {
            let other =
                choice.map(|choice| writer.choice(&choice.words, choice, Order::Shuffled, &mut rng)).transpose()?;
            Ok(other.flatten().unwrap_or_else(|| example.clone()))
        };
        taught.iter().map(&mut again).collect()
    }
}

/// A text, and the choice that it stands for.
type Written<'a> = (Option<&'a Choice>, Example);

/// Takes words from a note's start until what is left can be written; a diagnosis that is cut goes.
fn longest_rest(
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
