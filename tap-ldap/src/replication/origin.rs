//! Where the entries of a read come from: who read them, from which server, how far that server was, and of which part of the directory a file
//! is. What another account may not see, another server does not have yet, or another search did not ask for is not gone.
//!
//! The origin of the last run is kept in the index of keys, or in the bookmark. Only with the same one, deletions are concluded; with another
//! one, from its second run in a row on. A run that reads a stream whole twice is one run.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ldap_directory::dn;
use ldap_directory::{AuthMethod, Directory, DirectoryError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::replication::completeness::IncompleteReason;

/// The format of what is kept.
const FORMAT: u64 = 1;
/// The property of a bookmark that has it.
pub(crate) const ORIGIN: &str = "origin";

/// Where the entries of a read come from. Persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// A hash of the account; empty for a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) account: String,
    /// The server with its address; empty for a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) server: String,
    /// A hash of what the server calls itself, if servers of its kind do; it may have several addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) server_id: String,
    /// A hash of the id of the base entry, which all servers of a directory have in common; empty if it is not visible.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) directory: String,
    /// OpenLDAP's change sequence numbers, by the server that made the change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) marks: BTreeMap<String, String>,
    /// A hash of the searches by which a file says that it was made; empty if it says nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) part: String,
    /// Of a file: the line and the text of the search that says that it is a part; not kept.
    #[serde(skip)]
    pub(super) said: Option<(u64, String)>,
    /// Whether the file certainly does not have all entries.
    #[serde(skip)]
    pub(super) is_part: bool,
    /// Whether the marks are not kept: without syncprov, slapd does not update those that a backup brought.
    #[serde(skip)]
    pub(super) has_old_marks: bool,
}

/// The origins of the last runs. Persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origins {
    #[serde(default)]
    format: u64,
    /// That of the last read from which deletions might be concluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) whole: Option<Origin>,
    /// That of the last read, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<Origin>,
    /// What `other` was when the run began, until the first read of the run is judged: it is not kept.
    #[serde(skip)]
    other_of_last_run: Option<Origin>,
}

impl Origin {
    /// Returns whether this server has all changes that another one had; `None` if that is not known.
    fn has_all_of(&self, before: &Origin) -> Option<bool> {
        if self.marks.is_empty() || before.marks.is_empty() {
            return None;
        }
        // Those of one server sort as text: they start with the time.
        Some(before.marks.iter().all(|(id, was)| self.marks.get(id).is_some_and(|is| is >= was)))
    }

    fn is_file(&self) -> bool {
        self.server.is_empty()
    }

    /// Returns the server, as a message names it.
    fn named_server(&self) -> String {
        if self.is_file() { "a file".to_owned() } else { self.server.clone() }
    }

    pub(super) fn add_marks(&mut self, others: &BTreeMap<String, String>) {
        for (id, other) in others {
            let mark = self.marks.entry(id.clone()).or_default();
            if *mark < *other {
                mark.clone_from(other);
            }
        }
    }

    /// Returns the reason that a file is the answer to another search, with the line and the text that say so.
    fn part(&self) -> IncompleteReason {
        let (line, text) = self.said.clone().unwrap_or_default();
        IncompleteReason::Part { line, text }
    }
}

impl Origins {
    /// Reads what an index or a bookmark has. What a newer version wrote, or nobody can read, counts as nothing.
    pub(super) fn of(value: Option<&Value>) -> Self {
        let read: Option<Self> = value.and_then(|value| serde_json::from_value(value.clone()).ok());
        let read = read.filter(|origins| origins.format <= FORMAT).unwrap_or_default();
        Self { other_of_last_run: read.other.clone(), ..read }
    }

    /// Returns where the last read came from, whether or not anything was concluded from it.
    fn last(&self) -> Option<&Origin> {
        self.other.as_ref().or(self.whole.as_ref())
    }

    /// Returns why the end of a read by another account cannot continue what the last run began.
    pub(crate) fn of_other_account(&self, now: Option<&Origin>) -> Option<String> {
        let (last, now) = self.last().zip(now)?;
        (last.account != now.account)
            .then(|| "another account than the last time reads, which may see other entries".to_owned())
    }

    /// Returns whether another server than this read the last time.
    pub(crate) fn is_of_other_server(&self, server: &str) -> bool {
        self.last().is_some_and(|last| !last.server.is_empty() && last.server != server)
    }

