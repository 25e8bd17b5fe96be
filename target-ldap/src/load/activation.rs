//! ACTIVATE_VERSION: what did not come with a version that is whole goes the way of `on_delete`.
//!
//! That is decided once, when the input has ended and every record has been tried, or (`activate_when_quiet_seconds`) when
//! it has been quiet for long enough: a tap may announce a version before its records, and again for each part of them. Until
//! then STATE that came after the announcement is held back: a run that ends before loses no deletion.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;
use ldap_directory::nearest::nearest;
use serde_json::Value;
use singer_common::operations::signals::Signal;

use super::versions::Versions;
use super::work::{RejectContext, Work};
use super::{Load, LoadError};
use crate::load::rejects::RejectSchema;
use crate::load::scheduler::TaskKind;
use crate::load::versions::{SkipReason, topmost};
use crate::map::{DeleteAction, Extent, Task};

/// STATE that is held back for longer is worth a warning.
const HELD_FOR_LONG: Duration = Duration::from_secs(60);

/// A version that was announced as whole.
#[derive(Debug)]
pub(super) struct Activation {
    stream: String,
    line: u64,
    version: i64,
    extent: Extent,
    reject_schema: Arc<RejectSchema>,
    /// Whether a record of it came after its last announcement, and no STATE after that.
    is_open: bool,
    /// Whether a STATE came after its announcement.
    has_state: bool,
}

/// An entry that did not come with its stream's version.
#[derive(Debug)]
pub(super) struct AbsentEntry {
    dn: String,
    key: DnKey,
    activation: Arc<Activation>,
}

/// Versions that were announced, and what is to be done about them.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// In the order of their first announcement.
    announced: Vec<Activation>,
    /// Those whose turn it is.
    pub(super) due: VecDeque<Activation>,
    /// Announcements that nothing may be concluded from so far.
    skipped: Vec<(String, u64, i64, SkipReason)>,
    /// Streams of which it was said that a file of changes does not hold the directory.
    format_warned: BTreeSet<String>,
    /// Entries that are being deleted.
    pub(super) under_way: u64,
    /// Since when STATE is held back.
    held_since: Option<Instant>,
    was_logged: bool,
    /// The input was quiet: once what is decided is done, a period of the books is over.
    ends_period: bool,
    /// The input ended in the middle of a version: STATE behind it is not printed.
    pub(super) broken_off: bool,
    /// The records of each version.
    pub(super) versions: Versions,
    /// Entries that a version does not have, to be submitted for deletion.
    pub(super) absent: VecDeque<AbsentEntry>,
    /// Streams of which it was logged that their `scope_base` does not exist.
    missing_scopes: BTreeSet<String>,
}

impl Activations {
    /// A record came.
    pub(super) fn record_came(&mut self, stream: &str, version: Option<i64>) {
        for activation in &mut self.announced {
            if activation.stream == stream && version.is_none_or(|v| v == activation.version) {
                activation.is_open = true;
            }
        }
    }

    /// A STATE came.
    pub(super) fn state_came(&mut self) {
        for activation in &mut self.announced {
            activation.is_open = false;
            activation.has_state = true;
        }
    }

    /// Whether nothing is left to be decided or done.
    pub(super) fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.due.is_empty() && self.under_way == 0
    }

    /// Whether something was announced that is still to be decided, or said to delete nothing.
    pub(super) fn has_announced(&self) -> bool {
        !self.announced.is_empty() || !self.skipped.is_empty()
    }
}

fn nothing(stream: &str, line: u64, why: &dyn std::fmt::Display) {
    tracing::warn!(stream, "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes nothing: {why}");
}

