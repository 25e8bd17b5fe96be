//! Records that wait for others: for a parent, for children to be deleted, for a DN or a value. After a long time they are
//! logged and tried again.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::time::{Duration, Instant};

use ldap_directory::DirectoryError;
use singer_common::operations::observe;

use super::Load;
use super::deferred_deletions::DeferredDeletions;
use super::deferred_references::DeferredReferences;
use super::lookups::LookedUp;
use super::rechecks::Rechecks;
use super::work::Work;
use crate::load::scheduler::{Parked, TaskKind};
use crate::map::Task;
use crate::write::exchange::wanted_values;
use crate::write::ldap_result::{LdapResult, is_taken_value};

/// After this time a wait is logged, and the record tried again: the cause may have ended unseen.
const LONG: Duration = Duration::from_secs(60);
/// The interval of polls.
const LOOK: Duration = Duration::from_secs(2);
/// The most waits that are logged at one poll.
const SAID: usize = 10;

/// The records that wait outside of the scheduler.
pub(super) struct Waiting {
    pub(super) references: DeferredReferences,
    pub(super) deletions: DeferredDeletions,
    pub(super) rechecks: Rechecks,
    /// What the run has given to entries, as far as filters of references ask for it.
    pub(super) lookups: LookedUp,
    /// Rejected records whose entries gave up a DN or a value in vain: they get it back at the end of the run.
    pub(super) set_aside: Vec<Work>,
    /// The attributes that the server has refused for a taken value.
    pub(super) unique_attributes: UniqueAttributes,
    /// The rounds of tries since an entry gave up values; `None`: no entry is without its values.
    pub(super) exchange: Option<u32>,
    /// The values that an entry gave up last, as hashes.
    pub(super) freed: HashSet<u64>,
    /// The time of the last poll.
    polled: Instant,
    is_shown: bool,
}

/// Attributes of unique values, as far as the server's refusals name them. In lower case.
#[derive(Debug, Default)]
pub(super) struct UniqueAttributes(BTreeSet<String>);

impl UniqueAttributes {
    /// Notes the attributes of a record that its refusal names.
    fn note(&mut self, work: &Work) {
        let (Task::Upsert { wanted, .. }, Some(answer)) = (&work.task, &work.answer) else { return };
        let text = answer.text.to_ascii_lowercase();
        let words: BTreeSet<&str> =
            text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | ';')).collect();
        let names = wanted.attributes.iter().map(|a| a.description.to_ascii_lowercase());
        self.0.extend(names.filter(|name| words.contains(name.as_str())));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Waiting {
    /// Returns one without records.
    pub(super) fn new(rechecks: Rechecks, lookups: LookedUp) -> Self {
        Self {
            references: DeferredReferences::default(),
            deletions: DeferredDeletions::default(),
            rechecks,
            lookups,
            set_aside: Vec::new(),
            unique_attributes: UniqueAttributes::default(),
            exchange: None,
            freed: HashSet::new(),
            polled: Instant::now(),
            is_shown: false,
        }
    }
}

