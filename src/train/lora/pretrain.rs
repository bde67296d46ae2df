//! A small language model of one's own, from nothing: coded notes and a catalogue come in, the folder of a model leaves.

use std::{fs, path::Path, sync::Arc};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokenizers::{
    AddedToken, Tokenizer,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::{BPE, BpeTrainerBuilder},
    pre_tokenizers::{PreTokenizerWrapper, byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use super::{
    choices::{Choice, choices_of_synonyms},
    compose::{Composer, Note},
    judge,
    lessons::{Lessons, Pretraining, Writer},
    task::{AnswerTask, Example},
};
use crate::{
    artifact::write_atomic,
    catalog::Catalog,
    config::{Order, TAUGHT_PROMPTS},
    data::AnnotatedDocument,
    error::{Error, Result, check_setting},
    llm::{Generate, chat::Chat, own::Own},
    nn::{
        decoder::LanguageModel,
        fit::{FitSettings, History, ModelFolder, Schedule, WarmUp, Watch, fit_watched},
    },
    prompt::{Prompt, Task},
};

/// Ends a text; pads.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Opens and ends a turn.
const TURN: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
/// Writes turns as Qwen's models have them.
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// How much a token of a choice's answer, of a dozen tokens, counts beside one of a note's, of several dozens.
const CHOICE_WEIGHT: u8 = 3;

/// Questions of each task that a model is judged by.
const JUDGED: usize = 300;
/// Fewer notes cannot be cut into parts of which each is looked up in the others.
const LEAST_NOTES: usize = 5;

/// Sizes of a new model, of Llama's architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Tokens of the vocabulary, byte-level pairs. Default 4000.
    pub vocabulary: usize,
    /// Layers. Default 6.
    pub layers: usize,
    /// Numbers a token. Default 256.
    pub hidden: usize,
    /// Attention heads, which divide `hidden`. Default 4.
    pub heads: usize,
    /// Numbers a token within the feed-forward part. Default 768.
    pub intermediate: usize,
    /// Most tokens of a text. Default 1024.
    pub positions: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { vocabulary: 4000, layers: 6, hidden: 256, heads: 4, intermediate: 768, positions: 1024 }
    }
}

/// How a model is trained from nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSettings {
    /// Sizes.
    pub sizes: Sizes,
    /// Prompt that asks for the diagnoses of a note. Default `ner-short-ru`.
    pub extract: String,
    /// Prompt that asks for the candidate that fits. Default `select-short-ru`.
    pub select: String,
    /// Candidates offered. Default 15.
    pub candidates: usize,
    /// Longest text, in tokens; longer ones are left out. Default 512.
    pub max_tokens: usize,
    /// Texts an epoch. Default 4096.
    pub examples: usize,
    /// What a token of the prompt counts beside one of the answer. Default 0.1.
    pub prompt_weight: f64,
    /// The training loop.
    pub fit: FitSettings,
}

impl Default for PretrainSettings {
    fn default() -> Self {
        let fit = FitSettings {
            epochs: 36,
            batch: 24,
            learning_rate: 1.2e-3,
            weight_decay: 0.05,
            schedule: Schedule::Cosine,
            warm_up: WarmUp::Share(0.03),
            ..FitSettings::default()
        };
        Self {
            sizes: Sizes::default(),
            extract: "ner-short-ru".into(),
            select: "select-short-ru".into(),
            candidates: 15,
            max_tokens: 512,
            examples: 4096,
            prompt_weight: 0.1,
            fit,
        }
    }
}

impl PretrainSettings {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// - [`Error::Setting`] with the setting's name and range.
    pub fn check(&self) -> Result<()> {
        self.fit.check().map_err(|e| e.within("pretrain.fit"))?;
        let Sizes { vocabulary, layers, hidden, heads, intermediate, positions } = self.sizes;
        let whole = |key: &str, value: usize, least: usize| {
            check_setting(value >= least, &format!("pretrain.{key}"), &format!("a whole number from {least}"), value)
        };
        // 256 bytes and three special tokens.
        whole("sizes.vocabulary", vocabulary, 259)?;
        for (key, value) in
            [("layers", layers), ("heads", heads), ("intermediate", intermediate), ("positions", positions)]
        {
            whole(&format!("sizes.{key}"), value, 1)?;
        }
        let fits = hidden > 0 && hidden.is_multiple_of(2 * heads);
        check_setting(fits, "pretrain.sizes.hidden", "a multiple of twice `heads`", hidden)?;
        whole("candidates", self.candidates, 1)?;
        whole("max_tokens", self.max_tokens, 1)?;
        whole("examples", self.examples, 1)?;
        let weight = self.prompt_weight;
        check_setting((0.0..=1.0).contains(&weight), "pretrain.prompt_weight", "from 0 to 1", weight)
    }
}

