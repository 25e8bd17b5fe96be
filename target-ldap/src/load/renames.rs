//! Entries that have another DN than the wanted one, and DNs that other entries have.

use std::io::Write;

use ldap_directory::change::{Change, Modification};
use ldap_directory::dn::DnKey;

use super::Load;
use super::work::Work;
use crate::map::Task;
use crate::write::change_label::CHANGE_LABEL;
use crate::write::{Attempt, RenameMade};

/// How often a record's entry may have yet another DN.
const MOVES: u32 = 5;

impl<W: Write> Load<'_, W> {
    /// The entry has another DN: that is locked, and the record is tried again.
    pub(super) fn found_elsewhere(&mut self, mut work: Box<Work>, dn: String) {
        work.moves += 1;
        if work.moves > MOVES {
            let reason = format!("its entry is renamed all the time: it was `{dn}` last");
            self.scheduler.ended(work.number);
            let error = work.bad(reason);
            return self.refused(&work, error);
        }
        match self.applier.key(&dn) {
            Ok(key) => {
                work.context.found = Some(dn);
                self.scheduler.lock_also(work.number, key, work);
            }
            Err(e) => {
                self.scheduler.ended(work.number);
                let reason = format!("`{dn}`: {e}");
                let error = work.bad(reason);
                self.refused(&work, error);
            }
        }
    }

    /// The wanted DN belongs to another entry: the record waits until it is free. In a cycle of waiting records, one steps
    /// aside.
    pub(super) fn name_taken(&mut self, mut work: Box<Work>, by: String) {
        work.taken_by = by;
        Self::note_wait(&mut work);
        let (number, key, has_left) = (work.number, work.key.clone(), work.left.is_some());
        self.park_for_name(work, key);
        // A record whose entry has left its DN does not hold one that another record waits for.
        if !has_left && self.scheduler.is_in_cycle(number) {
            self.scheduler.change(number, |work| work.context.steps_aside = true);
            self.scheduler.try_parked(number);
        }
    }

    /// Parked deletions below a renamed entry follow it.
    pub(super) fn follow_rename(&mut self, from: &DnKey, to: &DnKey, to_dn: &str) {
        for id in self.scheduler.parked_deletions_below(from) {
            let mut now = None;
            self.scheduler.change(id, |work| {
                let Some(key) = work.key.rebased(from, to) else { return };
                if let Task::Delete { dn: Some(dn), filter: None, .. } = &mut work.task
                    && let Ok(parts) = ldap_directory::dn::split(dn)
                    && let Some(head) = parts.get(..key.depth().saturating_sub(to.depth()))
                {
                    *dn = format!("{},{to_dn}", head.join(","));
                    work.key = key.clone();
                    now = Some(key);
                }
            });
            if let Some(key) = now {
                self.scheduler.add_key(id, key);
            }
        }
    }

    /// Notes the renames of a try whose other changes were refused, or wait; and one that was taken back. `attempt`: its result.
    pub(super) fn note_renames(&mut self, work: &mut Work, attempt: Option<&Attempt>) {
        if let Some(made) = work.renamed_back.take() {
            self.note_renamed_back(work, &made);
        }
        let Some(made) = work.context.take_renamed() else { return };
        let is_done = attempt.is_some_and(|attempt| attempt.outcome.is_done());
        if !is_done {
            self.note_rename(work);
        }
        if attempt.is_none_or(|attempt| !attempt.is_final() || !is_done) {
            work.renamed = Some(made);
            work.was_renamed = true;
        }
    }

    /// The entry has the DN again that it had before an earlier try.
    fn note_renamed_back(&mut self, work: &mut Work, made: &RenameMade) {
        let (Ok(was), Ok(now)) = (self.applier.key(&made.to), self.applier.key(&made.from)) else { return };
        work.was_renamed = false;
        work.context.found = Some(made.from.clone());
        self.executor.ended += 1;
        self.waiting.rechecks.renamed(&was, work.began);
        self.applier.claims().renamed(&was, &now);
        self.scheduler.release_name(&was);
        self.scheduler.wake_above(&was);
        self.follow_rename(&was, &now, &made.from);
    }

    /// The entry was renamed, though its other changes were refused: its old DN is free.
    fn note_rename(&mut self, work: &mut Work) {
        let found = work.context.found.take();
        let Some(was) = found.as_deref().and_then(|dn| self.applier.key(dn).ok()) else { return };
        (work.left, work.was_renamed) = (None, true);
        self.executor.ended += 1;
        self.waiting.rechecks.renamed(&was, work.began);
        self.applier.claims().renamed(&was, &work.key);
        self.scheduler.release_name(&was);
        self.scheduler.wake_above(&was);
        self.follow_rename(&was, &work.key, work.task.dn().unwrap_or_default());
    }

    /// An entry gave up its DN for another one.
    pub(super) fn stepped_aside(&mut self, mut work: Box<Work>, aside: String) {
        let old = work.context.found.replace(aside);
        work.context.steps_aside = false;
        let freed = old.as_deref().and_then(|dn| self.applier.key(dn).ok());
        let now = work.context.found.as_deref().and_then(|dn| self.applier.key(dn).ok());
        if let (Some(from), Some(to)) = (&freed, &now) {
            self.applier.claims().renamed(from, to);
            self.waiting.rechecks.renamed(from, work.began);
        }
        work.left = work.left.or(old);
        let key = work.key.clone();
        self.park_for_name(work, key);
        if let Some(key) = freed {
            self.scheduler.release_name(&key);
        }
    }

    /// Moves entries to the DNs of their records, after a renamed ancestor has taken them along.
    pub(super) async fn place_displaced(&mut self) {
        match self.applier.place_displaced().await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(
                entries,
                "{entries} entries are back at the DNs of their records: an entry above them was renamed in this run"
            ),
            Err(error) => self.fail(u64::MAX - 1, error.into()),
        }
    }

    /// Restores the DNs and values that entries gave up in vain.
    pub(super) async fn restore_names(&mut self) {
        let mut back = std::mem::take(&mut self.waiting.set_aside);
        let waiting = self.scheduler.waiting().filter(|work| work.left.is_some() || work.gave_up.is_some());
        back.extend(waiting.map(|work| Work::clone(work)));
        for mut work in back {
            if let Some((dn, changes)) = work.gave_up.clone().filter(|(_, changes)| !changes.is_empty())
                && self.restore(&mut work)
            {
                self.restore_values(&work, &dn, &changes).await;
            }
            self.restore_name(&work).await;
        }
    }

    /// Gives an entry the values back that it gave up. A value that another entry has now is replaced by that of the record, though it is
    /// refused.
    async fn restore_values(&self, work: &Work, dn: &str, changes: &[Modification]) {
        let taken = match CHANGE_LABEL.scope(work.label(), self.applier.take_back(dn, changes)).await {
            Ok(taken) => taken,
            Err(error) => return tracing::error!(dn, "`{dn}` is without values that it had: {error}"),
        };
        let Task::Upsert { wanted, .. } = &work.task else { return };
        let mut names: Vec<&str> = taken.iter().map(|m| m.description.as_str()).collect();
        names.dedup();
        if !names.is_empty() {
            let written = Box::pin(self.applier.write_alone(dn, wanted, &names));
            CHANGE_LABEL.scope(work.label(), written).await;
        }
    }

    async fn restore_name(&mut self, work: &Work) {
        let (Some(aside), Some(left)) = (&work.context.found, &work.left) else { return };
        let new_rdn =
            ldap_directory::dn::split(left).ok().and_then(|parts| parts.first().map(ToString::to_string));
        let change = Change::Rename {
            dn: aside.clone(),
            new_rdn: new_rdn.unwrap_or_default(),
            delete_old_rdn: true,
            new_superior: None,
        };
        if let Err(error) = CHANGE_LABEL.scope(work.label(), self.applier.directory().apply(&change)).await {
            tracing::error!("`{left}` is still `{aside}`: {error}");
        } else if let (Ok(from), Ok(to)) = (self.applier.key(aside), self.applier.key(left)) {
            self.applier.claims().renamed(&from, &to);
        }
    }
}
