//! An engine that may die comes in with the way to load it anew; one leaves that is loaded again when it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Answer, Generate, Request};
use crate::error::{Error, Result};

type Load = Box<dyn Fn() -> Result<Arc<dyn Generate>> + Send + Sync>;

/// Loads its engine again when it is lost, and asks what was lost with it once more, one request at a time, so that one that
/// kills the engine takes no other along.
pub struct Restarting {
    load: Load,
    engine: Mutex<Arc<dyn Generate>>,
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
        Ok(Self { load: Box::new(load), engine: Mutex::new(engine), fingerprint })
    }

    fn engine(&self) -> MutexGuard<'_, Arc<dyn Generate>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the engine anew unless another thread has replaced `dead` meanwhile.
    fn replace(&self, dead: &Arc<dyn Generate>) -> Result<Arc<dyn Generate>> {
        let mut engine = self.engine();
        if Arc::ptr_eq(&engine, dead) {
            tracing::warn!("the language model's engine is lost; loading it again");
            *engine = (self.load)()?;
        }
        Ok(engine.clone())
    }
}

fn is_lost(answer: &Result<Answer>) -> bool {
    matches!(answer, Err(Error::Generation { engine_lost: true, .. }))
}

impl Generate for Restarting {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        let mut engine = self.engine().clone();
        let mut answers = engine.generate(requests);
        let mut is_dead = true;
        for (request, answer) in requests.iter().zip(&mut answers).filter(|(_, answer)| is_lost(answer)) {
            if is_dead {
                match self.replace(&engine) {
                    Ok(fresh) => engine = fresh,
                    Err(error) => {
                        *answer = Err(error);
                        continue;
                    }
                }
            }
            if let Some(again) = engine.generate(std::slice::from_ref(request)).pop() {
                *answer = again;
            }
            is_dead = is_lost(answer);
        }
        answers
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
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
        Request { messages, max_tokens: 8, temperature: 0.0, constraint: Constraint::Free }
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
