//! Annotated corpora for the commands that train or measure: loaded, with their faults told to the user.

use std::path::Path;

use crate::{
    corpus::brat,
    data::{AnnotatedDocument, Match, Mention, Span},
    icd::IcdCode,
};

/// Loads an annotated brat folder and prints on stderr how much was read and repaired.
pub(super) fn load_annotated(folder: &Path) -> anyhow::Result<Vec<AnnotatedDocument>> {
    let (documents, report) = brat::load(folder)?;
    eprintln!("{}: {report}", folder.display());
    Ok(documents)
}

/// Makes mentions of the gold entities that have a code, and lists their codes.
pub(super) fn gold_mentions(document: &AnnotatedDocument) -> (Vec<Mention>, Vec<&IcdCode>) {
    let coded = document.entities.iter().filter_map(|entity| Some((entity.span, entity.code.as_ref()?)));
    let mention = |span: Span| Mention {
        span,
        text: span.slice(&document.document.text).to_owned(),
        matched: Match::Exact,
        probability: 1.0,
    };
    coded.map(|(span, code)| (mention(span), code)).unzip()
}
