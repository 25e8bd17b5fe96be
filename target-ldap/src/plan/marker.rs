//! The marker of an entry that a deletion has set aside (`on_delete.then`): one value of one attribute, which says when, by which stream,
//! and all that is needed to bring the entry back as it was.
//!
//! `ldap-target:1 deleted=20261130120000Z {"dn":"uid=a,ou=people,…","stream":"users","set":{"title":{"was":["Clerk"],"to":[]}}}`
//!
//! The value is ASCII. The JSON has the former DN, the stream, and for each attribute that was set the values before (`was`) and after it
//! (`to`), or those that were added (`added`). A value that is not UTF-8 is `{"base64": "…"}`. Names that are not known are passed over.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime, Utc};
use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use serde_json::{Map, Value, json};

use super::is_equivalent_on_ad;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::{Compare, Policy};

/// What every marker begins with, of whatever version.
const NAME: &str = "ldap-target:";
/// What a marker of this version begins with.
const PREFIX: &str = "ldap-target:1 deleted=";
const TIME: &str = "%Y%m%d%H%M%SZ";

/// An attribute that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetValues {
    /// The attribute description.
    pub description: String,
    /// What was done to it.
    pub how: HowSet,
}

/// What was done to an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowSet {
    /// Values were added.
    Added(Vec<Vec<u8>>),
    /// All values were replaced.
    Replaced {
        /// Those before.
        was: Vec<Vec<u8>>,
        /// Those since.
        to: Vec<Vec<u8>>,
    },
}

/// The marker of an entry that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// When.
    pub deleted: DateTime<Utc>,
    /// The stream that set it aside.
    pub stream: String,
    /// The DN that it had.
    pub dn: String,
    /// The attributes that were set.
    pub set: Vec<SetValues>,
}

/// What an entry says of having been set aside. Whoever may write the attribute may have written it:
/// [`standing`](super::standing) has how far it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marked {
    /// Nothing.
    Not,
    /// It has a marker that is not understood, for this reason.
    Unknown(&'static str),
    /// It was set aside. With the value of the marker.
    Since(Box<Marker>, Vec<u8>),
}

impl Marked {
    /// Returns what the values of the marker's attribute say.
    pub(super) fn of(values: &[Vec<u8>]) -> Marked {
        let mut markers = values.iter().filter(|value| is_marker(value));
        match (markers.next(), markers.next()) {
            (None, _) => Marked::Not,
            (Some(_), Some(_)) => Marked::Unknown("there are two"),
            (Some(value), None) => match Marker::parse(value) {
                Ok(marker) => Marked::Since(Box::new(marker), value.clone()),
                Err(reason) => Marked::Unknown(reason),
            },
        }
    }
}

/// Whether a value looks like a marker, of whatever version.
pub fn is_marker(value: &[u8]) -> bool {
    value.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME.as_bytes()))
}

/// Returns a marker of this version without its time; `None`: it is none.
pub fn without_time(value: &[u8]) -> Option<Vec<u8>> {
    if !is_marker(value) {
        return None;
    }
    let (_, back) = Marker::split(std::str::from_utf8(value).ok()?).ok()?;
    Some(format!("{PREFIX} {back}").into_bytes())
}

/// Returns a marker of this version with another time; `None`: it is none.
pub fn with_time(value: &[u8], time: DateTime<Utc>) -> Option<Vec<u8>> {
    if !is_marker(value) {
        return None;
    }
    let (_, back) = Marker::split(std::str::from_utf8(value).ok()?).ok()?;
    Some(format!("{PREFIX}{} {back}", time.format(TIME)).into_bytes())
}

/// Returns a text whose characters are all ASCII, in JSON: an attribute may take no others.
fn ascii(json: &Value) -> String {
    let text = json.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn to_json(values: &[Vec<u8>]) -> Value {
    let value = |octets: &Vec<u8>| match std::str::from_utf8(octets) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({"base64": STANDARD.encode(octets)}),
    };
    values.iter().map(value).collect()
}

fn from_json(values: Option<&Value>) -> Option<Vec<Vec<u8>>> {
    let value = |value: &Value| match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        other => STANDARD.decode(other.get("base64")?.as_str()?).ok(),
    };
    values?.as_array()?.iter().map(value).collect()
}

impl Marker {
    /// Returns the value of the marker.
    pub fn to_value(&self) -> Vec<u8> {
        let set: Map<String, Value> = self
            .set
            .iter()
            .map(|set| {
                let how = match &set.how {
                    HowSet::Added(values) => json!({"added": to_json(values)}),
                    HowSet::Replaced { was, to } => json!({"was": to_json(was), "to": to_json(to)}),
                };
                (set.description.clone(), how)
            })
            .collect();
        let back = ascii(&json!({"dn": self.dn, "stream": self.stream, "set": set}));
        format!("{PREFIX}{} {back}", self.deleted.format(TIME)).into_bytes()
    }

