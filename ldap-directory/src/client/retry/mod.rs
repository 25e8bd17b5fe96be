//! The retry policy: what is retried, how often, and after which pause.
//!
//! Three conditions are transient: a lost connection, a server that answers that it cannot *now*
//! ([`result_code::may_be_retried`] is the table), and a server that cannot be reached. A missing answer within
//! `operation_timeout` is not repeated: the operation may still be in progress.

use std::time::Duration;

use crate::config::DirectoryConfig;
use crate::error::DirectoryError;
use crate::observer::Observing;
use crate::protocol::result_code;

pub(crate) mod reconnect;
mod verify;

pub(crate) use reconnect::refusal;
pub(crate) use verify::ChangeState;

/// The first pause between two attempts; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The remaining attempts of one operation, and the pauses between them.
#[derive(Debug, Clone)]
pub struct Attempts {
    observer: Observing,
    made: u32,
    most: u32,
    wait: Duration,
    longest: Duration,
}

impl Attempts {
    /// Returns the attempts as configured: `retry_attempts` after the first, at most `retry_max_wait` apart.
    pub(crate) fn new(config: &DirectoryConfig) -> Self {
        Self {
            observer: config.observer.clone(),
            made: 0,
            most: config.retry_attempts,
            wait: FIRST_WAIT,
            longest: config.retry_max_wait,
        }
    }

    /// Consumes an attempt and returns the pause before it, or `None` if no attempt is left.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.made >= self.most {
            return None;
        }
        self.made += 1;
        let pause = jittered(self.wait.min(self.longest));
        self.wait = self.wait.saturating_mul(2);
        Some(pause)
    }

    /// Returns whether no attempt is left.
    pub(crate) fn are_used_up(&self) -> bool {
        self.made >= self.most
    }

    /// Logs the reason and waits before the next attempt. Returns `false` at once, without a log event, if no attempt is left.
    pub(crate) async fn wait(&mut self, why: &DirectoryError) -> bool {
        let Some(pause) = self.next() else { return false };
        self.observer.retried(why);
        tracing::warn!("{why}; attempt {} of {} in {} ms", self.made, self.most, pause.as_millis());
        tokio::time::sleep(pause).await;
        true
    }

    /// Restores all attempts, after progress: the next error is another fault.
    pub fn begin_anew(&mut self) {
        self.made = 0;
        self.wait = FIRST_WAIT;
    }
}

/// Returns between half and the whole of a pause, so that many clients do not return at once.
fn jittered(pause: Duration) -> Duration {
    let noise = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos() % 1000);
    pause / 2 + pause.mul_f64(f64::from(noise) / 2000.0)
}

impl DirectoryError {
    /// Returns whether the same operation may succeed later, without anyone's help, and may be sent again: the server cannot be reached,
    /// the connection was lost, there was no answer in time, or the server answered that it cannot now. By then, the library has retried
    /// as [configured](DirectoryConfig::retry) what it retries by itself, which is all of it except an operation without an answer.
    ///
    /// A permanent failure (an expired certificate, another directory in the server's place, a wrong password) is not transient, nor is a
    /// change that may have been made ([`Self::is_outcome_unknown`]).
    pub fn is_transient(&self) -> bool {
        match self {
            DirectoryError::Connect { lasting, .. } => !lasting,
            DirectoryError::Bind { code, text, .. } => result_code::may_be_retried(*code, text),
            DirectoryError::Timeout { outcome_unknown, .. } => !outcome_unknown,
            other => other.is_retried(),
        }
    }

    /// Returns whether the library repeats an operation that failed so: another connection may serve it, or the same one a little later.
    /// Not after a timeout: the operation may still be in progress.
    pub(crate) fn is_retried(&self) -> bool {
        match self {
            DirectoryError::Lost { outcome_unknown, .. } => !outcome_unknown,
            DirectoryError::Operation { code, text, .. } => result_code::may_be_retried(*code, text),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ConnectErrorKind;

    #[test]
    fn pauses_double_up_to_the_longest_and_come_to_an_end() {
        let longest = Duration::from_millis(600);
        let mut attempts =
            Attempts { observer: Observing::default(), made: 0, most: 4, wait: FIRST_WAIT, longest };
        for most in [250, 500, 600, 600] {
            let pause = attempts.next().unwrap().as_millis();
            assert!(pause >= most / 2 && pause <= most, "{pause} of {most}");
        }
        assert_eq!(attempts.next(), None);
        attempts.begin_anew();
        assert!(attempts.next().unwrap() <= FIRST_WAIT);
        let mut none =
            Attempts { observer: Observing::default(), made: 0, most: 0, wait: FIRST_WAIT, longest };
        assert_eq!(none.next(), None, "retry_attempts: 0");
    }

    #[test]
    fn only_what_can_pass_by_itself_is_tried_again() {
        let (operation, dn) = ("add", "cn=x".to_owned());
        let answer = |code| DirectoryError::Operation {
            operation,
            dn: dn.clone(),
            code,
            matched: String::new(),
            text: String::new(),
        };
        assert!(answer(result_code::BUSY).is_transient() && answer(result_code::UNAVAILABLE).is_transient());
        assert!(!answer(80).is_transient() && !answer(result_code::NO_SUCH_OBJECT).is_transient());
        let lost = DirectoryError::lost(operation, &dn, "reset");
        assert!(lost.is_transient() && lost.is_retried() && !lost.is_outcome_unknown());
        let timeout = DirectoryError::timeout(operation, &dn, Duration::from_millis(700));
        assert!(timeout.is_transient() && !timeout.is_retried() && !timeout.is_outcome_unknown());
        assert!(timeout.to_string().contains("within 700 ms"), "{timeout}");
        for error in [lost, timeout].map(|e| e.of_sent_change(operation, &dn)) {
            assert!(error.is_outcome_unknown() && error.is_connection(), "{error}");
            assert!(!error.is_transient() && !error.is_retried(), "{error}");
        }
        for (lasting, kind) in [(false, ConnectErrorKind::Refused), (true, ConnectErrorKind::Certificate)] {
            let (server, reason) = ("ldap://x".into(), String::new());
            let error = DirectoryError::Connect { server, kind, reason, lasting, cause: None };
            assert_eq!(error.is_transient(), !lasting);
        }
        assert!(
            !DirectoryError::Protocol { operation, dn, reason: "nonsense".into(), outcome_unknown: false }
                .is_transient()
        );
    }
}
