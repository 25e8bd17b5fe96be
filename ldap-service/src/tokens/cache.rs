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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::super::jwk::Judgement;
    use super::super::jws::Unverified;
    use super::super::testing::Signer;
    use super::*;
    use crate::config::Algorithm;
    use serde_json::json;

    const PAUSE: Duration = Duration::from_millis(400);
    const SHORT: Pauses = Pauses {
        unknown: PAUSE,
        first_failure: Duration::from_millis(100),
        longest_failure: Duration::from_millis(200),
        age: Duration::from_secs(3600),
    };

    /// An issuer that counts, and that can be changed or out of order.
    #[derive(Default)]
    struct Idp {
        fetches: AtomicUsize,
        is_down: AtomicBool,
        keys: Mutex<Vec<Signer>>,
    }

    impl Idp {
        fn with(signer: Signer) -> Arc<Self> {
            let idp = Self::default();
            idp.keys.lock().unwrap().push(signer);
            Arc::new(idp)
        }

        fn source(self: &Arc<Self>) -> impl Fn() -> Result<KeySet, String> + Send + Sync + 'static {
            let idp = self.clone();
            move || {
                idp.fetches.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
                if idp.is_down.load(Ordering::SeqCst) {
                    return Err("down".to_owned());
                }
                let keys: Vec<_> = idp.keys.lock().unwrap().iter().map(Signer::jwk).collect();
                KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
            }
        }

        fn cache(self: &Arc<Self>) -> Arc<KeyCache> {
            Arc::new(KeyCache::new(self.source(), SHORT))
        }

        fn count(&self) -> usize {
            self.fetches.load(Ordering::SeqCst)
        }

        /// A token of a key, by its position or, beyond the end, of none of them.
        fn token(&self, kid: &str) -> String {
            let header = json!({"kid": kid});
            self.keys.lock().unwrap()[0].token(&header, &json!({}))
        }
    }

    /// What [`super::super::Tokens::verify`] does with the cache: the judgement, and when to ask again.
    async fn judge(cache: &KeyCache, token: &str) -> (Judgement, Option<Duration>) {
        let token = Unverified::parse(token, &[Algorithm::ES256]).unwrap();
        let found = cache.current().map_or(Judgement::Unknown, |keys| keys.judge(&token));
        if found != Judgement::Unknown {
            return (found, None);
        }
        let answer = cache.fetch(|keys| keys.judge(&token) != Judgement::Unknown).await;
        (answer.keys.map_or(Judgement::Unknown, |keys| keys.judge(&token)), answer.retry_after)
    }

    fn storm(
        idp: &Arc<Idp>,
        cache: &Arc<KeyCache>,
    ) -> Vec<tokio::task::JoinHandle<(Judgement, Option<Duration>)>> {
        let begin = |n: usize| {
            let (cache, token) = (cache.clone(), idp.token(&format!("random-{n}")));
            tokio::spawn(async move {
                // Some arrive while a fetch runs, and some after it.
                tokio::time::sleep(Duration::from_micros(200 * n as u64)).await;
                judge(&cache, &token).await
            })
        };
        (0..1000).map(begin).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn trap_22_one_fetch_for_a_thousand_requests_with_random_kids() {
        assert_eq!(Pauses::default().unknown, Duration::from_secs(60));
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        // Without keys yet, then with keys.
        let cold = Arc::new(KeyCache::new(idp.source(), Pauses::default()));
        for task in storm(&idp, &cold) {
            assert_eq!(task.await.unwrap(), (Judgement::Unknown, None));
        }
        assert_eq!(idp.count(), 1);
        let warm = Arc::new(KeyCache::new(idp.source(), Pauses::default()));
        assert_eq!(judge(&warm, &idp.token("one")).await.0, Judgement::Verified);
        assert_eq!(idp.count(), 2);
        for task in storm(&idp, &warm) {
            assert_eq!(task.await.unwrap(), (Judgement::Unknown, None));
        }
        assert_eq!(idp.count(), 3);
        assert_eq!(judge(&warm, &idp.token("one")).await.0, Judgement::Verified);
    }

    #[tokio::test]
    async fn trap_22_keys_are_fetched_again_for_an_unknown_one() {
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        let cache = idp.cache();
        let first = idp.token("one");
        assert_eq!(judge(&cache, &first).await.0, Judgement::Verified);
        // A rotation right after the first use is found at once.
        idp.keys.lock().unwrap().insert(0, Signer::new("two", Algorithm::ES256));
        let second = idp.token("two");
        assert_eq!(judge(&cache, &second).await.0, Judgement::Verified);
        assert_eq!(judge(&cache, &first).await.0, Judgement::Verified);
        assert_eq!(idp.count(), 2);
        // The next one within the pause is not, and after the pause is.
        idp.keys.lock().unwrap().insert(0, Signer::new("three", Algorithm::ES256));
        let third = idp.token("three");
        assert_eq!(judge(&cache, &third).await, (Judgement::Unknown, None));
        assert_eq!(idp.count(), 2);
        tokio::time::sleep(PAUSE).await;
        assert_eq!(judge(&cache, &third).await.0, Judgement::Verified);
        assert_eq!(idp.count(), 3);
    }

    #[tokio::test]
    async fn trap_22_an_issuer_that_fails_is_no_wrong_token() {
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        let cache = idp.cache();
        idp.is_down.store(true, Ordering::SeqCst);
        // No keys: it cannot be judged, and the issuer is not asked for each request.
        for _ in 0..20 {
            let (judgement, retry_after) = judge(&cache, &idp.token("one")).await;
            assert_eq!((judgement, retry_after.is_some()), (Judgement::Unknown, true));
        }
        assert_eq!(idp.count(), 1);
        idp.is_down.store(false, Ordering::SeqCst);
        tokio::time::sleep(SHORT.first_failure).await;
        assert_eq!(judge(&cache, &idp.token("one")).await, (Judgement::Verified, None));
        assert_eq!(idp.count(), 2);
        // Known keys go on; a key that is not known cannot be judged.
        idp.is_down.store(true, Ordering::SeqCst);
        let (judgement, retry_after) = judge(&cache, &idp.token("two")).await;
        assert_eq!((judgement, retry_after.is_some()), (Judgement::Unknown, true));
        assert_eq!(judge(&cache, &idp.token("one")).await, (Judgement::Verified, None));
        let (_, retry_after) = judge(&cache, &idp.token("three")).await;
        assert!(retry_after.is_some_and(|after| after <= PAUSE));
        assert_eq!(idp.count(), 3);
    }

    #[tokio::test]
    async fn a_withdrawn_key_ends() {
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        let cache = KeyCache::new(idp.source(), Pauses { age: Duration::from_millis(100), ..SHORT });
        let token = idp.token("one");
        assert_eq!(judge(&cache, &token).await.0, Judgement::Verified);
        idp.keys.lock().unwrap()[0] = Signer::new("two", Algorithm::ES256);
        tokio::time::sleep(Duration::from_millis(150)).await;
        // In the background: this one still has the earlier keys.
        assert_eq!(judge(&cache, &token).await.0, Judgement::Verified);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(judge(&cache, &token).await.0, Judgement::Unknown);
    }

    #[tokio::test]
    async fn keys_stay_over_a_reload_and_are_fetched_again() {
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        let cache = idp.cache();
        let token = idp.token("one");
        assert_eq!(judge(&cache, &token).await.0, Judgement::Verified);
        idp.is_down.store(true, Ordering::SeqCst);
        let reloaded = cache.continued(idp.source());
        assert_eq!(judge(&reloaded, &token).await.0, Judgement::Verified);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(idp.count(), 2);
        assert_eq!(judge(&reloaded, &token).await.0, Judgement::Verified);
    }

    #[tokio::test]
    async fn a_caller_that_leaves_does_not_end_the_fetch() {
        let idp = Idp::with(Signer::new("one", Algorithm::ES256));
        let cache = idp.cache();
        let token = idp.token("one");
        let left = tokio::time::timeout(Duration::from_millis(5), judge(&cache, &token)).await;
        assert!(left.is_err());
        assert_eq!(judge(&cache, &token).await.0, Judgement::Verified);
        assert_eq!(idp.count(), 1);
    }
}
