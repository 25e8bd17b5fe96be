//! The groups that have the name of an entry still, though the entry is renamed or deleted.

use std::collections::HashSet;

use ldap_directory::DirectoryError;
use ldap_directory::schema::Schema;

use crate::write::{WriteError, WriteErrorKind, refusal};

/// The most groups and names in a text.
const SHOWN: usize = 20;

/// What is left of the names of entries.
#[derive(Debug, Default)]
pub(super) struct Left {
    tries_all: bool,
    /// Whether no further group is tried: the server does not answer, or what was made is taken back.
    is_over: bool,
    /// Why; the gravest reason.
    error: Option<WriteError>,
    /// The groups, each once.
    groups: Vec<String>,
    known: HashSet<String>,
    /// The groups with the names, for people.
    shown: Vec<String>,
    /// The names whose groups were not looked for.
    unsearched: Vec<String>,
}

/// Whether nothing can be changed any more.
fn is_end(kind: WriteErrorKind, error: &DirectoryError) -> bool {
    matches!(kind, WriteErrorKind::OutcomeUnknown | WriteErrorKind::Undo)
        || error.is_connection()
        || error.is_transient()
}

/// Returns the names that fit a text, and how many more there are.
fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown}, and {more} more") } else { shown }
}

impl Left {
    pub(super) fn new(tries_all: bool) -> Left {
        Left { tries_all, ..Left::default() }
    }

