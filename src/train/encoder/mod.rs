//! Training of encoders as masked language models: texts come in, a folder leaves that [`Pretrained`] and Hugging Face transformers load.

mod masking;
mod task;
mod windows;

use std::{path::Path, sync::Arc};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::masking::MaskSettings;
use self::{task::MaskedLm, windows::Window};
use crate::{
    embed,
    error::{Error, Result, check_setting},
    nn::{
        Parameters,
        bert::{BertConfig, Family},
        fit::{self, Evaluation, FitSettings, History, ModelFolder, Schedule, Task, WarmUp, Watch, fit_watched},
        ops::Activation,
        pretrained::Pretrained,
        tokenizer::{Casing, Tokenizer},
        word_pieces,
    },
};

/// Sizes of a new encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Word pieces, special tokens included. Default 8000.
    pub vocabulary: usize,
    /// Whether letters become small; accents stay, so that й and ё do. Default true.
    pub lowercase: bool,
    /// Layers. Default 4.
    pub layers: usize,
    /// Numbers a token. Default 256.
    pub hidden: usize,
    /// Attention heads, which divide `hidden`. Default 4.
    pub heads: usize,
    /// Numbers a token within the feed-forward part. Default 1024.
    pub intermediate: usize,
    /// Most tokens of a sequence. Default 512.
    pub positions: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { vocabulary: 8000, lowercase: true, layers: 4, hidden: 256, heads: 4, intermediate: 1024, positions: 512 }
    }
}

impl Sizes {
    /// Checks that the sizes fit together and into memory.
    ///
    /// # Errors
    /// - [`Error::Setting`] if one is out of its range; [`Error::Memory`] if the weights would not fit.
    pub fn check(&self) -> Result<()> {
        let from_one = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("intermediate", self.intermediate),
        ];
        for (key, value) in from_one {
            check_setting(value > 0, key, "a whole number from 1", value)?;
        }
        check_setting(self.hidden.is_multiple_of(self.heads), "heads", "a divisor of hidden", self.heads)?;
        check_setting(self.positions >= 8, "positions", "a whole number from 8", self.positions)?;
        fit::check_weights(self.weights())
    }

    /// Counts the weights but for the small ones; in `f64`, which no sizes overflow.
    fn weights(&self) -> f64 {
        let Self { vocabulary, layers, hidden, intermediate, positions, .. } = *self;
        let [vocabulary, layers, hidden, intermediate, positions] =
            [vocabulary, layers, hidden, intermediate, positions].map(|size| size as f64);
        (vocabulary + positions) * hidden + layers * hidden * (4.0 * hidden + 2.0 * intermediate)
    }
}

/// How to train an encoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderSettings {
    /// Most tokens of a training example. Default 128.
    pub length: usize,
    /// Whether short texts share an example; else each text is its own. Default true.
    pub pack: bool,
    /// Every n-th text is held out for evaluation, 2 or more; 0 holds out none. Default 20.
    pub held_out: usize,
    /// What is masked.
    pub mask: MaskSettings,
    /// The training loop.
    pub fit: FitSettings,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { length: 128, pack: true, held_out: 20, mask: MaskSettings::default(), fit: fit_settings() }
    }
}

/// What suits a small encoder from scratch.
fn fit_settings() -> FitSettings {
    FitSettings {
        epochs: 40,
        learning_rate: 1e-3,
        schedule: Schedule::Linear,
        warm_up: WarmUp::Share(0.06),
        ..FitSettings::default()
    }
}

/// What a training run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Training examples, and their tokens.
    pub examples: usize,
    /// Tokens of the training examples, special tokens included.
    pub tokens: usize,
    /// Word pieces of the vocabulary.
    pub vocabulary: usize,
    /// Numbers of the encoder and the head.
    pub parameters: usize,
    /// Masked accuracy and perplexity on the texts held out, with the weights that were kept.
    pub reached: Option<Evaluation>,
    /// Steps and evaluations.
    pub history: History,
}

/// Draws a new encoder: word pieces learned from `texts`, weights drawn from `seed`.
///
/// # Errors
/// - [`Error::Setting`] if a size is out of its range; [`Error::Memory`] if the weights would not fit.
pub fn draw(texts: &[String], sizes: &Sizes, seed: u64, device: &Device) -> Result<Pretrained> {
    sizes.check()?;
    let casing = Casing { lowercase: sizes.lowercase, strip_accents: Some(false), chinese: true };
    let pieces = word_pieces::learn(texts.iter().map(String::as_str), sizes.vocabulary, casing)?;
    let tokenizer = Tokenizer::from_pieces(&pieces, casing)?;
    let config = BertConfig {
        family: Family::Bert,
        vocab_size: pieces.len(),
        hidden_size: sizes.hidden,
        num_hidden_layers: sizes.layers,
        num_attention_heads: sizes.heads,
        intermediate_size: sizes.intermediate,
        hidden_act: Activation::Gelu,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        max_position_embeddings: sizes.positions,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        initializer_range: 0.02,
        pad_token_id: 0,
        attention_window: None,
    };
    Pretrained::new("(new)", config, Parameters::new(device, seed), Arc::new(tokenizer))
}

/// Trains `model` on `texts` and writes it to `folder`.
///
/// # Errors
/// - [`Error::Setting`] or [`Error::Training`] if it cannot start; [`Error::Write`] if the folder cannot be written; those of [`fit_watched`].
pub fn train(
    mut model: Pretrained,
    texts: &[String],
    settings: &EncoderSettings,
    folder: &ModelFolder,
    watch: &mut dyn Watch,
) -> Result<Report> {
    check(settings, &model)?;
    let (held_out, taught): (Vec<_>, Vec<_>) = texts
        .iter()
        .enumerate()
        .partition(|(number, _)| settings.held_out > 0 && number % settings.held_out == settings.held_out - 1);
    let cut = |texts: &[(usize, &String)]| -> Result<Vec<Window>> {
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        windows::cut(&model.tokenizer, &texts, settings.length, settings.pack)
    };
    let (examples, held_out) = (cut(&taught)?, cut(&held_out)?);
    if examples.is_empty() {
        let reason = format!("none of {} texts has a word to learn from", texts.len());
        return Err(Error::Training { what: "the encoder", reason });
    }
    let tokens = examples.iter().map(|window| window.ids.len()).sum();
    let mut task = MaskedLm::new(&mut model, examples, held_out, settings)?;
    let history = fit_watched(&model.parameters, &mut task, &settings.fit, folder.place(), watch)?;
    let reached = task.evaluate()?;
    save(&mut model, folder.path())?;
    let (vocabulary, parameters) = (model.tokenizer.size(), model.parameters.count());
    Ok(Report { examples: task.len(), tokens, vocabulary, parameters, reached, history })
}

fn save(model: &mut Pretrained, folder: &Path) -> Result<()> {
    model.set_class("ForMaskedLM");
    model.extra.insert("tie_word_embeddings".into(), json!(true));
    embed::EncoderSettings::of_masked_language_model(model.config.max_tokens()).save(folder)?;
    model.save(folder) // last: a folder with its config.json is whole
}

fn check(settings: &EncoderSettings, model: &Pretrained) -> Result<()> {
    let most = model.config.max_tokens();
    check_setting(
        (8..=most).contains(&settings.length),
        "length",
        &format!("8 to {most}, the model's positions"),
        settings.length,
    )?;
    check_setting(settings.held_out != 1, "held_out", "0, or a whole number from 2", settings.held_out)?;
    let share = settings.mask.share;
    check_setting(share > 0.0 && share < 1.0, "mask.share", "a number between 0 and 1", share)?;
    Ok(())
}
