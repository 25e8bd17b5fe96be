//! The check that each turn of the loop at the end of the input makes progress: a run that would wait for ever ends.

use std::io::Write;

use super::work::Work;
use super::{Load, LoadError};
use crate::load::scheduler::{Parked, TaskKind};

/// The most turns in a row without progress: a round of tries that changes nothing is one.
const MOST: u32 = 8;
/// The most waiting records that are logged.
const LOGGED: usize = 10;

/// The progress of the loop, once the input has ended and no task runs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Grows with each decision: a record was asked to give up values, a kind of tries is over, records were refused, a version
    /// was decided. Each happens a limited number of times for a record, or for a run.
    advanced: u64,
    /// The progress at the last turn.
    last: Option<(u64, u64)>,
    /// The number of turns since with the same.
    same: u32,
}

impl Turns {
    /// Notes a decision.
    pub(super) fn advance(&mut self) {
        self.advanced += 1;
    }

    /// Begins a turn. `ended`: the number of tasks that have ended. Returns whether the run may continue.
    fn begin(&mut self, ended: u64) -> bool {
        let now = Some((ended, self.advanced));
        self.same = if self.last == now { self.same + 1 } else { 0 };
        self.last = now;
        self.same < MOST
    }
}

impl<W: Write> Load<'_, W> {
    /// Begins a turn of the loop at the end of the input.
    ///
    /// # Errors
    /// The turns before made no progress. The log has what each record waits for.
    pub(super) fn check_progress(&mut self) -> Result<(), LoadError> {
        if self.executor.turns.begin(self.executor.ended) {
            return Ok(());
        }
        for Parked { kind, name, payload: work, .. } in self.scheduler.parked_items().take(LOGGED) {
            let Work { line, stream, about, .. } = work.as_ref();
            let dn = work.dn().unwrap_or_default();
            let what = match (kind, name) {
                (_, Some(_)) => "its DN, which another entry has",
                (TaskKind::Upsert, None) if work.waits_for_value => "a unique value, which another entry has",
                (TaskKind::Upsert, None) => "an entry that does not exist",
                (TaskKind::Delete, None) => "the deletion of the entries below",
            };
            let behind = self.scheduler.waiting_for(work.number);
            tracing::error!(
                stream = &**stream,
                line,
                dn,
                "line {line}, stream `{stream}`, {about}: `{dn}` waits for {what}; {behind} record(s) wait for this one"
            );
        }
        Err(LoadError::Internal(
            "the records that are left wait for each other, and nothing changes any more",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_without_progress_end_the_run() {
        let mut turns = Turns::default();
        for ended in 0..100 {
            assert!(turns.begin(ended));
        }
        for _ in 0..100 {
            turns.advance();
            assert!(turns.begin(99));
        }
        assert!((0..MOST).any(|_| !turns.begin(99)));
    }
}
