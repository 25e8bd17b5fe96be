//! From an entry to a RECORD line. Planned once per stream; no clock, no network.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use singer_common::catalog::CatalogEntry;
use singer_common::dn::Dn;
use singer_common::entry::{Attribute, Entry, base_type};
use singer_common::schema::Schema;
use singer_common::schema::syntax::{ValueKind, write_text};

use crate::replication::DELETED_AT;

/// So many bad values of an attribute are named in the log; the rest is only counted.
const NAMED_BAD_VALUES: u64 = 10;

/// A property of the records.
#[derive(Debug)]
struct Column {
    name: String,
    /// `"name":`, ready to be written.
    prefix: Vec<u8>,
    kind: ValueKind,
    array: bool,
    bad_values: u64,
    surplus_entries: u64,
}

/// Turns the entries of one stream into RECORD lines.
#[derive(Debug)]
pub struct Converter<'a> {
    schema: &'a Schema,
    /// `{"type":"RECORD","stream":…,"record":{`.
    head: Vec<u8>,
    has_dn: bool,
    /// Whether records have a property that says when they were deleted.
    marks_deletions: bool,
    columns: Vec<Column>,
    /// Attribute descriptions in lower case, as the server sends them, to columns; `None` is known to have none.
    index: HashMap<String, Option<usize>>,
    /// For each column, where the entry in hand has its attribute.
    found: Vec<Option<usize>>,
    /// Attributes that came without being asked for by name: subtypes and options that discovery did not see.
    unforeseen: Vec<String>,
}

impl<'a> Converter<'a> {
    /// Plans a stream's conversion: what is selected, how each value is written.
    pub fn new(stream: &CatalogEntry, schema: &'a Schema) -> Self {
        let mut head = b"{\"type\":\"RECORD\",\"stream\":".to_vec();
        write_text(&stream.stream, &mut head);
        head.extend_from_slice(b",\"record\":{");
        let mut columns = Vec::new();
        let mut index = HashMap::new();
        let mut has_dn = false;
        for (name, property) in stream.properties().filter(|(name, _)| stream.is_property_selected(name)) {
            if name == "dn" {
                has_dn = true;
                continue;
            }
            let mut prefix = Vec::new();
            write_text(name, &mut prefix);
            prefix.push(b':');
            index.insert(name.to_ascii_lowercase(), Some(columns.len()));
            columns.push(Column {
                name: name.clone(),
                prefix,
                kind: ValueKind::of(schema, name),
                array: is_array(property),
                bad_values: 0,
                surplus_entries: 0,
            });
        }
        let found = vec![None; columns.len()];
        Self { schema, head, has_dn, marks_deletions: false, columns, index, found, unforeseen: Vec::new() }
    }

    /// Gives every record the property that says when it was deleted: null, for what is there.
    pub fn mark_deletions(&mut self) {
        self.marks_deletions = true;
    }

    /// Whether records have that property.
    pub fn marks_deletions(&self) -> bool {
        self.marks_deletions
    }

    /// A property's value as an entry's record has it.
    pub fn value_of(&self, entry: &Entry, property: &str) -> Value {
        let mut json = Vec::new();
        let kind = ValueKind::of(self.schema, property);
        let written = self.schema.values_of(entry, property).first().map(|v| kind.write_json(v, &mut json));
        match written {
            Some(Ok(())) => serde_json::from_slice(&json).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// The attributes to ask the server for.
    pub fn attributes(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for column in &self.columns {
            // `userCertificate;binary` has to be asked for as it is (RFC 4522), other options come with their type.
            let name = if column.name.to_ascii_lowercase().contains(";binary") {
                column.name.as_str()
            } else {
                base_type(&column.name)
            };
            if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        if names.is_empty() { vec!["1.1".to_owned()] } else { names }
    }

    fn column_of(&mut self, description: &str) -> Option<usize> {
        let lower = description.to_ascii_lowercase();
        if let Some(known) = self.index.get(&lower) {
            return *known;
        }
        // An alias or an OID of a name we know (`surname`, `2.5.4.4`).
        let name = self.schema.spell(description);
        let column = self.index.get(&name.to_ascii_lowercase()).copied().flatten();
        if column.is_none() {
            let base = base_type(&name);
            if name.contains(';') && self.columns.iter().any(|c| c.name.eq_ignore_ascii_case(base)) {
                self.unforeseen.push(name);
            }
        }
        self.index.insert(lower, column);
        column
    }

    /// Appends an entry's RECORD line. Gives where in it the record itself is.
    pub fn write(
        &mut self,
        entry: &Entry,
        version: Option<i64>,
        time_extracted: &str,
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        self.found.fill(None);
        for (position, attribute) in entry.attributes.iter().enumerate() {
            if let Some(column) = self.column_of(&attribute.description)
                && let Some(slot) = self.found.get_mut(column)
            {
                *slot = Some(position);
            }
        }
        out.extend_from_slice(&self.head);
        let start = out.len();
        if self.has_dn {
            out.extend_from_slice(b"\"dn\":");
            write_text(&entry.dn, out);
        }
        for (column, found) in self.columns.iter_mut().zip(&self.found) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(&column.prefix);
            match found.and_then(|p| entry.attributes.get(p)) {
                Some(attribute) if !attribute.values.is_empty() => {
                    column.write(attribute, &entry.dn, self.schema, out);
                }
                _ => out.extend_from_slice(b"null"),
            }
        }
        if self.marks_deletions {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(format!("\"{DELETED_AT}\":null").as_bytes());
        }
        let record = start..out.len();
        out.push(b'}');
        if let Some(version) = version {
            out.extend_from_slice(format!(",\"version\":{version}").as_bytes());
        }
        out.extend_from_slice(b",\"time_extracted\":\"");
        out.extend_from_slice(time_extracted.as_bytes());
        out.extend_from_slice(b"\"}\n");
        record
    }

    /// What the user should know at the end of the stream.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for column in &self.columns {
            if column.bad_values > 0 {
                warnings.push(format!(
                    "{} value(s) of `{}` do not follow its syntax and are null",
                    column.bad_values, column.name
                ));
            }
            if column.surplus_entries > 0 {
                warnings.push(format!(
                    "{} entries have more than one value of `{}`, which is emitted as one (single_valued)",
                    column.surplus_entries, column.name
                ));
            }
        }
        if !self.unforeseen.is_empty() {
            warnings.push(format!(
                "{} came with values though the catalog does not have it; run --discover again (discovery_sample_size: 0 reads every entry)",
                self.unforeseen.join(", ")
            ));
        }
        warnings
    }
}

