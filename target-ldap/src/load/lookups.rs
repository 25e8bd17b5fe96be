//! Records whose references filters are to find (`references`), and what the run gives to entries that they may find.
//!
//! A record is tried again once an entry gets a value that one of its filters asks for, and at the end of the run. It is decided only then
//! what is missing. What was found before is looked up again if the run has written anything since ([`rechecks`](super::rechecks)).

use std::io::Write;
use std::sync::Arc;

use ldap_directory::Vendor;
use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use rustc_hash::FxHashMap;
use singer_common::operations::facts::Facts;

use super::Load;
use super::work::Work;
use crate::config::TargetConfig;
use crate::map::Task;
use crate::rules::names::hash;
use crate::write::counts::RecordOutcome;
use crate::write::lookups::held;
use crate::write::{FoundReferences, PreviousValues, Unfound, WriteOutcome};

/// The most values that are remembered, of 16 octets each. Without one a record is tried at the end.
const MOST: usize = 2_000_000;

/// The most warnings of references that were not found which are logged singly.
const REPORTED: u64 = 20;

/// What the run has given to entries, as far as filters of references ask for it.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    /// The attributes that filters compare with records.
    attributes: Vec<String>,
    /// When an entry got a value, as the number of finished tasks.
    given: FxHashMap<u64, u64>,
    /// The present names of entries that were renamed, by their former ones.
    renamed: FxHashMap<u64, String>,
    /// The number of warnings.
    reported: u64,
}

impl LookedUp {
    pub(super) fn new(config: &TargetConfig, schema: &Schema) -> Self {
        let references = config.rules.values().flat_map(|rule| &rule.references);
        let mut attributes: Vec<String> = Vec::new();
        for name in references.flat_map(|reference| reference.find.attributes()) {
            if !attributes.iter().any(|known| schema.same_description(known, &name)) {
                attributes.push(name);
            }
        }
        Self { attributes, ..Self::default() }
    }

    /// Whether a rule looks references up.
    pub(super) fn is_on(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Whether an entry got one of these values after a task began.
    pub(super) fn came(&self, awaited: &[u64], began: u64) -> bool {
        awaited.iter().any(|value| self.given.get(value).is_some_and(|time| *time > began))
    }

    /// Whether filters ask for an attribute.
    fn asks_for(&self, description: &str, schema: &Schema) -> bool {
        self.attributes.iter().any(|name| schema.is_subtype(description, name))
    }
}

impl<W: Write> Load<'_, W> {
    /// Notes what a task has found of the references of its record, and what it has written that others may find. `was`: the
    /// former name of its entry.
    pub(super) fn note_lookups(
        &mut self,
        work: &mut Work,
        recorded: RecordOutcome,
        was: &DnKey,
        found: &mut FoundReferences,
    ) {
        if !self.waiting.lookups.is_on() {
            return;
        }
        // What is found again as before was reported before.
        let is_known = work.is_recheck && work.found == Some(found.digest);
        for warning in std::mem::take(&mut found.warnings).into_iter().filter(|_| !is_known) {
            self.warn_of_unfound(work, warning);
        }
        if work.finds() {
            work.found = Some(found.digest);
            let earlier = work.previous.clone();
            let is_new = |(name, _): &PreviousValues| !earlier.iter().any(|(other, _)| other == name);
            let new: Vec<PreviousValues> =
                std::mem::take(&mut found.previous).into_iter().filter(is_new).collect();
            Arc::make_mut(&mut work.previous).extend(new);
        }
        if work.is_recheck && !found.pending.is_empty() {
            found.pending.clear();
            work.found = None;
        }
        let schema = self.directory.schema().clone();
        let has_deleted = matches!(recorded, RecordOutcome::Deleted | RecordOutcome::Moved);
        let has_written = has_deleted
            || matches!(recorded, RecordOutcome::Added | RecordOutcome::Modified | RecordOutcome::Renamed);
        if !has_written {
            return;
        }
        if recorded == RecordOutcome::Renamed {
            let now = work.task.dn().unwrap_or_default().to_owned();
            self.waiting.lookups.renamed.insert(hash(was), now);
        }
        let mut awaited = Vec::new();
        if let Task::Upsert { wanted, .. } = &work.task {
            let lookups = &self.waiting.lookups;
            let is_asked = wanted.references.iter().any(|r| lookups.asks_for(&r.description, &schema));
            // What is found for a record changes nothing that filters ask for.
            if (work.is_rest || work.is_recheck) && !is_asked {
                return;
            }
            for attribute in &wanted.attributes {
                for name in
                    lookups.attributes.iter().filter(|name| schema.is_subtype(&attribute.description, name))
                {
                    awaited.extend(attribute.values.iter().map(|value| held(name, value, &schema)));
                }
            }
        }
        self.waiting.rechecks.wrote(has_deleted);
        self.wake_awaiting(&awaited);
    }

