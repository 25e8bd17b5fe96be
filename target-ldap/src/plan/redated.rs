//! A change of an earlier run (an approved plan, an undo) as it is carried out now: a marker that it writes says since when the entry is set
//! aside, which is now. Pure.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;

use super::marker::{is_marker, with_time, without_time};

/// Returns the attributes in which a change has a marker: the entry before it must be known.
pub fn marked_attributes(change: &Change) -> Vec<&str> {
    let has_one = |values: &[Vec<u8>]| values.iter().any(|value| is_marker(value));
    match change {
        Change::Add(entry) => {
            let marked = entry.attributes.iter().filter(|attribute| has_one(&attribute.values));
            marked.map(|attribute| attribute.description.as_str()).collect()
        }
        Change::Modify { changes, .. } => {
            let marked = changes.iter().filter(|step| has_one(&step.values));
            marked.map(|step| step.description.as_str()).collect()
        }
        Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
    }
}

/// Returns a change with the markers that it writes as of `now`. One that it removes is the one that the entry has, whatever its time.
pub fn redated<'c>(
    change: &'c Change,
    current: Option<&Entry>,
    now: DateTime<Utc>,
    schema: &Schema,
) -> Cow<'c, Change> {
    if marked_attributes(change).is_empty() {
        return Cow::Borrowed(change);
    }
    let mut change = change.clone();
    let since_now = |values: &mut Vec<Vec<u8>>| {
        for value in values {
            if let Some(now) = with_time(value, now) {
                *value = now;
            }
        }
    };
    match &mut change {
        Change::Add(entry) => {
            entry.attributes.iter_mut().for_each(|attribute| since_now(&mut attribute.values));
        }
        Change::Modify { changes, .. } => {
            for step in changes {
                match step.kind {
                    ModificationKind::Add | ModificationKind::Replace => since_now(&mut step.values),
                    ModificationKind::Delete => as_it_is(step, current, schema),
                    ModificationKind::Increment => {}
                }
            }
        }
        Change::Delete { .. } | Change::Rename { .. } => {}
    }
    Cow::Owned(change)
}

/// Replaces the markers that a deletion of values names by those that the entry has.
fn as_it_is(step: &mut Modification, current: Option<&Entry>, schema: &Schema) {
    let there = current.map(|entry| schema.values_of(entry, &step.description)).unwrap_or_default();
    for value in &mut step.values {
        let Some(bare) = without_time(value) else { continue };
        let is_it = |other: &&Vec<u8>| without_time(other).as_ref() == Some(&bare);
        if let Some(other) = there.iter().find(is_it).filter(|_| !there.contains(value)) {
            value.clone_from(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    fn marker(time: &str) -> Vec<u8> {
        format!("ldap-target:1 deleted={time} {{\"dn\":\"cn=x\",\"stream\":\"s\",\"set\":{{}}}}").into_bytes()
    }

    #[test]
    fn what_is_written_is_of_now_and_what_is_removed_is_what_is_there() {
        use ModificationKind::{Add, Delete, Replace};
        let (old, there, now) =
            (marker("20200101000000Z"), marker("20260101000000Z"), marker("20261130120000Z"));
        let step =
            |kind, value: &Vec<u8>| Modification::new(kind, "info", vec![b"note".to_vec(), value.clone()]);
        let modify = |all: Vec<Modification>| Change::Modify { dn: "cn=x".into(), changes: all };
        let add = |value: &Vec<u8>| {
            let attributes = vec![Attribute::new("info", vec![value.clone()])];
            Change::Add(Entry { dn: "cn=x".into(), attributes })
        };
        let current =
            Entry { dn: "cn=x".into(), attributes: vec![Attribute::new("info", vec![there.clone()])] };
        let at = "2026-11-30T12:00:00Z".parse().unwrap();
        for (change, expected) in [
            (add(&old), add(&now)),
            (modify(vec![step(Add, &old)]), modify(vec![step(Add, &now)])),
            (modify(vec![step(Replace, &old)]), modify(vec![step(Replace, &now)])),
            (modify(vec![step(Delete, &old)]), modify(vec![step(Delete, &there)])),
        ] {
            assert_eq!(*redated(&change, Some(&current), at, Schema::standard()), expected);
        }
        let plain = modify(vec![Modification::new(Replace, "info", vec![b"x".to_vec()])]);
        assert!(matches!(redated(&plain, None, at, Schema::standard()), Cow::Borrowed(_)));
    }
}
