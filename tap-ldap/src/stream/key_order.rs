//! The values of a replication key: their order, where reading resumes, and which of them are of one moment.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use ldap_directory::Vendor;
use ldap_directory::entry::Entry;
use ldap_directory::filter::escape_value;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{Equality, Schema};
use serde_json::Value;

use crate::discovery::replication_keys;

/// How far before the largest value reading resumes. A server stamps a change before it waits for its turn to write it, so that a
/// change can become visible after one with a later stamp. Seconds; only for keys that are times.
const OVERLAP_SECONDS: i64 = 5;

/// How far a value may be ahead of this machine's clock, because clocks differ.
const AHEAD_HOURS: i64 = 24;

/// A value in a form whose octets sort like the values on the server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderKey(Vec<u8>);

/// A value of a replication key that cannot be a position: later changes would be before it, or it has no place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnusableValue<'e> {
    /// It violates its syntax: no filter of the key finds its entry.
    Invalid(&'e [u8]),
    /// It is a time in the future.
    Future(&'e [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrderStyle {
    /// GeneralizedTime and UTCTime.
    Time,
    /// OpenLDAP's change sequence number: a time, then the origin of the change.
    Csn,
    /// Whole numbers.
    Number,
    /// Any other syntax with an ordering rule.
    Text,
}

/// A replication key.
#[derive(Debug, Clone)]
pub(crate) struct KeyOrder<'a> {
    pub name: &'a str,
    /// The attribute in filters and sort controls.
    pub searched: &'a str,
    /// The attribute that dates an entry without a value of the key.
    fallback: Option<&'static str>,
    pub kind: ValueKind,
    style: OrderStyle,
    order: Equality,
    vendor: Vendor,
}

impl<'a> KeyOrder<'a> {
    pub(crate) fn new(name: &'a str, schema: &Schema, vendor: Vendor) -> Self {
        let kind = ValueKind::of(schema, name);
        let style = match kind {
            ValueKind::GeneralizedTime | ValueKind::UtcTime => OrderStyle::Time,
            ValueKind::Integer | ValueKind::FileTime => OrderStyle::Number,
            _ if name.eq_ignore_ascii_case("entryCSN") => OrderStyle::Csn,
            _ => OrderStyle::Text,
        };
        // [MS-ADTS] 3.1.1.4.5: Active Directory computes these two from stored attributes, and finds no entry by them.
        let searched = match (vendor, name) {
            (Vendor::ActiveDirectory, n) if n.eq_ignore_ascii_case("modifyTimeStamp") => "whenChanged",
            (Vendor::ActiveDirectory, n) if n.eq_ignore_ascii_case("createTimeStamp") => "whenCreated",
            _ => name,
        };
        let fallback = replication_keys::fallback(vendor, name);
        Self { name, searched, fallback, kind, style, order: schema.ordering(name), vendor }
    }

    /// Returns the largest value of the key in an entry, in sortable form and as it is.
    pub(crate) fn of(&self, entry: &Entry, schema: &Schema) -> Option<(OrderKey, Vec<u8>)> {
        let instead = self.fallback.map_or(&[][..], |name| entry.values(name));
        let values = entry.values(self.name).iter().chain(instead);
        values.filter_map(|v| Some((self.sortable(v, schema)?, v.clone()))).max()
    }