impl<W: Write> Load<'_, W> {
    /// Notes that a record waits.
    pub(super) fn note_wait(work: &mut Work) {
        let now = Instant::now();
        work.waits_since.get_or_insert(now);
        work.tried = Some(now);
    }

    /// Whether a record was refused for a unique value that another entry has, and may still give up: by a change or a
    /// deletion.
    pub(super) fn may_become_free(&self, work: &Work, error: &DirectoryError) -> bool {
        self.may_wait_for_value(work) && is_taken_value(error)
    }

    /// Whether a record may wait for a value that another entry has.
    pub(super) fn may_wait_for_value(&self, work: &Work) -> bool {
        let is_open = !work.is_last_try && !self.executor.is_final_try || self.activations.has_announced();
        matches!(work.task, Task::Upsert { .. }) && !work.is_rest && is_open
    }

    /// Whether a record that is refused may still wait for entries that it references: they were missing, and the input goes on.
    pub(super) fn may_wait_for_entries(&self, work: &Work) -> bool {
        work.is_deferred_part && work.is_last_try && !self.executor.is_last_try
    }

    /// Parks it until an entry is deleted, or nothing else is to be done.
    pub(super) fn park_for_value(&mut self, mut work: Box<Work>, error: &DirectoryError) {
        work.answer = LdapResult::of(error);
        work.waits_for_value = true;
        work.is_addition = matches!(error, DirectoryError::Operation { operation: "add", .. });
        // It was asked, and its entry could not be changed.
        work.context.exchange = None;
        self.waiting.unique_attributes.note(&work);
        if let Task::Upsert { wanted, .. } = &work.task {
            work.wants = wanted_values(wanted, self.directory.schema());
        }
        Self::note_wait(&mut work);
        self.park(work);
    }

    /// Whether no deletion can help a parked record: it waits for a parent, or for a DN that nothing frees.
    pub(super) fn is_hopeless(&self, parked: &Parked<'_, Box<Work>>) -> bool {
        match (parked.kind, parked.name) {
            (TaskKind::Delete, _) => false,
            (TaskKind::Upsert, None) => {
                !parked.payload.waits_for_value
                    && !parked.payload.waits_for_references
                    && !self.scheduler.is_below_parked(parked.id)
            }
            (TaskKind::Upsert, Some(name)) => !self.is_in_an_extent(name),
        }
    }

    /// Logs the records that have waited for long, with the reason, and tries them again.
    pub(super) fn poll_waits(&mut self) {
        if self.waiting.polled.elapsed() < LOOK {
            return;
        }
        self.waiting.polled = Instant::now();
        let since = self.scheduler.parked_items().filter_map(|parked| parked.payload.waits_since).min();
        if observe::is_metering() && (since.is_some() || self.waiting.is_shown) {
            observe::oldest_wait(since.map(|since| since.elapsed()).unwrap_or_default());
            self.waiting.is_shown = since.is_some();
        }
        if since.is_none_or(|since| since.elapsed() < LONG) {
            return;
        }
        let mut due = Vec::new();
        let mut said = 0;
        for Parked { id, kind, name, payload: work } in self.scheduler.parked_items() {
            let is_long = work.waits_since.is_some_and(|since| since.elapsed() >= LONG);
            if !is_long || work.tried.is_none_or(|tried| tried.elapsed() < LONG) {
                continue;
            }
            due.push(id);
            if work.is_wait_logged || said >= SAID {
                continue;
            }
            said += 1;
            let Work { line, stream, about, .. } = work.as_ref();
            let dn = work.dn().unwrap_or_default();
            let what = match (kind, name) {
                (_, Some(_)) => {
                    let owner = self.applier.claims().owner(&work.key);
                    let owner =
                        owner.map_or_else(|| "another entry".to_owned(), |o| format!("the entry of {o}"));
                    format!("for {owner} to leave the name `{dn}`")
                }
                (TaskKind::Upsert, None) if let Some(found) = &work.in_another_scope => {
                    format!("for what the input says of `{}`, in the scope of another rule", found.dn)
                }
                (TaskKind::Upsert, None) if work.waits_for_value => {
                    format!("for another entry to give up a value that `{dn}` is to have")
                }
                (TaskKind::Delete, None) => format!("for the entries below `{dn}` to go"),
                (TaskKind::Upsert, None) => {
                    format!("for an entry above `{dn}`, or one that it names, to come")
                }
            };
            let behind = self.scheduler.waiting_for(id);
            tracing::warn!(
                stream = &**stream,
                "line {line}, stream `{stream}`: {about} has waited for a minute {what}; {behind} record(s) wait for it, and STATE does"
            );
        }
        for id in due {
            self.scheduler.change(id, |work| work.is_wait_logged = true);
            self.scheduler.try_parked(id);
        }
    }
}
