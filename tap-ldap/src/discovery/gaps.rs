//! Search results that cannot be read as entries.

/// Counts of the search results that were skipped. If there are any, a missing entry may still exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Search result references (continuation references to other servers).
    pub references: u64,
    /// Entries whose DNs are not UTF-8.
    pub unreadable: u64,
}

impl Gaps {
    /// Returns the gaps of two overlapping reads: the larger of each count, because both may have skipped the same results.
    pub(crate) fn or(self, other: Gaps) -> Gaps {
        Gaps {
            references: self.references.max(other.references),
            unreadable: self.unreadable.max(other.unreadable),
        }
    }
}
