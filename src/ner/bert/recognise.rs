//! From texts to what a model finds in them: windows of all texts, sorted by length, in batches, one a core.

use std::collections::BTreeMap;

use candle_core::Device;
use rayon::prelude::*;

use super::{
    BINDER_KEY, MAX_TOKENS,
    binder::{Binder, BinderConfig},
    labels::{Found, Labels},
    number,
    tagger::Tagger,
    text::{Passage, Text},
    unusable,
};
use crate::{
    error::{Error, Result},
    nn::{divide, pretrained::Pretrained, tokenizer::Tokenizer},
};

/// Tokens of a batch: more no longer fits the cache.
const BATCH_TOKENS: usize = 1024;

/// One of the two models, with the longest window it is used with.
#[derive(Clone)]
pub struct Recogniser {
    model: Model,
    max_tokens: usize,
}

/// How mentions are found.
#[derive(Clone)]
pub enum Model {
    /// A label a unit.
    Tagger(Box<Tagger>),
    /// A comparison with types for each span.
    Binder(Box<Binder>),
}

/// What was decided in a passage.
enum Decided {
    Labels(Vec<Vec<f32>>),
    Spans(Vec<Found>),
}

impl From<Tagger> for Model {
    fn from(tagger: Tagger) -> Self {
        Self::Tagger(Box::new(tagger))
    }
}

impl From<Binder> for Model {
    fn from(binder: Binder) -> Self {
        Self::Binder(Box::new(binder))
    }
}

impl Recogniser {
    /// Puts a model to use that takes `longest` tokens. It shares the model's weights and sees their updates.
    pub fn new(model: impl Into<Model>, longest: usize) -> Self {
        let model = match model.into() {
            Model::Tagger(tagger) => Model::Tagger(Box::new(tagger.detached())),
            Model::Binder(binder) => Model::Binder(Box::new(binder.detached())),
        };
        Self { model, max_tokens: longest.min(MAX_TOKENS) }
    }

    /// Takes the model of a folder: a bi-encoder if its `config.json` says so, else a token classifier.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if it is neither, or a weight is missing or of another shape.
    pub fn of(pretrained: &mut Pretrained) -> Result<Self> {
        let model = match pretrained.extra.get(BINDER_KEY).cloned() {
            Some(config) => {
                let config: BinderConfig = serde_json::from_value(config)
                    .map_err(|e| unusable(pretrained, format!("config.json: {BINDER_KEY}: {e}")))?;
                require(pretrained, "binder.span.weight")?;
                let Pretrained { bert, parameters, tokenizer, .. } = &mut *pretrained;
                let descriptions = config.describe(tokenizer, bert.config().max_tokens())?;
                Binder::new(bert, parameters, descriptions, config).map(Model::from)
            }
            None => {
                require(pretrained, "classifier.weight")?;
                let labels = Labels::read(&pretrained.extra).map_err(|reason| unusable(pretrained, reason))?;
                let drop = classifier_drop(pretrained);
                Tagger::new(&pretrained.bert, &mut pretrained.parameters, labels, drop).map(Model::from)
            }
        };
        let model = model.map_err(|e| match e {
            Error::Artifact { reason, .. } => unusable(pretrained, reason),
            other => other,
        })?;
        Ok(Self::new(model, pretrained.config.max_tokens()))
    }

    /// Returns the names of the entity types, by number.
    pub fn types(&self) -> Vec<&str> {
        match &self.model {
            Model::Tagger(tagger) => tagger.labels().types().iter().map(String::as_str).collect(),
            Model::Binder(binder) => binder.config().types.iter().map(|one| one.name.as_str()).collect(),
        }
    }

