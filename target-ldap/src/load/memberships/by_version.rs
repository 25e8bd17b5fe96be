//! Memberships by ACTIVATE_VERSION: what a complete version does not have is taken away, group by group.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::{DirectoryError, Vendor};
use singer_common::operations::signals::Signal;

use super::super::activation::{Activation, warn_of_hidden, warn_of_no_deletion};
use super::super::refusals::Rejected;
use super::super::rejects::RejectSchema;
use super::super::versions::SkipReason;
use super::super::{Load, LoadError};
use super::brought::StreamMembers;
use super::writing::membership_error;
use crate::map::{Extent, MembershipPolicy};
use crate::write::change_label::{CHANGE_LABEL, ChangeLabel};
use crate::write::counts::RecordOutcome;
use crate::write::memberships::{
    KeptMembers, MembersWritten, ScopedGroup, WantedMembers, member_hash, with_members,
};

/// The most groups and members that a message names.
const NAMED: usize = 5;

/// Names for a message: the first ones, and whether there are more.
fn named(names: &[String]) -> String {
    let more = if names.len() > NAMED { " and more" } else { "" };
    let first: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    format!("{}{more}", first.join(", "))
}

/// A version of a stream of memberships.
struct Version {
    stream: Arc<str>,
    line: u64,
    reject_schema: Arc<RejectSchema>,
    policy: Arc<MembershipPolicy>,
    kept: Arc<KeptMembers>,
}

/// A group that was written, with the number of its changes and the result.
type Written = (ScopedGroup, u64, Result<MembersWritten, DirectoryError>);