    /// Returns the values that an entry had, with the present names of entries that were renamed. Only Active Directory renames them in
    /// other entries.
    pub(super) fn followed(&self, previous: &Arc<Vec<PreviousValues>>) -> Arc<Vec<PreviousValues>> {
        let renamed = &self.waiting.lookups.renamed;
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory || renamed.is_empty() {
            return previous.clone();
        }
        let now = |value: &Vec<u8>| {
            let key = self.applier.key(std::str::from_utf8(value).ok()?).ok()?;
            renamed.get(&hash(&key)).map(|dn| dn.clone().into_bytes())
        };
        let follow = |(name, values): &PreviousValues| {
            let values = values.iter().map(|value| now(value).unwrap_or_else(|| value.clone()));
            (name.clone(), values.collect())
        };
        Arc::new(previous.iter().map(follow).collect())
    }

    /// Wakes the records that wait for an entry with one of these values.
    fn wake_awaiting(&mut self, values: &[u64]) {
        let now = self.waiting.rechecks.now();
        if self.waiting.lookups.given.len() > MOST {
            self.waiting.lookups.given = FxHashMap::default();
        }
        for value in values {
            self.waiting.lookups.given.insert(*value, now);
            for number in self.waiting.references.wake_awaiting(*value) {
                self.scheduler.try_parked(number);
                self.submit_deferred(number);
            }
        }
    }

    /// Handles a record whose references are not found: it waits as a whole, or is refused.
    pub(super) fn end_lookup(&mut self, mut work: Box<Work>, outcome: WriteOutcome) {
        match outcome {
            WriteOutcome::Unfound(unfound) => {
                let error = work.unfound(*unfound);
                self.refuse_task(&work, error);
            }
            WriteOutcome::NeedsReferences(awaited) => {
                Self::note_wait(&mut work);
                work.waits_for_references = true;
                let number = work.number;
                let came = self.waiting.lookups.came(&awaited, work.began);
                self.waiting.references.await_values(number, &awaited);
                self.park(work);
                if came {
                    self.scheduler.try_parked(number);
                }
            }
            _ => {}
        }
    }

    /// Says how many references were not found.
    pub(super) fn report_unfound(&self) {
        let reported = self.waiting.lookups.reported;
        if reported > REPORTED {
            tracing::warn!(
                records = reported,
                "{reported} warnings in all of references that were not found"
            );
        }
    }

    fn warn_of_unfound(&mut self, work: &Work, Unfound { setting, reason, .. }: Unfound) {
        self.waiting.lookups.reported += 1;
        if self.waiting.lookups.reported > REPORTED {
            return;
        }
        let Work { line, stream, about, .. } = work;
        let facts = Facts {
            line: Some(*line),
            stream: Some(stream.to_string()),
            record: Some(about.to_string()).filter(|about| !about.is_empty()),
            dn: work.dn().map(str::to_owned),
            ..Facts::of_setting(setting)
        };
        let record = if about.is_empty() { String::new() } else { format!(", {about}") };
        facts.warn(&format!(
            "line {line}, stream `{stream}`{record}: {reason}; what was found is written, and the existing values stay"
        ));
    }
}
