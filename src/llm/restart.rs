//! An engine that may die comes in with the way to load it anew; one leaves that is loaded again when it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Answer, Generate, Request};
use crate::error::{Error, Result};

type Load = Box<dyn Fn() -> Result<Arc<dyn Generate>> + Send + Sync>;

/// Loads its engine again when it is lost, and asks what was lost with it once more, one request at a time, so that one that
/// kills the engine takes no other along. The dead engine is let go before, for two may not fit into memory.
pub struct Restarting {
    load: Load,
    /// `None` before the first request, after a load that failed, and once released; the next request loads.
    engine: Mutex<Option<Arc<dyn Generate>>>,
    fingerprint: String,
}

impl Restarting {
    /// Loads the engine for the first time.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn new(load: impl Fn() -> Result<Arc<dyn Generate>> + Send + Sync + 'static) -> Result<Self> {
        let engine = load()?;
        let fingerprint = engine.fingerprint();
        Ok(Self { load: Box::new(load), engine: Mutex::new(Some(engine)), fingerprint })
    }

    /// Waits for the first request; `fingerprint` is the one that the engine will have.
    pub fn on_demand(
        fingerprint: String,
        load: impl Fn() -> Result<Arc<dyn Generate>> + Send + Sync + 'static,
    ) -> Self {
        Self { load: Box::new(load), engine: Mutex::new(None), fingerprint }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<dyn Generate>>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the engine, loaded anew if it is gone.
    fn engine(&self) -> Result<Arc<dyn Generate>> {
        let mut slot = self.slot();
        if let Some(engine) = &*slot {
            return Ok(engine.clone());
        }
        let engine = (self.load)().map_err(|error| Error::Generation {
            engine: "the language model".into(),
            reason: format!("it cannot be loaded: {error}"),
            engine_lost: true,
        })?;
        *slot = Some(engine.clone());
        Ok(engine)
    }

    /// Asks the engine, and lets it go if it is lost.
    fn ask(&self, requests: &[Request]) -> Result<Vec<Result<Answer>>> {
        let engine = self.engine()?;
        let answers = engine.generate(requests);
        if answers.iter().any(is_lost) {
            let mut slot = self.slot();
            // Another thread may have replaced it meanwhile.
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, &engine)) {
                tracing::warn!("the language model's engine is lost; it is loaded again");
                *slot = None;
            }
        }
        Ok(answers)
    }
}

fn is_lost(answer: &Result<Answer>) -> bool {
    matches!(answer, Err(Error::Generation { engine_lost: true, .. }))
}

impl Generate for Restarting {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        let one = |request: &Request| {
            let again = self.ask(std::slice::from_ref(request))?.pop();
            again.unwrap_or_else(|| {
                Err(Error::Generation {
                    engine: "the language model".into(),
                    reason: "it passed a question over".into(),
                    engine_lost: false,
                })
            })
        };
        match self.ask(requests) {
            Err(_) => requests.iter().map(one).collect(),
            Ok(answers) => {
                let second = |(request, answer)| if is_lost(&answer) { one(request) } else { answer };
                requests.iter().zip(answers).map(second).collect()
            }
        }
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn release(&self) {
        *self.slot() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        data::{Message, Role},
        llm::{
            Constraint,
            scripted::{Scripted, failure, said},
        },
    };

    fn ask(content: &str) -> Request {
        let messages = vec![Message { role: Role::User, content: content.into() }];
        Request { messages, max_tokens: 8, temperature: 0.0, seed: 0, constraint: Constraint::Free }
    }

    #[test]
    fn a_request_that_kills_the_engine_is_tried_twice_and_takes_no_other_along() {
        let loads = Arc::new(AtomicUsize::new(0));
        let engine = Restarting::new({
            let loads = loads.clone();
            move || {
                loads.fetch_add(1, Ordering::Relaxed);
                let dead = AtomicUsize::new(0);
                Ok(Arc::new(Scripted::new(move |request| {
                    let content = &request.messages[0].content;
                    if content == "poison" || dead.load(Ordering::Relaxed) > 0 {
                        dead.store(1, Ordering::Relaxed);
                        return Err(failure("it has stopped", true));
                    }
                    Ok(said(request, content))
                })) as Arc<dyn Generate>)
            }
        })
        .unwrap();
        let answers = engine.generate(&["a", "poison", "b", "c"].map(ask));
        let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|it| it.text.as_str()).ok()).collect();
        assert_eq!(texts, [Some("a"), None, Some("b"), Some("c")]);
        // One load at the start, one for the second try of the poison, one for what came after it.
        assert_eq!(loads.load(Ordering::Relaxed), 3);
    }
}
