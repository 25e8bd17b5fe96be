//! What was removed, for the limits of the run.

use super::Destination;

impl Destination {
    /// Whether removed entries are counted.
    pub fn counts_removals(&self) -> bool {
        self.tally.is_some()
    }

    /// Counts entries that were removed by another change than a deletion.
    pub fn removed(&self, entries: u64) {
        if let Some(tally) = &self.tally {
            tally.removed(entries);
        }
    }

    /// Counts members that were taken from a group.
    pub fn members_removed(&self, members: u64) {
        if let Some(tally) = self.tally.as_ref().filter(|_| members > 0) {
            tally.members_removed(members);
        }
    }
}
