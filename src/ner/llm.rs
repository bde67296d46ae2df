//! The `llm` engine: a prompt asks a language model for the diagnoses in a document, and what it quotes is checked against the
//! text.

use std::sync::Arc;

use serde_json::json;

use super::{
    Ner, Recognised,
    align::{Aligned, EditLimit, align},
};
use crate::{
    config::{ExtractConfig, ExtractDecoding},
    data::{AnnotatedDocument, Document, Exchange, Step, Trace},
    error::Result,
    llm::{Answer, Constraint, Generate, Request, answer::parse_list},
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
    /// Puts model and prompt together; with `settings.shots` each document is asked for with that many of the `examples` most like it.
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
            constraint,
        })
    }

    fn read(&self, document: &Document, request: Request, answer: Answer) -> Recognised {
        let parsed = parse_list(&answer.text, answer.finish, self.settings.max_items);
        let limit = self.settings.max_edits.map_or(EditLimit::Quarter, EditLimit::Fixed);
        let Aligned { mentions, faults } = align(&document.text, &parsed.items, limit);
        let exchange = Exchange {
            step: Step::Extract,
            mention: None,
            messages: request.messages,
            outcome: format!("{} quoted, {} found in the text", parsed.items.len(), mentions.len()),
            confidence: answer.probability(),
            prompt_tokens: answer.prompt_tokens,
            answer_tokens: answer.answer_tokens,
            answer: answer.text,
        };
        let faults = parsed.faults.into_iter().chain(faults).collect();
        Recognised { mentions, trace: Trace { exchanges: vec![exchange], faults } }
    }
}

impl Ner for LlmNer {
    /// Mentions may overlap, as the model quotes them.
    fn recognise(&self, documents: &[Document]) -> Vec<Result<Recognised>> {
        // A text without any word holds no diagnosis, and some models take it for an invitation to make one up.
        let says_something = |document: &&Document| document.text.contains(char::is_alphanumeric);
        let asked: Vec<Result<Request>> =
            documents.iter().filter(says_something).map(|document| self.request(document)).collect();
        let requests: Vec<Request> = asked.iter().flatten().cloned().collect();
        let mut answers = self.model.generate(&requests).into_iter();
        let mut asked = asked.into_iter();
        let outcome = |document: &Document| {
            if !says_something(&document) {
                return Some(Ok(Recognised::default()));
            }
            Some(match asked.next()? {
                Err(error) => Err(error),
                Ok(request) => answers.next()?.map(|answer| self.read(document, request, answer)),
            })
        };
        documents.iter().filter_map(outcome).collect()
    }

    fn fingerprint(&self) -> String {
        let Self { model, prompt, settings, .. } = self;
        format!("llm-{}-{}-{:?}", model.fingerprint(), prompt.fingerprint(), settings.decoding).to_lowercase()
    }
}
