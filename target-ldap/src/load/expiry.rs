//! Deletes entries whose days are over (`on_delete.then`), at the end of the input.
//!
//! Only for a stream whose input was complete: a version was carried out; or its SCHEMA has `_sdc_deleted_at`, and a STATE came after the last
//! of its records. Else who comes back may be among the records that did not arrive. An entry is deleted only while it has the very marker
//! that was read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

use chrono::Utc;
use ldap_directory::dn::{DnKey, topmost};
use ldap_directory::filter::Filter;
use serde_json::Value;

use super::work::Work;
use super::{Load, LoadError};
use crate::load::scheduler::TaskKind;
use crate::map::{DeleteAction, GracePolicy, Mapping, Task};
use crate::plan::standing::{Standing, Term};
use crate::write::set_aside::{MarkedEntry, doubtful, stray};

/// The most entries that are named one by one.
const NAMED: usize = 20;
/// The most deletions that are submitted at once.
const MOST: usize = 1_000;

/// What is known of the streams of the input, and the entries to be deleted.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Streams of which a message came after the last STATE that said that nothing is in progress.
    open: BTreeSet<Arc<str>>,
    /// Streams of which a version was carried out.
    versions: BTreeSet<String>,
    /// Whether the entries were looked for.
    is_begun: bool,
    due: VecDeque<Box<Work>>,
}

impl Expiry {
    /// Notes a SCHEMA or a record.
    pub(super) fn note_message(&mut self, stream: &Arc<str>, mapping: &Mapping) {
        if mapping.grace().is_some() && !self.open.contains(stream) {
            self.open.insert(stream.clone());
        }
    }

    /// Notes a STATE. One that names a stream in progress ends none.
    pub(super) fn note_state(&mut self, state: &str) {
        if self.open.is_empty() {
            return;
        }
        let state: Value = serde_json::from_str(state).unwrap_or_default();
        if state.get("currently_syncing").is_none_or(Value::is_null) {
            self.open.clear();
        }
    }

    /// Notes that the version of a stream was carried out.
    pub(super) fn note_version(&mut self, stream: &str) {
        self.versions.insert(stream.to_owned());
    }
}

/// What becomes of an entry that was set aside.
enum Fate {
    /// It stays for now.
    Stays,
    /// It stays, which is logged.
    StaysFor(String),
    /// It is deleted.
    Due(Vec<u8>),
    /// What its deletion began is completed.
    Unfinished,
}