/// Trains a model and writes its folder, as transformers and mistral.rs load it. Its best weights are
/// those that do best on the held-out notes, where there are any: the mean of entity F1 and of the share of right codes among shuffled
/// candidates.
///
/// # Errors
/// - [`Error::Training`] if there are too few notes; those of the encoder, of [`fit_watched`] and of writing.
pub fn pretrain(
    lessons: &Lessons<'_>,
    settings: &PretrainSettings,
    device: &Device,
    folder: &ModelFolder,
    watch: &mut dyn Watch,
) -> Result<History> {
    let Lessons { taught, held_out, catalog, encoder } = *lessons;
    if taught.len() < LEAST_NOTES {
        let reason = format!("{} notes are too few to learn from: expected {LEAST_NOTES} at least", taught.len());
        return Err(Error::Training { what: "a language model", reason });
    }
    let composer = Composer::new(taught, catalog);
    // Kept with the run, for the one that goes on must read the same tokens.
    let words = folder.place().folder.join("tokenizer");
    if !words.join("tokenizer_config.json").exists() {
        make_tokenizer(taught, catalog, &settings.sizes, &words)?;
    }
    let chat = Arc::new(Chat::load(&words)?);
    let mut model = LanguageModel::draw(config(&chat, &settings.sizes), settings.fit.seed, device)?;
    let (extract, select) =
        (Prompt::load_for(&settings.extract, Task::Extract)?, Prompt::load_for(&settings.select, Task::Select)?);
    let max_tokens = settings.max_tokens.min(settings.sizes.positions);
    let writer = |prompt, weight| Writer { chat: &chat, prompt, max_tokens, weight };
    let prompts = (extract.clone(), select.clone());
    let sources = [extract.source().to_owned(), select.source().to_owned()];
    let (extract, select) = (writer(&extract, 1), writer(&select, CHOICE_WEIGHT));
    let offered = settings.candidates;
    let (known, asked) = lessons.choices(offered)?;
    let answers = write_held_out([&extract, &select], held_out, &asked)?;
    let pretraining = Pretraining {
        notes: taught.iter().map(Note::of).collect(),
        composer,
        choices: [known, choices_of_synonyms(taught, catalog, encoder, offered)?].concat(),
        examples: settings.examples,
        seed: settings.fit.seed,
        extract,
        select,
    };
    let own: Arc<dyn Generate> = Arc::new(Own::new(&model.decoder, chat.clone())?);
    let judges = [
        judge::extraction(
            own.clone(),
            prompts.0,
            judge::spread(held_out.len(), JUDGED).map(|at| &held_out[at]).collect(),
        ),
        judge::selection(
            own,
            prompts.1,
            judge::spread(asked.len(), JUDGED).map(|at| asked[at].clone()).collect(),
            Order::Shuffled,
            offered,
        ),
    ];
    let judges = judges.into_iter().filter(|_| !held_out.is_empty());
    let task = AnswerTask::new(model.decoder.clone(), Vec::new(), answers, settings.fit.batch_tokens / 4);
    let task = task.renewed(Box::new(|epoch| pretraining.epoch(epoch)), settings.prompt_weight)?;
    // The loop's own settings are held against the checkpoint's by the loop.
    let described = PretrainSettings { fit: FitSettings::default(), ..settings.clone() };
    let mut task = task.set_by(&described).judged(judges);
    let history = fit_watched(&model.parameters, &mut task, &settings.fit, folder.place(), watch)?;
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let bytes = fs::read(words.join(name)).map_err(|e| Error::read(words.join(name), e))?;
        write_atomic(&folder.path().join(name), &bytes)?;
    }
    for (name, prompt) in TAUGHT_PROMPTS.iter().zip(sources) {
        write_atomic(&folder.path().join(name), prompt.as_bytes())?;
    }
    model.save(folder.path())?;
    Ok(history)
}

