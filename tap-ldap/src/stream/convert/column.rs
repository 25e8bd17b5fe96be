//! The columns of a record: how the values of an attribute are written.

use std::collections::HashSet;

use ldap_directory::dn::Dn;
use ldap_directory::entry::EntryView;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::{ValueKind, write_text};
use serde_json::Value;

/// Invalid values of an attribute that are logged; the others are only counted.
const NAMED_BAD_VALUES: u64 = 10;

/// A property of the records.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the property")]
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// `"name":` in JSON, with a leading comma unless it is the first property.
    pub(super) prefix: Vec<u8>,
    pub(super) kind: ValueKind,
    pub(super) array: bool,
    /// Whether it is a part of the key.
    pub(super) is_key: bool,
    /// Whether the bound user may not see its attribute in all entries: none to be seen is no proof that there is none.
    pub(super) is_hidden: bool,
    /// Whether the current entry has an invalid value of the key.
    pub(super) has_bad_key: bool,
    pub(super) bad_values: u64,
    pub(super) surplus_entries: u64,
}

impl Column {
    /// Returns the column of a description. `is_first`: whether no property precedes it in any record.
    pub(super) fn new(name: String, kind: ValueKind, array: bool, is_first: bool) -> Column {
        let mut prefix = if is_first { Vec::new() } else { vec![b','] };
        write_text(&name, &mut prefix);
        prefix.push(b':');
        Column {
            name,
            prefix,
            kind,
            array,
            is_key: false,
            is_hidden: false,
            has_bad_key: false,
            bad_values: 0,
            surplus_entries: 0,
        }
    }

    /// Returns the column of another description, written like this one.
    pub(super) fn like(&self, name: &str) -> Column {
        let is_hidden = self.is_hidden;
        Column { is_hidden, ..Column::new(name.to_owned(), self.kind, self.array, false) }
    }

    /// Writes all values, or null if there are none. A value that its syntax forbids is null. Returns whether the property says what the
    /// entry has: a list with a null does, because no entry has such a value, but a null in place of the only value would say that the
    /// entry has none.
    pub(super) fn write<'v>(
        &mut self,
        entry: &impl EntryView,
        all: impl Iterator<Item = &'v [u8]> + Clone,
        schema: &Schema,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut values = all.clone();
        if self.array {
            let mut separator = b'[';
            for value in values {
                out.push(separator);
                separator = b',';
                let _ = self.value(value, entry, out);
            }
            if separator == b'[' {
                out.extend_from_slice(b"null");
            } else {
                out.push(b']');
            }
            return true;
        }
        let Some(first) = values.next() else {
            out.extend_from_slice(b"null");
            return true;
        };
        if values.next().is_none() {
            return self.value(first, entry, out);
        }
        self.surplus_entries += 1;
        let value = naming_value(all, &self.name, entry.dn(), schema);
        self.value(value.unwrap_or(first), entry, out)
    }

    /// Writes one value. Returns whether its syntax allows it.
    fn value(&mut self, value: &[u8], entry: &impl EntryView, out: &mut Vec<u8>) -> bool {
        let is_valid = self.kind.write_json(value, out).is_ok();
        if !is_valid {
            self.bad_value(entry.dn(), out);
        }
        is_valid
    }

    #[cold]
    fn bad_value(&mut self, dn: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
        self.has_bad_key |= self.is_key;
        self.bad_values += 1;
        if self.bad_values <= NAMED_BAD_VALUES {
            let instead = if self.array { "is null in the list" } else { "is not emitted" };
            tracing::warn!("`{dn}`: a value of `{}` {} and {instead}", self.name, self.kind.flaw());
        }
    }
}

/// Returns the values of an attribute in several places, each once: they are one set (RFC 4512 section 2.2).
pub(super) fn together<'e>(
    entry: &'e impl EntryView,
    places: impl Iterator<Item = usize>,
    name: &str,
    schema: &Schema,
) -> Vec<&'e [u8]> {
    let rule = schema.equality(name);
    let mut seen = HashSet::new();
    let values = places.flat_map(|at| entry.values_at(at));
    values.filter(|value| seen.insert(rule.normalize(value, schema))).collect()
}

/// Returns the value that is part of the entry's RDN.
pub(super) fn naming_value<'v>(
    mut values: impl Iterator<Item = &'v [u8]>,
    name: &str,
    dn: &str,
    schema: &Schema,
) -> Option<&'v [u8]> {
    let dn = Dn::parse(dn).ok()?;
    let ava =
        dn.rdn()?.avas.iter().find(|a| schema.canonical_name(&a.attribute).eq_ignore_ascii_case(name))?;
    values.find(|v| schema.values_match(name, v, &ava.value))
}

/// Returns whether the JSON schema of a property allows an array.
pub(super) fn is_array(property: &Value) -> bool {
    match property.get("type") {
        Some(Value::String(kind)) => kind == "array",
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k == "array"),
        _ => false,
    }
}
