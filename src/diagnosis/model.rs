//! The model that predicts diagnoses: an input's tokens come in, a logit for each code leaves.

use std::path::Path;

use candle_core::{Device, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    History,
    decision::Decision,
    input::InputSettings,
    labels::LabelSet,
    sequence::{Place, Reader, Sequence},
};
use crate::{
    artifact::write_atomic,
    error::{Error, Result, check_finite},
    hub,
    icd::IcdCode,
    nn::{
        Packed, SequenceClassifier,
        bert::Family,
        divide,
        pretrained::{self, Pretrained},
    },
};

/// Name of the file with [`Settings`] in a model's folder.
const SETTINGS_FILE: &str = "diagnosis.json";
/// What is told to give numbers that are not finite.
const MODEL: &str = "the model of diagnoses";

/// What a model of diagnoses has beyond its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whose codes it learnt.
    pub labels: LabelSet,
    /// What it is told of earlier appointments.
    pub input: InputSettings,
    /// Most tokens of an input.
    pub max_tokens: usize,
    /// Calibrators and thresholds.
    pub decision: Decision,
}

/// A Longformer with a logit for each code.
pub struct DiagnosisModel {
    /// Encoder and weights.
    pub pretrained: Pretrained,
    /// The codes of the logits, in order.
    pub codes: Vec<IcdCode>,
    /// What it has beyond its weights.
    pub settings: Settings,
    classifier: SequenceClassifier,
}

impl DiagnosisModel {
    /// Puts a new head on a Longformer.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if it is none; those of the device.
    pub fn new(mut pretrained: Pretrained, codes: Vec<IcdCode>, settings: Settings) -> Result<Self> {
        if pretrained.config.family != Family::Longformer {
            return Err(broken(&pretrained.name, "it is no Longformer".into()));
        }
        let classifier = SequenceClassifier::new(&pretrained.bert, &mut pretrained.parameters, codes.len())?;
        Ok(Self { pretrained, codes, settings, classifier })
    }

    /// Returns a hash over weights, tokenizer, codes and settings, which changes whenever the probabilities would.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fingerprint(&self) -> Result<String> {
        let more = json!([self.codes, self.settings]).to_string();
        Ok(format!("{}{:016x}", self.pretrained.fingerprint()?, xxh3_64(more.as_bytes())))
    }

    /// Reads a folder that [`Self::save`] wrote.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if it holds no model of diagnoses, or a damaged one.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let pretrained = Pretrained::load(name, device)?;
        let folder = hub::resolve(name, &pretrained::HUB_FILES)?;
        let path = folder.join(SETTINGS_FILE);
        let text = std::fs::read(&path).map_err(|_| broken(name, format!("it holds no {SETTINGS_FILE}")))?;
        let settings: Settings =
            serde_json::from_slice(&text).map_err(|e| broken(name, format!("{SETTINGS_FILE}: {e}")))?;
        let codes =
            codes(&pretrained.extra).ok_or_else(|| broken(name, "config.json: id2label holds no codes".into()))?;
        if settings.decision.classes() != Some(codes.len()) {
            let reason = format!("{SETTINGS_FILE} is not of the {} codes of config.json", codes.len());
            return Err(broken(name, reason));
        }
        if !pretrained.parameters.has("classifier.out_proj.weight") {
            return Err(broken(name, "the weights have no classifier".into()));
        }
        let most = pretrained.config.max_tokens();
        if settings.max_tokens > most {
            return Err(broken(
                name,
                format!("{SETTINGS_FILE}: max_tokens {}, positions for {most}", settings.max_tokens),
            ));
        }
        Self::new(pretrained, codes, settings)
    }

    /// Writes the folder in the form of transformers' `LongformerForSequenceClassification`, and what it has beyond.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&mut self, folder: &Path) -> Result<()> {
        let extra = &mut self.pretrained.extra;
        let (mut labels, mut ids) = (Map::new(), Map::new());
        for (number, code) in self.codes.iter().enumerate() {
            labels.insert(number.to_string(), code.as_str().into());
            ids.insert(code.as_str().to_owned(), number.into());
        }
        extra.insert("id2label".into(), Value::Object(labels));
        extra.insert("label2id".into(), Value::Object(ids));
        extra.insert("problem_type".into(), json!("multi_label_classification"));
        self.pretrained.set_class("ForSequenceClassification");
        let text = serde_json::to_vec_pretty(&self.settings).unwrap_or_default();
        write_atomic(&folder.join(SETTINGS_FILE), &text)?;
        self.pretrained.save(folder) // last: a folder with its config.json is whole
    }

    /// Returns the layers.
    pub fn classifier(&self) -> &SequenceClassifier {
        &self.classifier
    }

    /// Returns what turns histories into its tokens.
    pub fn reader(&self) -> Reader<'_> {
        let Settings { input, max_tokens, .. } = self.settings;
        Reader { tokenizer: &self.pretrained.tokenizer, settings: input, max_tokens }
    }

    /// Says what in an input weighs for a code: the gradient of its logit times the input, token by token, and where each token stands.
    ///
    /// # Errors
    /// As [`SequenceClassifier::forward`].
    ///
    /// # Source
    /// Gradient × input: Shrikumar et al. 2016, <https://arxiv.org/abs/1605.01713>.
    pub fn weigh(&self, history: &History, at: usize, classes: &[u32]) -> Result<Vec<Vec<(Place, f32)>>> {
        let placed = self.reader().placed(history, at)?;
        let tokens = placed.tokens.iter().map(|(id, _)| *id).collect();
        let sequence = Sequence { tokens, present: placed.present, cut: placed.cut };
        let classifier = self.classifier.detached();
        let mut batch = Packed::default();
        sequence.push_to(&mut batch, classifier.bert().config());
        let embedded = Var::from_tensor(&classifier.bert().embed(&batch, None)?.detach())?;
        let hidden = classifier.bert().encode(&embedded, &batch)?;
        let logits = classifier.judge(&batch.pick_firsts(&hidden)?, None)?;
        let weigh = |&class: &u32| {
            let gradients = logits.narrow(1, class as usize, 1)?.sum_all()?.backward()?;
            let Some(gradient) = gradients.get(&embedded) else { return Ok(Vec::new()) };
            let weights = (gradient * embedded.as_tensor())?.sum(1)?.to_vec1::<f32>()?;
            check_finite(MODEL, &weights)?;
            let places = placed.tokens.iter().map(|(_, place)| place.clone());
            Ok(places.zip(weights).filter_map(|(place, weight)| Some((place?, weight))).collect())
        };
        classes.iter().map(weigh).collect()
    }
}