impl<W: Write> Load<'_, W> {
    /// Takes the next step: looks for entries whose days are over, then deletes them. Returns `false` if nothing is left to do.
    pub(super) async fn expire(&mut self) -> bool {
        if !std::mem::replace(&mut self.expiry.is_begun, true) && self.only.is_none() {
            let mut streams: Vec<(Arc<str>, Arc<super::stream::StreamDefinition>)> = self
                .input
                .streams
                .iter()
                .filter(|(_, stream)| stream.definition.mapping.grace().is_some())
                .map(|(name, stream)| (name.clone(), stream.definition.clone()))
                .collect();
            streams.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, definition) in streams {
                if !definition.mapping.may_delete() {
                    continue;
                }
                if let Some(reason) = self.incomplete(&name, definition.has_deletion_marker) {
                    tracing::warn!(
                        stream = &*name,
                        setting = format!("mapping_rules.{name}.on_delete.then"),
                        "stream `{name}`: no entry that was set aside is deleted in this run: {reason}"
                    );
                    continue;
                }
                if let Err(error) = self.find_due(&name, &definition.mapping).await {
                    self.fail(u64::MAX - 1, error);
                    return true;
                }
            }
        }
        let some = self.expiry.due.len().min(MOST);
        for work in self.expiry.due.drain(..some) {
            self.activations.under_way += 1;
            self.counters.by_stream.entry(work.stream.clone()).or_default().by_version += 1;
            self.scheduler.submit(work.number, work.dn_lock(), TaskKind::Delete, work);
        }
        some > 0
    }

    /// Returns why the input of a stream may lack records.
    fn incomplete(&self, stream: &Arc<str>, has_deletion_marker: bool) -> Option<&'static str> {
        if self.activations.versions.has_unknown() {
            return Some("a record was rejected whose entry is not known");
        }
        if self.expiry.versions.contains(&**stream) {
            return None;
        }
        if !has_deletion_marker {
            return Some(
                "its input brings no deletions: neither a version (ACTIVATE_VERSION, process_activate_version) nor the property _sdc_deleted_at",
            );
        }
        self.expiry
            .open
            .contains(stream)
            .then_some("its input ended without a STATE, and may have broken off")
    }

    /// Finds the entries of a stream whose days are over.
    async fn find_due(&mut self, stream: &Arc<str>, mapping: &Mapping) -> Result<(), LoadError> {
        let Some(grace) = mapping.grace() else { return Ok(()) };
        let scope = mapping.extent().map(|extent| extent.base.as_str());
        let places = grace.move_to.as_deref().into_iter().chain(scope);
        let places = topmost(places.filter_map(|place| Some((self.applier.key(place).ok()?, place))));
        // Children come after their parents.
        let mut all: BTreeMap<DnKey, (MarkedEntry, Fate)> = BTreeMap::new();
        for (_, place) in places {
            let found = self.applier.marked_below(place, grace).await?;
            for entry in found {
                let fate = self.fate(&entry, grace);
                all.insert(entry.key.clone(), (entry, fate));
            }
        }
        log_kept(stream, &all);
        let is_due = |(_, fate): &&(MarkedEntry, Fate)| matches!(fate, Fate::Due(_));
        let due = u64::try_from(all.values().filter(is_due).count()).unwrap_or(u64::MAX);
        if due > 0 {
            tracing::info!(
                stream = &**stream,
                due,
                "{stream}: the days of {due} entries that were set aside are over"
            );
            let base = grace.move_to.as_deref().or(scope).unwrap_or_default();
            self.applier.check_list(stream, base, due).map_err(|error| LoadError::limit(0, stream, error))?;
        }
        for (key, (entry, fate)) in all.into_iter().rev() {
            let (action, condition) = match fate {
                Fate::Stays | Fate::StaysFor(_) => continue,
                Fate::Due(value) => {
                    let condition = Filter::equality(&grace.marker, value);
                    (Arc::new(DeleteAction::Expire), Some(Arc::new(condition)))
                }
                Fate::Unfinished => (mapping.action().clone(), None),
            };
            let write_policy = mapping.write_policy().clone();
            let task = Task::Delete { dn: Some(entry.dn), filter: None, action, condition, write_policy };
            let number = self.committer.ack.begin();
            let about = "set aside by on_delete".into();
            let work = Work::new(number, 0, stream.clone(), task, key, about);
            self.expiry.due.push_back(Box::new(Work { by_version: true, ..work }));
        }
        Ok(())
    }

    /// Returns what becomes of an entry with a marker.
    fn fate(&self, entry: &MarkedEntry, grace: &GracePolicy) -> Fate {
        if self.applier.claims().protects(&entry.key) || self.scheduler.is_wanted(&entry.key) {
            return Fate::Stays;
        }
        let aside = match &entry.standing {
            Standing::InUse => return Fate::Stays,
            Standing::Stray(reason) => return Fate::StaysFor(stray(&entry.dn, &grace.marker, reason)),
            Standing::Doubtful(reason) => return Fate::StaysFor(doubtful(&entry.dn, &grace.marker, reason)),
            Standing::Aside(aside) => aside,
        };
        if !aside.is_own {
            return Fate::Stays;
        }
        match aside.term(grace.days, Utc::now()) {
            Term::Runs => Fate::Stays,
            Term::Over => Fate::Due(aside.value.clone()),
            Term::Unfinished => Fate::Unfinished,
            Term::NotBorneOut(reason) => Fate::StaysFor(format!("`{}` stays: {reason}", entry.dn)),
        }
    }
}

/// Logs the entries that stay for a reason, the first of them by name.
fn log_kept(stream: &str, all: &BTreeMap<DnKey, (MarkedEntry, Fate)>) {
    let kept = all.values().filter_map(|(entry, fate)| match fate {
        Fate::StaysFor(reason) => Some((&entry.dn, reason)),
        _ => None,
    });
    let kept: Vec<_> = kept.collect();
    for (dn, reason) in kept.iter().take(NAMED) {
        tracing::warn!(stream, dn = dn.as_str(), "stream `{stream}`: {reason}");
    }
    if kept.len() > NAMED {
        let more = kept.len() - NAMED;
        tracing::warn!(stream, more, "stream `{stream}`: and {more} more entries stay for such reasons");
    }
}
