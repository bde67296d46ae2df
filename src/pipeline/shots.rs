//! Annotated documents come in; examples of a right choice leave, as the selection prompt shows them.

use crate::{
    data::{AnnotatedDocument, Candidate, Match, Mention},
    error::Result,
    prompt::Shot,
    rerank::llm::{LlmRerank, Question},
    retrieval::Retriever,
};

/// Mentions looked up for each example wanted, for not every one makes an example.
const LOOKED_UP_FOR_EACH: usize = 8;

/// Draws up to `count` examples from mentions spread evenly over `corpus`; each offers at most `offered` candidates.
///
/// A mention whose own words stand in the index teaches little, so others go before it.
///
/// # Errors
/// Those of the retrieval.
pub(super) fn draw_select_shots(
    corpus: &[AnnotatedDocument],
    retriever: &Retriever,
    engine: &LlmRerank,
    count: usize,
    offered: usize,
) -> Result<Vec<Shot>> {
    let coded = corpus.iter().flat_map(|annotated| {
        let entities = annotated.outermost().into_iter();
        entities.filter_map(|entity| Some((&annotated.document, entity.span, entity.code.as_ref()?)))
    });
    let coded: Vec<_> = coded.collect();
    let step = (coded.len() / (count * LOOKED_UP_FOR_EACH).max(1)).max(1);
    let coded: Vec<_> = coded.into_iter().step_by(step).collect();
    let mentions: Vec<Mention> = coded
        .iter()
        .map(|(document, span, _)| {
            let text = span.slice(&document.text).to_owned();
            Mention { span: *span, text, matched: Match::Exact, probability: 1.0 }
        })
        .collect();
    let mut found = retriever.retrieve(&mentions)?;
    found.iter_mut().for_each(|candidates| candidates.truncate(offered));
    let own_words = |candidates: &Vec<Candidate>| candidates.iter().flat_map(|it| &it.support).any(|row| row.exact);
    let mut order: Vec<usize> = (0..found.len()).filter(|&at| !found[at].is_empty()).collect();
    order.sort_by_key(|&at| own_words(&found[at]));
    let shots = order.into_iter().filter_map(|at| {
        let ((document, span, code), mention) = (coded[at], &mentions[at]);
        let question = Question { document, span, words: &mention.text, candidates: &found[at] };
        engine.shot(&question, code)
    });
    Ok(shots.take(count).collect())
}
