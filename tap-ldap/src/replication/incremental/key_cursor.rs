//! The position by one key: where reading resumes, what was emitted there, and the largest value so far.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Utc;
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::boundary::Boundary;
use crate::stream::key_order::{KeyOrder, OrderKey, UnusableValue};

/// The moment of entries with an invalid value: it sorts behind all others, so that it is never pruned.
const NO_MOMENT: &str = "~";

/// Entries with the largest values that are kept.
const NEWEST: usize = 3;

/// An entry that had one of the largest values of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    /// Its immutable id in base64; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    /// Its DN, if it has no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dn: Option<String>,
    /// The value as the server had it.
    pub(super) value: String,
}

impl Newest {
    /// Returns the immutable id as the server has it.
    pub(super) fn id(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.id).ok().filter(|id| !id.is_empty())
    }

    /// Returns the DN, if it has no id.
    pub(super) fn dn(&self) -> Option<&str> {
        self.dn.as_deref()
    }
}

/// The position by a second key in a bookmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SecondPosition {
    pub(super) key: String,
    pub(super) value: Value,
    #[serde(default, skip_serializing_if = "Boundary::is_empty")]
    pub(super) boundary: Boundary,
}

/// The position by one key.
pub(super) struct KeyCursor<'a> {
    pub(super) order: KeyOrder<'a>,
    schema: &'a Schema,
    /// See [`KeyOrder::horizon`].
    horizon: Option<OrderKey>,
    /// The value to start at.
    pub(super) from: Option<Vec<u8>>,
    /// The last run's records at its end.
    pub(super) previous: Boundary,
    /// This run's records at its end.
    current: Boundary,
    /// The earliest moment that the next run reads again.
    keep: String,
    /// The largest value so far, in sortable form and as it is.
    largest: Option<(OrderKey, Vec<u8>)>,
    /// The entries with the largest values.
    newest: Vec<Newest>,
}

impl<'a> KeyCursor<'a> {
    /// Starts at a value that the last run left, with its records at the end.
    pub(super) fn new(
        order: KeyOrder<'a>,
        schema: &'a Schema,
        left: Option<(Vec<u8>, Boundary)>,
        newest: &[Newest],
    ) -> Self {
        let from = left.as_ref().map(|(value, _)| order.again_from(value));
        let (largest, before) = left.map_or((None, Boundary::default()), |(value, before)| {
            (order.sortable(&value, schema).map(|key| (key, value)), before)
        });
        let mut cursor = Self {
            horizon: order.horizon(Utc::now()),
            order,
            schema,
            from,
            previous: before,
            current: Boundary::default(),
            keep: String::new(),
            largest,
            newest: newest.to_vec(),
        };
        cursor.keep = cursor.keep_from().unwrap_or_default();
        cursor
    }

    /// Notes an entry and its record. Returns whether an earlier run emitted the same record.
    pub(super) fn note(&mut self, entry: &Entry, record: &[u8], id: Option<&str>) -> bool {
        let unusable = self.unusable_value(entry);
        let key = self.order.of(entry, self.schema);
        let moment = match (&key, unusable) {
            (_, Some(UnusableValue::Invalid(_))) => NO_MOMENT.to_owned(),
            (Some((key, _)), _) => self.order.moment(key),
            (None, _) => return false,
        };
        if let Some(key) = key.filter(|_| unusable.is_none())
            && self.largest.as_ref().is_none_or(|(largest, _)| key.0 > *largest)
        {
            if let Ok(value) = std::str::from_utf8(&key.1) {
                let id = id.and_then(|id| entry.values(id).first()).map(|id| BASE64.encode(id));
                let dn = id.is_none().then(|| entry.dn.clone());
                let newest = Newest { id: id.unwrap_or_default(), dn, value: value.to_owned() };
                self.newest.retain(|other| (&other.id, &other.dn) != (&newest.id, &newest.dn));
                self.newest.truncate(NEWEST - 1);
                self.newest.insert(0, newest);
            }
            self.largest = Some(key);
            self.keep = self.keep_from().unwrap_or_default();
            self.current.prune(&self.keep);
        }
        let seen = self.previous.contains(&moment, record);
        if moment >= self.keep {
            self.current.add(&moment, record);
        }
        seen
    }

    /// Returns the first value of an entry that cannot be a position.
    pub(super) fn unusable_value<'e>(&self, entry: &'e Entry) -> Option<UnusableValue<'e>> {
        self.order.unusable_value(entry, self.schema, self.horizon.as_ref())
    }

    /// Returns the earliest moment that is read again after the largest value.
    fn keep_from(&self) -> Option<String> {
        let (_, largest) = self.largest.as_ref()?;
        let again = self.order.again_from(largest);
        self.order.sortable(&again, self.schema).map(|key| self.order.moment(&key))
    }

    /// Returns the value to resume at, after the largest one so far.
    pub(super) fn resume_from(&self) -> Option<Vec<u8>> {
        self.largest.as_ref().map(|(_, largest)| self.order.again_from(largest))
    }

    /// Forgets the records at the end: all of them are received again, and must be counted once.
    pub(super) fn restart(&mut self) {
        self.current = Boundary::default();
    }

    /// Returns the largest value for a bookmark.
    pub(super) fn largest(&self) -> Option<Value> {
        self.largest.as_ref().map(|(_, largest)| self.order.to_json(largest))
    }

    /// Returns the records at this run's end.
    pub(super) fn boundary(&self) -> Boundary {
        self.current.clone()
    }

    /// Returns the entries with the largest values.
    pub(super) fn newest(&self) -> Vec<Newest> {
        self.newest.clone()
    }
}