    /// Whether no further group is to be tried.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn add(&mut self, group: &str, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        if self.known.insert(group.to_owned()) {
            self.groups.push(group.to_owned());
        }
        self.shown.push(format!("`{group}` (`{name}`)"));
        format!("the group `{group}` may still have the name `{name}`")
    }

    fn note(&mut self, error: WriteError, detail: String) {
        let is_graver = |known: &WriteError| {
            known.kind == WriteErrorKind::Refused && error.kind != WriteErrorKind::Refused
        };
        if self.error.as_ref().is_none_or(is_graver) {
            self.error = Some(WriteError { detail, ..error });
        }
    }

    /// Notes a group that could not be changed.
    pub(super) fn failed(&mut self, error: &DirectoryError, (group, name): (&str, &[u8]), schema: &Schema) {
        let refused = refusal::of_directory(error, schema);
        let is_end = is_end(refused.kind, error);
        let kind = match refused.kind {
            WriteErrorKind::Unavailable | WriteErrorKind::OutcomeUnknown | WriteErrorKind::Undo => {
                refused.kind
            }
            _ => WriteErrorKind::Refused,
        };
        let detail = format!("{}: {}", self.add(group, name), refused.detail);
        tracing::error!(dn = group, "{detail}");
        self.is_over |= is_end || !self.tries_all;
        self.note(WriteError { kind, ..refused }, detail);
    }

    /// Notes a group that has the name under descriptions that cannot be changed.
    pub(super) fn kept(&mut self, group: &str, name: &[u8], place: &str) {
        self.add(group, name);
        let name = String::from_utf8_lossy(name);
        let detail = format!(
            "the group `{group}` still has the name `{name}` in {place}: the directory does not remove it there"
        );
        tracing::error!(dn = group, "{detail}");
        self.is_over |= !self.tries_all;
        self.note(WriteError::new(WriteErrorKind::Refused, detail.clone()), detail);
    }

    /// Notes a group of which it is not known whether it has the name.
    pub(super) fn not_seen(&mut self, error: &WriteError, group: &str, name: &[u8]) {
        let detail = format!("{}: {}", self.add(group, name), error.detail);
        tracing::error!(dn = group, "{detail}");
        self.is_over = true;
        self.note(error.clone(), detail);
    }

    /// Notes a group that was not tried.
    pub(super) fn not_tried(&mut self, group: &str, name: &[u8]) {
        // What is made is taken back: the group is as it was.
        if self.tries_all {
            let detail = self.add(group, name);
            tracing::error!(dn = group, "{detail}: it was not tried");
        }
    }

    /// Notes that groups could not be searched for. `planned`: those that a plan has found.
    pub(super) fn failed_search(&mut self, error: WriteError, planned: &[String]) {
        for group in planned.iter().filter(|group| self.known.insert((*group).clone())) {
            tracing::error!(
                dn = group.as_str(),
                "the group `{group}` may still have an old name: it was not tried"
            );
            self.groups.push(group.clone());
            self.shown.push(format!("`{group}`"));
        }
        self.is_over = true;
        let detail = error.detail.clone();
        self.note(error, detail);
    }

    /// Notes names whose groups were not looked for.
    pub(super) fn not_searched<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        self.unsearched.extend(names.map(|name| format!("`{name}`")));
    }

    /// Ends it.
    ///
    /// # Errors
    /// Groups are left: all of them are named.
    pub(super) fn end(self) -> Result<(), WriteError> {
        let Some(error) = self.error else { return Ok(()) };
        let mut detail = error.detail;
        if self.shown.len() > 1 {
            let (count, shown) = (self.shown.len(), some(&self.shown));
            detail = format!("{count} groups may still have a name that is gone: {shown}; {detail}");
        }
        if self.tries_all && !self.unsearched.is_empty() {
            let names = some(&self.unsearched);
            detail = format!("{detail}; the groups of these names could not be looked for: {names}");
        }
        Err(WriteError { detail, groups: self.groups, ..error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u32) -> DirectoryError {
        let (dn, matched, text) = (String::new(), String::new(), String::new());
        DirectoryError::Operation { operation: "modify", dn, code, matched, text }
    }

    #[test]
    fn every_group_is_named_and_the_first_ones_in_the_text() {
        let schema = Schema::standard();
        let mut left = Left::new(true);
        for n in 0..25 {
            left.failed(&refused(50), (&format!("cn=g{n}"), b"uid=a"), schema);
            assert!(!left.is_over());
        }
        left.failed(&refused(50), ("cn=g0", b"a"), schema);
        let error = left.end().unwrap_err();
        assert_eq!((error.kind, error.groups.len()), (WriteErrorKind::Refused, 25));
        assert!(error.detail.contains("`cn=g19` (`uid=a`), and 6 more"), "{}", error.detail);
        assert!(!error.detail.contains("cn=g20"), "{}", error.detail);
    }

    #[test]
    fn the_rest_is_named_when_the_server_is_gone() {
        let schema = Schema::standard();
        let mut left = Left::new(true);
        left.failed(&refused(50), ("cn=a", b"uid=a"), schema);
        left.failed(&refused(51), ("cn=b", b"uid=a"), schema);
        assert!(left.is_over());
        left.not_tried("cn=c", b"uid=a");
        left.not_searched(["uid=b"].into_iter());
        let error = left.end().unwrap_err();
        assert_eq!(
            (error.kind, error.groups),
            (WriteErrorKind::Unavailable, ["cn=a", "cn=b", "cn=c"].map(str::to_owned).to_vec())
        );
        assert!(error.detail.contains("uid=b"), "{}", error.detail);
        // A search that fails: the groups of the plan.
        let mut left = Left::new(true);
        left.failed_search(WriteError::new(WriteErrorKind::Unavailable, "gone"), &["cn=a".to_owned()]);
        left.not_searched(["uid=a"].into_iter());
        assert_eq!(left.end().unwrap_err().groups, ["cn=a"]);
    }

    #[test]
    fn what_is_taken_back_ends_with_the_first_group() {
        let mut left = Left::new(false);
        left.failed(&refused(50), ("cn=a", b"uid=a"), Schema::standard());
        assert!(left.is_over());
        left.not_tried("cn=b", b"uid=a");
        assert_eq!(left.end().unwrap_err().groups, ["cn=a"]);
        assert!(Left::new(true).end().is_ok());
    }
}