    /// Returns the first value of an entry that cannot be a position. `horizon`: see [`Self::horizon`].
    pub(crate) fn unusable_value<'e>(
        &self,
        entry: &'e Entry,
        schema: &Schema,
        horizon: Option<&OrderKey>,
    ) -> Option<UnusableValue<'e>> {
        let instead = self.fallback.map_or(&[][..], |name| entry.values(name));
        entry.values(self.name).iter().chain(instead).find_map(|value| match self.sortable(value, schema) {
            None => Some(UnusableValue::Invalid(value)),
            Some(key) if horizon.is_some_and(|horizon| key > *horizon) => Some(UnusableValue::Future(value)),
            Some(_) => None,
        })
    }

    /// Returns the largest value that an entry can have at this time; `None` for keys that are not times.
    pub(crate) fn horizon(&self, now: DateTime<Utc>) -> Option<OrderKey> {
        let latest = now.checked_add_signed(Duration::hours(AHEAD_HOURS))?;
        match self.style {
            OrderStyle::Time => self.sortable(&self.time(latest), Schema::standard()),
            OrderStyle::Csn => Some(OrderKey(latest.format("%Y%m%d%H%M%S").to_string().into_bytes())),
            // A 64-bit count since 1601. `accountExpires` of an account that never expires is the largest one.
            OrderStyle::Number if self.kind == ValueKind::FileTime => {
                let text = Value::String(latest.to_rfc3339_opts(SecondsFormat::Secs, true));
                self.sortable(&self.kind.parse_json(&text).ok()??, Schema::standard())
            }
            OrderStyle::Number | OrderStyle::Text => None,
        }
    }

    /// Returns the attributes that the key's value is taken from.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &'a str> {
        let searched = (self.searched != self.name).then_some(self.searched);
        std::iter::once(self.name).chain(searched).chain(self.fallback)
    }

    /// Returns whether a server that sorts by the key uses the same order.
    pub(crate) fn is_sorted_by_server(&self) -> bool {
        self.fallback.is_none()
    }

    /// Returns the filter for entries with this value or a larger one.
    pub(crate) fn at_least(&self, value: &[u8]) -> String {
        self.filter(&|name| format!("({name}>={})", escape_value(value)))
    }

    /// Returns the filter for entries without a value.
    pub(crate) fn without(&self) -> String {
        format!("(!{})", self.filter(&|name| format!("({name}=*)")))
    }

    fn filter(&self, of: &dyn Fn(&str) -> String) -> String {
        match self.fallback {
            None => of(self.searched),
            Some(other) => format!("(|{}{})", of(self.searched), of(other)),
        }
    }

    /// Returns a value in sortable form; `None` if it violates its syntax.
    pub(crate) fn sortable(&self, value: &[u8], schema: &Schema) -> Option<OrderKey> {
        let octets = match self.style {
            OrderStyle::Time => self.rfc3339(value)?.trim_end_matches('Z').as_bytes().to_vec(),
            OrderStyle::Csn => csn_time(value).map(|_| value.to_vec())?,
            OrderStyle::Number => number(self.number_text(std::str::from_utf8(value).ok()?))?,
            OrderStyle::Text => self.order.normalize(value, schema).into_owned(),
        };
        Some(OrderKey(octets))
    }

    /// Returns the text of a number. 389 DS writes negative numbers as very large ones; its counter falls below zero if
    /// additions are refused in an empty database.
    fn number_text<'v>(&self, text: &'v str) -> &'v str {
        let is_negative = self.vendor == Vendor::Ds389
            && self.name.eq_ignore_ascii_case("entryusn")
            && text.parse::<u64>().is_ok_and(|n| i64::try_from(n).is_err());
        if is_negative { "0" } else { text }
    }

    fn rfc3339(&self, value: &[u8]) -> Option<String> {
        let mut json = Vec::new();
        self.kind.write_json(value, &mut json).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Returns a value for a bookmark.
    pub(crate) fn to_json(&self, value: &[u8]) -> Value {
        let mut json = Vec::new();
        self.kind
            .write_json(value, &mut json)
            .ok()
            .and_then(|()| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    }

    /// Returns a bookmark's value as the server has it; `None` if it is not a value of the key: a filter with it would find nothing.
    pub(crate) fn parse(&self, value: &Value, schema: &Schema) -> Option<Vec<u8>> {
        let octets = self.kind.parse_json(value).ok().flatten()?;
        (!octets.is_empty() && self.sortable(&octets, schema).is_some()).then_some(octets)
    }

    /// Returns the value to resume at, after this one was the largest.
    pub(crate) fn again_from(&self, largest: &[u8]) -> Vec<u8> {
        let earlier = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
            time.checked_sub_signed(Duration::seconds(OVERLAP_SECONDS))
        };
        let again = match self.style {
            OrderStyle::Time => self.rfc3339(largest).and_then(|t| Some(self.time(earlier(&t)?))),
            OrderStyle::Csn => csn_time(largest).and_then(|t| {
                Some(earlier(&t)?.format("%Y%m%d%H%M%S.000000Z#000000#000#000000").to_string().into_bytes())
            }),
            OrderStyle::Number | OrderStyle::Text => None,
        };
        again.unwrap_or_else(|| largest.to_vec())
    }

    fn time(&self, time: DateTime<Utc>) -> Vec<u8> {
        let format = match (self.kind, self.vendor) {
            (ValueKind::UtcTime, _) => "%y%m%d%H%M%SZ",
            // [MS-ADTS] 3.1.1.3.1.3: a time in a filter must have a fraction.
            (_, Vendor::ActiveDirectory) => "%Y%m%d%H%M%S.0Z",
            _ => "%Y%m%d%H%M%SZ",
        };
        time.format(format).to_string().into_bytes()
    }

    /// Returns the moment of a value: its second if it is a time, or else the value itself.
    pub(crate) fn moment(&self, key: &OrderKey) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        match self.style {
            OrderStyle::Time => text(key.0.get(.."2026-11-24T16:40:12".len()).unwrap_or(&key.0)),
            OrderStyle::Csn => text(key.0.get(.."20261124164012".len()).unwrap_or(&key.0)),
            // In 20 digits, so that moments sort as texts.
            OrderStyle::Number => format!("{:0>20}", text(key.0.get(NUMBER_HEAD..).unwrap_or_default())),
            OrderStyle::Text => text(&key.0),
        }
    }
}