impl Column {
    fn write(&mut self, attribute: &Attribute, dn: &str, schema: &Schema, out: &mut Vec<u8>) {
        if self.array {
            out.push(b'[');
            for (n, value) in attribute.values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                self.value(value, dn, out);
            }
            out.push(b']');
            return;
        }
        let value = match attribute.values.as_slice() {
            [only] => only,
            many => {
                self.surplus_entries += 1;
                match naming_value(many, &self.name, dn, schema).or(many.first()) {
                    Some(value) => value,
                    None => return out.extend_from_slice(b"null"),
                }
            }
        };
        self.value(value, dn, out);
    }

    fn value(&mut self, value: &[u8], dn: &str, out: &mut Vec<u8>) {
        if self.kind.write_json(value, out).is_err() {
            out.extend_from_slice(b"null");
            self.bad_values += 1;
            if self.bad_values <= NAMED_BAD_VALUES {
                tracing::warn!("`{dn}`: a value of `{}` does not follow its syntax and is null", self.name);
            }
        }
    }
}

/// The value that is part of the entry's own name.
fn naming_value<'v>(values: &'v [Vec<u8>], name: &str, dn: &str, schema: &Schema) -> Option<&'v Vec<u8>> {
    let dn = Dn::parse(dn).ok()?;
    let ava =
        dn.rdn()?.avas.iter().find(|a| schema.canonical_name(&a.attribute).eq_ignore_ascii_case(name))?;
    values.iter().find(|v| schema.values_match(name, v, &ava.value))
}

fn is_array(property: &Value) -> bool {
    match property.get("type") {
        Some(Value::String(kind)) => kind == "array",
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k == "array"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stream() -> CatalogEntry {
        serde_json::from_value(json!({
            "tap_stream_id": "s", "stream": "s \"1\"", "key_properties": ["dn"],
            "schema": {"type": "object", "properties": {
                "dn": {"type": ["null", "string"]},
                "cn": {"type": ["null", "string"]},
                "sn": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
                "cn;lang-de": {"type": ["null", "array"]},
                "seeAlso": {"type": ["null", "array"]},
            }},
            "metadata": [
                {"breadcrumb": [], "metadata": {"selected": true}},
                {"breadcrumb": ["properties", "seeAlso"], "metadata": {"inclusion": "available", "selected": false}},
            ],
        }))
        .unwrap()
    }

    fn convert(entry: &Entry) -> (Value, Vec<String>) {
        let stream = stream();
        let mut converter = Converter::new(&stream, Schema::standard());
        let mut out = Vec::new();
        converter.write(entry, Some(7), "2026-01-01T00:00:00Z", &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        (serde_json::from_slice(&out).unwrap(), converter.warnings())
    }

    fn attribute(name: &str, values: &[&[u8]]) -> Attribute {
        Attribute::new(name, values.iter().map(|v| v.to_vec()).collect())
    }

    #[test]
    fn a_record_has_every_selected_property_in_its_type() {
        let (message, warnings) = convert(&Entry {
            dn: "cn=B\\, b,dc=x".into(),
            attributes: vec![
                attribute("CN", &[b"a", b"b, B"]),
                attribute("surname", &[b"x", b"\xff"]),
                attribute("seeAlso", &[b"cn=x"]),
                attribute("cn;lang-fr", &[b"x"]),
            ],
        });
        assert_eq!(
            message,
            json!({"type": "RECORD", "stream": "s \"1\"", "version": 7, "time_extracted": "2026-01-01T00:00:00Z",
                "record": {"dn": "cn=B\\, b,dc=x", "cn": "b, B", "sn": ["x", null], "cn;lang-de": null}})
        );
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }

    #[test]
    fn the_value_of_the_name_comes_first_where_only_one_is_wanted() {
        let (message, _) =
            convert(&Entry { dn: "cn=B,dc=x".into(), attributes: vec![attribute("cn", &[b"a", b"b"])] });
        assert_eq!(message["record"]["cn"], "b");
    }

    #[test]
    fn only_what_is_selected_is_asked_for() {
        let stream = stream();
        assert_eq!(Converter::new(&stream, Schema::standard()).attributes(), ["cn", "sn"]);
    }
}
