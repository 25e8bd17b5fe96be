//! Which members the records of a run have: with ACTIVATE_VERSION the others are taken away.
//!
//! On an input that stays open, a period ends each time that versions are decided, as it does for the [claims](crate::write::claims). A row
//! belongs to the period in which it arrived, whenever it is written. Once the versions that are decided with a period are carried out, whatever
//! came of them, their rows count for other streams alone: what these have stays until the next version of the same stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::dn::DnKey;
use rustc_hash::FxHashSet;

use crate::write::memberships::KeptMembers;

/// The members by stream and period.
#[derive(Debug, Default)]
pub(super) struct Brought {
    streams: BTreeMap<Arc<str>, BTreeMap<u64, StreamMembers>>,
    /// The number of this period.
    period: u64,
    /// Streams of which a version was decided, and the last period that it has.
    ended: BTreeMap<Arc<str>, u64>,
    /// The same of the last version that was carried out.
    done: BTreeMap<Arc<str>, u64>,
}

/// The members that the records of a stream have.
#[derive(Debug, Default)]
pub(super) struct StreamMembers {
    /// Hashes of groups, attributes and members, 8 octets for each.
    pub(super) members: Arc<FxHashSet<u64>>,
    /// The groups, with their DNs.
    pub(super) groups: BTreeMap<DnKey, String>,
    /// The groups of rows whose member is not known.
    pub(super) incomplete: BTreeSet<DnKey>,
    /// Whether the group of a row is not known.
    pub(super) is_unknown: bool,
    /// The number of entries that had been renamed when the first of them was written.
    pub(super) renamed: Option<u64>,
}

impl Brought {
    /// Returns the number of this period.
    pub(super) fn period(&self) -> u64 {
        self.period
    }

    /// Returns the members that a stream has in a period.
    pub(super) fn of(&mut self, stream: &str, period: u64) -> &mut StreamMembers {
        self.streams.entry(stream.into()).or_default().entry(period).or_default()
    }

    /// Returns the first period that is not of a version that was carried out.
    fn first_period(&self, stream: &str) -> u64 {
        self.done.get(stream).map_or(0, |done| done + 1)
    }

    /// Returns what is known of the rows of a version that ends with this period, without the members.
    pub(super) fn of_version(&self, stream: &str, period: u64) -> StreamMembers {
        let mut all = StreamMembers::default();
        let periods = self.first_period(stream)..=period;
        let of_stream = self.streams.get(stream).filter(|_| !periods.is_empty());
        for (_, of) in of_stream.into_iter().flat_map(|of| of.range(periods.clone())) {
            all.groups.extend(of.groups.iter().map(|(key, dn)| (key.clone(), dn.clone())));
            all.incomplete.extend(of.incomplete.iter().cloned());
            all.is_unknown |= of.is_unknown;
            all.renamed = all.renamed.into_iter().chain(of.renamed).min();
        }
        all
    }

    /// Returns the members that a version of a stream leaves: its own ones, what its next one has already, and those of all other streams.
    pub(super) fn kept(&self, stream: &str) -> KeptMembers {
        let own = self.first_period(stream);
        let of = |(name, of): (&Arc<str>, &BTreeMap<u64, StreamMembers>)| -> Vec<_> {
            let first = if &**name == stream { own } else { 0 };
            of.range(first..).map(|(_, of)| of.members.clone()).collect()
        };
        KeptMembers(self.streams.iter().flat_map(of).collect())
    }

    /// Ends the period, with which versions of these streams are decided. Returns its number.
    pub(super) fn end_period<'a>(&mut self, streams: impl Iterator<Item = &'a str>) -> u64 {
        let ended = self.period;
        self.ended.extend(streams.map(|stream| (stream.into(), ended)));
        self.period += 1;
        ended
    }

    /// Notes that all versions that were decided are carried out. The versions before these are forgotten.
    pub(super) fn carried_out(&mut self) {
        for (stream, ended) in std::mem::take(&mut self.ended) {
            let first = self.first_period(&stream);
            if let Some(of) = self.streams.get_mut(&stream) {
                of.retain(|period, _| *period >= first);
            }
            self.done.insert(stream, ended);
        }
    }
}

impl StreamMembers {
    /// Notes what a record says: the last one of a member counts.
    pub(super) fn note(&mut self, member: u64, is_member: bool) {
        let members = Arc::make_mut(&mut self.members);
        if is_member {
            members.insert(member)
        } else {
            members.remove(&member)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_rows_of_its_periods_and_leaves_what_others_have() {
        let mut brought = Brought::default();
        for (stream, member) in [("m", 1), ("n", 2)] {
            brought.of(stream, 0).note(member, true);
        }
        brought.of("m", 0).is_unknown = true;
        assert_eq!(brought.end_period(["m"].into_iter()), 0);
        brought.of("m", brought.period()).note(3, true);
        assert!(brought.of_version("m", 0).is_unknown);
        assert!([1, 2, 3].iter().all(|member| brought.kept("m").has(*member)));
        brought.carried_out();
        assert!(!brought.of_version("m", u64::MAX).is_unknown);
        let kept = |brought: &Brought, stream| [1, 2, 3].map(|member| brought.kept(stream).has(member));
        assert_eq!(kept(&brought, "m"), [false, true, true], "n has not ended the period");
        assert_eq!(kept(&brought, "n"), [true; 3]);
        brought.end_period(["m"].into_iter());
        brought.carried_out();
        assert_eq!(kept(&brought, "m"), [false, true, false]);
        assert_eq!(kept(&brought, "n"), [false, true, true], "of m's last version");
        assert!(brought.of_version("m", 0).groups.is_empty(), "a period that is over");
    }
}
