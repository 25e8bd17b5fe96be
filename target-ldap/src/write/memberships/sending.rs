//! Sends the changes of a group's members, and finds out which value a refusal is about.

use std::collections::VecDeque;

use ldap_directory::DirectoryError;
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;

use super::{MemberError, MemberOutcome, Writing};
use crate::write::ldap_result::is_records_fault;

/// The most values of one modification: Active Directory takes no more than 5,000 changes of links at once.
const MOST_VALUES: usize = 5_000;
/// The most octets of them: 389 Directory Server takes requests up to 2 MiB (nsslapd-maxbersize).
const MOST_OCTETS: usize = 1024 * 1024;
/// The most values that are found to be refused singly. With more, the others of their modification are refused for the same reason.
const MOST_SINGLE: usize = 64;

/// What a change of a value is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The wanted member of this number.
    Row(usize),
    /// The version does not have the member.
    Version,
    /// The group would be empty without it, or is so no longer.
    Placeholder,
}

/// A change of one value.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: ModificationKind,
    pub(super) value: Vec<u8>,
    pub(super) of: Of,
}

/// How the changes of a group ended.
pub(super) enum Sent {
    /// Each is made or refused.
    All,
    /// The group is not as it was read.
    Overtaken,
}

/// Returns the changes in parts that are not too large. Additions come first: a group is never without members in between.
fn in_parts(mut steps: Vec<Step>) -> VecDeque<Vec<Step>> {
    steps.sort_by_key(|step| step.kind == ModificationKind::Delete);
    let mut parts = VecDeque::new();
    let (mut part, mut octets): (Vec<Step>, usize) = (Vec::new(), 0);
    for step in steps {
        if part.len() >= MOST_VALUES || !part.is_empty() && octets + step.value.len() > MOST_OCTETS {
            parts.push_back(std::mem::take(&mut part));
            octets = 0;
        }
        octets += step.value.len();
        part.push(step);
    }
    if !part.is_empty() {
        parts.push_back(part);
    }
    parts
}

impl Writing<'_> {
    /// Sends the changes. A modification that is refused is sent in halves, until the values at fault are known.
    pub(super) async fn send(&mut self, group: &Entry, steps: Vec<Step>) -> Result<Sent, DirectoryError> {
        let mut parts = in_parts(steps);
        let mut refused = 0;
        while let Some(part) = parts.pop_front() {
            let error = match self.send_part(&part).await {
                Ok(()) => {
                    for step in &part {
                        self.made(&step.of, step.kind);
                    }
                    continue;
                }
                Err(error) => error,
            };
            let MemberError::Directory(error) = error else {
                for step in &part {
                    self.refused(step, &error);
                }
                continue;
            };
            let is_overtaken = matches!(
                error.code(),
                Some(
                    result_code::NO_SUCH_ATTRIBUTE
                        | result_code::ATTRIBUTE_OR_VALUE_EXISTS
                        | result_code::NO_SUCH_OBJECT
                )
            );
            if is_overtaken && self.may_retry() {
                return Ok(Sent::Overtaken);
            }
            if !is_records_fault(&error) {
                return Err(error);
            }
            // These are about the group, whatever the value.
            let is_of_group =
                error.is_forbidden() || error.code() == Some(result_code::INSUFFICIENT_ACCESS_RIGHTS);
            if part.len() > 1 && !is_of_group && refused < MOST_SINGLE {
                let mut first = part;
                let second = first.split_off(first.len() / 2);
                parts.push_front(second);
                parts.push_front(first);
                continue;
            }
            if let ([step], true) = (part.as_slice(), self.is_on_ad())
                && step.kind == ModificationKind::Add
                && let Of::Row(at) = step.of
                && self.is_primary_member(group, &step.value).await?
            {
                // The server takes nobody twice.
                self.set(at, MemberOutcome::Unchanged);
                continue;
            }
            refused += 1;
            let error = MemberError::Directory(error);
            for step in &part {
                self.refused(step, &error);
            }
        }
        Ok(Sent::All)
    }

    fn refused(&mut self, step: &Step, error: &MemberError) {
        match step.of {
            Of::Row(at) => self.set(at, MemberOutcome::Failed(error.again())),
            Of::Version | Of::Placeholder => {
                if self.written.failed.is_empty() {
                    self.written.failed.push(error.again());
                }
            }
        }
    }

    /// Sends one modification.
    async fn send_part(&self, part: &[Step]) -> Result<(), MemberError> {
        let (applier, dn) = (self.applier, &self.wanted.dn);
        let removed = part.iter().filter(|s| s.kind == ModificationKind::Delete && s.of != Of::Placeholder);
        let removed = u64::try_from(removed.count()).unwrap_or(u64::MAX);
        let held = applier.hold_members(dn, removed).await.map_err(MemberError::Limit)?;
        let of_kind = |kind| {
            let values: Vec<Vec<u8>> =
                part.iter().filter(|s| s.kind == kind).map(|s| s.value.clone()).collect();
            let name = self.wanted.attribute.clone();
            (!values.is_empty()).then(|| Modification::new(kind, name, values))
        };
        let kinds = [ModificationKind::Add, ModificationKind::Delete];
        let changes = kinds.into_iter().filter_map(of_kind).collect();
        applier.digest_caches.forget(&self.wanted.key, false);
        let change = Change::Modify { dn: dn.clone(), changes };
        applier.directory.apply(&change).await.map_err(MemberError::Directory)?;
        held.made_all();
        applier.directory.members_removed(removed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_come_first_and_no_part_is_too_large() {
        let step = |kind, n: usize| Step { kind, value: format!("uid={n}").into_bytes(), of: Of::Row(n) };
        let deleted = (0..7).map(|n| step(ModificationKind::Delete, n));
        let steps = deleted.chain((7..MOST_VALUES + 10).map(|n| step(ModificationKind::Add, n))).collect();
        let parts = in_parts(steps);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [MOST_VALUES, 10]);
        assert!(parts[0].iter().all(|step| step.kind == ModificationKind::Add));
        let large = (0..3).map(|n| Step { value: vec![b'x'; MOST_OCTETS], ..step(ModificationKind::Add, n) });
        assert_eq!(in_parts(large.collect()).len(), 3);
        assert!(in_parts(Vec::new()).is_empty());
    }
}
