//! Whether the directory was restored from a backup, or imported, to a time before a log's position. A log then continues from
//! the position without an error once its counter has passed it, and never reports the changes in between.
//!
//! A bookmark keeps the entries that changed last, and the ids of the last deletions. At the next run, the log must explain every
//! difference.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::Vendor;
use ldap_directory::entry::{Entry, EntryView};
use ldap_directory::schema::Schema;
use serde::{Deserialize, Serialize};

use crate::discovery::replication_keys;
use crate::stream::key_order::{KeyOrder, OrderKey};

pub(crate) mod restored;

/// Entries kept of each kind.
const KEPT: usize = 3;

/// What a bookmark keeps of the last changes before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// The entries that changed last, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newest: Vec<Newest>,
    /// The ids of the entries that were deleted last, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// The ids of entries that differ and that the log has not reported yet.
    #[serde(skip)]
    unexplained: BTreeSet<String>,
}

/// An entry, and when it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    /// Its immutable id, as in the stream's key.
    id: String,
    /// The values of its change marks, by attribute.
    marks: BTreeMap<String, String>,
    /// The same in sortable form, once parsed.
    #[serde(skip)]
    order: Vec<Option<OrderKey>>,
}

impl Witness {
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_empty() && self.gone.is_empty()
    }

    /// Returns whether an entry can be skipped: it changed before all entries that are kept, and no check is open. Values of the
    /// same length (times, change sequence numbers, numbers) sort as text.
    pub(crate) fn is_older(&self, entry: &impl EntryView, orders: &[KeyOrder<'_>]) -> bool {
        let is_full = self.newest.len() == KEPT && self.gone.is_empty() && self.unexplained.is_empty();
        let (true, Some(last), Some(first)) = (is_full, self.newest.last(), orders.first()) else {
            return false;
        };
        let value = entry.position(first.name).and_then(|at| entry.values_at(at).next());
        let kept = last.marks.get(first.name).map(String::as_bytes);
        value.zip(kept).is_some_and(|(value, kept)| value.len() == kept.len() && value < kept)
    }

    /// Notes an entry of the stream that a read or the log returned. `orders`: those of the change marks.
    pub(crate) fn note_present(
        &mut self,
        id: &str,
        entry: &impl EntryView,
        orders: &[KeyOrder<'_>],
        schema: &Schema,
    ) {
        self.unexplained.remove(id);
        self.gone.retain(|gone| gone != id);
        let value = |order: &KeyOrder<'_>| {
            let at = entry.position(order.name)?;
            let value = std::str::from_utf8(entry.values_at(at).next()?).ok()?;
            Some((order.sortable(value.as_bytes(), schema)?, value.to_owned()))
        };
        let values: Vec<_> = orders.iter().map(value).collect();
        // Without requested marks, it is as new as before.
        if values.iter().all(Option::is_none) {
            return;
        }
        for newest in &mut self.newest {
            newest.parse(orders, schema);
        }
        let order: Vec<_> = values.iter().map(|value| value.as_ref().map(|(key, _)| key.clone())).collect();
        self.newest.retain(|newest| newest.id != id);
        let place = self.newest.iter().position(|newest| newest.order < order).unwrap_or(self.newest.len());
        if place < KEPT {
            let texts = values.into_iter().map(|value| value.map(|(_, text)| text));
            let marks = orders.iter().map(|o| o.name.to_owned()).zip(texts);
            let marks = marks.filter_map(|(name, text)| Some((name, text?))).collect();
            self.newest.insert(place, Newest { id: id.to_owned(), marks, order });
            self.newest.truncate(KEPT);
        }
    }

    /// Notes that the log reported an entry as deleted. `had`: whether it was in the stream.
    pub(crate) fn note_deleted(&mut self, id: &str, had: bool) {
        self.unexplained.remove(id);
        self.newest.retain(|newest| newest.id != id);
        if had {
            self.gone.retain(|gone| gone != id);
            self.gone.insert(0, id.to_owned());
            self.gone.truncate(KEPT);
        }
    }

    /// Returns why the position cannot be used, if the log did not explain a difference.
    pub(crate) fn unexplained_change(&self) -> Option<String> {
        let id = self.unexplained.first()?;
        let now = if self.gone.contains(id) { "there again" } else { "not there any more" };
        Some(restored_since(&format!("the entry `{id}` is {now}, and the log does not say so")))
    }
}