impl<W: Write> Load<'_, W> {
    /// A version is announced as whole.
    pub(super) fn activate(&mut self, line: u64, stream: String, version: i64) {
        if !self.config.process_activate_version {
            return tracing::debug!(
                "ACTIVATE_VERSION {version} of `{stream}`: process_activate_version is not set"
            );
        }
        self.activations.skipped.retain(|(other, ..)| *other != stream);
        if let Err(skip_reason) = self.activations.versions.activate(&stream, version) {
            if skip_reason == SkipReason::CarriedOut {
                return nothing(&stream, line, &skip_reason);
            }
            return self.activations.skipped.push((stream, line, version, skip_reason));
        }
        // Records came, and so did the SCHEMA.
        let Some(known) = self.input.streams.get(&*stream).map(|s| &s.definition) else { return };
        match known.mapping.extent().cloned() {
            None => nothing(&stream, line, &"its rule has no scope_base"),
            Some(extent) if *extent.action == DeleteAction::Nothing => {}
            Some(extent) => {
                self.check_format(&stream, line);
                let Some(known) = self.input.streams.get(&*stream).map(|s| &s.definition) else { return };
                let reject_schema = known.reject_schema.clone();
                let (is_open, has_state) = (false, false);
                let activation =
                    Activation { stream, line, version, extent, reject_schema, is_open, has_state };
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

    /// Whether an entry of this name goes where a version that was announced does not have it.
    pub(super) fn is_in_an_extent(&self, key: &DnKey) -> bool {
        let mut bases = self.activations.announced.iter().map(|a| a.extent.base.as_str());
        bases.any(|base| self.applier.key(base).is_ok_and(|base| key.is_within(&base)))
    }

    /// Decides what versions say, now that nothing more comes for now.
    pub(super) fn decide(&mut self, has_ended: bool) {
        let has_unknown = self.activations.versions.has_unknown();
        for activation in std::mem::take(&mut self.activations.announced) {
            let Activation { stream, line, .. } = &activation;
            if has_unknown {
                nothing(stream, *line, &SkipReason::Unknown);
            } else if has_ended && activation.is_open {
                nothing(stream, *line, &SkipReason::BrokenOff);
                self.activations.broken_off = true;
            } else {
                if !has_ended {
                    self.activations.versions.carried_out(stream, activation.version);
                }
                self.activations.due.push_back(activation);
            }
        }
        if has_ended {
            for (stream, line, version, skip_reason) in std::mem::take(&mut self.activations.skipped) {
                if self.input.streams.contains_key(&*stream) {
                    nothing(
                        &stream,
                        line,
                        &self.activations.versions.skip_reason(&stream, version, skip_reason),
                    );
                } else {
                    self.nothing_of_unknown(&stream, line);
                }
            }
        }
    }

    /// A version of a stream of which no SCHEMA came: misspelt, most likely.
    fn nothing_of_unknown(&self, stream: &str, line: u64) {
        let mut known: Vec<&str> = self.input.streams.keys().map(|name| &**name).collect();
        known.sort_unstable();
        let near = nearest(stream, known.iter().copied());
        let hint = match near {
            Some(near) => format!("; did you mean `{near}`?"),
            None if known.is_empty() => String::new(),
            None => format!("; the input has `{}`", known.join("`, `")),
        };
        tracing::warn!(
            stream,
            nearest = near,
            "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes nothing: no SCHEMA names such a stream{hint}"
        );
    }

    /// A file of changes does not hold the directory that they are for: what the version no longer has is not known there. RejectLog
    /// once for each stream.
    fn check_format(&mut self, stream: &str, line: u64) {
        if self.config.writes_changes() && self.activations.format_warned.insert(stream.to_owned()) {
            tracing::warn!(
                stream,
                setting = "ldif_format",
                "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes no entry that the file's own changes did not make: ldif_format is `changes`, and the file does not hold the directory; for these deletions write to the directory itself, or to an LDIF file of its entries (ldif_format `content`)"
            );
        }
    }

    /// Decides where the input has been quiet for as long as the settings say since the STATE behind each version.
    pub(super) fn decide_when_quiet(&mut self) {
        let Some(quiet) = self.config.activate_when_quiet else { return };
        let announced = &self.activations.announced;
        if !announced.is_empty()
            && announced.iter().all(|activation| activation.has_state)
            && self.input.last_line.elapsed() >= quiet
        {
            // While the books still know what this period brought.
            self.release_deletions();
            self.decide(false);
            self.applier.claims().begin_period();
            self.activations.ends_period = true;
        }
    }

    /// STATE that was held back for versions may come out once their deletions are made.
    pub(super) fn release_state(&mut self) {
        let is_done = self.activations.is_empty() && self.activations.absent.is_empty();
        if self.committer.ack.is_holding()
            && is_done
            && self.failure.is_none()
            && !self.activations.broken_off
        {
            if std::mem::take(&mut self.activations.ends_period) {
                self.applier.claims().forget_earlier_periods();
            }
            self.committer.ack.resume();
            self.activations.held_since = None;
            self.activations.was_logged = false;
        }
    }

    /// Says once that STATE is held back for long, and what helps.
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

    /// Reads what is in the scope, and keeps the names of what is gone. What may end the search early is a signal.
    pub(super) async fn find_absent(&mut self, activation: Activation) -> Option<Signal> {
        let Extent { base, filter, others, action, .. } = &activation.extent;
        // Nor what such a scope lies below: it would go with it.
        let is_others = |key: &DnKey| others.iter().any(|o| key.is_within(o) || key.is_ancestor_of(o));
        // Nor what a record waits for.
        let is_gone = |key: &DnKey| {
            !is_others(key) && !self.applier.claims().keeps(key) && !self.scheduler.is_wanted(key)
        };
        let found = tokio::select! {
            found = self.applier.below(base, filter, is_gone) => found,
            signal = self.stop.wait() => return Some(signal),
        };
        let gone = match found {
            Ok(gone) => gone,
            Err(error) => {
                let Activation { line, stream, .. } = activation;
                self.fail(
                    u64::MAX - 1,
                    LoadError::Write {
                        line,
                        stream,
                        key: String::new(),
                        error,
                        hint: String::new(),
                        nearest: None,
                    },
                );
                return None;
            }
        };
        // Where the whole subtree goes with an entry, what lies below is not asked twice; else children go first.
        let gone: Vec<(DnKey, String)> =
            if action.takes_subtree() { topmost(gone) } else { gone.into_iter().rev().collect() };
        let stream = activation.stream.as_str();
        tracing::info!(
            stream,
            "{stream}: {} entries below `{base}` did not come with the version",
            gone.len()
        );
        if gone.is_empty() {
            self.check_scope(&activation.stream).await;
        }
        let activation = Arc::new(activation);
        let gone = gone.into_iter().map(|(key, dn)| AbsentEntry { dn, key, activation: activation.clone() });
        self.activations.absent.extend(gone);
        None
    }

    /// Says where rules look for their entries below a name that is not there, now that the input has ended.
    pub(super) async fn check_scopes(&mut self) {
        let found =
            self.input.streams.iter().filter(|(_, stream)| stream.definition.mapping.finds_by_filter());
        for name in found.map(|(name, _)| name.to_string()).collect::<Vec<_>>() {
            self.check_scope(&name).await;
        }
    }

    /// Nothing is found below a name that is not there, and nothing is deleted, which looks like nothing to do: said once for
    /// each stream.
    async fn check_scope(&mut self, name: &str) {
        let extent = self.input.streams.get(name).and_then(|stream| stream.definition.mapping.extent());
        let Some(base) = extent.map(|extent| extent.base.clone()) else { return };
        // What cannot be read is said where it matters.
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

    /// Takes up what is gone, as far as tasks may be outstanding. Nothing of it once the run is given up.
    pub(super) fn submit_absent(&mut self, given_up: bool) {
        if given_up {
            self.activations.absent.clear();
        }
        while !self.has_enough() {
            let Some(AbsentEntry { dn, key, activation }) = self.activations.absent.pop_front() else {
                return;
            };
            let Activation { stream, line, extent, reject_schema, .. } = activation.as_ref();
            let (action, write_policy) = (extent.action.clone(), extent.write_policy.clone());
            let task = Task::Delete { dn: Some(dn), filter: None, action, write_policy };
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
            let about = "what its version no longer has".into();
            let work = Box::new(Work {
                kept,
                by_version: true,
                ..Work::new(number, line, stream, task, key, about)
            });
            self.scheduler.submit(number, work.dn_lock(), TaskKind::Delete, work);
        }
    }
}
