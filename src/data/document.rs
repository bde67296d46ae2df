//! A document, bare or with gold annotation.

use super::Span;
use crate::icd::IcdCode;

/// One text to code, with the name that its results carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Name, unique within a corpus.
    pub id: String,
    /// Text as it came, UTF-8.
    pub text: String,
}

/// A document with what annotators marked in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedDocument {
    /// The text.
    pub document: Document,
    /// Marked places in file order, nested ones included.
    pub entities: Vec<Entity>,
}

impl AnnotatedDocument {
    /// Returns the entities that lie within no other one, in text order; of equal spans the first counts.
    pub fn outermost(&self) -> Vec<&Entity> {
        let mut sorted: Vec<&Entity> = self.entities.iter().collect();
        sorted.sort_by_key(|entity| (entity.span.start_byte(), std::cmp::Reverse(entity.span.end_byte())));
        let mut kept: Vec<&Entity> = Vec::with_capacity(sorted.len());
        for entity in sorted {
            if !kept.last().is_some_and(|outer| outer.span.overlaps(entity.span)) {
                kept.push(entity);
            }
        }
        kept
    }
}

/// A marked place and the code an annotator gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Place in the document's text.
    pub span: Span,
    /// Code, or `None` where the annotator gave none.
    pub code: Option<IcdCode>,
}
