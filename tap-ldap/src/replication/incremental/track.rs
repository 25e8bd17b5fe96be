//! One key that a stream is read by: where reading begins again, what was printed there, and how far it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use singer_common::entry::Entry;
use singer_common::schema::Schema;

use super::boundary::Boundary;
use crate::stream::key_order::{KeyOrder, Odd, OrderKey};

/// The moment of entries whose value has no place in the order: behind all others, so that it is never forgotten.
const NO_MOMENT: &str = "~";

/// So many of the entries with the largest values are kept in mind.
const NEWEST: usize = 3;

/// An entry that had one of the largest values of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    /// Its immutable id, in base64; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    /// Then its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dn: Option<String>,
    /// The value, as the server had it.
    pub(super) value: String,
}

impl Newest {
    /// The immutable id, as the server has it.
    pub(super) fn id(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.id).ok().filter(|id| !id.is_empty())
    }

    /// Its name, where it has no id.
    pub(super) fn dn(&self) -> Option<&str> {
        self.dn.as_deref()
    }
}

/// A position by one key, as a bookmark has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Besides {
    pub(super) key: String,
    pub(super) value: Value,
    #[serde(default, skip_serializing_if = "Boundary::is_empty")]
    pub(super) boundary: Boundary,
}

/// How far reading came by one key.
pub(super) struct Track<'a> {
    pub(super) order: KeyOrder<'a>,
    schema: &'a Schema,
    /// See [`KeyOrder::horizon`].
    horizon: Option<OrderKey>,
    /// The value to begin at.
    pub(super) from: Option<Vec<u8>>,
    /// What the last run left at its end.
    pub(super) before: Boundary,
    /// What this run leaves at its own.
    now: Boundary,
    /// The earliest moment that the next run will read again.
    keep: String,
    /// The largest value seen, sortable and as it is.
    largest: Option<(OrderKey, Vec<u8>)>,
    /// The entries that had the largest values.
    newest: Vec<Newest>,
}

impl<'a> Track<'a> {
    /// Of a stream that was left at a value, with this at its end.
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
        let mut track = Self {
            horizon: order.horizon(Utc::now()),
            order,
            schema,
            from,
            before,
            now: Boundary::default(),
            keep: String::new(),
            largest,
            newest: newest.to_vec(),
        };
        track.keep = track.keep_from().unwrap_or_default();
        track
    }

    /// Takes note of an entry and its record. Whether an earlier run printed the same.
    pub(super) fn take(&mut self, entry: &Entry, record: &[u8], id: Option<&str>) -> bool {
        let odd = self.odd(entry);
        let key = self.order.of(entry, self.schema);
        let moment = match (&key, odd) {
            (_, Some(Odd::Invalid(_))) => NO_MOMENT.to_owned(),
            (Some((key, _)), _) => self.order.moment(key),
            (None, _) => return false,
        };
        if let Some(key) = key.filter(|_| odd.is_none())
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
            self.now.prune(&self.keep);
        }
        let seen = self.before.contains(&moment, record);
        if moment >= self.keep {
            self.now.add(&moment, record);
        }
        seen
    }

    /// The first value of an entry by which no position may be taken.
    pub(super) fn odd<'e>(&self, entry: &'e Entry) -> Option<Odd<'e>> {
        self.order.odd(entry, self.schema, self.horizon.as_ref())
    }

    /// The earliest moment that is read again after the largest value.
    fn keep_from(&self) -> Option<String> {
        let (_, largest) = self.largest.as_ref()?;
        let again = self.order.again_from(largest);
        self.order.sortable(&again, self.schema).map(|key| self.order.moment(&key))
    }

    /// From which value on to read again, after the largest seen.
    pub(super) fn again(&self) -> Option<Vec<u8>> {
        self.largest.as_ref().map(|(_, largest)| self.order.again_from(largest))
    }

    /// All that was noted at the end comes once more, and is to be counted once.
    pub(super) fn comes_again(&mut self) {
        self.now = Boundary::default();
    }

    /// The largest value, as a bookmark has it.
    pub(super) fn largest(&self) -> Option<Value> {
        self.largest.as_ref().map(|(_, largest)| self.order.to_json(largest))
    }

    /// What this run leaves at its end.
    pub(super) fn boundary(&self) -> Boundary {
        self.now.clone()
    }

    /// The entries with the largest values, as a bookmark has them.
    pub(super) fn newest(&self) -> Vec<Newest> {
        self.newest.clone()
    }
}
