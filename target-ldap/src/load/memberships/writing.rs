//! Writes groups, several at once, and counts what becomes of their rows.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use ldap_directory::DirectoryError;
use tokio::task::JoinSet;

use super::super::{Load, LoadError};
use super::CollectedRow;
use super::groups::Group;
use crate::write::change_label::{CHANGE_LABEL, ChangeLabel};
use crate::write::counts::RecordOutcome;
use crate::write::memberships::{MemberError, MemberOutcome, MembersWritten};

/// The most groups whose members are logged, of each kind.
const LOGGED: u64 = 20;

/// A group that was written, with the result.
type Written = (Group, Result<MembersWritten, DirectoryError>);

impl Group {
    /// Returns the label of its changes: its first row, and how many others there are.
    fn label(&self) -> ChangeLabel {
        let first = self.rows.first();
        let about = first.map_or("no longer in the stream", |row| &*row.about);
        let record = match self.rows.len() {
            0 | 1 => about.into(),
            all => format!("{about} and {} more", all - 1).into(),
        };
        ChangeLabel {
            number: first.map_or(u64::MAX, |row| row.number),
            stream: self.stream.clone(),
            line: first.map_or(0, |row| row.line),
            record,
            is_leaving: false,
        }
    }
}

impl<W: Write> Load<'_, W> {
    /// Writes groups.
    pub(super) async fn write_groups(&mut self, groups: Vec<Group>) {
        let mut dangling: HashMap<Arc<str>, u64> = HashMap::new();
        let begin = |load: &mut Self, group: Group| {
            let applier = load.applier.clone();
            async move {
                let label = group.label();
                let result = CHANGE_LABEL.scope(label, applier.write_members(&group.wanted)).await;
                (group, result)
            }
        };
        let end = |load: &mut Self, (group, result): Written| match result {
            Ok(written) => load.group_written(group, written, &mut dangling),
            Err(error) => load.fail_memberships(group.rows.first().map(CollectedRow::facts), error),
        };
        self.write_several(groups, begin, end).await;
    }

    /// Begins to write each of these, at most `max_in_flight` at once, and hands over the results. After a signal or a failure no
    /// further one is begun.
    pub(super) async fn write_several<T, F>(
        &mut self,
        all: Vec<T>,
        mut begin: impl FnMut(&mut Self, T) -> F,
        mut end: impl FnMut(&mut Self, F::Output),
    ) where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let mut queue = VecDeque::from(all);
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.config.max_in_flight
                && self.memberships.stopped.is_none()
                && self.failure.is_none()
                && let Some(next) = queue.pop_front()
            {
                let writing = begin(self, next);
                running.spawn(writing);
            }
            if running.is_empty() {
                return;
            }
            tokio::select! {
                Some(joined) = running.join_next() => match joined {
                    Ok(written) => end(self, written),
                    Err(_) => self.fail(0, LoadError::Internal("a part of this program has panicked")),
                },
                signal = self.stop.wait(), if self.memberships.stopped.is_none() => {
                    self.memberships.stopped = Some(signal);
                }
            }
        }
    }

    fn group_written(
        &mut self,
        group: Group,
        written: MembersWritten,
        dangling: &mut HashMap<Arc<str>, u64>,
    ) {
        let MembersWritten { outcomes, dangling: names, is_added, is_deleted, .. } = written;
        let Group { stream, wanted, rows, .. } = group;
        let number = rows.first().map_or(u64::MAX, |row| row.number);
        let is_changed =
            |outcome: &MemberOutcome| matches!(outcome, MemberOutcome::Added | MemberOutcome::TakenAway);
        if outcomes.iter().any(is_changed) {
            let kind = match (is_added, is_deleted) {
                (true, _) => RecordOutcome::Added,
                (_, true) => RecordOutcome::Deleted,
                _ => RecordOutcome::Modified,
            };
            self.applier.directory().show_outcome(number, kind);
        }
        for name in names {
            let logged = dangling.entry(stream.clone()).or_default();
            *logged += 1;
            if *logged <= LOGGED {
                tracing::warn!(
                    stream = &*stream,
                    dn = wanted.dn,
                    "stream `{stream}`: `{name}` is a member of `{}`, and there is no such entry; it is written as it is",
                    wanted.dn
                );
            }
        }
        for ((row, member), outcome) in rows.into_iter().zip(wanted.members).zip(outcomes) {
            match outcome {
                MemberOutcome::Added => self.membership_done(&row, RecordOutcome::Added),
                MemberOutcome::TakenAway => self.membership_done(&row, RecordOutcome::Deleted),
                MemberOutcome::Unchanged => self.membership_done(&row, RecordOutcome::Unchanged),
                MemberOutcome::LeftAlone => self.membership_done(&row, RecordOutcome::Ignored),
                MemberOutcome::Kept => {
                    self.warn_of_kept(&stream, &wanted.dn, Some(&row));
                    self.membership_done(&row, RecordOutcome::Unchanged);
                }
                MemberOutcome::Missing(reason) => {
                    self.membership_missing(row, Some(&wanted.key), reason, member.is_last);
                }
                MemberOutcome::Failed(error) => {
                    let error = membership_error(row.line, &stream, error);
                    self.refuse_membership(&row, Some(&wanted.dn), error);
                }
            }
        }
    }

    /// Warns of a member that stays, so that its group is not empty.
    pub(super) fn warn_of_kept(&mut self, stream: &Arc<str>, dn: &str, row: Option<&CollectedRow>) {
        let counts = self.counters.by_stream.entry(stream.clone()).or_default();
        counts.kept += 1;
        if counts.kept <= LOGGED {
            tracing::warn!(
                stream = &**stream,
                line = row.map(|row| row.line),
                dn,
                "stream `{stream}`: the last member of `{dn}` stays, because its class demands one (empty_group: keep_last)"
            );
        }
    }
}

/// Returns the failure of a row.
pub(super) fn membership_error(line: u64, stream: &str, error: MemberError) -> LoadError {
    match error {
        MemberError::Refused(reason) => LoadError::record(line, stream, reason),
        MemberError::Unreadable(unreadable) => {
            let (stream, key) = (stream.to_owned(), String::new());
            LoadError::Unreadable { line, stream, key, unreadable: Box::new(unreadable) }
        }
        MemberError::Limit(limit) => LoadError::limit(line, stream, *limit),
        MemberError::Directory(error) => LoadError::write(line, stream, error),
    }
}
