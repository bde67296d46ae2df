//! Training of the BERT recognisers: annotated documents and an encoder come in, the folder of a model leaves.

mod binder;
mod contrast;
mod corpora;
mod dev;
mod gold;
mod tagger;

use std::collections::HashMap;

use candle_core::Tensor;
use serde::Serialize;
use serde_json::Value;

pub use self::{
    binder::{BinderTask, BinderWeights, Marked},
    contrast::{Contrasted, contrast},
    corpora::{Source, load},
    dev::Dev,
    gold::{Counts, Coverage, Gold},
    tagger::{Labelled, TaggerTask},
};
use crate::{
    data::AnnotatedDocument,
    error::{Error, Result, check_setting},
    ner::bert::{
        BINDER_KEY, Binder, BinderConfig, EntityType, Labels, MAX_TOKENS, Passage, TYPE_ENCODER, Tagger,
        classifier_drop,
    },
    nn::{
        Parameters,
        fit::{FitSettings, History, ModelFolder, Schedule, Task, Watch, fit_watched},
        pretrained::Pretrained,
    },
};

/// Name of the only entity type.
const TYPE: &str = "diagnosis";
/// Shortest window that leaves room for a mention between special tokens.
const LEAST_TOKENS: usize = 8;

/// Which model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Token classifier: one label a unit, mentions apart.
    Tagger,
    /// BINDER: a bi-encoder, mentions may nest.
    Binder,
}

/// How to train. The defaults are the paper's (Table 4).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NerSettings {
    /// Which model.
    pub kind: Kind,
    /// Loop and optimiser.
    pub fit: FitSettings,
    /// Longest window, in tokens with special ones, at least 8; the encoder's own limit and 512 hold too.
    pub max_tokens: usize,
    /// What BINDER's type encoder reads.
    pub description: String,
    /// Parts of BINDER's loss.
    pub weights: BinderWeights,
}

impl NerSettings {
    /// Returns the paper's settings for a kind of model.
    pub fn new(kind: Kind) -> Self {
        let fit = FitSettings {
            epochs: 20,
            batch: 32,
            learning_rate: 1e-5,
            weight_decay: 0.01,
            schedule: Schedule::Cosine,
            ..FitSettings::default()
        };
        let description = "Диагноз: болезнь, травма, нарушение или состояние здоровья пациента.".into();
        Self { kind, fit, max_tokens: 512, description, weights: BinderWeights::default() }
    }
}

/// A training that is ready to run.
pub struct Training {
    model: Pretrained,
    task: Box<dyn Task>,
    fit: FitSettings,
    /// How much of the training annotation the model can be taught.
    pub taught: Coverage,
    /// The same of the held-out annotation: its F1 is the most that can be reached there.
    pub held_out: Coverage,
}

impl Training {
    /// Puts a head on an encoder and takes `corpus` apart for it, and `dev`, on which the model will be measured; without `dev` it is not.
    ///
    /// # Errors
    /// - [`Error::Training`] if the corpus holds no mention; [`Error::Setting`] if a setting is out of its range.
    pub fn new(
        mut encoder: Pretrained,
        corpus: &[AnnotatedDocument],
        dev: &[AnnotatedDocument],
        settings: &NerSettings,
    ) -> Result<Self> {
        encoder.parameters.reseed(settings.fit.seed);
        let max_tokens = settings.max_tokens.min(encoder.config.max_tokens()).min(MAX_TOKENS);
        check_setting(max_tokens >= LEAST_TOKENS, "max_tokens", &format!("{LEAST_TOKENS} or more"), max_tokens)?;
        let flat = settings.kind == Kind::Tagger;
        let (golds, taught) = take_apart(&encoder, corpus, flat)?;
        if taught.taught == 0 {
            let reason = format!("{} documents, without a mention that has words", taught.documents);
            return Err(Error::Training { what: "the recogniser", reason });
        }
        let (dev_golds, held_out) = take_apart(&encoder, dev, flat)?;
        let texts = dev.iter().map(|annotated| annotated.document.text.clone());
        let dev = Dev { documents: texts.zip(dev_golds).collect(), max_tokens };
        let (model, task) = match settings.kind {
            Kind::Tagger => prepare_tagger(encoder, &golds, dev)?,
            Kind::Binder => prepare_binder(encoder, &golds, dev, settings)?,
        };
        Ok(Self { model, task, fit: settings.fit.clone(), taught, held_out })
    }

