//! The two halves of a pipeline with the cache before what is slow in them: documents come in, mentions and then codings leave.
//!
//! Kept are the mentions that a BERT finds, and the candidates for which one encodes: a changed prompt asks for neither again. What the
//! shipped engine does is done sooner than looked up; answers of language models are kept by [`super::calls`].

use serde::Serialize;

use super::{
    cache::{Cache, Key, stage_key},
    gold::GoldDocument,
    identity::Identity,
    settings::Mentions,
};
use crate::{
    config::{NerEngine, PipelineConfig},
    data::{Candidate, Coded, Document, Mention, Trace},
    error::Result,
    ner::Recognised,
    pipeline::Pipeline,
};

/// How the fingerprint of an encoder begins that is as quick as the cache.
const QUICK: &str = "ngram-";

/// A pipeline with the cache before it.
pub(super) struct Stages<'a> {
    pipeline: &'a Pipeline,
    cache: &'a Cache,
    /// Names the recogniser with its model and settings, where it is slow.
    recogniser: Option<String>,
    /// Names encoder, indexes and settings of the retrieval, where it is slow.
    retrieval: Option<String>,
}

impl<'a> Stages<'a> {
    /// Keeps what a cell's pipeline makes, which was made from `identity`.
    pub fn new(config: &PipelineConfig, identity: &Identity, pipeline: &'a Pipeline, cache: &'a Cache) -> Self {
        let prints = pipeline.fingerprints();
        let named = |stages: &[&str], section: &str, settings: String| {
            let models: Vec<_> = prints.iter().filter(|(stage, _)| stages.contains(stage)).collect();
            format!("{models:?} {settings} {}", identity.of_section(section))
        };
        let is_quick = prints.iter().any(|(stage, print)| *stage == "encoder" && print.starts_with(QUICK));
        Self {
            pipeline,
            cache,
            recogniser: (config.ner.engine == NerEngine::Bert).then(|| named(&["ner"], "ner", json(&config.ner))),
            retrieval: (!is_quick)
                .then(|| named(&["encoder", "index", "catalogue"], "retrieval", json(&config.retrieval))),
        }
    }

    /// Finds the mentions of documents that are to be linked.
    pub fn recognise(&self, mentions: Mentions, documents: &[GoldDocument]) -> Vec<Result<Recognised>> {
        let Some(recogniser) = self.recogniser.as_ref().filter(|_| mentions == Mentions::Own) else {
            return mentions.of(documents, self.pipeline);
        };
        let keys: Vec<Key> = documents.iter().map(|document| stage_key(recogniser, &document.text)).collect();
        let known = self.cache.stage(&keys, |missing| {
            let some: Vec<GoldDocument> = missing.iter().map(|&at| documents[at].clone()).collect();
            mentions.of(&some, self.pipeline).into_iter().map(|found| Ok(found?.mentions)).collect()
        });
        match known {
            Ok(found) => {
                found.into_iter().map(|mentions| Ok(Recognised { mentions, trace: Trace::default() })).collect()
            }
            // One of them failed: find out which.
            Err(_) => mentions.of(documents, self.pipeline),
        }
    }

    /// Codes what was recognised.
    pub fn link(&self, documents: &[Document], recognised: Vec<Result<Recognised>>) -> Vec<Result<Coded>> {
        let Some(retrieval) = &self.retrieval else { return self.pipeline.link(documents, recognised) };
        let retrieve = |mentions: &[Mention]| -> Result<Vec<Vec<Candidate>>> {
            let keys: Vec<Key> = mentions.iter().map(|mention| stage_key(retrieval, &mention.text)).collect();
            self.cache.stage(&keys, |missing| {
                let some: Vec<Mention> = missing.iter().map(|&at| mentions[at].clone()).collect();
                self.pipeline.retrieve(&some)
            })
        };
        self.pipeline.link_by(documents, recognised, &retrieve)
    }
}

fn json(settings: &impl Serialize) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}
