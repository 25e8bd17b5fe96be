//! The reconciliation of a whole read: which entries the directory holds, which were emitted, and how the two differ.
//!
//! Entries are identified by 64-bit hashes of their DNs as the directory spells them. A [`Tally`] has a fixed size, whatever
//! the number of entries, and does not depend on their order. The difference of two tallies lists the hashes by which they
//! differ, if there are not too many (an invertible Bloom lookup table; Eppstein et al., "What's the Difference?", 2011).

/// The parts of a tally; each hash is in one cell of every part.
const PARTS: usize = 3;
/// The fewest cells of a part.
const FEWEST: usize = 32;
/// The most cells of a part: about 9,000 differences can be listed.
const MOST: usize = 4096;
/// The cells of a part that all tallies of a run share.
const SHARED: usize = 1 << 17;

/// Returns the hash of a DN as the directory spells it.
pub(crate) fn hash(dn: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ dn.len() as u64;
    let (chunks, rest) = dn.as_chunks::<8>();
    for chunk in chunks {
        state = step(state, u64::from_le_bytes(*chunk));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mix(step(state, u64::from_le_bytes(last)))
}

fn step(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// Spreads every bit over all others (the finalizer of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A sum of hashes: their number, their sum, and a check sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    count: i64,
    hashes: u64,
    checks: u64,
}

impl Cell {
    fn add(&mut self, hash: u64, times: i64) {
        self.count = self.count.wrapping_add(times);
        self.hashes = self.hashes.wrapping_add(hash.wrapping_mul(times.cast_unsigned()));
        self.checks = self.checks.wrapping_add(mix(hash).wrapping_mul(times.cast_unsigned()));
    }

    /// Returns the only hash in the cell, if there is one, and whether it was added or subtracted.
    fn only(self) -> Option<(u64, i64)> {
        let (hash, check) = match self.count {
            1 => (self.hashes, self.checks),
            -1 => (self.hashes.wrapping_neg(), self.checks.wrapping_neg()),
            _ => return None,
        };
        (mix(hash) == check).then_some((hash, self.count))
    }
}

/// A set of entries as sums of their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// [`PARTS`] parts of the same size, which is a power of two.
    cells: Vec<Cell>,
    /// The number of entries added.
    count: u64,
}

/// How two sets of entries differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// These hashes; empty if the sets are equal.
    Known {
        /// Held, but not emitted.
        missing: Vec<u64>,
        /// Emitted, but not held, or emitted twice.
        extra: Vec<u64>,
    },
    /// Too many to list.
    Unknown,
}

impl Tally {
    /// Returns an empty tally, one of a number of tallies that must fit into memory together.
    pub(crate) fn one_of(tallies: usize) -> Tally {
        let size = (SHARED / tallies.max(1)).clamp(FEWEST, MOST);
        // The largest power of two up to that.
        let size = 1 << size.ilog2();
        Tally { cells: vec![Cell::default(); PARTS * size], count: 0 }
    }

    /// Returns an empty tally of the same size.
    pub(crate) fn empty_like(&self) -> Tally {
        Tally { cells: vec![Cell::default(); self.cells.len()], count: 0 }
    }