/// Returns the time of a change sequence number, as RFC 3339.
fn csn_time(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    ldap_directory::schema::syntax::generalized_to_rfc3339(text.split('#').next()?).ok()
}

/// Octets before the digits in [`number`]'s form.
const NUMBER_HEAD: usize = 5;

/// Returns a whole number in a form whose octets sort by its value: sign, number of digits, digits.
fn number(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |d| (true, d));
    let digits = digits.trim_start_matches('0');
    if text.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length = u32::try_from(digits.len()).ok()?.to_be_bytes();
    let magnitude = length.iter().copied().chain(digits.bytes());
    Some(if negative && !digits.is_empty() {
        std::iter::once(0).chain(magnitude.map(|b| 0xff - b)).collect()
    } else {
        std::iter::once(1).chain(magnitude).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(name: &'static str) -> KeyOrder<'static> {
        KeyOrder::new(name, Schema::standard(), Vendor::OpenLdap)
    }

    #[test]
    fn times_sort_and_begin_again_a_little_earlier() {
        let time = order("modifyTimestamp");
        let key = |v: &str| time.sortable(v.as_bytes(), Schema::standard()).unwrap();
        assert!(key("20261124164012Z") < key("20261124164012.5Z"));
        assert!(key("20261124164012.5Z") < key("20261124164013Z"));
        assert_eq!(key("20261124164012Z"), key("20261124174012+0100"));
        assert_eq!(time.again_from(b"20261124000003.25Z"), b"20261123235958Z");
        assert_eq!(time.moment(&key("20261124164012.5Z")), "2026-11-24T16:40:12");
        assert_eq!(
            time.parse(&time.to_json(b"20261124164012Z"), Schema::standard()).unwrap(),
            b"20261124164012Z"
        );
        assert_eq!(time.parse(&Value::Bool(true), Schema::standard()), None);
        let ad = KeyOrder::new("modifyTimeStamp", Schema::standard(), Vendor::ActiveDirectory);
        assert_eq!(ad.searched, "whenChanged");
        assert_eq!(ad.again_from(b"20261124000003.0Z"), b"20261123235958.0Z");
    }

    #[test]
    fn change_sequence_numbers_too() {
        let csn = order("entryCSN");
        let value = b"20261124164012.123456Z#000000#001#000000";
        let key = csn.sortable(value, Schema::standard()).unwrap();
        assert_eq!(csn.again_from(value), b"20261124164007.000000Z#000000#000#000000");
        assert_eq!(csn.moment(&key), "20261124164012");
    }

    #[test]
    fn what_no_position_may_be_taken_by() {
        use ldap_directory::entry::Attribute;
        let now = DateTime::parse_from_rfc3339("2026-11-24T12:00:00Z").unwrap().with_timezone(&Utc);
        let odd = |name: &'static str, value: &'static str| {
            let order = order(name);
            let horizon = order.horizon(now);
            let entry = Entry {
                dn: "cn=x".into(),
                attributes: vec![Attribute::new(name, vec![value.as_bytes().to_vec()])],
            };
            match order.unusable_value(&entry, Schema::standard(), horizon.as_ref()) {
                Some(UnusableValue::Invalid(v)) => ("invalid", v == value.as_bytes()),
                Some(UnusableValue::Future(v)) => ("future", v == value.as_bytes()),
                None => ("", true),
            }
        };
        for (name, value, expected) in [
            ("modifyTimestamp", "20261124120000Z", ""),
            ("modifyTimestamp", "20261125115959Z", ""),
            ("modifyTimestamp", "20261125120001Z", "future"),
            ("modifyTimestamp", "garbage", "invalid"),
            ("modifyTimestamp", "", "invalid"),
            ("entryCSN", "20261125115959.000000Z#000000#000#000000", ""),
            ("entryCSN", "20991125115959.000000Z#000000#000#000000", "future"),
            ("entryCSN", "garbage", "invalid"),
            ("uidNumber", "99999999999999999999", ""),
            ("uidNumber", "x", "invalid"),
            ("cn", "20991125115959Z", ""),
        ] {
            assert_eq!(odd(name, value), (expected, true), "{name}: {value}");
        }
    }

    #[test]
    fn the_moment_of_a_number_is_the_number() {
        let number = order("uidNumber");
        let key = number.sortable(b"4078", Schema::standard()).unwrap();
        assert_eq!(number.moment(&key), "00000000000000004078");
    }

    #[test]
    fn an_entry_that_was_never_modified_has_the_time_it_was_made_at() {
        use ldap_directory::entry::Attribute;
        let other = KeyOrder::new("modifyTimestamp", Schema::standard(), Vendor::Other);
        assert_eq!(
            other.at_least(b"20260101000000Z"),
            "(|(modifyTimestamp>=20260101000000Z)(createTimestamp>=20260101000000Z))"
        );
        assert_eq!(other.without(), "(!(|(modifyTimestamp=*)(createTimestamp=*)))");
        assert!(!other.is_sorted_by_server());
        let entry = |values: &[(&str, &str)]| Entry {
            dn: "cn=x".into(),
            attributes: values.iter().map(|(n, v)| Attribute::new(*n, vec![v.as_bytes().to_vec()])).collect(),
        };
        let of =
            |values: &[(&str, &str)]| other.of(&entry(values), Schema::standard()).map(|(_, value)| value);
        assert_eq!(of(&[("createTimestamp", "20260102000000Z")]).unwrap(), b"20260102000000Z");
        let both = [("createTimestamp", "20260102000000Z"), ("modifyTimestamp", "20260103000000Z")];
        assert_eq!(of(&both).unwrap(), b"20260103000000Z");
        assert_eq!(of(&[("cn", "x")]), None);
        let openldap = order("modifyTimestamp");
        assert_eq!(openldap.at_least(b"20260101000000Z"), "(modifyTimestamp>=20260101000000Z)");
        assert!(openldap.is_sorted_by_server());
    }

    proptest! {
        #[test]
        fn numbers_sort_as_numbers(a: i64, b: i64) {
            let key = |n: i64| OrderKey(number(&n.to_string()).unwrap());
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
        }
    }
}
