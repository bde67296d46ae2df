//! The `llm` engine: a prompt asks a language model for the diagnoses in a document, and what it quotes is checked against the
//! text.

use std::sync::Arc;

use serde_json::json;

use super::{
    Ner, Recognised,
    align::{EditLimit, align},
};
use crate::{
    config::{ExtractConfig, ExtractDecoding},
    data::{AnnotatedDocument, Document, Step, Trace},
    error::Result,
    llm::{
        Asked, Constraint, Generate, Request,
        answer::{ParsedList, parse_list},
        ask,
    },
    prompt::{Prompt, draw_extract_shots},
};

/// Asks a language model for a document's diagnoses.
///
/// # Source
/// The paper, Sec. 4.1 and Appendix E.
pub struct LlmNer {
    model: Arc<dyn Generate>,
    prompt: Prompt,
    settings: ExtractConfig,
    /// Annotated documents that examples are drawn from.
    examples: Vec<AnnotatedDocument>,
}

impl LlmNer {
    /// Puts model and prompt together. Each question is preceded by the `settings.shots` of the `examples` that are most like
    /// its document.
    pub fn new(
        model: Arc<dyn Generate>,
        prompt: Prompt,
        settings: ExtractConfig,
        examples: Vec<AnnotatedDocument>,
    ) -> Self {
        Self { model, prompt, settings, examples }
    }

    fn request(&self, document: &Document) -> Result<Request> {
        let text = &document.text;
        let shots = draw_extract_shots(&self.examples, text, self.settings.shots);
        let constraint = match self.settings.decoding {
            ExtractDecoding::Free => Constraint::Free,
            ExtractDecoding::Verbatim => {
                Constraint::Verbatim { source: text.clone(), max_items: self.settings.max_items }
            }
        };
        Ok(Request {
            messages: self.prompt.render(&json!({ "text": text }), &shots)?,
            max_tokens: self.settings.max_tokens,
            temperature: self.settings.temperature,
            seed: self.settings.seed,
            constraint,
        })
    }

    fn read(&self, document: &Document, asked: Asked) -> Recognised {
        let ParsedList { items, mut faults } =
            parse_list(&asked.answer.text, asked.answer.finish, self.settings.max_items);
        let limit = self.settings.max_edits.map_or(EditLimit::Quarter, EditLimit::Fixed);
        let aligned = align(&document.text, &items, limit);
        faults.extend(aligned.faults);
        let outcome = format!("{} quoted, {} found in the text", items.len(), aligned.mentions.len());
        let confidence = asked.answer.probability();
        let exchanges = vec![asked.note(Step::Extract, None, outcome, confidence)];
        Recognised { mentions: aligned.mentions, trace: Trace { exchanges, faults } }
    }
}

impl Ner for LlmNer {
    /// Mentions may overlap, as the model quotes them.
    fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        // A text without any word holds no diagnosis, and some models take it for an invitation to make one up.
        let speaks = |document: &&Document| document.text.contains(char::is_alphanumeric);
        let requests = documents.iter().filter(speaks).map(|document| self.request(document)).collect();
        let mut outcomes = ask(self.model.as_ref(), requests).into_iter();
        let outcome = |document: &Document| match speaks(&document) {
            true => outcomes.next().map(|outcome| outcome.map(|asked| self.read(document, asked))),
            false => Some(Ok(Recognised::default())),
        };
        documents.iter().filter_map(outcome).collect()
    }

    fn fingerprint(&self) -> String {
        format!("llm-{}, {}", self.model.fingerprint(), self.prompt.fingerprint())
    }
}
