//! Questions of selection with known answers: coded notes and a catalogue come in, mentions with their candidates leave.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{
    catalog::Catalog,
    data::{AnnotatedDocument, Candidate, Match, Mention, Origin, Span},
    embed::Embed,
    error::Result,
    icd::IcdCode,
    index::{Index, IndexSettings, SourceRow},
    pipeline::{catalog_rows, mention_rows},
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

/// Records that one annotator coded, counted by numeric id; the retrieval asks, this job does not.
const ANNOTATOR_BLOCK: u32 = 1000;

/// A mention, what is offered for it, and its code.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Place of the mention.
    pub span: Span,
    /// Its words.
    pub words: String,
    /// Text that it stands in.
    pub note: String,
    /// What retrieval finds, best first.
    pub candidates: Vec<Candidate>,
    /// The right code, which may not be among them.
    pub right: IcdCode,
}

/// Looks up the coded mentions of `documents`: each in an index of the catalogue and of the mentions of other parts of the documents, so that
/// none finds itself.
///
/// # Errors
/// Those of the encoder and the index.
pub fn choices_of_notes(
    documents: &[AnnotatedDocument],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    offered: usize,
    folds: usize,
) -> Result<Vec<Choice>> {
    let fold = |fold: usize| {
        let part = |held_out: bool| {
            let some = documents.iter().enumerate().filter(|(at, _)| (at % folds == fold) == held_out);
            some.map(|(_, document)| document.clone()).collect::<Vec<_>>()
        };
        choices_between(&part(false), &part(true), catalog, encoder, offered)
    };
    let parts: Vec<Result<Vec<Choice>>> = (0..folds).into_par_iter().map(fold).collect();
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

/// Looks up the coded mentions of `asked` in an index of the catalogue and of the mentions of `known`.
///
/// # Errors
/// Those of the encoder and the index.
pub fn choices_between(
    known: &[AnnotatedDocument],
    asked: &[AnnotatedDocument],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    offered: usize,
) -> Result<Vec<Choice>> {
    let rows = [catalog_rows(catalog), mention_rows(known, ANNOTATOR_BLOCK)].concat();
    let retriever = retriever(&rows, catalog, encoder)?;
    let mut choices = Vec::new();
    for annotated in asked {
        let coded = annotated.entities.iter().filter_map(|entity| Some((entity.span, entity.code.clone()?)));
        let (mentions, codes): (Vec<Mention>, Vec<IcdCode>) =
            coded.map(|(span, code)| (mention(&annotated.document.text, span), code)).unzip();
        choices.extend(look_up(&retriever, &mentions, codes, &annotated.document.text, offered)?);
    }
    Ok(choices)
}

/// Looks up the synonyms of a catalogue among its titles and the mentions of `documents`.
///
/// # Errors
/// Those of the encoder and the index.
pub fn choices_of_synonyms(
    documents: &[AnnotatedDocument],
    catalog: &Arc<Catalog>,
    encoder: &Arc<dyn Embed>,
    offered: usize,
) -> Result<Vec<Choice>> {
    let (synonyms, titles): (Vec<SourceRow>, Vec<SourceRow>) =
        catalog_rows(catalog).into_iter().partition(|row| row.origin == Origin::Synonym);
    let known = [titles, mention_rows(documents, ANNOTATOR_BLOCK)].concat();
    let retriever = retriever(&known, catalog, encoder)?;
    let one = |row: &SourceRow| {
        let span = Span::new(&row.text, 0, row.text.len())?;
        look_up(&retriever, &[mention(&row.text, span)], vec![row.code.clone()], &row.text, offered)
    };
    let choices: Vec<Result<Vec<Choice>>> = synonyms.par_iter().map(one).collect();
    Ok(choices.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

fn mention(text: &str, span: Span) -> Mention {
    Mention { span, text: span.slice(text).to_owned(), matched: Match::Exact, probability: 1.0 }
}

/// Builds the index that is searched: exact, so that no graph has to be built for it.
fn retriever(rows: &[SourceRow], catalog: &Arc<Catalog>, encoder: &Arc<dyn Embed>) -> Result<Retriever> {
    let settings = IndexSettings { factory: "SQ8".into(), ..IndexSettings::default() };
    let index = Arc::new(Index::build(rows, encoder.as_ref(), settings)?);
    let indexes = vec![SearchedIndex { index, titles: true }];
    Retriever::new(encoder.clone(), indexes, catalog.clone(), false, RetrievalSettings::default())
}

fn look_up(
    retriever: &Retriever,
    mentions: &[Mention],
    codes: Vec<IcdCode>,
    note: &str,
    offered: usize,
) -> Result<Vec<Choice>> {
    let found = retriever.retrieve(mentions)?;
    let choice = |((mention, right), mut candidates): ((&Mention, IcdCode), Vec<Candidate>)| {
        candidates.truncate(offered);
        Choice { span: mention.span, words: mention.text.clone(), note: note.to_owned(), candidates, right }
    };
    Ok(mentions.iter().zip(codes).zip(found).map(choice).collect())
}
