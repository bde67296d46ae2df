//! Adapters for a language model: coded notes, an index's encoder and a base model come in, folders in PEFT's form leave.

use std::{fs, path::PathBuf, sync::Arc};

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
    artifact::write_atomic,
    config::{Order, SelectConfig, TAUGHT_PROMPTS},
    data::AnnotatedDocument,
    error::{Error, Result, check_setting},
    llm::{chat::Chat, hub, own::Own},
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
    /// What the base model is called: a path or a hub id.
    name: String,
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
    /// Loads a base model by its path or hub id; its weights stay as they are, unless all are trained.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if it cannot be used; [`Error::Setting`] if a setting is out of its range, or names a projection that the
    ///   model lacks.
    pub fn load(name: &str, mut settings: FinetuneSettings, device: &Device) -> Result<Self> {
        settings.check()?;
        let folder = hub::resolve(name)?;
        let folder = folder.as_path();
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
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            device: device.clone(),
            base,
            hash,
            chat,
            settings,
        })
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

    /// Writes the texts that an adapter is taught and measured on.
    ///
    /// # Errors
    /// - [`Error::Training`] if no text is left; [`Error::Setting`] if a score is asked for and nothing is held out, or the answer 0 of a
    ///   prompt that has none. Those of the prompt, the encoder and the index.
    pub fn prepare(&self, adapter: &AdapterSettings, lessons: &Lessons<'_>) -> Result<Prepared> {
        let prompt = adapter.prompt()?;
        let writer = self.writer(&prompt);
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
        let parts = [
            ("to learn from", lessons.taught.len().max(1), &taught, known.len()),
            ("held out", lessons.held_out.len(), &held_out, asked.len()),
        ];
        for (what, notes, texts, mentions) in parts {
            if texts.is_empty() && notes > 0 {
                let (name, most) = (&adapter.name, self.settings.max_tokens);
                let why = match adapter.task == Kind::Rerank && mentions == 0 {
                    true => "has a mention with a code".to_owned(),
                    false => {
                        format!("gives a text of at most {most} tokens (`finetune.max_tokens`, `finetune.too_long`)")
                    }
                };
                let reason = format!("none of {notes} notes {what} {why}");
                return Err(Error::Training { what: "an adapter", reason: format!("`{name}`: {reason}") });
            }
        }
        let there = if adapter.task == Kind::Ner { lessons.held_out.len() } else { asked.len() };
        let measurable = self.settings.best == Best::Loss || there > 0;
        let expected = "loss, or a folder in `tune` to ask about";
        check_setting(measurable, "finetune.best", expected, "score and nothing held out")?;
        let held_out = held_out.into_iter().map(|(_, example)| example).collect();
        Ok(Prepared { prompt, taught, held_out, known, asked, counts })
    }

    /// Trains an adapter, or a copy of the whole model, and writes its folder.
    ///
    /// # Errors
    /// - Those of [`fit_watched`] and of writing; [`Error::ModelLoad`] if the base model's weights are no numbers.
    pub fn train(
        &self,
        adapter: &AdapterSettings,
        lessons: &Lessons<'_>,
        prepared: &Prepared,
        folder: &ModelFolder,
        watch: &mut dyn Watch,
    ) -> Result<History> {
        let Some(base) = &self.base else {
            let mut model = LanguageModel::load(&self.folder, &self.device, false)?;
            let history = self.fit((&model.decoder, &model.parameters), adapter, lessons, prepared, folder, watch)?;
            for name in COMPANIONS {
                let (from, to) = (self.folder.join(name), folder.path().join(name));
                if from.exists() {
                    fs::copy(&from, &to).map_err(|e| Error::write(to, e))?;
                }
            }
            let taught = folder.path().join(TAUGHT_PROMPTS[adapter.task as usize]);
            write_atomic(&taught, prepared.prompt.source().as_bytes())?;
            model.save(folder.path())?;
            return Ok(history);
        };
        let mut decoder = base.decoder.clone();
        let mut parameters = Parameters::new(&self.device, self.settings.fit.seed);
        decoder.adapt(&mut parameters, &self.settings.lora)?;
        let history = self.fit((&decoder, &parameters), adapter, lessons, prepared, folder, watch)?;
        let lora = &self.settings.lora;
        adapter::save(folder.path(), &parameters, lora, &prepared.prompt, (&self.name, &self.hash))?;
        Ok(history)
    }

    fn writer<'a>(&'a self, prompt: &'a Prompt) -> Writer<'a> {
        Writer { chat: &self.chat, prompt, max_tokens: self.settings.max_tokens, weight: 1 }
    }

    /// Teaches a decoder, whose trained weights are the parameters, an adapter's task.
    fn fit(
        &self,
        (decoder, parameters): (&Decoder, &Parameters),
        adapter: &AdapterSettings,
        lessons: &Lessons<'_>,
        prepared: &Prepared,
        folder: &ModelFolder,
        watch: &mut dyn Watch,
    ) -> Result<History> {
        let fit = &self.settings.fit;
        let judge = self.judge(decoder, adapter, lessons, prepared)?;
        let examples = prepared.taught.iter().map(|(_, example)| example.clone()).collect();
        let mut task = AnswerTask::new(decoder.clone(), examples, prepared.held_out.clone(), fit.batch_tokens / 4);
        if adapter.task == Kind::Rerank && adapter.order == Order::Shuffled {
            let writer = self.writer(&prepared.prompt);
            task = task.renewed(Box::new(move |epoch| self.shuffled(&writer, prepared, epoch)), 0.0)?;
        }
        // The loop's own settings are held against the checkpoint's by the loop.
        let settings = FinetuneSettings { fit: FitSettings::default(), ..self.settings.clone() };
        task = task.set_by(&(&self.hash, adapter, settings)).judged(judge);
        fit_watched(parameters, &mut task, fit, folder.place(), watch).map_err(|e| match e {
            Error::NotFinite { .. } => Error::ModelLoad {
                name: self.name.clone(),
                reason: "its weights hold a NaN, or numbers beyond all bounds: the first loss is no number".into(),
                hint: "no step was taken yet, so it is no matter of the settings; copy the model again".into(),
            },
            other => other,
        })
    }

    /// Makes the judge of a score, where one is asked for.
    fn judge<'a>(
        &self,
        decoder: &Decoder,
        adapter: &AdapterSettings,
        lessons: &Lessons<'a>,
        Prepared { prompt, asked, .. }: &Prepared,
    ) -> Result<Option<Judge<'a>>> {
        if self.settings.best == Best::Loss {
            return Ok(None);
        }
        let spread = |there| judge::spread(there, self.settings.score_questions);
        let model = Arc::new(Own::new(decoder, self.chat.clone())?);
        Ok(Some(match adapter.task {
            Kind::Ner => {
                let notes = spread(lessons.held_out.len()).map(|at| &lessons.held_out[at]).collect();
                judge::extraction(model, prompt.clone(), notes)
            }
            Kind::Rerank => {
                let choices = spread(asked.len()).map(|at| asked[at].clone()).collect();
                judge::selection(model, prompt.clone(), choices, SelectConfig::default().order, adapter.candidates)
            }
        }))
    }

    fn notes(&self, writer: &Writer<'_>, notes: &[AnnotatedDocument], counts: &mut Counts) -> Result<Vec<Written>> {
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

    fn choices(
        &self,
        writer: &Writer<'_>,
        adapter: &AdapterSettings,
        choices: &[Choice],
        counts: &mut Counts,
    ) -> Result<Vec<Written>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.fit.seed);
        let mut examples = Vec::with_capacity(choices.len());
        for (number, choice) in choices.iter().enumerate() {
            let is_there = choice.candidates.iter().any(|candidate| candidate.code == choice.right);
            let written = match is_there || adapter.absent == Absent::None {
                true => writer.choice(&choice.words, choice, adapter.order, &mut rng)?,
                false => None,
            };
            counts.left_out += usize::from(written.is_none());
            examples.extend(written.map(|example| (Some(number), example)));
        }
        Ok(examples)
    }

    /// Writes choices with their candidates in another order; one that does not fit so stays as it is.
    fn shuffled(&self, writer: &Writer<'_>, prepared: &Prepared, epoch: usize) -> Result<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.fit.seed.wrapping_add(epoch as u64));
        let mut again = |(number, example): &Written| {
            let choice = number.map(|number| &prepared.known[number]);
            let other =
                choice.map(|choice| writer.choice(&choice.words, choice, Order::Shuffled, &mut rng)).transpose()?;
            Ok(other.flatten().unwrap_or_else(|| example.clone()))
        };
        prepared.taught.iter().map(&mut again).collect()
    }
}

/// A text, and the number of the choice that it stands for.
type Written = (Option<usize>, Example);

/// What an adapter is taught and measured on.
pub struct Prepared {
    prompt: Prompt,
    taught: Vec<Written>,
    held_out: Vec<Example>,
    /// Choices that texts were written of, and those to be judged by.
    known: Vec<Choice>,
    asked: Vec<Choice>,
    /// What became of the texts.
    pub counts: Counts,
}

/// Takes words from a note's start until what is left can be written; a diagnosis that is cut goes.
fn longest_rest(
    annotated: &AnnotatedDocument,
    write: impl Fn(&Note) -> Result<Option<Example>>,
) -> Result<Option<Example>> {
    let text = &annotated.document.text;
    // The rest of a diagnosis would be taught to be none.
    let is_within = |start: usize| {
        annotated
            .outermost()
            .iter()
            .any(|entity| (entity.span.start_byte() + 1..entity.span.end_byte()).contains(&start))
    };
    let starts: Vec<usize> = text
        .char_indices()
        .zip(text.chars().skip(1))
        .filter(|((_, c), next)| c.is_whitespace() && !next.is_whitespace())
        .map(|((at, c), _)| at + c.len_utf8())
        .filter(|&start| !is_within(start))
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
