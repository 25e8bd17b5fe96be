//! Deletions by ACTIVATE_VERSION: entries that a complete version does not have are deleted as `on_delete` says.
//!
//! This is decided once, when the input has ended and every record was tried. With `activate_when_quiet_seconds` it is decided
//! whenever the input was quiet for long enough. A tap may announce a version before its records, and again for each part of
//! them. Until then STATE after the announcement is held back, so that a run that ends early loses no deletion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap_directory::DirectoryError;
use ldap_directory::dn::{DnKey, topmost};
use ldap_directory::filter::Filter;
use serde_json::Value;
use singer_common::operations::signals::Signal;

use super::versions::Versions;
use super::work::{RejectContext, Work};
use super::{Load, LoadError};
use crate::load::rejects::RejectSchema;
use crate::load::scheduler::TaskKind;
use crate::load::versions::SkipReason;
use crate::map::{DeleteAction, Extent, Task};
use crate::write::delete::first_change;

mod warnings;

pub(super) use warnings::warn_of_hidden;

/// A warning is logged if STATE is held back for longer.
const HELD_FOR_LONG: Duration = Duration::from_secs(60);
/// The most protected entries that the log names.
const NAMED: usize = 5;

/// A version that was announced as complete.
#[derive(Debug)]
pub(super) struct Activation {
    pub(super) stream: String,
    pub(super) line: u64,
    version: i64,
    pub(super) extent: Extent,
    pub(super) reject_schema: Arc<RejectSchema>,
    /// Whether a record of it arrived after its last announcement, and no STATE since.
    is_open: bool,
    /// Whether a STATE arrived after its announcement.
    has_state: bool,
    /// The last period of memberships that it has, once it is decided.
    pub(super) period: u64,
}

/// An entry that its stream's version does not have.
#[derive(Debug)]
pub(super) struct AbsentEntry {
    dn: String,
    key: DnKey,
    activation: Arc<Activation>,
    /// The filter of the scope, which it must still match when it is deleted.
    condition: Option<Arc<Filter>>,
}

/// The announced versions.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// In the order of their first announcement.
    announced: Vec<Activation>,
    /// Versions to be applied now.
    pub(super) due: VecDeque<Activation>,
    /// Versions of memberships, to be applied once no record waits.
    later: VecDeque<Activation>,
    /// Announcements that delete nothing so far, with the reason.
    skipped: Vec<(String, u64, i64, SkipReason)>,
    /// Streams for which the warning about `ldif_format` was logged.
    format_warned: BTreeSet<String>,
    /// Deletions in progress.
    pub(super) under_way: u64,
    /// Since when STATE is held back.
    held_since: Option<Instant>,
    was_logged: bool,
    /// The input was quiet: once the deletions are made, a period ends, of the claims and of memberships.
    ends_period: bool,
    /// The input ended within a version: STATE after it is not printed.
    pub(super) broken_off: bool,
    /// The records of each version.
    pub(super) versions: Versions,
    /// Entries that a version does not have, to be submitted for deletion.
    pub(super) absent: VecDeque<AbsentEntry>,
    /// The bases of the scopes of streams, until a record has an entry below; then `None`.
    unreached: BTreeMap<String, Option<DnKey>>,
    /// Streams of which a version was announced, whatever came of it.
    announced_streams: BTreeSet<String>,
    /// Streams for which the warning about a missing `scope_base` was logged.
    missing_scopes: BTreeSet<String>,
}

impl Activations {
    /// Notes a record.
    pub(super) fn note_record(&mut self, stream: &str, version: Option<i64>) {
        for activation in &mut self.announced {
            if activation.stream == stream && version.is_none_or(|v| v == activation.version) {
                activation.is_open = true;
            }
        }
    }

    /// Notes the entry of a record: whether it is in the scope of its stream.
    pub(super) fn note_entry(&mut self, stream: &str, key: &DnKey, base: impl FnOnce() -> Option<DnKey>) {
        match self.unreached.get_mut(stream) {
            Some(None) => {}
            Some(unreached) if unreached.as_ref().is_some_and(|base| key.is_within(base)) => {
                *unreached = None;
            }
            Some(_) => {}
            None => {
                let base = base().filter(|base| !key.is_within(base));
                self.unreached.insert(stream.to_owned(), base);
            }
        }
    }

    /// Whether a record of the stream had an entry in its scope.
    fn has_reached(&self, stream: &str) -> bool {
        self.unreached.get(stream).is_some_and(Option::is_none)
    }

    /// Notes a STATE.
    pub(super) fn note_state(&mut self) {
        for activation in &mut self.announced {
            activation.is_open = false;
            activation.has_state = true;
        }
    }