/// Writes held-out notes, and their choices with the candidates shuffled, so that the rank tells nothing.
fn write_held_out(
    [extract, select]: [&Writer<'_>; 2],
    notes: &[AnnotatedDocument],
    choices: &[Choice],
) -> Result<Vec<Example>> {
    use rand::SeedableRng;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let mut examples = Vec::new();
    for note in notes {
        examples.extend(extract.note(&Note::of(note))?);
    }
    for choice in choices {
        examples.extend(select.choice(&choice.words, choice, Order::Shuffled, &mut rng)?);
    }
    Ok(examples)
}

/// Learns byte-level pairs from notes and a catalogue; each digit is a token.
fn make_tokenizer(documents: &[AnnotatedDocument], catalog: &Catalog, sizes: &Sizes, folder: &Path) -> Result<()> {
    let failed = |e: tokenizers::Error| Error::Training { what: "a vocabulary", reason: e.to_string() };
    let mut tokenizer = Tokenizer::new(BPE::default());
    let digits = PreTokenizerWrapper::Digits(Digits::new(true));
    let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![digits, bytes])));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let special = |text: &str| AddedToken::from(text, true);
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(sizes.vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens([END_OF_TEXT, TURN[0], TURN[1]].map(special).to_vec())
        .build();
    let notes = documents.iter().map(|annotated| annotated.document.text.clone());
    let entries = catalog.entries().iter();
    let wordings = entries.flat_map(|entry| [entry.title.to_string()].into_iter().chain(entry.synonyms.clone()));
    let mut trainable = BPE::default();
    trainer_feed(&mut trainable, &mut trainer, &tokenizer, notes.chain(wordings)).map_err(failed)?;
    tokenizer.with_model(trainable);
    tokenizer.add_special_tokens(&[END_OF_TEXT, TURN[0], TURN[1]].map(special));
    let json = tokenizer.to_string(true).map_err(failed)?;
    write_atomic(&folder.join("tokenizer.json"), json.as_bytes())?;
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": TURN[1], "pad_token": END_OF_TEXT,
        "model_max_length": sizes.positions, "chat_template": TEMPLATE, "clean_up_tokenization_spaces": false,
    });
    let ends: Vec<u32> = [END_OF_TEXT, TURN[1]].iter().filter_map(|token| tokenizer.token_to_id(token)).collect();
    let generation = json!({ "eos_token_id": ends, "pad_token_id": ends[0] });
    for (name, value) in [("generation_config.json", generation), ("tokenizer_config.json", settings)] {
        write_atomic(&folder.join(name), format!("{value:#}\n").as_bytes())?;
    }
    Ok(())
}

/// Counts words as the tokenizer cuts them, and learns pairs from the counts.
fn trainer_feed(
    model: &mut BPE,
    trainer: &mut tokenizers::models::bpe::BpeTrainer,
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = String> + Send,
) -> tokenizers::Result<()> {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer};
    let cut = |text: &str| {
        let mut pieces = PreTokenizedString::from(text);
        if let Some(cutter) = tokenizer.get_pre_tokenizer() {
            cutter.pre_tokenize(&mut pieces)?;
        }
        let words = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter();
        Ok(words.map(|(word, ..)| word.to_owned()).collect())
    };
    let texts: Vec<String> = texts.collect();
    trainer.feed(texts.iter().map(String::as_str), cut)?;
    trainer.train(model).map(drop)
}

/// Writes the configuration of a new model.
fn config(chat: &Chat, sizes: &Sizes) -> Map<String, Value> {
    let Sizes { layers, hidden, heads, intermediate, positions, .. } = *sizes;
    let tokens = chat.tokenizer();
    let id = |token: &str| tokens.token_to_id(token);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": tokens.get_vocab_size(true),
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads, "head_dim": hidden / heads.max(1), "max_position_embeddings": positions, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": null, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true,
        "initializer_range": 0.02, "bos_token_id": null, "eos_token_id": [id(END_OF_TEXT), id(TURN[1])],
        "pad_token_id": id(END_OF_TEXT), "dtype": "bfloat16",
    });
    config.as_object().cloned().unwrap_or_default()
}
