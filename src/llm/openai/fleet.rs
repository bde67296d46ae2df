//! Requests come in; each goes to the least busy living server, and again, and elsewhere, until one answers.
//!
//! | what happened | what follows |
//! |---|---|
//! | status 408, 429, 500 and above but 502–504 | the request waits, then tries again; `Retry-After` is for the whole server, at most for the time-out |
//! | no connection, a broken one, 502–504 | the server rests; the request tries again, elsewhere if it can |
//! | no answer in time | the server rests; the request tries once more on another server, if there is one |
//! | any other status, a malformed reply | the request fails |
//!
//! Waits double from 0.25 s to 30 s, less a random part of up to a half. A server that rested `retries` times and still does not
//! answer is dead: nothing is sent to it for a minute, then it is tried again. When all are dead, requests fail at once and say so.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_openai::Client;
use reqwest::header::HeaderValue;
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use super::{
    ServerSettings, Structured, address,
    address::Address,
    identity::{agree, identify},
    message,
    transport::{self, Endpoint, Failure, FailureKind},
};
use crate::{
    error::{Error, Result},
    llm::{Answer, Request},
};

/// Time after which a dead server is tried again.
const DEAD: Duration = Duration::from_secs(60);

/// Servers that serve the same model.
pub(super) struct Fleet {
    members: Vec<Member>,
    states: Mutex<Vec<State>>,
    /// Rings when a request ends, and when a server dies.
    freed: Notify,
    model: String,
    max_in_flight: usize,
    retries: u32,
    timeout: Duration,
}

/// A server.
struct Member {
    /// Its address, for messages.
    base: String,
    client: Client<Endpoint>,
    /// What it says it is, such as `vllm`; `unknown` if it does not.
    kind: String,
    /// How it takes constraints; never `Auto`.
    structured: Structured,
}

/// How a server does.
struct State {
    in_flight: usize,
    /// Requests it ever got: of equally busy servers the one that got fewer is taken.
    asked: u64,
    /// Rests in a row without an answer.
    failures: u32,
    /// Nothing is sent to it before.
    not_before: Instant,
}

/// Where a request may go.
enum Pick {
    Take(usize),
    /// All are at their limit or rest; the first rest ends then.
    Wait(Option<Instant>),
    Dead,
}

/// A request under way.
struct Slot<'a> {
    fleet: &'a Fleet,
    at: usize,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut states = self.fleet.states();
        states[self.at].in_flight -= 1;
        drop(states);
        self.fleet.freed.notify_one();
    }
}

impl Fleet {
    /// Asks every server what it serves.
    ///
    /// # Errors
    /// - [`Error::ModelLoad`] if none answers, one turns the key down, or they cannot agree on a model.
    pub async fn connect(
        addresses: &[Address],
        key: Option<&HeaderValue>,
        timeout: Duration,
        settings: &ServerSettings,
    ) -> Result<Self> {
        let mut members = Vec::with_capacity(addresses.len());
        let mut found = Vec::with_capacity(addresses.len());
        for address in addresses {
            let http = address::http_client(address, timeout)?;
            found.push(identify(&http, &address.base, key, settings.model.as_deref()).await);
            members.push((transport::client(http, &address.base, key), address.base.clone()));
        }
        let model = agree(
            &found,
            &members.iter().map(|(_, base)| base.as_str()).collect::<Vec<_>>(),
            settings.model.as_deref(),
        )?;
        // A server that is down takes constraints as the first that is up does.
        let first = found.iter().flatten().map(|identity| identity.kind.clone()).next().unwrap_or_default();
        let now = Instant::now();
        let (mut fleet, mut states) = (Vec::new(), Vec::new());
        for ((client, base), identity) in members.into_iter().zip(found) {
            let (failures, not_before) = if identity.is_ok() { (0, now) } else { (settings.retries + 1, now + DEAD) };
            let kind = identity.map_or_else(|_| first.clone(), |identity| identity.kind);
            let structured = match settings.structured {
                Structured::Auto => Structured::of(&kind),
                chosen => chosen,
            };
            fleet.push(Member { base, client, kind, structured });
            states.push(State { in_flight: 0, asked: 0, failures, not_before });
        }
        Ok(Self {
            members: fleet,
            states: Mutex::new(states),
            freed: Notify::new(),
            model,
            max_in_flight: settings.max_in_flight,
            retries: settings.retries,
            timeout,
        })
    }

