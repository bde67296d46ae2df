//! Held-out documents: a recogniser comes in, its precision, recall and F1 on them leave.

use super::gold::{Counts, Gold};
use crate::{
    error::Result,
    ner::bert::{Recogniser, Text},
    nn::fit::{Evaluation, fingerprint},
};

/// Annotated documents that a model is measured on while it learns.
#[derive(Default)]
pub struct Dev {
    /// Texts and what is annotated in them; none: nothing is measured.
    pub documents: Vec<(String, Gold)>,
    /// Longest window, in tokens with special ones.
    pub max_tokens: usize,
}

impl Dev {
    /// Returns a hash of the documents and what is annotated in them.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.documents.iter().map(|(text, gold)| (text, gold.spans())).collect::<Vec<_>>())
    }

    /// Measures a recogniser by exact spans; `None` if there are no documents.
    ///
    /// # Errors
    /// Those of the device.
    pub fn evaluate(&self, recogniser: &Recogniser) -> Result<Option<Evaluation>> {
        if self.documents.is_empty() {
            return Ok(None);
        }
        let texts: Vec<&Text> = self.documents.iter().map(|(_, gold)| &gold.text).collect();
        let mut counts = Counts::default();
        for ((text, gold), found) in self.documents.iter().zip(recogniser.find(&texts)) {
            counts += gold.compare(text, found?)?;
        }
        let (precision, recall, f1) = counts.scores();
        Ok(Some(Evaluation { score: f1, figures: vec![("precision", precision), ("recall", recall), ("f1", f1)] }))
    }
}
