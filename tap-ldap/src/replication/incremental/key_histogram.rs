//! The distribution of key values in bounded memory: where to cut a range into windows of about the same size.

use std::collections::BTreeMap;

use crate::stream::key_order::OrderKey;

/// Groups that are kept; neighbors are merged beyond twice as many.
const KEPT: usize = 4_096;

/// The distribution of the keys of many entries.
#[derive(Debug, Default)]
pub(super) struct KeyHistogram {
    /// The smallest value of a group of neighbors, and the number of entries in it.
    groups: BTreeMap<OrderKey, (Vec<u8>, u64)>,
}

impl KeyHistogram {
    /// Adds an entry's key, in sortable form and as it is.
    pub(super) fn add(&mut self, key: OrderKey, value: Vec<u8>) {
        self.groups.entry(key).or_insert((value, 0)).1 += 1;
        if self.groups.len() > KEPT * 2 {
            self.halve();
        }
    }

    /// Merges every second group into the one before it.
    fn halve(&mut self) {
        let mut halved = BTreeMap::new();
        let mut groups = std::mem::take(&mut self.groups).into_iter();
        while let Some((key, (value, count))) = groups.next() {
            let second = groups.next().map_or(0, |(_, (_, count))| count);
            halved.insert(key, (value, count + second));
        }
        self.groups = halved;
    }

    /// Returns the first values of windows of about `size` entries, except for the first window.
    pub(super) fn bounds(&self, size: u64) -> Vec<Vec<u8>> {
        let mut bounds = Vec::new();
        let mut filled = 0;
        for (value, count) in self.groups.values() {
            if filled > 0 && filled + count > size {
                bounds.push(value.clone());
                filled = 0;
            }
            filled += count;
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::Vendor;
    use ldap_directory::schema::Schema;

    use super::*;
    use crate::stream::key_order::KeyOrder;

    fn bounds(values: impl Iterator<Item = u64>, size: u64) -> Vec<u64> {
        let order = KeyOrder::new("uidNumber", Schema::standard(), Vendor::OpenLdap);
        let mut sketch = KeyHistogram::default();
        for value in values {
            let value = value.to_string().into_bytes();
            sketch.add(order.sortable(&value, Schema::standard()).unwrap(), value);
        }
        assert!(sketch.groups.len() <= KEPT * 2);
        sketch.bounds(size).iter().map(|b| std::str::from_utf8(b).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn windows_are_of_about_the_same_size_whatever_the_order() {
        let shuffled = |n: u64| (0..n).map(move |i| i * 7919 % n);
        let found = bounds(shuffled(100_000), 10_000);
        assert!((9..=12).contains(&found.len()), "{found:?}");
        let mut last = 0;
        for bound in found.iter().copied().chain([100_000]) {
            assert!(bound > last && bound - last <= 11_000, "{found:?}");
            last = bound;
        }
        // One moment cannot be divided.
        assert_eq!(bounds((0..50_000).map(|n| n / 25_000), 10_000), [1]);
        assert!(bounds(0..10, 10_000).is_empty());
    }
}
