//! The whole program: documents come in, codings leave. The only place that puts the stages together.

mod decide;
mod load;

pub use load::{ENCODER_FILE, catalog_rows, load_encoder, load_retriever};

use rayon::prelude::*;

use crate::{
    config::DecisionConfig,
    data::{CodeSet, Coding, Document, Mention},
    error::Result,
    ner::Ner,
    rerank::Rerank,
    retrieval::Retriever,
};

/// Documents that one thread takes at a time: enough to batch a search, few enough to spread a small corpus.
const CHUNK_DOCUMENTS: usize = 16;

/// Mentions that one search looks up together.
const CHUNK_MENTIONS: usize = 256;

/// The stages, ready to run.
pub struct Pipeline {
    ner: Box<dyn Ner>,
    retriever: Retriever,
    rerank: Box<dyn Rerank>,
    decision: DecisionConfig,
    min_probability: f32,
}

impl Pipeline {
    /// Codes documents in parallel. Each gets its own outcome, in the order given: one that fails does not stop the others.
    pub fn code(&self, documents: &[Document]) -> Vec<Result<Vec<Coding>>> {
        documents.par_chunks(CHUNK_DOCUMENTS).flat_map_iter(|chunk| self.code_chunk(chunk)).collect()
    }

    fn code_chunk(&self, documents: &[Document]) -> Vec<Result<Vec<Coding>>> {
        match self.recognise(documents).and_then(|mentions| self.link_chunk(documents, mentions)) {
            Ok(codings) => codings.into_iter().map(Ok).collect(),
            Err(error) if documents.len() == 1 => vec![Err(error)],
            // One document of the chunk failed: find out which.
            Err(_) => documents.iter().flat_map(|one| self.code_chunk(std::slice::from_ref(one))).collect(),
        }
    }

    fn recognise(&self, documents: &[Document]) -> Result<Vec<Vec<Mention>>> {
        let mut mentions = self.ner.recognise(documents)?;
        for mentions in &mut mentions {
            mentions.retain(|mention| mention.probability >= self.min_probability);
        }
        Ok(mentions)
    }

    /// Codes mentions that are known already, such as gold ones; `mentions[i]` belong to `documents[i]`.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn link(&self, documents: &[Document], mentions: Vec<Vec<Mention>>) -> Result<Vec<Vec<Coding>>> {
        let chunks: Vec<_> = mentions.chunks(CHUNK_DOCUMENTS).map(<[_]>::to_vec).collect();
        let linked: Result<Vec<_>> = documents
            .par_chunks(CHUNK_DOCUMENTS)
            .zip(chunks)
            .map(|(documents, mentions)| self.link_chunk(documents, mentions))
            .collect();
        Ok(linked?.into_iter().flatten().collect())
    }

    fn link_chunk(&self, documents: &[Document], mentions: Vec<Vec<Mention>>) -> Result<Vec<Vec<Coding>>> {
        let all: Vec<Mention> = mentions.iter().flatten().cloned().collect();
        // A huge document is a chunk of its own: its mentions are spread over the threads here.
        let found: Result<Vec<_>> = all.par_chunks(CHUNK_MENTIONS).map(|some| self.retriever.retrieve(some)).collect();
        let mut candidates = found?.into_iter().flatten();
        let mut codings = Vec::with_capacity(documents.len());
        for (document, mentions) in documents.iter().zip(mentions) {
            let own = candidates.by_ref().take(mentions.len()).collect();
            let mut coded = self.rerank.rerank(document, mentions, own)?;
            coded.iter_mut().for_each(|coding| decide::decide(coding, self.decision));
            codings.push(coded);
        }
        Ok(codings)
    }

    /// Lists stage and hash of every model, index and catalogue that can change a result.
    pub fn fingerprints(&self) -> Vec<(&'static str, String)> {
        let mut prints = vec![("ner", self.ner.fingerprint()), ("rerank", self.rerank.fingerprint())];
        prints.extend(self.retriever.fingerprints());
        prints
    }

    /// Returns the stage that finds candidates.
    pub fn retriever(&self) -> &Retriever {
        &self.retriever
    }
}

/// Gathers the distinct codes of a document.
pub fn aggregate(codings: &[Coding]) -> CodeSet {
    codings.iter().filter_map(|coding| coding.code.clone()).collect()
}
