//! Binds that a server refused: the same credentials are not shown again at once. Servers count wrong passwords, and lock the account for
//! everybody who uses it (draft-behera-ldap-password-policy section 5.2.10, [MS-SAMR] 3.1.1.8.11).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connect::Failure;
use crate::config::ServerUrl;
use crate::error::DirectoryError;
use crate::protocol::result_code;

/// How long nothing is tried after the first refusal, the second one, and each further one. Usual policies lock after 5 or 10 within half
/// an hour; a server that is starting, or does not have a new password yet, may refuse once.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(5 * 60), Duration::from_secs(15 * 60)];

/// What a configuration knows about refusals of its credentials (invalidCredentials). Clones share it; other credentials begin anew. The
/// account of a server that referrals lead to is another one, which is counted by itself.
#[derive(Clone, Default)]
pub struct RefusedBinds {
    known: Counter,
    /// Those of servers that referrals lead to, by URL, for all of them together.
    others: Arc<Mutex<BTreeMap<String, Counter>>>,
}

type Counter = Arc<Mutex<Option<Refused>>>;

#[derive(Clone)]
struct Refused {
    times: usize,
    at: Instant,
    url: String,
    method: &'static str,
    identity: String,
    text: String,
}

impl fmt::Debug for RefusedBinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedBinds")
            .field("times", &self.known().map_or(0, |refused| refused.times))
            .finish()
    }
}

impl RefusedBinds {
    /// Returns what is known about a server that a referral of `from` leads to. It outlasts a connection that could not be opened.
    pub(crate) fn of_other(&self, from: &[ServerUrl], to: &ServerUrl) -> RefusedBinds {
        let url = |server: &ServerUrl| server.to_text().to_ascii_lowercase();
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        // It may refer back.
        for server in from {
            others.entry(url(server)).or_insert_with(|| self.known.clone());
        }
        let known = others.entry(url(to)).or_default().clone();
        drop(others);
        RefusedBinds { known, others: self.others.clone() }
    }

    fn known(&self) -> Option<Refused> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the refusal, for as long as the credentials are not shown again.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Failure> {
        let Some(refused) = self.known() else { return Ok(()) };
        let pause = PAUSES.iter().take(refused.times).next_back().copied().unwrap_or_default();
        let left = pause.saturating_sub(now.saturating_duration_since(refused.at));
        if left.is_zero() {
            return Ok(());
        }
        let Refused { url, method, identity, text, .. } = refused;
        let text = format!(
            "{text}{}it is not shown again for {} s, so that the account is not locked",
            if text.is_empty() { "" } else { "; " },
            left.as_secs().max(1)
        );
        let error = DirectoryError::Bind {
            server: url,
            method,
            identity,
            code: result_code::INVALID_CREDENTIALS,
            text,
        };
        Err(Failure { error, curable: false })
    }

    /// Notes the outcome of a bind with the credentials.
    pub(crate) fn note<T>(&self, outcome: &Result<T, Failure>, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => *known = None,
            Err(Failure {
                error:
                    DirectoryError::Bind {
                        server,
                        method,
                        identity,
                        code: result_code::INVALID_CREDENTIALS,
                        text,
                    },
                ..
            }) => {
                *known = Some(Refused {
                    times: known.as_ref().map_or(0, |refused| refused.times) + 1,
                    at: now,
                    url: server.clone(),
                    method,
                    identity: identity.clone(),
                    text: text.clone(),
                });
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::LdapResult;

    fn refusal(code: u32) -> Result<(), Failure> {
        let result = LdapResult { code, ..LdapResult::default() };
        Err(Failure::of_bind("ldap://x", "simple", "cn=svc", result))
    }

    #[test]
    fn wrong_credentials_are_shown_seldom_and_right_ones_as_often_as_needed() {
        let (binds, start) = (RefusedBinds::default(), Instant::now());
        let mut shown = 0;
        for second in 0..3_600 {
            let now = start + Duration::from_secs(second);
            if binds.check(now).is_ok() {
                binds.note(&refusal(result_code::INVALID_CREDENTIALS), now);
                shown += 1;
            }
        }
        assert_eq!(shown, 6, "0 s, 2 s, then after 5 minutes, and each 15 minutes");
        let clone = binds.clone();
        let Err(Failure { error: DirectoryError::Bind { code, .. }, curable: false }) = clone.check(start)
        else {
            panic!("clones know it")
        };
        assert_eq!(code, result_code::INVALID_CREDENTIALS);
        clone.note(&Ok(()), start);
        assert!(binds.check(start).is_ok());
        // A server that is busy, or wants TLS, counts nothing.
        binds.note(&refusal(result_code::BUSY), start);
        assert!(binds.check(start).is_ok());
    }

    #[test]
    fn a_server_that_a_referral_leads_to_has_an_account_of_its_own() {
        let [main, replica, other, third] =
            ["ldap://a", "ldap://A2", "ldap://b", "ldap://c"].map(|url| ServerUrl::parse(url).unwrap());
        let from = [main.clone(), replica.clone()];
        let (binds, now) = (RefusedBinds::default(), Instant::now());
        let refused = refusal(result_code::INVALID_CREDENTIALS);
        binds.of_other(&from, &other).note(&refused, now);
        // The next attempt makes it anew.
        let at_other = binds.clone().of_other(&from, &other);
        assert!(at_other.check(now).is_err() && binds.check(now).is_ok());
        assert!(binds.of_other(&from, &third).check(now).is_ok());
        binds.note(&Ok(()), now);
        assert!(at_other.check(now).is_err(), "a success there is none here");
        binds.note(&refused, now);
        at_other.note(&Ok(()), now);
        assert!(at_other.check(now).is_ok() && binds.check(now).is_err());
        // In a chain, and back.
        at_other.of_other(std::slice::from_ref(&other), &third).note(&refused, now);
        assert!(binds.of_other(&from, &third).check(now).is_err());
        for back in [&main, &replica] {
            assert!(at_other.of_other(std::slice::from_ref(&other), back).check(now).is_err());
        }
    }
}