    /// Notes a read, and returns why nothing may be concluded from what it did not show.
    pub(super) fn judge(&mut self, mut now: Origin) -> Vec<IncompleteReason> {
        // A second read of the same run is not a second run.
        let (whole, last) = (self.whole.take(), self.other_of_last_run.take());
        self.other = None;
        // Another directory, not another server of it: nothing is left of the one before.
        let is_same = |whole: &Origin| {
            let is_known = !whole.directory.is_empty() && !now.directory.is_empty();
            !is_known || whole.directory == now.directory
        };
        let whole = whole.filter(is_same);
        let mut reasons = Vec::new();
        if let Some(whole) = &whole {
            let is_second = |same: &dyn Fn(&Origin) -> bool| last.as_ref().is_some_and(same);
            // Nobody binds to a file: the change from a server to a file is that of the server.
            let has_both = !whole.account.is_empty() && !now.account.is_empty();
            if has_both && whole.account != now.account && !is_second(&|last| last.account == now.account) {
                reasons.push(IncompleteReason::OtherAccount);
            }
            let is_same = !now.server_id.is_empty() && whole.server_id == now.server_id;
            if whole.server != now.server && !is_same {
                let (before, server) = (whole.named_server(), now.named_server());
                match now.has_all_of(whole) {
                    Some(true) => {}
                    Some(false) => reasons.push(IncompleteReason::Behind { before, now: server }),
                    None if is_second(&|last| last.server == now.server) => {}
                    None => reasons.push(IncompleteReason::OtherServer { before, now: server }),
                }
            }
            let are_files = whole.is_file() && now.is_file();
            if are_files && whole.part != now.part && !is_second(&|last| last.part == now.part) {
                reasons.push(now.part());
            }
        } else if now.is_part && last.as_ref().is_none_or(|last| last.part != now.part) {
            reasons.push(now.part());
        }
        self.format = FORMAT;
        if now.has_old_marks {
            now.marks.clear();
        }
        if reasons.is_empty() {
            self.whole = Some(now);
        } else {
            self.whole = whole.map(|mut whole| {
                // Its newest entries were emitted, too.
                whole.add_marks(&now.marks);
                whole
            });
            self.other = Some(now);
        }
        reasons
    }

    /// Notes how far the log of the same account was read.
    pub(super) fn follow(&mut self, server: String, marks: &BTreeMap<String, String>) {
        let Some(whole) = &mut self.whole else { return };
        whole.add_marks(marks);
        if self.other.is_none() {
            whole.server = server;
        }
    }
}

/// Returns the account that a configuration binds as, as a hash. A server is asked for it only if the configuration does not have it.
pub(crate) async fn account(auth: &AuthMethod, directory: &Directory) -> Result<String, DirectoryError> {
    let Directory::Ldap(server) = directory else { return Ok(String::new()) };
    let said = async || Ok::<_, DirectoryError>(server.who_am_i().await?.unwrap_or_default());
    let who = match auth {
        AuthMethod::Simple { dn, .. } => {
            let rdns: Vec<&str> = dn::split(dn).unwrap_or_default().into_iter().map(str::trim).collect();
            format!("simple {}", rdns.join(",").to_lowercase())
        }
        AuthMethod::Ntlm { user, .. } => format!("ntlm {}", user.to_lowercase()),
        AuthMethod::Anonymous => "anonymous".to_owned(),
        AuthMethod::External => format!("external {}", said().await?),
        AuthMethod::Gssapi => format!("gssapi {}", said().await?),
    };
    Ok(hash(&who))
}

