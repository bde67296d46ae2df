//! A language model that is asked nothing twice: requests come in, answers leave, those that the cache knows from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::cache::{Cache, Key, key};
use crate::{
    config::LlmConfig,
    error::{Error, Result},
    hub,
    llm::{self, Answer, Constraint, Generate, Request},
};

/// Questions that a dry run asks to learn how long they take, after a first one.
const TIMED: usize = 3;

/// What became of the requests of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Calls {
    /// Answered by the model.
    pub asked: u64,
    /// Known from the cache.
    pub reused: u64,
    /// Seconds that the model took.
    pub seconds: f64,
    /// On a dry run: questions that would be asked, by kind.
    #[serde(skip)]
    pub missing: BTreeMap<String, BTreeSet<Key>>,
}

/// The models of an experiment, each once, with the cache before them.
pub struct ModelPool {
    cache: Arc<Cache>,
    limit_bytes: u64,
    /// Whether nothing is asked, only counted.
    dry: bool,
    counts: Arc<Mutex<Calls>>,
    /// By settings and adapter.
    made: BTreeMap<String, Made>,
}

struct Made {
    model: Arc<Cached>,
    /// Of its files.
    bytes: u64,
}

impl ModelPool {
    /// Makes an empty set; models whose files take more than `limit_bytes` together are not loaded at a time.
    pub fn new(cache: Arc<Cache>, limit_bytes: u64, dry: bool) -> Self {
        Self { cache, limit_bytes, dry, counts: Arc::default(), made: BTreeMap::new() }
    }

    /// Returns a model, checked but not loaded before it is asked.
    ///
    /// # Errors
    /// Those of [`llm::on_demand`]; [`Error::Cache`].
    pub fn get(&mut self, settings: &LlmConfig, adapter: Option<&Path>) -> Result<Arc<dyn Generate>> {
        let name = format!("{} {adapter:?}", serde_json::to_string(settings).unwrap_or_default());
        if !self.made.contains_key(&name) {
            let model = llm::on_demand(settings, adapter)?;
            let cached = Cached {
                // Servers tell a model's name alone: another one may serve other weights under it. In process, another build may answer
                // otherwise.
                fingerprint: match settings.servers.is_empty() {
                    true => format!("{} {}", model.fingerprint(), self.cache.program_sha256()?),
                    false => format!("{} {}", model.fingerprint(), settings.servers.join(" ")),
                },
                model,
                cache: self.cache.clone(),
                dry: self.dry,
                timed: Mutex::default(),
                counts: self.counts.clone(),
            };
            let bytes = settings.model.as_deref().and_then(hub::on_this_machine).map_or(0, |path| size_bytes(&path));
            self.made.insert(name.clone(), Made { model: Arc::new(cached), bytes });
        }
        Ok(self.made[&name].model.clone())
    }

    /// Lets go of models other than one that is about to be asked, if all would not fit together.
    pub fn make_room_for(&self, needed: &Option<Arc<dyn Generate>>) {
        let is_needed =
            |made: &Made| needed.as_ref().is_some_and(|model| model.fingerprint() == made.model.fingerprint);
        if self.made.values().map(|made| made.bytes).sum::<u64>() > self.limit_bytes {
            self.made.values().filter(|made| !is_needed(made)).for_each(|made| made.model.release());
        }
    }

    /// Returns what became of the requests since the last time.
    pub fn take_counts(&self) -> Calls {
        std::mem::take(&mut *lock(&self.counts))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the length of a file, or of all files in a folder.
fn size_bytes(path: &PathBuf) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| size_bytes(&entry.path())).sum()
}

/// A model behind the cache.
struct Cached {
    model: Arc<dyn Generate>,
    fingerprint: String,
    cache: Arc<Cache>,
    dry: bool,
    /// Questions that a dry run asked, by kind.
    timed: Mutex<BTreeMap<String, usize>>,
    counts: Arc<Mutex<Calls>>,
}

