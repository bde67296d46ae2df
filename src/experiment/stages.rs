//! The two halves of a pipeline with the cache before what is slow in them: documents come in, mentions and then codings leave.
//!
//! Kept are the mentions that a BERT finds, and the candidates for which one encodes: a changed prompt asks for neither again. What the
//! shipped engine does is quicker done than looked up; answers of language models are kept by [`super::calls`].

use super::{
    cache::{Cache, Key, stage_key},
    gold::GoldDocument,
    settings::Mentions,
};
use crate::{
    config::{NerEngine, PipelineConfig},
    data::{Candidate, Coded, Document, Mention},
    error::Result,
    ner::Recognised,
    pipeline::Pipeline,
};

/// A pipeline with the cache before it.
pub(super) struct Stages<'a> {
    pipeline: &'a Pipeline,
    cache: &'a Cache,
    /// Names the recogniser with its models and settings, where it is slow.
    recogniser: Option<String>,
    /// Names the retrieval, where it is slow.
    retrieval: Option<String>,
}

impl<'a> Stages<'a> {
    pub fn new(config: &PipelineConfig, pipeline: &'a Pipeline, cache: &'a Cache) -> Self {
        let prints = pipeline.fingerprints();
        let of = |stage: &str| -> Vec<&String> {
            prints.iter().filter(|(name, _)| *name == stage).map(|(_, print)| print).collect()
        };
        let settings = |section: &dyn erased::Section| section.json();
        let recogniser = (config.ner.engine == NerEngine::Bert)
            .then(|| format!("ner {:?} {}", of("ner"), settings(&config.ner)));
        let is_slow = of("encoder").iter().any(|print| !print.starts_with("ngram"));
        let prints = || [of("encoder"), of("index"), of("catalogue")];
        let retrieval = is_slow.then(|| format!("retrieval {:?} {}", prints(), settings(&config.retrieval)));
        Self { pipeline, cache, recogniser, retrieval }
    }
}