    /// Returns the next version to be applied. `nothing_left`: no record waits.
    pub(super) fn next_due(&mut self, nothing_left: bool) -> Option<Activation> {
        let is_later = nothing_left && self.under_way == 0;
        self.due.pop_front().or_else(|| is_later.then(|| self.later.pop_front()).flatten())
    }

    /// Whether nothing is left to decide or delete.
    pub(super) fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.due.is_empty() && self.later.is_empty() && self.under_way == 0
    }

    /// Whether an announcement is still to be decided, or to be reported as deleting nothing.
    pub(super) fn has_announced(&self) -> bool {
        !self.announced.is_empty() || !self.skipped.is_empty()
    }
}

pub(super) fn warn_of_no_deletion(stream: &str, line: u64, why: &dyn std::fmt::Display) {
    tracing::warn!(stream, "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes nothing: {why}");
}

impl<W: Write> Load<'_, W> {
    /// Handles ACTIVATE_VERSION.
    pub(super) fn activate(&mut self, line: u64, stream: String, version: i64) {
        if !self.config.process_activate_version {
            return tracing::debug!(
                "ACTIVATE_VERSION {version} of `{stream}`: process_activate_version is not set"
            );
        }
        self.activations.announced_streams.insert(stream.clone());
        self.activations.skipped.retain(|(other, ..)| *other != stream);
        if let Err(skip_reason) = self.activations.versions.activate(&stream, version) {
            if skip_reason == SkipReason::CarriedOut {
                return warn_of_no_deletion(&stream, line, &skip_reason);
            }
            return self.activations.skipped.push((stream, line, version, skip_reason));
        }
        // Records arrived, and so did the SCHEMA.
        let Some(known) = self.input.streams.get(&*stream).map(|s| &s.definition) else { return };
        match known.mapping.extent().cloned() {
            None => warn_of_no_deletion(&stream, line, &"its rule has no scope_base"),
            Some(extent) if *extent.action == DeleteAction::Nothing => {}
            Some(extent) => {
                self.check_format(&stream, line);
                let Some(known) = self.input.streams.get(&*stream).map(|s| &s.definition) else { return };
                let reject_schema = known.reject_schema.clone();
                let (is_open, has_state, period) = (false, false, u64::MAX);
                let activation =
                    Activation { stream, line, version, extent, reject_schema, is_open, has_state, period };
                let announced = &mut self.activations.announced;
                match announced.iter_mut().find(|other| other.stream == activation.stream) {
                    Some(earlier) => *earlier = activation,
                    None => announced.push(activation),
                }
                self.committer.ack.hold();
                self.activations.held_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether an announced version may delete an entry with this DN.
    pub(super) fn is_in_an_extent(&self, key: &DnKey) -> bool {
        let of_entries = self.activations.announced.iter().filter(|a| a.extent.memberships.is_none());
        let mut bases = of_entries.map(|a| a.extent.base.as_str());
        bases.any(|base| self.applier.key(base).is_ok_and(|base| key.is_within(&base)))
    }

    /// Decides the announced versions. `has_ended`: at the end of the input.
    pub(super) fn decide(&mut self, has_ended: bool) {
        let has_unknown = self.activations.versions.has_unknown();
        if self.activations.has_announced() {
            self.executor.turns.advance();
        }
        let announced = std::mem::take(&mut self.activations.announced);
        let mut period = u64::MAX;
        if !has_ended {
            let of_memberships = announced.iter().filter(|a| a.extent.memberships.is_some());
            period = self.memberships.end_period(of_memberships.map(|a| a.stream.as_str()));
        }
        for activation in announced {
            let activation = Activation { period, ..activation };
            let Activation { stream, line, .. } = &activation;
            if has_unknown {
                warn_of_no_deletion(stream, *line, &SkipReason::Unknown);
            } else if has_ended && activation.is_open {
                warn_of_no_deletion(stream, *line, &SkipReason::BrokenOff);
                self.activations.broken_off = true;
            } else {
                self.expiry.note_version(stream);
                if let Some(file) = &mut self.rejects.file {
                    file.history.version(stream);
                }
                if !has_ended {
                    self.activations.versions.carried_out(stream, activation.version);
                }
                let is_later = activation.extent.memberships.is_some();
                let Activations { due, later, .. } = &mut self.activations;
                if is_later { later.push_back(activation) } else { due.push_back(activation) }
            }
        }
        if has_ended {
            for (stream, line, version, skip_reason) in std::mem::take(&mut self.activations.skipped) {
                if self.input.streams.contains_key(&*stream) {
                    warn_of_no_deletion(
                        &stream,
                        line,
                        &self.activations.versions.skip_reason(&stream, version, skip_reason),
                    );
                } else {
                    self.warn_of_unknown_stream(&stream, line);
                }
            }
        }
    }

    /// Decides once the input has been quiet for the configured time, with a STATE after each version.
    pub(super) fn decide_when_quiet(&mut self) {
        let Some(quiet) = self.config.activate_when_quiet else { return };
        let announced = &self.activations.announced;
        if !announced.is_empty()
            && announced.iter().all(|activation| activation.has_state)
            && self.input.last_line.elapsed() >= quiet
            && !self.memberships.come_first()
        {
            // While the claims still know the entries of this period.
            let decided: BTreeSet<String> = announced.iter().map(|a| a.stream.clone()).collect();
            self.release_deletions();
            self.decide(false);
            let streams = &self.input.streams;
            let may_delete = |stream: &str| {
                let extent = streams.get(stream).and_then(|stream| stream.definition.mapping.extent());
                extent.is_some_and(|extent| *extent.action != DeleteAction::Nothing)
            };
            self.applier.claims().begin_period(|stream| decided.contains(stream) || !may_delete(stream));
            self.activations.ends_period = true;
        }
    }

    /// Ends the hold of STATE once the deletions are made.
    pub(super) fn release_state(&mut self) {
        let is_done = self.activations.is_empty() && self.activations.absent.is_empty();
        if self.committer.ack.is_holding()
            && is_done
            && self.failure.is_none()
            && !self.activations.broken_off
        {
            if std::mem::take(&mut self.activations.ends_period) {
                self.applier.claims().forget_earlier_periods();
                self.memberships.carried_out();
            }
            self.committer.ack.resume();
            self.activations.held_since = None;
            self.activations.was_logged = false;
        }
    }

    /// Warns once if STATE is held back for long.
    pub(super) fn warn_of_held_state(&mut self) {
        let since = self.activations.held_since.is_some_and(|since| since.elapsed() >= HELD_FOR_LONG);
        if since
            && self.committer.ack.holds_state()
            && !std::mem::replace(&mut self.activations.was_logged, true)
        {
            tracing::warn!(
                "no STATE is printed: the deletions of ACTIVATE_VERSION are made when the input ends; for an input that stays open set activate_when_quiet_seconds"
            );
        }
    }

    /// Reads the scope, and keeps the entries that the version does not have. Returns the signal, if one interrupts the search.
    pub(super) async fn find_absent(&mut self, activation: Activation) -> Option<Signal> {
        if activation.extent.memberships.is_some() {
            return Box::pin(self.take_absent_members(&activation)).await;
        }
        let Extent { base, filter, others, action, .. } = &activation.extent;
        // Not an ancestor of another scope either: that would be deleted with it.
        let is_others = |key: &DnKey| others.iter().any(|o| key.is_within(o) || key.is_ancestor_of(o));
        // Not an entry that a record waits for.
        let awaited = self.awaited_in_other_scopes();
        let is_gone = |key: &DnKey| {
            !is_others(key)
                && !self.applier.claims().protects(key)
                && !self.scheduler.is_wanted(key)
                && !awaited.contains(key)
        };
        // An entry that `match` found may be in the scope, and its record's DN not.
        let has_records = self.activations.has_reached(&activation.stream)
            || self.applier.key(base).is_ok_and(|base| self.applier.claims().protects(&base));
        let parsed = Filter::parse(filter).ok();
        let reading = async {
            let gone = self.applier.below(base, filter, is_gone).await?;
            if let Some(parsed) = &parsed {
                Box::pin(warn_of_hidden(&self.applier, &activation.stream, base, parsed)).await?;
            }
            Ok::<_, DirectoryError>(gone)
        };
        let found = tokio::select! {
            found = reading => found,
            signal = self.stop.wait() => return Some(signal),
        };
        let gone = match found {
            Ok(gone) => gone,
            Err(error) => {
                let Activation { line, stream, .. } = activation;
                self.fail(u64::MAX - 1, LoadError::write(line, &stream, error));
                return None;
            }
        };
        if !gone.is_empty() && !has_records {
            warn_of_no_deletion(&activation.stream, activation.line, &SkipReason::Elsewhere);
            return None;
        }
        let gone = self.without_protected(&activation, gone).await;
        // With a subtree deletion only the topmost entries are needed; else children are deleted first.
        let gone: Vec<(DnKey, String)> =
            if action.takes_subtree() { topmost(gone) } else { gone.into_iter().rev().collect() };
        let stream = activation.stream.as_str();
        if gone.is_empty() {
            self.check_scope(&activation.stream).await;
        } else {
            tracing::info!(
                stream,
                "{stream}: {} entries below `{base}` did not come with the version",
                gone.len()
            );
            let anew: Vec<&str> = gone
                .iter()
                .filter(|(key, _)| self.scheduler.awaits_name(key))
                .map(|(_, dn)| dn.as_str())
                .collect();
            warnings::warn_of_entries_made_anew(stream, gone.len(), &anew);
        }
        // Each is counted again when it is deleted. Of the others some may be moved or set already.
        let all = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        let deletes = matches!(**action, DeleteAction::Delete | DeleteAction::Tree);
        if deletes
            && activation.extent.write_policy.operations.delete
            && let Err(error) = self.applier.check_list(stream, base, all)
        {
            self.fail(u64::MAX - 1, LoadError::limit(activation.line, stream, error));
            return None;
        }
        // It was valid for the search.
        let condition = parsed.map(Arc::new);
        let activation = Arc::new(activation);
        let gone = gone.into_iter().map(|(key, dn)| {
            let (activation, condition) = (activation.clone(), condition.clone());
            AbsentEntry { dn, key, activation, condition }
        });
        self.activations.absent.extend(gone);
        None
    }

    /// Returns the absent entries that may be deleted, and logs how many may not.
    async fn without_protected(
        &mut self,
        activation: &Activation,
        gone: BTreeMap<DnKey, String>,
    ) -> BTreeMap<DnKey, String> {
        let mut allowed = BTreeMap::new();
        let (mut count, mut first) = (0_u64, Vec::new());
        for (key, dn) in gone {
            let change = first_change(&dn, &activation.extent.action);
            let destination = self.applier.directory();
            match change {
                Some(change) if destination.check(&change).await.is_err_and(|e| e.is_forbidden()) => {
                    count += 1;
                    first.extend((first.len() < NAMED).then_some(dn));
                }
                // Another error is that of the deletion.
                _ => drop(allowed.insert(key, dn)),
            }
        }
        if count > 0 {
            let stream = activation.stream.as_str();
            let more = if count > NAMED as u64 { " and more" } else { "" };
            tracing::info!(
                stream,
                protected = count,
                "{stream}: {count} entries did not come with the version and stay, for they are protected or outside of write_base: `{}`{more}",
                first.join("`, `")
            );
            self.counters.by_stream.entry(stream.into()).or_default().protected += count;
        }
        allowed
    }

    /// Warns of scopes whose base does not exist, at the end of the input.
    pub(super) async fn check_scopes(&mut self) {
        let found =
            self.input.streams.iter().filter(|(_, stream)| stream.definition.mapping.finds_by_filter());
        for name in found.map(|(name, _)| name.to_string()).collect::<Vec<_>>() {
            self.check_scope(&name).await;
        }
    }

    /// Warns once for each stream whose base does not exist: nothing is found or deleted there, which looks as if nothing had
    /// to be done.
    async fn check_scope(&mut self, name: &str) {
        let extent = self.input.streams.get(name).and_then(|stream| stream.definition.mapping.extent());
        let Some(base) = extent.map(|extent| extent.base.clone()) else { return };
        // A failure to read is reported where it matters.
        let Ok(Some(nearest)) = self.applier.missing_scope(&base).await else { return };
        if !self.activations.missing_scopes.insert(name.to_owned()) {
            return;
        }
        let there = if nearest.is_empty() {
            match self.directory.root_dse().naming_contexts.as_slice() {
                [] => "no name above it is".to_owned(),
                contexts => format!("no name above it is; the directory has `{}`", contexts.join("`, `")),
            }
        } else {
            format!("the nearest name above it that is there is `{nearest}`")
        };
        tracing::warn!(
            stream = name,
            setting = format!("mapping_rules.{name}.scope_base"),
            dn = base,
            nearest,
            "setting `mapping_rules.{name}.scope_base`: there is no entry `{base}`, so no entry of stream `{name}` is found there and none is deleted; {there}: correct the setting, or create the entry"
        );
    }

    /// Submits absent entries for deletion, as far as tasks may be queued. `given_up`: drops them.
    pub(super) fn submit_absent(&mut self, given_up: bool) {
        if given_up {
            self.activations.absent.clear();
        }
        while !self.has_enough() {
            let Some(AbsentEntry { dn, key, activation, condition }) = self.activations.absent.pop_front()
            else {
                return;
            };
            let Activation { stream, line, extent, reject_schema, .. } = activation.as_ref();
            let (action, write_policy) = (extent.action.clone(), extent.write_policy.clone());
            let task = Task::Delete { dn: Some(dn), filter: None, action, condition, write_policy };
            let number = self.committer.ack.begin();
            let record = Arc::new(Value::Null);
            let kept = self
                .rejects
                .file
                .is_some()
                .then(|| RejectContext { record, reject_schema: reject_schema.clone() });
            let (stream, line): (Arc<str>, u64) = (stream.as_str().into(), *line);
            self.counters.by_stream.entry(stream.clone()).or_default().by_version += 1;
            self.activations.under_way += 1;
            let about = "no longer in the stream".into();
            let work = Box::new(Work {
                kept,
                by_version: true,
                ..Work::new(number, line, stream, task, key, about)
            });
            self.scheduler.submit(number, work.dn_lock(), TaskKind::Delete, work);
        }
    }
}
