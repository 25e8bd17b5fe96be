//! People who move between rules: a record whose entry is not in the scope of its rule, while the scope of another rule, whose `match`
//! compares the same attributes, has one that fits it. If this run would delete that entry, it may be the same person, whose account
//! would be lost; or another one with the same number, who would get it. Neither is done: the record is refused, and the entry stays.

use std::collections::BTreeSet;
use std::io::Write;

use ldap_directory::dn::DnKey;

use super::Load;
use super::work::Work;
use crate::write::{InAnotherScope, MatchedNames};

impl<W: Write> Load<'_, W> {
    /// Handles a record that has no entry in its scope, and may have one in that of another rule.
    pub(super) fn found_in_another_scope(&mut self, mut work: Box<Work>, found: InAnotherScope) {
        // A DN that cannot be compared may be that of any entry.
        let key = self.applier.key(&found.dn);
        let may_go = |load: &Self| key.as_ref().map_or(true, |key| load.is_in_an_extent(key));
        if work.is_doubtful_move || self.is_settled_now(&work) && may_go(self) {
            self.protect_found(&work, &MatchedNames { names: vec![found.dn.clone()], is_whole: key.is_ok() });
            let error = work.bad(found.to_string());
            self.refuse_task(&work, error);
            return;
        }
        let number = work.number;
        // It is another record's, or stays: so this is somebody else.
        let is_other =
            key.is_ok_and(|key| self.applier.claims().protects(&key)) || self.is_settled_now(&work);
        work.context.passes_scopes = is_other;
        work.in_another_scope = Some(found);
        Self::note_wait(&mut work);
        self.park(work);
        if is_other {
            self.scheduler.try_parked(number);
        }
    }

    /// Returns the entries in scopes of other rules that records wait for: no version deletes them meanwhile.
    pub(super) fn awaited_in_other_scopes(&self) -> BTreeSet<DnKey> {
        let found =
            self.scheduler.parked_items().filter_map(|parked| parked.payload.in_another_scope.as_ref());
        found.filter_map(|found| self.applier.key(&found.dn).ok()).collect()
    }

    /// Whether no later line says more about its entry: the input has ended, or was quiet for long.
    fn is_settled_now(&self, work: &Work) -> bool {
        self.executor.is_last_try || work.is_wait_logged
    }

    /// Keeps the entries that deletions of this input are about, and that records wait for which may be of the same people.
    pub(super) fn hold_doubtful_moves(&mut self) {
        let mut doubtful = Vec::new();
        for parked in self.scheduler.parked_items() {
            let Some(found) = &parked.payload.in_another_scope else { continue };
            if self.waiting.deletions.has_identity(&found.identity)
                && let Ok(key) = self.applier.key(&found.dn)
            {
                self.applier.claims().protect(&parked.payload.claimant(), &key);
                doubtful.push(parked.id);
            }
        }
        for id in doubtful {
            self.scheduler.change(id, |work| work.is_doubtful_move = true);
            self.scheduler.try_parked(id);
        }
    }
}