    /// Returns the number of entries added.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, hash: u64) {
        self.count += 1;
        self.put(hash, 1);
    }

    /// Adds all of another tally of the same size.
    pub(crate) fn add_all(&mut self, other: &Tally) {
        self.count += other.count;
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            cell.count = cell.count.wrapping_add(more.count);
            cell.hashes = cell.hashes.wrapping_add(more.hashes);
            cell.checks = cell.checks.wrapping_add(more.checks);
        }
    }

    /// Returns how the held entries differ from the emitted ones. Both tallies must have the same size.
    pub(crate) fn difference(&self, emitted: &Tally) -> Difference {
        if self.cells.len() != emitted.cells.len() {
            return Difference::Unknown;
        }
        let mut rest = self.clone();
        for (cell, less) in rest.cells.iter_mut().zip(&emitted.cells) {
            cell.count = cell.count.wrapping_sub(less.count);
            cell.hashes = cell.hashes.wrapping_sub(less.hashes);
            cell.checks = cell.checks.wrapping_sub(less.checks);
        }
        rest.peel()
    }

    fn put(&mut self, hash: u64, times: i64) {
        for at in self.places(hash) {
            if let Some(cell) = self.cells.get_mut(at) {
                cell.add(hash, times);
            }
        }
    }

    fn places(&self, hash: u64) -> [usize; PARTS] {
        let size = self.cells.len() / PARTS;
        let other = mix(hash ^ 0x5851_f42d_4c95_7f2d);
        #[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
        let at = |part: usize, bits: u64| part * size + (bits as usize & size.saturating_sub(1));
        [at(0, hash), at(1, other), at(2, other >> 32)]
    }

    /// Extracts hashes that are alone in a cell, one after another.
    fn peel(mut self) -> Difference {
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        let mut queue: Vec<usize> = (0..self.cells.len()).collect();
        // Each extraction empties a cell; if this does not end, the tally is not one of sets.
        let mut steps = self.cells.len();
        while let Some(at) = queue.pop() {
            let Some((hash, times)) = self.cells.get(at).and_then(|cell| cell.only()) else { continue };
            steps = match steps.checked_sub(1) {
                Some(steps) => steps,
                None => return Difference::Unknown,
            };
            if times > 0 {
                missing.push(hash);
            } else {
                extra.push(hash);
            }
            self.put(hash, -times);
            queue.extend(self.places(hash));
        }
        if self.cells.iter().any(|cell| *cell != Cell::default()) {
            return Difference::Unknown;
        }
        Difference::Known { missing, extra }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(names: impl IntoIterator<Item = u32>) -> Tally {
        let mut tally = Tally::one_of(1);
        names.into_iter().for_each(|n| tally.add(hash(format!("uid=user{n},dc=x").as_bytes())));
        tally
    }

    #[test]
    fn hashes_of_alike_names_differ() {
        let names: Vec<String> = (0..200_000).map(|n| format!("uid={n},ou=people,dc=x")).collect();
        let hashes: std::collections::HashSet<u64> = names.iter().map(|n| hash(n.as_bytes())).collect();
        assert_eq!(hashes.len(), names.len());
        assert_ne!(hash(b""), hash(b"\0"));
        assert_ne!(hash(b"12345678"), hash(b"12345678\0"));
    }

    #[test]
    fn the_order_does_not_count() {
        assert_eq!(tally(0..1000), tally((0..1000).rev()));
    }

    #[test]
    fn thousands_of_differences_are_named_and_more_are_said_to_be_too_many() {
        let held = tally(0..200_000);
        let Difference::Known { missing, extra } = held.difference(&tally(5_000..201_000)) else {
            panic!("6,000 differences in {} cells", held.cells.len());
        };
        assert_eq!((missing.len(), extra.len()), (5_000, 1_000));
        assert_eq!(held.difference(&tally(0..100_000)), Difference::Unknown);
    }

    #[test]
    fn small_tallies_name_a_few_differences() {
        let mut held = Tally::one_of(1_000_000);
        let mut emitted = held.empty_like();
        for n in 0..10_000_u32 {
            let hash = hash(&n.to_le_bytes());
            held.add(hash);
            if n % 1000 != 0 {
                emitted.add(hash);
            }
        }
        let Difference::Known { missing, extra } = held.difference(&emitted) else {
            panic!("10 differences")
        };
        assert_eq!((missing.len(), extra.len()), (10, 0));
    }

    proptest! {
        #[test]
        fn a_difference_is_what_two_sets_do_not_share(
            held in proptest::collection::btree_set(0..400_u32, 0..200),
            emitted in proptest::collection::btree_set(0..400_u32, 0..200),
        ) {
            let name = |n: &u32| hash(format!("uid=user{n},dc=x").as_bytes());
            let mut expected: Vec<u64> = held.difference(&emitted).map(name).collect();
            let mut more: Vec<u64> = emitted.difference(&held).map(name).collect();
            expected.sort_unstable();
            more.sort_unstable();
            let (a, b) = (tally(held.iter().copied()), tally(emitted.iter().copied()));
            let Difference::Known { mut missing, mut extra } = a.difference(&b) else {
                return Err(TestCaseError::fail("too many"));
            };
            missing.sort_unstable();
            extra.sort_unstable();
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(extra, more);
        }

        #[test]
        fn parts_add_up(all in proptest::collection::btree_set(0..400_u32, 0..100), at in 0..400_u32) {
            let mut sum = tally(all.iter().copied().filter(|n| *n < at));
            sum.add_all(&tally(all.iter().copied().filter(|n| *n >= at)));
            prop_assert_eq!(sum, tally(all));
        }
    }
}