impl Cached {
    fn answers(&self, requests: &[Request]) -> Result<Vec<Result<Answer>>> {
        let keys: Vec<Key> = requests.iter().map(|request| key(&self.fingerprint, request)).collect();
        let mut known = self.cache.answers(&keys)?;
        // Each question once, also where a batch has it twice.
        let mut places: BTreeMap<Key, usize> = BTreeMap::new();
        for at in (0..requests.len()).filter(|&at| known[at].is_none()) {
            places.entry(keys[at]).or_insert(at);
        }
        lock(&self.counts).reused += (requests.len() - places.len()) as u64;
        if self.dry {
            self.time(requests, &mut places, &mut known)?;
            let mut counts = lock(&self.counts);
            for (key, at) in &places {
                counts.missing.entry(self.kind(&requests[*at])).or_default().insert(*key);
            }
        } else if !places.is_empty() {
            let mut failed = self.ask(requests, &places, &mut known, true)?;
            let told: BTreeMap<Key, String> = failed.iter().map(|(&key, error)| (key, error.to_string())).collect();
            let outcome = |(key, known)| outcome(known, failed.remove(key), told.get(key));
            return Ok(keys.iter().zip(known).map(outcome).collect());
        }
        Ok(known.into_iter().map(|known| outcome(known, None, None)).collect())
    }

    /// Asks some questions of kinds that were never asked, to learn how long they take; takes them out of `places`.
    fn time(
        &self,
        requests: &[Request],
        places: &mut BTreeMap<Key, usize>,
        known: &mut [Option<Answer>],
    ) -> Result<()> {
        let mut by_kind: BTreeMap<String, Vec<(Key, usize)>> = BTreeMap::new();
        for (&key, &at) in places.iter() {
            by_kind.entry(self.kind(&requests[at])).or_default().push((key, at));
        }
        for (kind, some) in by_kind {
            let so_far = lock(&self.timed).get(&kind).copied().unwrap_or(0);
            if so_far == 0 && self.cache.seconds_each(&kind)?.is_some() {
                continue;
            }
            // The first may have to wait for the model to be loaded.
            let (first, others) = some.split_at(usize::from(so_far == 0));
            let others = &others[..others.len().min(TIMED + 1 - so_far.max(1))];
            for (part, is_timed) in [(first, false), (others, true)] {
                let asked = part.iter().copied().collect();
                self.ask(requests, &asked, known, is_timed)?;
                places.retain(|key, _| !asked.contains_key(key));
            }
            *lock(&self.timed).entry(kind).or_default() += first.len() + others.len();
        }
        Ok(())
    }

