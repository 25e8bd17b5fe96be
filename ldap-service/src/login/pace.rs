//! One time for all refused logins: the time until the answer does not tell whether a name exists (trap 4).
//!
//! A bind of a name that does not exist takes less time than a wrong password: the server compares no hash, and counts no failure. So a
//! refusal is sent at the end of a period that is longer than both.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest period.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest period.
const LONGEST: Duration = Duration::from_secs(3);
/// The number of wrong passwords whose time is remembered.
const REMEMBERED: usize = 64;

/// The times of recent wrong passwords.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<VecDeque<Duration>>);

impl Pace {
    /// Notes how long a wrong password of a user that exists took.
    pub(super) fn note(&self, took: Duration) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(took);
    }

    /// Returns the period: twice as long as the longest of the recent times.
    fn period(&self) -> Duration {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = recent.iter().max().copied().unwrap_or_default();
        longest.saturating_mul(2).clamp(SHORTEST, LONGEST)
    }

    /// Returns when a refusal is sent: at the end of the period that began then, or of a later one.
    pub(super) fn end(&self, began: Instant) -> Instant {
        end(began, self.period(), began.elapsed())
    }
}

/// Returns the end of the period in which `took` lies.
fn end(began: Instant, period: Duration, took: Duration) -> Instant {
    let mut after = period;
    while after < took {
        after += period;
    }
    began + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_04_refusals_are_sent_at_the_end_of_a_period() {
        let began = Instant::now();
        let ms = Duration::from_millis;
        for (took, after) in [(0, 100), (1, 100), (99, 100), (100, 100), (101, 200), (250, 300)] {
            assert_eq!(end(began, ms(100), ms(took)), began + ms(after), "{took}");
        }
    }

    #[test]
    fn trap_04_the_period_follows_a_slow_server() {
        let pace = Pace::default();
        assert_eq!(pace.period(), SHORTEST);
        pace.note(Duration::from_millis(4));
        assert_eq!(pace.period(), SHORTEST);
        pace.note(Duration::from_millis(400));
        assert_eq!(pace.period(), Duration::from_millis(800));
        pace.note(Duration::from_secs(60));
        assert_eq!(pace.period(), LONGEST);
        for _ in 0..REMEMBERED {
            pace.note(Duration::from_millis(10));
        }
        assert_eq!(pace.period(), SHORTEST);
    }
}