    /// Finds mentions in texts. Each gets its own outcome, in order; overlapping finds are left as they are.
    pub fn recognise(&self, tokenizer: &Tokenizer, texts: &[&str]) -> Vec<Result<(Text, Vec<Found>)>> {
        let read = |text: &&str| Ok(Text::new(&tokenizer.encode(text, usize::MAX)?, text));
        let read: Vec<Result<Text>> = texts.par_iter().map(read).collect();
        let whole: Vec<&Text> = read.iter().flatten().collect();
        let mut found = self.find(&whole).into_iter();
        read.into_iter().map(|text| Ok((text?, found.next().unwrap_or_else(|| Ok(Vec::new()))?))).collect()
    }

    /// Finds mentions in texts that are taken apart already.
    pub fn find(&self, texts: &[&Text]) -> Vec<Result<Vec<Found>>> {
        let passages: Vec<(usize, Passage)> = texts
            .iter()
            .enumerate()
            .flat_map(|(number, text)| text.passages(self.max_tokens).into_iter().map(move |passage| (number, passage)))
            .collect();
        let mut order: Vec<usize> = (0..passages.len()).collect();
        // Longest first: no core is left with the longest batch at the end.
        order.sort_by_key(|&at| std::cmp::Reverse(passages[at].1.ids.len()));
        let batches = divide(&order, |at| passages[at].1.ids.len(), BATCH_TOKENS);
        let decide = |batch: &&[usize]| {
            let some: Vec<&Passage> = batch.iter().map(|&at| &passages[at].1).collect();
            let outcomes: Vec<Result<Decided>> = match self.decide(&some) {
                Ok(decided) => decided.into_iter().map(Ok).collect(),
                // One window may be the reason: each is tried alone.
                Err(_) if some.len() > 1 => some.iter().map(|one| self.decide_one(one)).collect(),
                Err(error) => vec![Err(error)],
            };
            batch.iter().copied().zip(outcomes).collect::<Vec<_>>()
        };
        let mut decided: BTreeMap<usize, Result<Decided>> = match self.device().is_cpu() {
            true => batches.par_iter().flat_map_iter(decide).collect(),
            false => batches.iter().flat_map(decide).collect(),
        };
        let mut by_text: Vec<Vec<Result<Decided>>> = texts.iter().map(|_| Vec::new()).collect();
        for (at, (number, _)) in passages.iter().enumerate() {
            by_text[*number].extend(decided.remove(&at));
        }
        by_text.into_iter().map(|parts| self.join(parts)).collect()
    }

    fn device(&self) -> &Device {
        let bert = match &self.model {
            Model::Tagger(tagger) => tagger.bert(),
            Model::Binder(binder) => binder.text(),
        };
        bert.words().device()
    }

    fn decide(&self, passages: &[&Passage]) -> Result<Vec<Decided>> {
        Ok(match &self.model {
            Model::Tagger(tagger) => tagger.decide(passages)?.into_iter().map(Decided::Labels).collect(),
            Model::Binder(binder) => binder.decide(passages)?.into_iter().map(Decided::Spans).collect(),
        })
    }

    fn decide_one(&self, passage: &Passage) -> Result<Decided> {
        let none = || Error::Tensor("a window gave no result".into());
        self.decide(&[passage])?.pop().ok_or_else(none)
    }

    /// Puts together what was decided in a text's windows, in their order.
    fn join(&self, parts: Vec<Result<Decided>>) -> Result<Vec<Found>> {
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        for part in parts {
            match part? {
                Decided::Labels(part) => rows.extend(part),
                Decided::Spans(part) => found.extend(part),
            }
        }
        Ok(match &self.model {
            Model::Tagger(tagger) => tagger.labels().decode(&rows),
            Model::Binder(_) => found,
        })
    }
}

/// Returns the dropout before a token classifier's last layer, as transformers reads it.
pub fn classifier_drop(pretrained: &Pretrained) -> f32 {
    number(pretrained, "classifier_dropout").unwrap_or(pretrained.config.hidden_dropout_prob)
}

fn require(pretrained: &Pretrained, weight: &str) -> Result<()> {
    match pretrained.parameters.has(weight) {
        true => Ok(()),
        false => Err(unusable(pretrained, format!("it has no `{weight}`: it is no recogniser of mentions"))),
    }
}
