//! Deletions that wait for ever, because their entries are those of other records by now: two containers of a mirror have exchanged their
//! names. What is below them is the other record's, and waits for the deletion, or the deletion for it.

use std::io::Write;

use super::Load;
use super::work::Work;
use crate::map::{DeleteAction, Task};
use crate::write::counts::RecordOutcome;

impl<W: Write> Load<'_, W> {
    /// Ends such deletions, once nothing else is to be done. Returns whether there was one. `is_open`: the input has not ended; while it is
    /// not quiet, deletions of the entries below may follow.
    pub(super) fn yield_deletions(&mut self, is_open: bool) -> bool {
        if is_open && !self.input.is_quiet() {
            return false;
        }
        let claims = self.applier.claims();
        let is_taken_over = |is_wanted: bool, work: &Work| {
            let Task::Delete { dn: Some(dn), filter: None, condition: None, action, write_policy } =
                &work.task
            else {
                return false;
            };
            // The record of a mirror says all that its entry has: it need not be a new one.
            let is_mirrored = write_policy.known_options.is_some() && **action == DeleteAction::Delete;
            !work.by_version
                && (is_wanted && is_mirrored || claims.is_of_another(&work.claimant(), dn, &work.key))
        };
        let stuck = self.scheduler.stuck_deletions().into_iter();
        let taken = stuck.filter(|(_, is_wanted, work)| is_taken_over(*is_wanted, work));
        let taken: Vec<_> = taken.map(|(id, _, work)| (id, work.clone())).collect();
        for (id, mut work) in taken.iter().cloned() {
            tracing::debug!(
                stream = &*work.stream,
                dn = work.dn(),
                "line {}: its entry is that of another record, and stays",
                work.line
            );
            self.applier.claims().release(Some(&work.claimant()), &work.key);
            self.count_outcome(&mut work, RecordOutcome::Unchanged);
            self.scheduler.ended(id);
            self.executor.ended += 1;
            self.committer.ack.done(id);
        }
        !taken.is_empty()
    }
}