    /// Returns a hash of what is learnt from and measured on.
    pub fn fingerprint(&self) -> u64 {
        self.task.fingerprint()
    }

    /// Trains the model and writes its folder, which is the encoder's with a head more: the best checkpoint by F1 on held-out documents, or
    /// the last where there are none. `config.json` comes last: a folder without it holds a run under way.
    ///
    /// # Errors
    /// Those of [`fit_watched`], and of writing.
    pub fn run(mut self, folder: &ModelFolder, watch: &mut dyn Watch) -> Result<History> {
        let history = fit_watched(&self.model.parameters, self.task.as_mut(), &self.fit, folder.place(), watch)?;
        self.model.save(folder.path())?;
        Ok(history)
    }
}

fn take_apart(encoder: &Pretrained, corpus: &[AnnotatedDocument], flat: bool) -> Result<(Vec<Gold>, Coverage)> {
    let mut golds = Vec::with_capacity(corpus.len());
    let mut coverage = Coverage::default();
    for annotated in corpus {
        let gold = Gold::new(&encoder.tokenizer, annotated, flat)?;
        coverage += gold.coverage(&annotated.document.text)?;
        golds.push(gold);
    }
    Ok((golds, coverage))
}

fn prepare_tagger(mut model: Pretrained, golds: &[Gold], dev: Dev) -> Result<(Pretrained, Box<dyn Task>)> {
    let labels = Labels::of(TYPE);
    model.extra.remove(BINDER_KEY); // where the encoder is that of another recogniser
    model.set_class("ForTokenClassification");
    model.extra.extend(labels.to_config());
    let drop = classifier_drop(&model);
    let tagger = Tagger::new(&model.bert, &mut model.parameters, labels, drop)?;
    let mut examples = Vec::new();
    for gold in golds {
        let all = tagger.labels().encode(gold.text.units().len(), &gold.mentions);
        examples.extend(gold.text.passages(dev.max_tokens).into_iter().map(|passage| {
            let labels = all[passage.units.clone()].to_vec();
            Labelled { passage, labels }
        }));
    }
    Ok((model, Box::new(TaggerTask::new(tagger, examples, dev))))
}

fn prepare_binder(
    encoder: Pretrained,
    golds: &[Gold],
    dev: Dev,
    settings: &NerSettings,
) -> Result<(Pretrained, Box<dyn Task>)> {
    let kind = EntityType { name: TYPE.into(), description: settings.description.clone() };
    let config = BinderConfig::new(vec![kind]);
    let mut model = with_type_encoder(encoder, settings.fit.seed)?;
    model.set_class("Model");
    model.extra.insert(BINDER_KEY.into(), serde_json::to_value(&config).unwrap_or(Value::Null));
    let descriptions = config.describe(&model.tokenizer, model.config.max_tokens())?;
    let binder = Binder::new(&model.bert, &mut model.parameters, descriptions, config)?;
    let mut examples = Vec::new();
    for gold in golds {
        let passages = gold.text.passages(dev.max_tokens).into_iter();
        examples.extend(passages.map(|passage| mark(passage, &gold.mentions)));
    }
    Ok((model, Box::new(BinderTask::new(binder, settings.weights, examples, dev))))
}

fn mark(passage: Passage, mentions: &[std::ops::Range<usize>]) -> Marked {
    let seen = passage.seen.clone();
    let within = mentions.iter().filter(|units| seen.start <= units.start && units.end <= seen.end);
    let mentions = within.map(|units| (units.start - seen.start..units.end - seen.start, 0)).collect();
    Marked { passage, mentions }
}

/// Doubles an encoder: the copy's weights, `types.…`, start alike and learn apart.
fn with_type_encoder(encoder: Pretrained, seed: u64) -> Result<Pretrained> {
    let Pretrained { name, config, extra, parameters, tokenizer, .. } = encoder;
    let mut given: HashMap<String, Tensor> = HashMap::new();
    for (name, variable) in parameters.variables() {
        // Detached: a variable would be shared, not copied.
        let tensor = variable.as_tensor().detach();
        given.insert(format!("{TYPE_ENCODER}.{name}"), tensor.clone());
        given.insert(name.clone(), tensor);
    }
    let parameters = Parameters::from_tensors(&name, given, parameters.device(), seed);
    Ok(Pretrained { extra, ..Pretrained::new(&name, config, parameters, tokenizer)? })
}