/// Scores inputs, named by their numbers from 0 on, on all cores: returns a logit a class for each.
///
/// `tokens` tells the length of an input, `sequence` puts it together; `batch_tokens` of them are computed at once on a core.
///
/// # Errors
/// - [`Error::NotFinite`] if the model gives no numbers; those of `sequence`.
pub fn score(
    classifier: &SequenceClassifier,
    count: usize,
    tokens: impl Fn(usize) -> usize,
    sequence: impl Fn(usize) -> Result<Sequence<u32>> + Sync,
    batch_tokens: usize,
) -> Result<Vec<Vec<f32>>> {
    let classifier = classifier.detached();
    let lengths: Vec<usize> = (0..count).map(tokens).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(lengths[number]));
    let batches = divide(&order, |number| lengths[number], batch_tokens);
    let one = |numbers: &&[usize]| -> Result<Vec<Vec<f32>>> {
        let mut batch = Packed::default();
        for &number in *numbers {
            sequence(number)?.push_to(&mut batch, classifier.bert().config());
        }
        let logits = classifier.forward(&batch, None)?.to_vec2::<f32>()?;
        logits.iter().try_for_each(|row| check_finite(MODEL, row))?;
        Ok(logits)
    };
    let on_cpu = classifier.bert().words().device().is_cpu();
    let scored: Vec<Vec<Vec<f32>>> = match on_cpu {
        true => batches.par_iter().map(one).collect::<Result<_>>()?,
        false => batches.iter().map(one).collect::<Result<_>>()?,
    };
    let mut all = vec![Vec::new(); count];
    for (&number, logits) in order.iter().zip(scored.into_iter().flatten()) {
        all[number] = logits;
    }
    Ok(all)
}

/// Reads the codes of `id2label`, in order.
fn codes(extra: &Map<String, Value>) -> Option<Vec<IcdCode>> {
    let labels = extra.get("id2label")?.as_object()?;
    (0..labels.len()).map(|number| labels.get(&number.to_string())?.as_str()?.parse().ok()).collect()
}

fn broken(name: &str, reason: String) -> Error {
    let hint = "give a folder that `noso train diagnosis` or `noso diagnosis study` wrote";
    Error::EncoderLoad { name: name.into(), reason, hint: hint.into() }
}