    /// Returns the time, and what follows it.
    fn split(text: &str) -> Result<(DateTime<Utc>, &str), &'static str> {
        let rest = text
            .get(..PREFIX.len())
            .filter(|start| start.eq_ignore_ascii_case(PREFIX))
            .and_then(|start| text.get(start.len()..))
            .ok_or("it is not of version 1")?;
        let (time, back) = rest.split_once(' ').ok_or("it has only a time")?;
        let deleted = NaiveDateTime::parse_from_str(time, TIME).map_err(|_| "its time is not valid")?;
        Ok((deleted.and_utc(), back))
    }

    fn parse(value: &[u8]) -> Result<Marker, &'static str> {
        let text = std::str::from_utf8(value).map_err(|_| "it is not a text")?;
        let (deleted, back) = Marker::split(text)?;
        let wrong = "what is needed to bring the entry back is not valid";
        let back: Value = serde_json::from_str(back).map_err(|_| wrong)?;
        let text = |name: &str| back.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(wrong);
        let mut set = Vec::new();
        for (description, how) in back.get("set").and_then(Value::as_object).ok_or(wrong)? {
            let how = match from_json(how.get("added")) {
                Some(added) => HowSet::Added(added),
                None => HowSet::Replaced {
                    was: from_json(how.get("was")).ok_or(wrong)?,
                    to: from_json(how.get("to")).ok_or(wrong)?,
                },
            };
            set.push(SetValues { description: description.clone(), how });
        }
        Ok(Marker { deleted, stream: text("stream")?, dn: text("dn")?, set })
    }

    /// Returns what brings an entry back as it was, apart from what its record writes, and the attributes that somebody else has changed
    /// since: those stay. `attribute`: that of the marker.
    pub fn back(
        &self,
        attribute: &str,
        current: &Entry,
        wanted: &WantedEntry,
        schema: &Schema,
    ) -> (Vec<Wanted>, Vec<String>) {
        let force = |description: &str, values| Wanted {
            description: description.to_owned(),
            values,
            policy: Policy::Force,
            compare: Compare::Schema,
        };
        let (mut back, mut changed) = (Vec::new(), Vec::new());
        for SetValues { description, how } in &self.set {
            let there = schema.values_of(current, description);
            let same = |a: &[u8], b: &[u8]| schema.values_match(description, a, b);
            let has = |all: &[Vec<u8>], value: &[u8]| all.iter().any(|other| same(other, value));
            let of_record =
                wanted.attributes.iter().find(|w| schema.same_description(&w.description, description));
            if of_record.is_some_and(|w| w.policy == Policy::Force) {
                continue;
            }
            let values = match how {
                HowSet::Added(added) => {
                    let kept = of_record.map_or(&[][..], |w| &w.values);
                    let stays = |v: &&Vec<u8>| !has(added, v) || has(kept, v);
                    there.iter().filter(stays).cloned().collect()
                }
                HowSet::Replaced { was, to } => {
                    let is_same = there.len() == to.len() && to.iter().all(|value| has(there, value));
                    let step = Modification::new(ModificationKind::Replace, description.clone(), to.clone());
                    if !is_same && !is_equivalent_on_ad(&step, current, schema) {
                        changed.push(description.clone());
                        continue;
                    }
                    was.clone()
                }
            };
            back.push(force(description, values));
        }
        let others = schema.values_of(current, attribute).iter();
        let others = others.filter(|value| !is_marker(value)).cloned().collect();
        back.push(force(attribute, others));
        (back, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let replaced = |was: &[&[u8]], to: &[&[u8]]| HowSet::Replaced {
            was: was.iter().map(|v| v.to_vec()).collect(),
            to: to.iter().map(|v| v.to_vec()).collect(),
        };
        Marker {
            deleted: "2026-11-30T12:00:00Z".parse().unwrap(),
            stream: "pe\"ople {x}".into(),
            dn: "cn=J\u{fc}rgen \u{1f600}\\, x,ou=p".into(),
            set: vec![
                SetValues { description: "jpegPhoto".into(), how: replaced(&[b"\xff\x00"], &[]) },
                SetValues { description: "objectClass".into(), how: HowSet::Added(vec![b"gone".to_vec()]) },
                SetValues { description: "title".into(), how: replaced(&[b" a\nb\x7f "], &[b"x", b"y"]) },
            ],
        }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written_and_is_printable_ascii() {
        let value = marker().to_value();
        assert!(
            value.iter().all(|octet| (0x20..0x7f).contains(octet)),
            "{}",
            String::from_utf8_lossy(&value)
        );
        assert!(value.starts_with(b"ldap-target:1 deleted=20261130120000Z {"));
        let values = [b"a note".to_vec(), value.clone()];
        assert_eq!(Marked::of(&values), Marked::Since(Box::new(marker()), value));
    }

    #[test]
    fn another_time_changes_nothing_else() {
        let value = marker().to_value();
        let later = with_time(&value, "2027-01-01T00:00:00Z".parse().unwrap()).unwrap();
        assert!(later.starts_with(b"ldap-target:1 deleted=20270101000000Z {"));
        assert_eq!(without_time(&later), without_time(&value));
        assert_ne!(without_time(&value), Some(value));
        for other in [&b"ldap-target:2 deleted=20270101000000Z {}"[..], b"ldap-target:1 deleted=x {}", b"a"] {
            assert_eq!(with_time(other, Utc::now()), None);
        }
    }

    #[test]
    fn what_is_not_understood_is_no_marker_of_this_version() {
        let value = marker().to_value();
        let text = String::from_utf8(value.clone()).unwrap();
        assert_eq!(Marked::of(&[b"ldap-targets".to_vec(), Vec::new()]), Marked::Not);
        let broken = [
            text.replacen(":1 ", ":2 ", 1),
            text.replacen("20261130", "20261131", 1),
            text.replacen("\"dn\"", "\"d\"", 1),
            text.replacen("\"was\"", "\"w\"", 1),
            text.strip_suffix('}').unwrap().to_owned(),
            NAME.to_owned(),
        ];
        for text in broken {
            assert!(matches!(Marked::of(&[text.clone().into_bytes()]), Marked::Unknown(_)), "{text}");
        }
        assert!(matches!(Marked::of(&[value.clone(), value]), Marked::Unknown(_)));
    }
}
