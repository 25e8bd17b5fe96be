//! How often a login may fail, for one name and from one address. Only failures count, and memory is bounded.
//!
//! `governor` counts each request; here a login is known to count only when it has failed.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::Notify;

/// The most keys that are remembered; the least recently used one is forgotten first.
const MOST_KEYS: u64 = 100_000;

/// The failures of each key in a sliding window.
///
/// Logins in progress count as failures until they have ended: else as many as arrive at once would pass. Further ones wait for them.
#[derive(Debug, Clone)]
pub(super) struct Throttle<K: Hash + Eq + Send + Sync + 'static> {
    keys: Cache<K, Arc<Failures>>,
    window: Duration,
}

#[derive(Debug, Default)]
struct Failures {
    counts: Mutex<Counts>,
    /// Told about the end of each login.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    /// When logins failed, the earliest first.
    failed: VecDeque<Instant>,
    in_progress: usize,
}

/// A login in progress. Dropped without [`Self::failed`] or [`Self::succeeded`], it counts for nothing, as in an outage.
#[derive(Debug)]
pub(super) struct Attempt {
    of: Option<Arc<Failures>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Throttle<K> {
    pub(super) fn new(window: Duration) -> Self {
        // A key without a failure in the window is not needed.
        let keys = Cache::builder()
            .max_capacity(MOST_KEYS)
            .time_to_idle(window.max(Duration::from_secs(1)))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { keys, window }
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Begins a login, once fewer than `most` have failed or are in progress. 0 is no bound.
    ///
    /// # Errors
    /// The time until the next one may begin, if `most` have failed.
    pub(super) async fn begin(&self, key: K, most: u32) -> Result<Attempt, Duration> {
        if most == 0 {
            return Ok(Attempt::uncounted());
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let failures = self.keys.get_with(key, Arc::default);
        loop {
            let ended = failures.ended.notified();
            {
                let mut counts = failures.counts();
                counts.forget(self.window);
                if counts.failed.len() >= most {
                    let first = counts.failed.iter().rev().nth(most - 1);
                    let passed = first.map(Instant::elapsed).unwrap_or_default();
                    return Err(self.window.saturating_sub(passed));
                }
                if counts.failed.len() + counts.in_progress < most {
                    counts.in_progress += 1;
                    return Ok(Attempt { of: Some(failures.clone()) });
                }
            }
            ended.await;
        }
    }
}

impl Failures {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        // A panic elsewhere leaves the counts consistent.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts();
        counts.in_progress = counts.in_progress.saturating_sub(1);
        change(&mut counts);
        drop(counts);
        self.ended.notify_waiters();
    }
}

impl Counts {
    fn forget(&mut self, window: Duration) {
        while self.failed.front().is_some_and(|at| at.elapsed() >= window) {
            self.failed.pop_front();
        }
    }
}

impl Attempt {
    /// Returns one that is not counted, for a client without a bound.
    pub(super) fn uncounted() -> Self {
        Self { of: None }
    }

    /// Counts the failure.
    pub(super) fn failed(mut self) {
        if let Some(of) = self.of.take() {
            of.end(|counts| counts.failed.push_back(Instant::now()));
        }
    }

    /// Forgets the failures before: the right password was sent.
    pub(super) fn succeeded(mut self) {
        if let Some(of) = self.of.take() {
            of.end(|counts| counts.failed.clear());
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            of.end(|_| {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn trap_06_failures_of_a_name_are_bounded() {
        let throttle = Throttle::new(Duration::from_secs(900));
        for _ in 0..3 {
            throttle.begin("ada", 3).await.unwrap().failed();
        }
        let wait = throttle.begin("ada", 3).await.unwrap_err();
        assert!(wait > Duration::from_secs(890) && wait <= Duration::from_secs(900), "{wait:?}");
        assert!(throttle.begin("bob", 3).await.is_ok());
        assert!(throttle.begin("ada", 0).await.is_ok(), "0 is no bound");
    }

    #[tokio::test]
    async fn trap_10_what_neither_failed_nor_succeeded_counts_for_nothing() {
        let throttle = Throttle::new(Duration::from_secs(900));
        for _ in 0..10 {
            drop(throttle.begin("ada", 3).await.unwrap());
        }
        for _ in 0..2 {
            throttle.begin("ada", 3).await.unwrap().failed();
        }
        throttle.begin("ada", 3).await.unwrap().succeeded();
        for _ in 0..3 {
            throttle.begin("ada", 3).await.unwrap().failed();
        }
        assert!(throttle.begin("ada", 3).await.is_err());
    }

    #[tokio::test]
    async fn logins_at_once_do_not_pass_the_bound_together() {
        let throttle = Throttle::new(Duration::from_secs(900));
        let mut sent = 0_usize;
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(throttle.begin("ada", 3).await.unwrap());
            sent += 1;
        }
        let waiting = throttle.clone();
        let fourth = tokio::spawn(async move { waiting.begin("ada", 3).await.map(Attempt::succeeded) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!fourth.is_finished(), "it waits for those in progress");
        for attempt in running {
            attempt.failed();
        }
        assert!(fourth.await.unwrap().is_err());
        assert_eq!(sent, 3);
        // A right password lets those go on that wait.
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(throttle.begin("bob", 3).await.unwrap());
        }
        let waiting = throttle.clone();
        let fourth = tokio::spawn(async move { waiting.begin("bob", 3).await.map(Attempt::succeeded) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        running.pop().unwrap().succeeded();
        assert!(fourth.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn the_window_slides() {
        let throttle = Throttle::new(Duration::from_millis(80));
        for _ in 0..2 {
            throttle.begin("ada", 2).await.unwrap().failed();
        }
        let wait = throttle.begin("ada", 2).await.unwrap_err();
        tokio::time::sleep(wait + Duration::from_millis(5)).await;
        assert!(throttle.begin("ada", 2).await.is_ok());
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let throttle = Throttle::new(Duration::from_secs(900));
        for n in 0..MOST_KEYS + 5_000 {
            throttle.begin(n, 3).await.unwrap().failed();
        }
        throttle.keys.run_pending_tasks();
        assert!(throttle.keys.entry_count() <= MOST_KEYS, "{}", throttle.keys.entry_count());
        // The latest are remembered.
        for _ in 0..2 {
            throttle.begin(MOST_KEYS + 4_999, 3).await.unwrap().failed();
        }
        assert!(throttle.begin(MOST_KEYS + 4_999, 3).await.is_err());
    }
}