impl Newest {
    fn parse(&mut self, orders: &[KeyOrder<'_>], schema: &Schema) {
        if self.order.is_empty() {
            let key = |order: &KeyOrder<'_>| order.sortable(self.marks.get(order.name)?.as_bytes(), schema);
            self.order = orders.iter().map(key).collect();
        }
    }

    /// Returns the first mark by which an entry is older than it was.
    fn regressed<'o>(&self, entry: &Entry, orders: &[KeyOrder<'o>], schema: &Schema) -> Option<&'o str> {
        let is_less = |(order, was): &(&KeyOrder<'_>, &Option<OrderKey>)| {
            let is = entry.values(order.name).first().and_then(|value| order.sortable(value, schema));
            is.as_ref().zip(was.as_ref()).is_some_and(|(is, was)| is < was)
        };
        orders.iter().zip(&self.order).find(is_less).map(|(order, _)| order.name)
    }
}

pub(super) fn restored_since(what: &str) -> String {
    format!(
        "the directory went back behind the bookmark (it was restored from an older copy, or imported): {what}"
    )
}

/// Returns the orders of the change marks.
pub(crate) fn orders(schema: &Schema, vendor: Vendor) -> Vec<KeyOrder<'static>> {
    replication_keys::marks(vendor).iter().map(|name| KeyOrder::new(name, schema, vendor)).collect()
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;

    fn entry(csn: &str) -> Entry {
        let csn = format!("2026010100000{csn}.000000Z#000000#000#000000");
        Entry { dn: "cn=x".into(), attributes: vec![Attribute::new("entryCSN", vec![csn.into_bytes()])] }
    }

    #[test]
    fn the_last_changes_and_deletions_are_kept() {
        let schema = Schema::standard();
        let orders = [KeyOrder::new("entryCSN", schema, Vendor::OpenLdap)];
        let mut witness = Witness::default();
        for (id, csn) in [("a", "1"), ("b", "3"), ("c", "2"), ("d", "4"), ("e", "0")] {
            witness.note_present(id, &entry(csn), &orders, schema);
        }
        let ids = |w: &Witness| w.newest.iter().map(|n| n.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&witness), ["d", "b", "c"]);
        assert!(witness.is_older(&entry("1"), &orders) && !witness.is_older(&entry("2"), &orders));
        let text = serde_json::to_string(&witness).unwrap();
        let mut witness: Witness = serde_json::from_str(&text).unwrap();
        witness.note_present("c", &entry("6"), &orders, schema);
        assert_eq!(ids(&witness), ["c", "d", "b"], "also after it came back from a bookmark");
        witness.note_deleted("d", true);
        assert_eq!((ids(&witness).len(), witness.gone.as_slice()), (2, &["d".to_owned()][..]));
        for newest in &mut witness.newest {
            newest.parse(&orders, schema);
        }
        assert_eq!(witness.newest[0].regressed(&entry("5"), &orders, schema), Some("entryCSN"));
        assert_eq!(witness.newest[0].regressed(&entry("6"), &orders, schema), None);
        witness.unexplained.insert("b".into());
        assert!(witness.unexplained_change().is_some());
        witness.note_deleted("b", false);
        assert_eq!(witness.unexplained_change(), None);
        witness.unexplained.insert("b".into());
        witness.note_present("b", &entry("7"), &orders, schema);
        assert_eq!((witness.unexplained_change(), witness.gone.as_slice()), (None, &["d".to_owned()][..]));
    }
}
