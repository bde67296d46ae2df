//! The whole program: documents come in, codings leave. The only place that puts the stages together.

mod decide;
mod load;
mod retrieve;
mod second_look;
mod shots;
mod sources;

pub use load::Models;
pub use retrieve::{load_bert, load_encoder, load_retriever};
pub use sources::{catalog_rows, catalog_source, mention_rows, rows_source, vocabulary_rows};

use std::sync::Arc;

use rayon::prelude::*;

use self::second_look::SecondLook;
use crate::{
    config::DecisionConfig,
    corpus::{Entry, Lookup},
    data::{Candidate, CodeSet, Coded, Coding, Document, Mention, Trace},
    error::{Error, Result},
    icd::IcdCode,
    ner::{Ner, Recognised},
    rerank::{Linking, Rerank},
    retrieval::Retriever,
};

/// Documents that one thread of the shipped engine takes at a time: enough to batch a search, few enough to spread a small corpus.
const CHUNK_DOCUMENTS: usize = 16;

/// Documents that the shipped engine is handed at a time.
const BATCH_DOCUMENTS: usize = 1024;

/// Mentions that one search looks up together.
const CHUNK_MENTIONS: usize = 256;

/// Finds the candidates of each of some mentions.
pub type Retrieve<'a> = dyn Fn(&[Mention]) -> Result<Vec<Vec<Candidate>>> + Sync + 'a;

/// The stages, ready to run.
pub struct Pipeline {
    ner: Box<dyn Ner>,
    retriever: Retriever,
    rerank: Box<dyn Rerank>,
    decision: DecisionConfig,
    min_probability: f32,
    /// Documents that one thread takes at a time.
    chunk_documents: usize,
    /// What is tried where a language model is unsure.
    second_look: Option<SecondLook>,
    /// Whether a language model is asked, so that a document takes seconds.
    asks: bool,
}

impl Pipeline {
    /// Codes documents in parallel. Each gets its own outcome, in the order given: one that fails does not stop the others.
    pub fn code(&self, documents: &[Document]) -> Vec<Result<Coded>> {
        let chunks = documents.chunks(self.chunk_documents).collect();
        let retrieve = |mentions: &[Mention]| self.retrieve(mentions);
        self.in_chunks(chunks, |chunk: &[Document]| self.link_chunk(chunk, self.recognise_chunk(chunk), &retrieve))
    }

    /// Works on chunks in parallel. A pipeline that asks a language model takes them one after another, on the caller's thread: a
    /// thread of the pool that waits for an answer is one fewer for the model to compute it with.
    fn in_chunks<C: Send, T: Send>(
        &self,
        chunks: Vec<C>,
        work: impl Fn(C) -> Vec<Result<T>> + Sync + Send,
    ) -> Vec<Result<T>> {
        if self.asks {
            return chunks.into_iter().flat_map(work).collect();
        }
        chunks.into_par_iter().flat_map_iter(work).collect()
    }

