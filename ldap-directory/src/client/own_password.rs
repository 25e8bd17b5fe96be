//! What servers report about the password of the own bind. A password that expires ends everything that uses it, and each bind with an
//! expired one may be one of a few that are left (draft-behera-ldap-password-policy-11 sections 5.2.7 and 6.2).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::PasswordState;

/// How long the same report is not logged again.
const QUIET: Duration = Duration::from_secs(3600);

/// What servers reported about the password of a configuration, by URL. Clones share it; other credentials begin anew.
#[derive(Clone, Default)]
pub struct OwnPassword(Arc<Mutex<BTreeMap<String, Known>>>);

struct Known {
    report: PasswordReport,
    logged: Instant,
}

/// A password that expires, or has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordReport {
    /// The URL of the server that reported it.
    pub server: String,
    /// The bind DN.
    pub identity: String,
    /// The number of further binds that the expired password allows; `None` if it had not expired at the last bind.
    pub grace_logins: Option<u32>,
    /// When the password expires, if the server warns of it.
    pub expires_at: Option<SystemTime>,
}

impl PasswordReport {
    fn of(server: &str, identity: &str, state: PasswordState, now: SystemTime) -> Option<Self> {
        let expires_at = state.expires_in.and_then(|after| now.checked_add(after));
        (state.grace_logins.is_some() || expires_at.is_some()).then(|| PasswordReport {
            server: server.to_owned(),
            identity: identity.to_owned(),
            grace_logins: state.grace_logins,
            expires_at,
        })
    }

    /// Returns a sentence about it.
    pub fn text(&self, now: SystemTime) -> String {
        let whose = format!("the password of `{}`", self.identity);
        if let Some(left) = self.grace_logins {
            return format!("{whose} has expired, and {left} further binds with it are allowed");
        }
        match self.expires_at.map(|at| at.duration_since(now)) {
            Some(Ok(left)) => format!("{whose} expires in {}", roughly(left)),
            Some(Err(_)) => format!("{whose} has expired since the last bind"),
            None => whose,
        }
    }
}

/// Returns a time in its largest unit.
fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    unit.map_or_else(|| format!("{seconds} seconds"), |(length, name)| format!("{} {name}", seconds / length))
}

impl fmt::Debug for OwnPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnPassword").field(&self.report()).finish()
    }
}

impl OwnPassword {
    /// Notes what an accepted bind reported, and logs it, unless it was logged a short time ago.
    pub(crate) fn note(&self, server: &str, identity: &str, state: PasswordState) {
        let now = SystemTime::now();
        let report = PasswordReport::of(server, identity, state, now);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = report else {
            all.remove(server);
            return;
        };
        let earlier = all.get(server).filter(|known| {
            known.report.grace_logins == report.grace_logins && known.logged.elapsed() < QUIET
        });
        let logged = earlier.map(|known| known.logged);
        if logged.is_none() {
            tracing::warn!(
                server,
                dn = identity,
                "{}: set a new one, and give it to this program, before no bind is accepted any more",
                report.text(now)
            );
        }
        let logged = logged.unwrap_or_else(Instant::now);
        all.insert(server.to_owned(), Known { report, logged });
    }

    /// Returns what a server reported; `None` if it has nothing to report.
    pub(crate) fn of(&self, server: &str) -> Option<PasswordReport> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(server).map(|known| known.report.clone())
    }

    /// Returns the most urgent report of all servers.
    pub fn report(&self) -> Option<PasswordReport> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = all.values().map(|known| &known.report);
        reports.min_by_key(|r| (r.grace_logins.is_none(), r.grace_logins, r.expires_at)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_report_counts_until_its_server_takes_it_back() {
        let password = OwnPassword::default();
        let note = |server: &str, state| password.clone().note(server, "cn=svc", state);
        let soon = PasswordState {
            expires_in: Some(Duration::from_secs(3 * 86_400 + 60)),
            ..PasswordState::default()
        };
        let grace = |left| PasswordState { grace_logins: Some(left), ..PasswordState::default() };
        note("ldap://a", PasswordState::default());
        assert_eq!(password.report(), None);
        note("ldap://a", soon);
        let text = password.report().unwrap().text(SystemTime::now());
        assert_eq!(text, "the password of `cn=svc` expires in 3 days");
        note("ldap://b", grace(3));
        note("ldap://c", grace(1));
        let report = password.report().unwrap();
        assert_eq!((report.server.as_str(), report.grace_logins), ("ldap://c", Some(1)));
        for server in ["ldap://b", "ldap://c"] {
            note(server, PasswordState::default());
        }
        let report = password.report().unwrap();
        assert_eq!(report.server, "ldap://a");
        let later = SystemTime::now() + Duration::from_secs(4 * 86_400);
        assert!(report.text(later).contains("has expired"), "a connection may stay for longer");
    }
}
