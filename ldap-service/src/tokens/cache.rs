//! When the keys of an issuer are fetched: at the first use, once an hour, and for an unknown key at most once a minute.
//!
//! At most one fetch runs at a time, in a task of its own: whoever needs it waits for it, and nobody who stops waiting ends it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::jwk::KeySet;

/// Fetches the keys. Blocks.
type Fetch = dyn Fn() -> Result<KeySet, String> + Send + Sync;

/// The pauses between fetches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pauses {
    /// After a fetch for an unknown key, before another one for an unknown key.
    pub(super) unknown: Duration,
    /// After the first failure while there are no keys; each further failure doubles it.
    pub(super) first_failure: Duration,
    /// The longest pause after a failure.
    pub(super) longest_failure: Duration,
    /// The age at which keys are fetched again, so that a withdrawn key ends.
    pub(super) age: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            unknown: Duration::from_secs(60),
            first_failure: Duration::from_secs(1),
            longest_failure: Duration::from_secs(60),
            age: Duration::from_secs(3600),
        }
    }
}

/// The keys of an issuer, and what is known about fetching them. Kept over reloads.
#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When the keys are fetched again in any case.
    renew_at: Option<Instant>,
    /// When the last fetch for an unknown key began.
    unknown_at: Option<Instant>,
    /// When the last fetch failed, and the number of failures since the last success.
    failed: Option<(Instant, u32)>,
    /// Closed when the fetch that began last has ended.
    running: Option<watch::Receiver<()>>,
}

/// The keys of an issuer.
pub(super) struct KeyCache {
    state: Arc<Mutex<State>>,
    fetch: Arc<Fetch>,
    pauses: Pauses,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What came of a request for newer keys.
#[derive(Debug)]
pub(super) struct Answer {
    /// The keys that are there now.
    pub(super) keys: Option<Arc<KeySet>>,
    /// If the last fetch failed, so that the issuer may have others: when to ask again.
    pub(super) retry_after: Option<Duration>,
}

impl KeyCache {
    /// Returns a cache without keys.
    pub(super) fn new(
        fetch: impl Fn() -> Result<KeySet, String> + Send + Sync + 'static,
        pauses: Pauses,
    ) -> Self {
        Self { state: Arc::default(), fetch: Arc::new(fetch), pauses }
    }

    /// Returns a cache with the same keys that fetches in another way. They are fetched again at the next use.
    pub(super) fn continued(
        &self,
        fetch: impl Fn() -> Result<KeySet, String> + Send + Sync + 'static,
    ) -> Self {
        let mut state = self.lock();
        state.renew_at = state.renew_at.map(|_| Instant::now());
        drop(state);
        Self { state: self.state.clone(), fetch: Arc::new(fetch), pauses: self.pauses }
    }

    /// Returns the keys that are there. Old ones are fetched again in the background, and are used until that succeeds.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let mut state = self.lock();
        if state.renew_at.is_some_and(|at| at <= Instant::now()) && state.is_idle() {
            self.begin(&mut state);
        }
        state.keys.clone()
    }

    /// Fetches the keys for a caller whose key is not among them, unless it is too early for that. `knows`: whether keys have it.
    pub(super) async fn fetch(&self, knows: impl Fn(&KeySet) -> bool) -> Answer {
        let is_known = |state: &State| state.keys.as_deref().is_some_and(&knows);
        let began = Instant::now();
        let (mut running, is_first) = {
            let mut state = self.lock();
            // They may have arrived since the caller looked.
            if is_known(&state) {
                return Answer { keys: state.keys.clone(), retry_after: None };
            }
            let is_first = state.keys.is_none();
            let running = state.running.clone().filter(|_| !state.is_idle());
            let running = match running {
                Some(running) => running,
                None if !self.wait(&state).is_zero() => return self.answer(&state),
                None => {
                    state.unknown_at = Some(began);
                    self.begin(&mut state)
                }
            };
            (running, is_first)
        };
        // It never changes: this ends with the fetch.
        while running.changed().await.is_ok() {}
        let mut state = self.lock();
        if !is_known(&state) {
            state.unknown_at = Some(began);
        } else if is_first && state.unknown_at == Some(began) {
            // The first fetch was no fetch for an unknown key after all: the next one need not wait.
            state.unknown_at = None;
        }
        self.answer(&state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long no fetch may begin for an unknown key.
    fn wait(&self, state: &State) -> Duration {
        let until = match (&state.keys, state.failed) {
            (Some(_), _) => state.unknown_at.map(|at| at + self.pauses.unknown),
            (None, Some((at, failures))) => {
                let doubled = self.pauses.first_failure * (1 << failures.saturating_sub(1).min(16));
                Some(at + doubled.min(self.pauses.longest_failure))
            }
            (None, None) => None,
        };
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn answer(&self, state: &State) -> Answer {
        let retry_after = state.failed.map(|_| self.wait(state));
        Answer { keys: state.keys.clone(), retry_after }
    }

    /// Begins a fetch, which goes on whatever becomes of the request.
    fn begin(&self, state: &mut State) -> watch::Receiver<()> {
        let (sender, running) = watch::channel(());
        state.running = Some(running.clone());
        let (fetch, shared, pauses) = (self.fetch.clone(), self.state.clone(), self.pauses);
        tokio::spawn(async move {
            let fetched = tokio::task::spawn_blocking(move || fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err("internal error".to_owned()));
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.note(fetched, &pauses);
            drop(sender);
        });
        running
    }
}

impl State {
    /// Whether no fetch runs.
    fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.has_changed().is_err())
    }

    fn note(&mut self, fetched: Result<KeySet, String>, pauses: &Pauses) {
        let now = Instant::now();
        match fetched {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "the keys of the token issuer were fetched");
                self.keys = Some(Arc::new(keys));
                self.renew_at = Some(now + pauses.age);
                self.failed = None;
            }
            Err(reason) => {
                let what = match &self.keys {
                    Some(_) => "the earlier ones stay in use",
                    None => "requests with a token of it are answered with 503",
                };
                tracing::warn!(reason, "the keys of the token issuer cannot be fetched: {reason}; {what}");
                self.renew_at = self.keys.as_ref().map(|_| now + pauses.unknown);
                self.failed = Some((now, self.failed.map_or(1, |(_, failures)| failures.saturating_add(1))));
            }
        }
    }
}