pub(super) fn hash(text: &str) -> String {
    BASE64.encode(Sha256::digest(text).get(..12).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(account: &str, server: &str, marks: &[(&str, &str)]) -> Origin {
        let marks = marks.iter().map(|(id, mark)| ((*id).to_owned(), (*mark).to_owned())).collect();
        Origin { account: account.into(), server: server.into(), marks, ..Origin::default() }
    }

    fn file(part: &str, is_part: bool) -> Origin {
        Origin { part: part.into(), is_part, said: Some((5, part.into())), ..Origin::default() }
    }

    fn codes(origins: &mut Origins, now: Origin) -> Vec<&'static str> {
        // As kept between two runs.
        *origins = Origins::of(Some(&serde_json::to_value(&*origins).unwrap()));
        origins.judge(now).iter().map(IncompleteReason::name).collect()
    }

    #[test]
    fn another_account_is_taken_from_its_second_run_in_a_row_on() {
        let mut origins = Origins::default();
        let (a, b) = (at("a", "s", &[]), at("b", "s", &[]));
        for (now, expected) in [(&a, 0), (&a, 0), (&b, 1), (&a, 0), (&b, 1), (&b, 0), (&b, 0), (&a, 1)] {
            assert_eq!(codes(&mut origins, now.clone()).len(), expected, "{now:?}");
        }
        assert!(origins.of_other_account(Some(&b)).is_some() && origins.of_other_account(Some(&a)).is_none());
    }

    #[test]
    fn another_server_must_be_as_far_if_both_say_it() {
        let mut origins = Origins::default();
        let a = at("x", "a", &[("001", "20260102"), ("002", "20260101")]);
        assert!(codes(&mut origins, a.clone()).is_empty());
        let behind = at("x", "b", &[("001", "20260101"), ("002", "20260101")]);
        assert_eq!(codes(&mut origins, behind.clone()), ["behind"]);
        assert_eq!(codes(&mut origins, behind), ["behind"], "for as long as it is");
        assert_eq!(codes(&mut origins, at("x", "b", &[("001", "20260103")])), ["behind"], "one is missing");
        let as_far = at("x", "b", &[("001", "20260103"), ("002", "20260101"), ("003", "2026")]);
        assert!(codes(&mut origins, as_far).is_empty());
        assert_eq!(codes(&mut origins, a), ["behind"], "the newest were emitted");
        let mut origins = Origins::default();
        for (server, expected) in [("a", 0), ("b", 1), ("a", 0), ("b", 1), ("b", 0)] {
            assert_eq!(codes(&mut origins, at("x", server, &[])).len(), expected, "{server}");
        }
        // What is not updated says nothing of what was emitted.
        let mut origins = Origins::default();
        let stale = Origin { has_old_marks: true, ..at("x", "a", &[("001", "2025")]) };
        assert!(codes(&mut origins, stale).is_empty());
        assert_eq!(codes(&mut origins, at("x", "b", &[("001", "2026")])), ["server"]);
        assert!(codes(&mut origins, at("x", "b", &[("001", "2026")])).is_empty());
        // The log of the one, then a whole read of the other.
        origins.follow("b".into(), &BTreeMap::from([("001".into(), "20260105".into())]));
        assert_eq!(codes(&mut origins, at("x", "a", &[("001", "20260104")])), ["behind"]);
    }

    #[test]
    fn a_second_read_of_one_run_is_not_a_second_run() {
        for now in [at("b", "s", &[]), at("a", "t", &[])] {
            let mut origins = Origins::default();
            assert!(codes(&mut origins, at("a", "s", &[])).is_empty());
            assert_eq!(codes(&mut origins, now.clone()).len(), 1);
            let mut second = Origins::of(Some(&serde_json::to_value(&origins).unwrap()));
            assert!(second.judge(now.clone()).is_empty(), "the second run");
            assert!(second.judge(now.clone()).is_empty(), "it was accepted");
            // Within the first run.
            let mut first = origins.clone();
            assert_eq!(first.judge(now.clone()).len(), 1, "{now:?}");
            assert_eq!(first.judge(now.clone()).len(), 1, "{now:?}");
            assert!(codes(&mut first, now).is_empty());
        }
    }

    #[test]
    fn between_a_server_and_a_file_there_is_one_reason() {
        let server = at("a", "ldap://s", &[("001", "20260101")]);
        for (before, now) in [(server.clone(), file("base dc=x", false)), (file("base dc=x", false), server)]
        {
            let mut origins = Origins::default();
            assert!(codes(&mut origins, before).is_empty());
            let reasons = origins.clone().judge(now.clone());
            assert_eq!(reasons.iter().map(IncompleteReason::name).collect::<Vec<_>>(), ["server"]);
            let text = reasons[0].message();
            assert!(text.contains("a file") && text.contains("ldap://s"), "{text}");
            assert_eq!(codes(&mut origins, now.clone()), ["server"]);
            assert!(codes(&mut origins, now).is_empty());
        }
    }

    #[test]
    fn the_same_search_as_the_last_time_is_the_same_whole() {
        let (whole, filter) = (file("base dc=x", false), file("base dc=x filter (a=b)", true));
        let mut origins = Origins::default();
        for (now, expected) in
            [(&filter, 1), (&filter, 0), (&filter, 0), (&whole, 1), (&whole, 0), (&filter, 1), (&whole, 0)]
        {
            assert_eq!(codes(&mut origins, now.clone()).len(), expected, "{now:?}");
        }
        let mut origins = Origins::default();
        assert!(codes(&mut origins, whole).is_empty());
        assert_eq!(codes(&mut origins, filter), ["part"]);
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_newer_is_not() {
        let kept = json!({"format": 1, "whole": {"account": "a", "server": "s", "more": 1}});
        assert!(Origins::of(Some(&kept)).is_of_other_server("t"));
        let newer = json!({"format": 2, "whole": {"account": "a", "server": "s"}});
        assert_eq!(Origins::of(Some(&newer)), Origins::default());
        assert_eq!(Origins::of(Some(&json!("?"))), Origins::default());
        assert_eq!(Origins::of(None), Origins::default());
    }
}
