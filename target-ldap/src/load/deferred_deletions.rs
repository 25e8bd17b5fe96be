//! Deletions that wait for the end of the input, because a later record may take over the entry.
//!
//! With `match` an entry may move between streams: a deletion in one stream and a record in another, in any order. The record
//! takes the entry over only if it still exists. So a deletion by a filter waits; then the claims say whether the entry belongs
//! to another record. On an input that stays open it waits until the input is quiet.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::{Duration, Instant};

use super::Load;
use super::work::Work;
use crate::load::scheduler::TaskKind;
use crate::map::Task;
use crate::write::counts::RecordOutcome;

/// The most deletions that wait.
const MOST: usize = 20_000;
/// After this time without input the deletions are made, unless `activate_when_quiet_seconds` is less.
const QUIET: Duration = Duration::from_secs(5);
/// After this time they are made on a busy input as well: STATE after them waits as long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Deletions that wait.
#[derive(Debug, Default)]
pub(super) struct DeferredDeletions {
    /// By number, in the order of the input.
    works: BTreeMap<u64, Box<Work>>,
    by_identity: HashMap<String, Vec<u64>>,
    since: Option<Instant>,
    was_logged: bool,
}

impl DeferredDeletions {
    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    fn keep(&mut self, work: Box<Work>) {
        self.since.get_or_insert_with(Instant::now);
        if let Some(identity) = work.dn_lock().identity {
            self.by_identity.entry(identity).or_default().push(work.number);
        }
        self.works.insert(work.number, work);
    }

    /// Whether a deletion of this identity waits.
    pub(super) fn has_identity(&self, identity: &str) -> bool {
        self.by_identity
            .get(identity)
            .is_some_and(|numbers| numbers.iter().any(|n| self.works.contains_key(n)))
    }

    /// Removes the deletions of the entry that a later record is about.
    fn take_identity(&mut self, identity: &str) -> Vec<Work> {
        let numbers = self.by_identity.remove(identity).unwrap_or_default();
        numbers.iter().filter_map(|number| self.works.remove(number).map(|work| *work)).collect()
    }

    fn take_all(&mut self) -> impl Iterator<Item = Box<Work>> {
        self.since = None;
        self.by_identity.clear();
        std::mem::take(&mut self.works).into_values()
    }
}

impl<W: Write> Load<'_, W> {
    /// Defers a deletion, if it is by a filter. A record of the same identity voids an earlier deletion. Returns the work to
    /// submit now.
    pub(super) fn defer_deletion(&mut self, mut work: Box<Work>) -> Option<Box<Work>> {
        match &work.task {
            Task::Delete { filter: Some(_), .. } if !work.by_version => {
                self.spill(&mut work);
                self.waiting.deletions.keep(work);
                if self.waiting.deletions.works.len() > MOST {
                    self.warn_of_early_deletions("there are more of them than are kept");
                    self.release_deletions();
                }
                None
            }
            Task::Upsert { .. } | Task::Find { .. } if !self.waiting.deletions.is_empty() => {
                if let Some(identity) = work.dn_lock().identity {
                    for void in self.waiting.deletions.take_identity(&identity) {
                        let counts = self.counters.by_stream.entry(void.stream.clone()).or_default();
                        counts.kept += 1;
                        counts.count(RecordOutcome::Unchanged, None);
                        self.committer.ack.done(void.number);
                    }
                }
                Some(work)
            }
            _ => Some(work),
        }
    }

    fn warn_of_early_deletions(&mut self, why: &str) {
        if !std::mem::replace(&mut self.waiting.deletions.was_logged, true) {
            tracing::warn!(
                deletions = self.waiting.deletions.works.len(),
                "deletions are made before the input has ended, for {why}: an entry that a later record takes over (match) is then made anew"
            );
        }
    }

    /// Submits all deferred deletions.
    pub(super) fn release_deletions(&mut self) {
        self.hold_doubtful_moves();
        for work in self.waiting.deletions.take_all() {
            self.scheduler.submit(work.number, work.dn_lock(), TaskKind::Delete, work);
        }
    }

    /// Submits them if the input is quiet, if many records wait (possibly for a DN that a deletion frees), or after a long
    /// time.
    pub(super) fn release_deletions_when_quiet(&mut self) {
        let Some(since) = self.waiting.deletions.since else { return };
        let quiet = self.config.activate_when_quiet.map_or(QUIET, |quiet| quiet.min(QUIET));
        if self.input.last_line.elapsed() >= quiet || self.scheduler.parked() > MOST {
            self.release_deletions();
        } else if since.elapsed() >= PATIENCE {
            self.warn_of_early_deletions("the input was never quiet since");
            self.release_deletions();
        }
    }
}