    /// Does the first half of [`Pipeline::code`]: finds the mentions.
    pub fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        self.in_chunks(documents.chunks(self.chunk_documents).collect(), |chunk| self.recognise_chunk(chunk))
    }

    fn recognise_chunk(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        let mut outcomes = self.ner.recognise(documents);
        for recognised in outcomes.iter_mut().flatten() {
            recognised.mentions.retain(|mention| mention.probability >= self.min_probability);
        }
        outcomes
    }

    /// Does the second half: codes what was recognised, or mentions that are known otherwise, such as gold ones; `recognised[i]` belongs to
    /// `documents[i]`.
    pub fn link(&self, documents: &[Document], recognised: Vec<Result<Recognised>>) -> Vec<Result<Coded>> {
        self.link_by(documents, recognised, &|mentions| self.retrieve(mentions))
    }

    /// Finds the candidates of mentions, as [`Pipeline::link`] does.
    ///
    /// # Errors
    /// Those of [`Retriever::retrieve`].
    pub fn retrieve(&self, mentions: &[Mention]) -> Result<Vec<Vec<Candidate>>> {
        // A huge document is a chunk of its own: its mentions are spread over the threads here.
        let found: Result<Vec<_>> =
            mentions.par_chunks(CHUNK_MENTIONS).map(|some| self.retriever.retrieve(some)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Does what [`Pipeline::link`] does with candidates that come from elsewhere, such as a cache of what was found before.
    pub fn link_by(
        &self,
        documents: &[Document],
        recognised: Vec<Result<Recognised>>,
        retrieve: &Retrieve<'_>,
    ) -> Vec<Result<Coded>> {
        let mut known = recognised.into_iter();
        let chunks: Vec<(&[Document], Vec<_>)> = documents
            .chunks(self.chunk_documents)
            .map(|chunk| (chunk, known.by_ref().take(chunk.len()).collect()))
            .collect();
        self.in_chunks(chunks, |(chunk, known)| self.link_chunk(chunk, known, retrieve))
    }

    /// Retrieves candidates for all mentions of some documents together, then has the codes chosen.
    fn link_chunk(
        &self,
        documents: &[Document],
        recognised: Vec<Result<Recognised>>,
        retrieve: &Retrieve<'_>,
    ) -> Vec<Result<Coded>> {
        let all: Vec<Mention> = recognised.iter().flatten().flat_map(|found| &found.mentions).cloned().collect();
        let mut candidates = match retrieve(&all) {
            Ok(found) => found.into_iter(),
            Err(_) if documents.len() > 1 => {
                // One document's mentions cannot be looked up: find out which.
                let single = |(document, found)| self.link_chunk(std::slice::from_ref(document), vec![found], retrieve);
                return documents.iter().zip(recognised).flat_map(single).collect();
            }
            Err(error) => return vec![Err(error)],
        };
        let mut linkings = Vec::with_capacity(documents.len());
        let mut traces = Vec::with_capacity(documents.len());
        for (document, outcome) in documents.iter().zip(recognised) {
            traces.push(outcome.map(|Recognised { mentions, trace }| {
                let candidates = candidates.by_ref().take(mentions.len()).collect();
                linkings.push(Linking { document, mentions, candidates });
                trace
            }));
        }
        let asked: Vec<&Document> = linkings.iter().map(|linking| linking.document).collect();
        let mut chosen = self.rerank.rerank(linkings);
        if let Some(look) = &self.second_look {
            look.again(&self.retriever, &asked, &mut chosen);
        }
        let mut chosen = chosen.into_iter();
        let finish = |mut trace: Trace, outcome: Result<Coded>| {
            let mut coded = outcome?;
            trace.extend(std::mem::take(&mut coded.trace));
            coded.codings.iter_mut().for_each(|coding| decide::decide(coding, self.decision));
            Ok(Coded { trace, ..coded })
        };
        let outcomes = traces.into_iter().map(|outcome| match outcome {
            Ok(trace) => finish(trace, chosen.next().unwrap_or_else(|| Err(no_outcome()))),
            Err(error) => Err(error),
        });
        outcomes.collect()
    }

    /// Lists stage and hash of every model, index and catalogue that can change a result.
    pub fn fingerprints(&self) -> Vec<(&'static str, String)> {
        let mut prints = vec![("ner", self.ner.fingerprint()), ("rerank", self.rerank.fingerprint())];
        prints.extend(self.second_look.iter().map(|look| ("second look", look.fingerprint())));
        prints.extend(self.retriever.fingerprints());
        prints
    }

    /// Tells how many documents to hand over at a time: enough to keep every thread busy, few enough that results come in a steady
    /// flow.
    pub fn batch_documents(&self) -> usize {
        if self.asks { self.chunk_documents } else { BATCH_DOCUMENTS }
    }

    /// Tells whether a language model is asked, so that a document takes seconds rather than a fraction of a millisecond.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Returns the stage that finds candidates.
    pub fn retriever(&self) -> &Retriever {
        &self.retriever
    }
}

fn no_outcome() -> Error {
    Error::Generation {
        engine: "the re-ranker".into(),
        reason: "a document was passed over".into(),
        engine_lost: false,
    }
}

/// Returns what writers look codes up with: the catalogue of a pipeline.
pub fn lookup(pipeline: &Arc<Pipeline>) -> Lookup {
    let pipeline = pipeline.clone();
    Arc::new(move |code: &IcdCode| {
        let catalog = pipeline.retriever().catalog();
        Some(Entry { row: catalog.row(code)?, title: catalog.title(code) })
    })
}

/// Gathers the distinct codes of a document.
pub fn aggregate(codings: &[Coding]) -> CodeSet {
    codings.iter().filter_map(|coding| coding.code.clone()).collect()
}