    /// Names kinds of servers, model, and how constraints are taken.
    pub fn fingerprint(&self) -> String {
        let kinds: BTreeSet<&str> = self.members.iter().map(|member| member.kind.as_str()).collect();
        let structured: BTreeSet<&str> = self.members.iter().map(|member| member.structured.label()).collect();
        let joined = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join("+");
        format!("server:{}:{}:{}", joined(kinds), self.model, joined(structured))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// - [`Error::Generation`] if it cannot be answered; `engine_lost` if all servers are dead.
    pub async fn answer(&self, request: &Request) -> Result<Answer> {
        let (mut busy, mut away, mut slow_at) = (0, 0, None);
        loop {
            let Some(slot) = self.take(slow_at).await else { return Err(self.failed("no server answers")) };
            let (at, member) = (slot.at, &self.members[slot.at]);
            let failure = match self.ask(member, request).await {
                Ok(answer) => {
                    self.states()[at].failures = 0;
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let wait = self.note(at, &failure, busy);
            drop(slot);
            let goes_on = match failure.kind {
                FailureKind::Refused => false,
                FailureKind::Busy => {
                    busy += 1;
                    busy <= self.retries
                }
                FailureKind::Away => {
                    away += 1;
                    away as usize <= (self.retries as usize + 1) * self.members.len()
                }
                FailureKind::TimedOut => slow_at.replace(at).is_none() && self.lives(Some(at)),
            };
            if !goes_on {
                return Err(self.failed(&format!("{}: {failure}", member.base)));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self, member: &Member, request: &Request) -> std::result::Result<Answer, Failure> {
        let body = message::body(request, &self.model, member.structured);
        let reply: Value = member.client.chat().create_byot(body).await?;
        message::answer(&reply, request, member.structured)
    }

    /// Waits for a place at the least busy living server other than `but`. `None` if there is no such server.
    async fn take(&self, but: Option<usize>) -> Option<Slot<'_>> {
        loop {
            // Listening starts before looking: what rings in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.pick(but) {
                Pick::Take(at) => return Some(Slot { fleet: self, at }),
                Pick::Dead => return None,
                Pick::Wait(None) => freed.await,
                Pick::Wait(Some(until)) => {
                    tokio::select! { () = freed => {}, () = tokio::time::sleep_until(until) => {} }
                }
            }
        }
    }

    fn pick(&self, but: Option<usize>) -> Pick {
        let now = Instant::now();
        let mut states = self.states();
        let (mut best, mut rest_ends, mut lives) = (None, None, false);
        for (at, state) in states.iter().enumerate().filter(|(at, _)| Some(*at) != but) {
            let rests = state.not_before > now;
            if rests && state.failures > self.retries {
                continue;
            }
            lives = true;
            if rests {
                rest_ends = Some(rest_ends.map_or(state.not_before, |end: Instant| end.min(state.not_before)));
            } else if state.in_flight < self.max_in_flight {
                let load = (state.in_flight, state.asked, at);
                best = Some(best.map_or(load, |least: (usize, u64, usize)| least.min(load)));
            }
        }
        match best {
            Some((_, _, at)) => {
                states[at].in_flight += 1;
                states[at].asked += 1;
                Pick::Take(at)
            }
            None if lives => Pick::Wait(rest_ends),
            None => Pick::Dead,
        }
    }

    /// Lets a server rest or die after a failure. Returns how long the request itself has to wait.
    fn note(&self, at: usize, failure: &Failure, tries: u32) -> Duration {
        let now = Instant::now();
        let mut states = self.states();
        let state = &mut states[at];
        match (failure.kind, failure.retry_after) {
            (FailureKind::Refused, _) => Duration::ZERO,
            (FailureKind::Busy, None) => back_off(tries),
            (FailureKind::Busy, Some(asked)) => {
                state.not_before = state.not_before.max(now + asked.min(self.timeout));
                Duration::ZERO
            }
            // Requests that were under way together fail together: that is one failure.
            _ if state.not_before > now => Duration::ZERO,
            _ => {
                state.failures = state.failures.saturating_add(1);
                let is_dead = state.failures > self.retries;
                let rest = if is_dead { DEAD } else { back_off(state.failures - 1) };
                state.not_before = now + rest.max(failure.retry_after.unwrap_or_default().min(self.timeout));
                drop(states);
                if is_dead {
                    tracing::warn!(
                        "{} does not answer ({failure}); nothing is sent to it for a minute",
                        self.members[at].base
                    );
                    self.freed.notify_waiters();
                }
                Duration::ZERO
            }
        }
    }

    /// Tells whether a server other than `but` lives.
    fn lives(&self, but: Option<usize>) -> bool {
        let now = Instant::now();
        let is_dead = |state: &State| state.not_before > now && state.failures > self.retries;
        self.states().iter().enumerate().any(|(at, state)| Some(at) != but && !is_dead(state))
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Generation { engine: "the server".into(), reason: reason.to_owned(), engine_lost: !self.lives(None) }
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        // No code that holds it can panic half-way; counters are right even so.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the wait after the try of this number, from 0.
fn back_off(tries: u32) -> Duration {
    let longest = Duration::from_millis(250).saturating_mul(1 << tries.min(7)).min(Duration::from_secs(30));
    let random = RandomState::new().hash_one(tries) as f64 / u64::MAX as f64;
    longest.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        for tries in 0..40 {
            let longest = (0.25 * f64::from(1u32 << tries.min(7))).min(30.0);
            let wait = back_off(tries).as_secs_f64();
            assert!((longest / 2.0 - 1e-6..=longest + 1e-6).contains(&wait), "{tries}: {wait}");
        }
    }
}
