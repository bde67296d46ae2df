//! A model for tests: it says what the test wrote down, and remembers what it was asked.

use std::sync::{Mutex, PoisonError};

use super::{Answer, Constraint, Finish, Generate, Request};
use crate::error::{Error, Result};

/// Makes the answer to a request.
type Respond = Box<dyn Fn(&Request) -> Result<Answer> + Send + Sync>;

/// A [`Generate`] that answers from a script. For tests only: it knows no language.
pub struct Scripted {
    respond: Respond,
    requests: Mutex<Vec<Request>>,
}

impl Scripted {
    /// Answers each request with what `respond` makes of it.
    pub fn new(respond: impl Fn(&Request) -> Result<Answer> + Send + Sync + 'static) -> Self {
        Self { respond: Box::new(respond), requests: Mutex::default() }
    }

    /// Answers the first request with the first text and so on; fails once the texts are used up.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let left = Mutex::new(texts.into_iter());
        Self::new(move |request| {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            next.map(|text| said(request, &text)).ok_or_else(|| failure("the script has ended", false))
        })
    }

    /// Fails every request; `engine_lost` as in [`Error::Generation`].
    pub fn failing(engine_lost: bool) -> Self {
        Self::new(move |_| Err(failure("the script says so", engine_lost)))
    }

    /// Returns the requests so far, in the order they were answered.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Generate for Scripted {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        let answer = |request: &Request| {
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            (self.respond)(request)
        };
        requests.iter().map(answer).collect()
    }

    fn fingerprint(&self) -> String {
        "scripted".to_owned()
    }
}

/// Returns an answer to `request` that ended by itself. Tokens are counted as words; under [`Constraint::Choice`] the label
/// said has probability 1.
pub fn said(request: &Request, text: &str) -> Answer {
    let words = |text: &str| text.split_whitespace().count();
    let choice = match &request.constraint {
        Constraint::Choice { labels } if labels.iter().any(|label| label == text) => {
            Some(labels.iter().map(|label| f32::from(u8::from(label == text))).collect())
        }
        _ => None,
    };
    Answer {
        text: text.to_owned(),
        finish: Finish::Stop,
        tokens: Vec::new(),
        choice,
        prompt_tokens: request.messages.iter().map(|message| words(&message.content)).sum(),
        answer_tokens: words(text),
    }
}

/// Returns the error with which a scripted model fails.
pub fn failure(reason: &str, engine_lost: bool) -> Error {
    Error::Generation { engine: "the scripted model".to_owned(), reason: reason.to_owned(), engine_lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Message, Role};

    fn request(content: &str) -> Request {
        let labels = vec!["0".into(), "1".into()];
        let messages = vec![Message { role: Role::User, content: content.into() }];
        Request { messages, max_tokens: 8, temperature: 0.0, seed: 0, constraint: Constraint::Choice { labels } }
    }

    #[test]
    fn says_its_texts_in_order_and_remembers_the_questions() {
        let model = Scripted::texts(["1", "иное"]);
        let answers = model.generate(&[request("а б"), request("в"), request("г")]);
        let first = answers[0].as_ref().unwrap();
        assert_eq!(
            (first.text.as_str(), first.choice.as_deref(), first.prompt_tokens),
            ("1", Some(&[0.0, 1.0][..]), 2)
        );
        assert_eq!(answers[1].as_ref().unwrap().choice, None);
        assert!(matches!(answers[2], Err(Error::Generation { engine_lost: false, .. })));
        assert_eq!(model.requests(), [request("а б"), request("в"), request("г")]);
        assert!(matches!(
            Scripted::failing(true).generate(&[request("а")])[0],
            Err(Error::Generation { engine_lost: true, .. })
        ));
    }
}