impl<W: Write> Load<'_, W> {
    /// Takes away the members that a version does not have. Returns the signal, if one interrupts it.
    pub(in super::super) async fn take_absent_members(&mut self, activation: &Activation) -> Option<Signal> {
        let (stream, line) = (Arc::<str>::from(activation.stream.as_str()), activation.line);
        let (names, policy) = activation.extent.memberships.clone()?;
        if !self.memberships.is_empty() {
            self.write_memberships(true).await;
        }
        if self.failure.is_some() || self.memberships.stopped.is_some() {
            return self.memberships.stopped.take();
        }
        let renamed = self.memberships.renamed;
        let of_stream = self.memberships.brought.of_version(&stream, activation.period);
        if of_stream.is_unknown {
            warn_of_no_deletion(&stream, line, &SkipReason::Unknown);
            return None;
        }
        if of_stream.renamed.is_some_and(|then| then != renamed) {
            let why = "entries were renamed after a part of its rows had been written, so their names are not those of the version; the next run takes away what is left";
            warn_of_no_deletion(&stream, line, &why);
            return None;
        }
        if !policy.operations.update || !policy.operations.delete {
            return None;
        }
        let groups = match self.groups_of_version(activation, (&names, &policy), of_stream).await {
            Ok(Some(groups)) => groups,
            Ok(None) => {
                warn_of_no_deletion(&stream, line, &SkipReason::Elsewhere);
                return None;
            }
            Err(error) => {
                self.fail(u64::MAX - 1, LoadError::write(line, &stream, error));
                return None;
            }
        };
        let kept = Arc::new(self.memberships.brought.kept(&stream));
        let reject_schema = activation.reject_schema.clone();
        let version = Version { stream: stream.clone(), line, reject_schema, policy, kept };
        self.take_members(&version, &activation.extent.base, groups).await;
        self.memberships.stopped.take()
    }

    /// Returns the groups that lose members. `None`: the scope has no group of the stream.
    async fn groups_of_version(
        &mut self,
        activation: &Activation,
        (names, policy): (&[String], &MembershipPolicy),
        of_stream: StreamMembers,
    ) -> Result<Option<Vec<ScopedGroup>>, DirectoryError> {
        let Extent { base, filter, .. } = &activation.extent;
        let kept = self.memberships.brought.kept(&activation.stream);
        let applier = self.applier.clone();
        let StreamMembers { groups: named_groups, incomplete, .. } = of_stream;
        let mut groups = if base.is_empty() {
            let all = named_groups.iter().map(|(key, dn)| (key.clone(), dn.clone())).collect();
            applier.surplus_of(all, names, policy, &kept).await?
        } else {
            let with_members = with_members(filter, names);
            Box::pin(warn_of_hidden(&applier, &activation.stream, base, &with_members)).await?;
            let has = |key: &DnKey| named_groups.contains_key(key);
            let (groups, has_named) =
                applier.groups_with_surplus(base, filter, names, policy, &kept, has).await?;
            if !groups.is_empty() && !has_named {
                return Ok(None);
            }
            groups
        };
        let (left, rest): (Vec<_>, Vec<_>) = groups.drain(..).partition(|g| incomplete.contains(&g.key));
        if !left.is_empty() {
            let stream = &activation.stream;
            let names: Vec<String> = left.into_iter().map(|group| group.dn).collect();
            tracing::warn!(
                stream,
                groups = names.len(),
                "line {}, stream `{stream}`: {} group(s) lose no member by ACTIVATE_VERSION, because a row of each was rejected whose member is not known: {}",
                activation.line,
                names.len(),
                named(&names)
            );
        }
        self.warn_of_primary_members(activation, named_groups, &kept).await?;
        Ok(Some(rest))
    }

    /// Warns of members of Active Directory's primary groups that the version does not have: no group has a value for them.
    async fn warn_of_primary_members(
        &mut self,
        activation: &Activation,
        groups: BTreeMap<DnKey, String>,
        kept: &KeptMembers,
    ) -> Result<(), DirectoryError> {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Ok(());
        }
        let mut left = Vec::new();
        for (key, dn) in groups {
            for member in self.applier.primary_members(&dn).await? {
                let normal = self.applier.normal_member("member", member.as_bytes());
                let has = |attribute| kept.has(member_hash(&key, attribute, &normal));
                if !has("member") && !has(crate::map::PRIMARY_GROUP) {
                    left.push(format!("{member}` in `{dn}"));
                }
            }
        }
        if !left.is_empty() {
            let stream = &activation.stream;
            tracing::warn!(
                stream,
                members = left.len(),
                "line {}, stream `{stream}`: {} user(s) that the version does not have stay in their primary group (primaryGroupID), which no group has a value for: {}",
                activation.line,
                left.len(),
                named(&left)
            );
        }
        Ok(())
    }

    /// Takes members out of groups, several at once.
    async fn take_members(&mut self, version: &Version, base: &str, groups: Vec<ScopedGroup>) {
        let Version { stream, line, policy, kept, .. } = version;
        let groups = self.without_protected_groups(stream, groups).await;
        if groups.is_empty() {
            return;
        }
        let all = groups.iter().map(|group| group.surplus).sum();
        tracing::info!(
            stream = &**stream,
            "{stream}: {all} member(s) of {} group(s) did not come with the version",
            groups.len()
        );
        if let Err(limit) = self.applier.check_members(stream, base, groups.len(), all) {
            return self.fail(u64::MAX - 1, LoadError::limit(*line, stream, limit));
        }
        let begin = |load: &mut Self, group: ScopedGroup| {
            let number = load.committer.ack.begin();
            let (dn, key, attribute) = (group.dn.clone(), group.key.clone(), group.attribute.clone());
            let (policy, kept) = (policy.clone(), Some(kept.clone()));
            let wanted = WantedMembers { dn, key, attribute, members: Vec::new(), policy, kept };
            let record = "no longer in the stream".into();
            let label =
                ChangeLabel { number, stream: stream.clone(), line: *line, record, is_leaving: false };
            let applier = load.applier.clone();
            async move {
                let result = CHANGE_LABEL.scope(label, applier.write_members(&wanted)).await;
                (group, number, result)
            }
        };
        let end = |load: &mut Self, (group, number, result): Written| match result {
            Ok(written) => load.members_taken(version, &group, number, written),
            Err(error) => load.fail(u64::MAX - 1, LoadError::write(*line, stream, error)),
        };
        self.write_several(groups, begin, end).await;
    }

    /// Returns the groups that may be changed, and logs those that may not.
    async fn without_protected_groups(
        &mut self,
        stream: &Arc<str>,
        groups: Vec<ScopedGroup>,
    ) -> Vec<ScopedGroup> {
        let (mut allowed, mut protected, mut members) = (Vec::new(), Vec::new(), 0);
        for group in groups {
            let change = Change::Modify { dn: group.dn.clone(), changes: Vec::new() };
            let destination = self.applier.directory();
            if destination.check(&change).await.is_err_and(|e| e.is_forbidden()) {
                members += group.surplus;
                protected.push(group.dn);
            } else {
                // Another error is that of the change.
                allowed.push(group);
            }
        }
        if !protected.is_empty() {
            tracing::info!(
                stream = &**stream,
                protected = members,
                "{stream}: {members} member(s) of {} group(s) did not come with the version and stay, for these are protected or outside of write_base: {}",
                protected.len(),
                named(&protected)
            );
            self.counters.by_stream.entry(stream.clone()).or_default().protected += members;
        }
        allowed
    }

    fn members_taken(
        &mut self,
        version: &Version,
        group: &ScopedGroup,
        number: u64,
        written: MembersWritten,
    ) {
        let Version { stream, line, reject_schema, .. } = version;
        let MembersWritten { by_version, kept, failed, is_deleted, .. } = written;
        let counts = self.counters.by_stream.entry(stream.clone()).or_default();
        counts.by_version += by_version;
        counts.deleted += by_version;
        if by_version > 0 {
            let kind = if is_deleted { RecordOutcome::Deleted } else { RecordOutcome::Modified };
            self.applier.directory().show_outcome(number, kind);
        }
        if kept > 0 {
            self.warn_of_kept(stream, &group.dn, None);
        }
        let Some(error) = failed.into_iter().next() else { return self.committer.ack.done(number) };
        self.counters.by_stream.entry(stream.clone()).or_default().by_version += 1;
        let error = membership_error(*line, stream, error).of_key("no longer in the stream");
        let rejected = Rejected {
            number,
            stream,
            line: *line,
            in_file: None,
            key: "",
            dn: Some(&group.dn),
            answer: None,
            record: &serde_json::Value::Null,
            recorded: None,
        };
        self.reject(&rejected, reject_schema, error);
    }
}
