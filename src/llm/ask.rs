//! Questions of a stage go to a model together; each comes back with its answer, or with the error that kept it from one.

use super::{Answer, Generate, Request};
use crate::{
    data::{Exchange, Span, Step},
    error::{Error, Result},
};

/// A request that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What was asked.
    pub request: Request,
    /// What was said.
    pub answer: Answer,
}

/// Asks all that could be asked; `outcomes[i]` belongs to `requests[i]`, also where that is an error.
pub fn ask(model: &dyn Generate, requests: Vec<Result<Request>>) -> Vec<Result<Asked>> {
    let mut sound = Vec::with_capacity(requests.len());
    let errors: Vec<Option<Error>> =
        requests.into_iter().map(|request| request.map(|request| sound.push(request)).err()).collect();
    let answers = if sound.is_empty() { Vec::new() } else { model.generate(&sound) };
    let mut answered =
        sound.into_iter().zip(answers).map(|(request, answer)| answer.map(|answer| Asked { request, answer }));
    let unanswered = || Error::Generation {
        engine: model.fingerprint(),
        reason: "fewer answers came than requests were sent".to_owned(),
        engine_lost: false,
    };
    errors
        .into_iter()
        .map(|error| match error {
            Some(error) => Err(error),
            None => answered.next().unwrap_or_else(|| Err(unanswered())),
        })
        .collect()
}

impl Asked {
    /// Notes question and answer for the trace; `outcome` is what was made of it, `confidence` the probability of that.
    pub fn note(self, step: Step, mention: Option<Span>, outcome: String, confidence: Option<f32>) -> Exchange {
        let Self { request, answer } = self;
        Exchange {
            step,
            mention,
            messages: request.messages,
            outcome,
            confidence,
            prompt_tokens: answer.prompt_tokens,
            answer_tokens: answer.answer_tokens,
            answer: answer.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{
        Constraint,
        scripted::{Scripted, failure, said},
    };

    fn request(max_tokens: usize) -> Request {
        Request { messages: Vec::new(), max_tokens, temperature: 0.0, seed: 0, constraint: Constraint::Free }
    }

    #[test]
    fn each_question_gets_its_own_answer_or_error() {
        let model = Scripted::new(|request| match request.max_tokens {
            2 => Err(failure("two", false)),
            tokens => Ok(said(request, &tokens.to_string())),
        });
        let requests = vec![Ok(request(1)), Err(failure("no prompt", false)), Ok(request(2)), Ok(request(3))];
        let told: Vec<String> = ask(&model, requests)
            .into_iter()
            .map(|outcome| outcome.map_or_else(|error| error.to_string(), |asked| asked.answer.text))
            .collect();
        let failed = |reason| format!("the scripted model did not answer: {reason}");
        assert_eq!(told, ["1".to_owned(), failed("no prompt"), failed("two"), "3".to_owned()]);
        assert_eq!(model.requests().len(), 3);
    }

    #[test]
    fn an_answer_that_never_came_is_an_error() {
        struct Silent;
        impl Generate for Silent {
            fn generate(&self, _: &[Request]) -> Vec<Result<Answer>> {
                Vec::new()
            }
            fn fingerprint(&self) -> String {
                "silent".to_owned()
            }
        }
        assert!(matches!(ask(&Silent, vec![Ok(request(1))])[..], [Err(Error::Generation { .. })]));
    }
}