    /// Asks the model, and puts what it answers where it is wanted; returns what failed. Notes how long it took where `is_timed`.
    fn ask(
        &self,
        requests: &[Request],
        places: &BTreeMap<Key, usize>,
        known: &mut [Option<Answer>],
        is_timed: bool,
    ) -> Result<BTreeMap<Key, Error>> {
        let asked: Vec<Request> = places.values().map(|&at| requests[at].clone()).collect();
        let started = Instant::now();
        let outcomes = self.model.generate(&asked);
        let seconds = started.elapsed().as_secs_f64();
        let (mut answered, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for (key, outcome) in places.keys().zip(outcomes) {
            match outcome {
                Ok(answer) => drop(answered.insert(*key, answer)),
                Err(error) => drop(failed.insert(*key, error)),
            }
        }
        if let Some(first) = asked.first() {
            self.cache.keep(&answered, &self.kind(first), is_timed.then_some(seconds))?;
        }
        for (at, request) in requests.iter().enumerate() {
            if known[at].is_none() {
                known[at] = answered.get(&key(&self.fingerprint, request)).cloned();
            }
        }
        let mut counts = lock(&self.counts);
        counts.asked += answered.len() as u64;
        counts.seconds += seconds;
        Ok(failed)
    }

    /// Names questions that take about as long as each other.
    fn kind(&self, request: &Request) -> String {
        let constraint = match request.constraint {
            Constraint::Free => "free",
            Constraint::Verbatim { .. } => "verbatim",
            Constraint::Choice { .. } => "choice",
        };
        format!("{}, {constraint}, {}", self.fingerprint, request.max_tokens)
    }
}

/// A question that is neither known nor asked has no answer; nor has one that failed beside an equal one, of which the reason is told.
fn outcome(known: Option<Answer>, failed: Option<Error>, why: Option<&String>) -> Result<Answer> {
    let not_asked = || Error::Generation {
        engine: "the language model".into(),
        reason: why.cloned().unwrap_or_else(|| "the question was only counted".into()),
        engine_lost: false,
    };
    known.ok_or_else(|| failed.unwrap_or_else(not_asked))
}

impl Generate for Cached {
    fn generate(&self, requests: &[Request]) -> Vec<Result<Answer>> {
        self.answers(requests).unwrap_or_else(|error| {
            // The cache's own failure would be that of every request.
            let reason = error.to_string();
            let failed = |_: &Request| {
                let engine = "the cache of answers".into();
                Err(Error::Generation { engine, reason: reason.clone(), engine_lost: true })
            };
            requests.iter().map(failed).collect()
        })
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn release(&self) {
        self.model.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        data::{Message, Role},
        llm::scripted::{Scripted, said},
    };

    fn request(content: &str) -> Request {
        let messages = vec![Message { role: Role::User, content: content.into() }];
        Request { messages, max_tokens: 8, temperature: 0.0, seed: 0, constraint: Constraint::Free }
    }

    fn cached(cache: &Arc<Cache>, counts: &Arc<Mutex<Calls>>, dry: bool) -> Cached {
        let model =
            Arc::new(Scripted::new(|request: &Request| Ok(said(request, &request.messages[0].content.to_uppercase()))));
        let (cache, counts) = (cache.clone(), counts.clone());
        Cached { fingerprint: model.fingerprint(), model, cache, dry, timed: Mutex::default(), counts }
    }

    /// A model that counts how often it is let go.
    struct Released(&'static str, AtomicUsize);

    impl Generate for Released {
        fn generate(&self, _: &[Request]) -> Vec<Result<Answer>> {
            Vec::new()
        }

        fn fingerprint(&self) -> String {
            self.0.into()
        }

        fn release(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn models_that_do_not_fit_together_are_let_go_but_for_the_one_that_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(folder.path()).unwrap());
        let released = |limit_bytes| {
            let models = ["a", "b"].map(|name| Arc::new(Released(name, AtomicUsize::new(0))));
            let mut pool = ModelPool::new(cache.clone(), limit_bytes, false);
            for model in &models {
                let (fingerprint, counts) = (model.fingerprint(), pool.counts.clone());
                let (model, cache, timed) = (model.clone(), cache.clone(), Mutex::default());
                let model = Cached { fingerprint, model, cache, dry: false, timed, counts };
                pool.made.insert(model.fingerprint(), Made { model: Arc::new(model), bytes: 6 });
            }
            let asked: Arc<dyn Generate> = pool.made["a"].model.clone();
            pool.make_room_for(&Some(asked));
            models.map(|model| model.1.load(Ordering::Relaxed))
        };
        assert_eq!((released(10), released(12)), ([0, 1], [0, 0]));
    }

    #[test]
    fn a_question_is_asked_once_and_some_are_timed_on_a_dry_run() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(folder.path()).unwrap());
        let counts = Arc::new(Mutex::new(Calls::default()));
        let dry = cached(&cache, &counts, true);
        let missing = || std::mem::take(&mut *lock(&counts)).missing.values().map(BTreeSet::len).sum::<usize>();
        // One that loads the model, and three that are timed, however many come at a time.
        let is_known = |some: &[&str]| {
            let answers = dry.generate(&some.iter().map(|one| request(one)).collect::<Vec<_>>());
            answers.iter().filter(|answer| answer.is_ok()).count()
        };
        assert_eq!((is_known(&["u"]), is_known(&["v"]), missing()), (1, 1, 0));
        assert_eq!((is_known(&["w", "x", "y", "z"]), missing()), (2, 2));
        assert_eq!((is_known(&["w", "x", "y", "z", "w"]) >= 2, missing()), (true, 2));
        let questions = ["a", "b", "a"].map(request);
        assert!(dry.generate(&questions).iter().all(Result::is_err));
        assert_eq!(missing(), 2);
        let model = cached(&cache, &counts, false);
        let said = |answers: Vec<Result<Answer>>| answers.into_iter().map(|one| one.unwrap().text).collect::<Vec<_>>();
        assert_eq!(said(model.generate(&questions)), ["A", "B", "A"]);
        assert_eq!(said(model.generate(&["b", "c"].map(request))), ["B", "C"]);
        let Calls { asked, reused, .. } = lock(&counts).clone();
        assert_eq!((asked, reused), (3, 2));
        assert_eq!(said(dry.generate(&questions)), ["A", "B", "A"]);
    }
}
