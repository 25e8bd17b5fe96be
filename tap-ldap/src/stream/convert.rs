//! Converts entries to RECORD lines. Planned once per stream; without a clock or network. The line is written directly into the
//! output buffer while the entry is read.

use std::collections::HashSet;
use std::ops::Range;

use ldap_directory::dn::Dn;
use ldap_directory::entry::{EntryView, base_type};
use ldap_directory::json::write_octets;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::{ValueKind, write_text};
use serde_json::Value;
use singer_common::singer::catalog::CatalogEntry;

use self::classes::Classes;
use self::descriptions::{Descriptions, Destination};
use crate::discovery::containers::CLASS;
use singer_common::singer::deletion::DELETED_AT;

mod classes;
mod descriptions;

/// Invalid values of an attribute that are logged; the others are only counted.
const NAMED_BAD_VALUES: u64 = 10;
/// Returned attributes without a property that are listed in the warning: a server cannot flood the log.
const NAMED_UNFORESEEN: usize = 1_000;

/// A property of the records.
#[derive(Debug)]
struct Column {
    name: String,
    /// `"name":` in JSON, with a leading comma unless it is the first property.
    prefix: Vec<u8>,
    kind: ValueKind,
    array: bool,
    /// Whether it is a part of the key.
    is_key: bool,
    /// Whether the current entry has an invalid value of the key.
    has_bad_key: bool,
    bad_values: u64,
    surplus_entries: u64,
}

/// An entry without a value of its stream's key. Its record could not be identified, so it is never written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{dn}` has no value of `{property}`, or none that its syntax allows, and that is in key_properties of the stream `{stream}`: give the bound user the right to read `{property}` there, or choose a key that every entry has, such as `dn`"
)]
pub struct MissingKey {
    /// The entry's DN.
    pub dn: String,
    /// The key property.
    pub property: String,
    /// The stream.
    pub stream: String,
}

/// Turns the entries of one stream into RECORD lines.
#[derive(Debug)]
pub struct Converter<'a> {
    schema: &'a Schema,
    /// `{"type":"RECORD","stream":…,"record":{`.
    head: Vec<u8>,
    has_dn: bool,
    /// Whether records have the property for the time of their deletion.
    marks_deletions: bool,
    columns: Vec<Column>,
    /// The columns of the key, without `dn`, which every entry has.
    keys: Vec<usize>,
    stream: String,
    /// The column of each attribute description, however the server spells it.
    descriptions: Descriptions,
    /// For each column, the place of its attribute in the current entry.
    found: Vec<Option<usize>>,
    /// The further places of attributes that the current entry has more than once: under several descriptions (`cn`, `commonName`,
    /// `2.5.4.3`), or one description twice.
    further: Vec<(usize, usize)>,
    /// The line from the record's end to the time, for this version.
    tail: (Option<i64>, Vec<u8>),
    /// Attributes that were not requested by name: subtypes and options that discovery did not see.
    unforeseen: Vec<String>,
    /// The column of objectClass and the classes seen, if they are watched.
    classes: Option<(usize, Classes)>,
}

impl<'a> Converter<'a> {
    /// Plans a stream's conversion: the selected properties, and how each value is written.
    pub fn new(stream: &CatalogEntry, schema: &'a Schema) -> Self {
        let mut head = b"{\"type\":\"RECORD\",\"stream\":".to_vec();
        write_text(&stream.stream, &mut head);
        head.extend_from_slice(b",\"record\":{");
        let selected = || stream.properties().filter(|(name, _)| stream.is_property_selected(name));
        let has_dn = selected().any(|(name, _)| name == "dn");
        let mut columns = Vec::new();
        for (name, property) in selected().filter(|(name, _)| *name != "dn") {
            let mut prefix = Vec::new();
            if has_dn || !columns.is_empty() {
                prefix.push(b',');
            }
            write_text(name, &mut prefix);
            prefix.push(b':');
            columns.push(Column {
                name: name.clone(),
                prefix,
                kind: ValueKind::of(schema, name),
                array: is_array(property),
                is_key: stream.key_properties.contains(name),
                has_bad_key: false,
                bad_values: 0,
                surplus_entries: 0,
            });
        }
        Self {
            schema,
            head,
            has_dn,
            marks_deletions: false,
            descriptions: Descriptions::of(columns.iter().map(|c| schema.normal_description(&c.name))),
            found: vec![None; columns.len()],
            keys: columns.iter().enumerate().filter(|(_, c)| c.is_key).map(|(n, _)| n).collect(),
            stream: stream.tap_stream_id.clone(),
            further: Vec::new(),
            columns,
            tail: (None, tail(None)),
            unforeseen: Vec::new(),
            classes: None,
        }
    }

    /// Watches for entries of classes with attributes that the catalog lacks, and which are therefore not requested. Excluded
    /// attributes are ignored.
    pub fn watch_classes(&mut self, stream: &CatalogEntry, excluded: &[String]) {
        let column = self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(CLASS));
        self.classes = column.map(|column| (column, Classes::of(stream, excluded, self.schema)));
    }

    /// Returns the names of the first such classes.
    pub fn unforeseen_classes(&self) -> &[String] {
        self.classes.as_ref().map_or(&[], |(_, classes)| classes.unforeseen())
    }

    /// Adds the property for the time of deletion to all records; null in records of existing entries.
    pub fn mark_deletions(&mut self) {
        self.marks_deletions = true;
    }

    /// Returns whether records have that property.
    pub fn marks_deletions(&self) -> bool {
        self.marks_deletions
    }

    /// Returns a key property that records would lack.
    pub fn lacks_key<'s>(&self, stream: &'s CatalogEntry) -> Option<&'s str> {
        let has = |name: &str| {
            if name == "dn" { self.has_dn } else { self.columns.iter().any(|c| c.name == name) }
        };
        stream.key_properties.iter().map(String::as_str).find(|name| !has(name))
    }

    /// Returns a property's value as in the entry's record; the first one of a list.
    pub fn value_of(&self, entry: &impl EntryView, property: &str) -> Value {
        let mut json = Vec::new();
        let kind = ValueKind::of(self.schema, property);
        let mut values = (0..entry.len())
            .filter(|at| self.is_property(entry.description(*at), property))
            .flat_map(|at| entry.values_at(at));
        let first = values.next();
        let first = if values.next().is_some() {
            let places = (0..entry.len()).filter(|at| self.is_property(entry.description(*at), property));
            let all = together(entry, places, property, self.schema);
            naming_value(all.into_iter(), property, entry.dn(), self.schema).or(first)
        } else {
            first
        };
        match first.map(|v| kind.write_json(v, &mut json)) {
            Some(Ok(())) => serde_json::from_slice(&json).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Returns whether a description is that of a property, in any spelling.
    fn is_property(&self, description: &[u8], property: &str) -> bool {
        if description.eq_ignore_ascii_case(property.as_bytes()) {
            return true;
        }
        let Ok(description) = std::str::from_utf8(description) else { return false };
        if description.contains(';') || property.contains(';') {
            return self.schema.same_description(description, property);
        }
        let of = |name| self.schema.attribute_type(name);
        matches!((of(description), of(property)), (Some(a), Some(b)) if std::ptr::eq(a, b))
    }

    /// Returns the attributes to request.
    pub fn attributes(&self) -> Vec<String> {
        let (mut names, mut seen) = (Vec::new(), HashSet::new());
        for column in &self.columns {
            // `userCertificate;binary` must be requested by this name (RFC 4522). Other options are returned with their type (RFC 4511
            // section 4.5.1.8), but some servers return a description only if it is requested by its exact name.
            let is_binary = column.name.to_ascii_lowercase().contains(";binary");
            let base = (!is_binary).then(|| base_type(&column.name));
            for name in base.into_iter().chain([column.name.as_str()]) {
                if seen.insert(name.to_ascii_lowercase()) {
                    names.push(name.to_owned());
                }
            }
        }
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        if names.is_empty() { vec!["1.1".to_owned()] } else { names }
    }

    /// Finds the destination of a description that was not seen before.
    fn meet(&mut self, description: &[u8]) -> Destination {
        let Ok(description) = std::str::from_utf8(description) else { return Destination::Nowhere };
        // An alias or an OID of a known name (`surname`, `2.5.4.4`).
        let name = self.schema.spell(description);
        let destination = self.descriptions.column(&self.schema.normal_description(description));
        if destination == Destination::Nowhere {
            let base = base_type(&name);
            if name.contains(';')
                && self.columns.iter().any(|c| c.name.eq_ignore_ascii_case(base))
                && self.unforeseen.len() < NAMED_UNFORESEEN
                && !self.unforeseen.contains(&name)
            {
                self.unforeseen.push(name);
            }
        }
        destination
    }

    /// Finds the attribute of the current entry for each column.
    fn find(&mut self, entry: &impl EntryView) {
        self.found.fill(None);
        self.further.clear();
        self.descriptions.begin();
        for at in 0..entry.len() {
            let description = entry.description(at);
            let destination = self.descriptions.next(description).unwrap_or_else(|| {
                let destination = self.meet(description);
                self.descriptions.learn(description, destination);
                destination
            });
            if let Destination::Column(column) = destination
                && let Some(slot) = self.found.get_mut(column)
            {
                match slot {
                    None => *slot = Some(at),
                    Some(first) if entry.value_count(*first) == 0 => *first = at,
                    Some(_) => self.further.push((column, at)),
                }
            }
        }
    }

    /// Appends an entry's RECORD line. Returns the range of the record itself in it.
    ///
    /// # Errors
    /// Fails, and appends nothing, if the entry has no value of the key.
    pub fn write(
        &mut self,
        entry: &impl EntryView,
        version: Option<i64>,
        time_extracted: &str,
        out: &mut Vec<u8>,
    ) -> Result<Range<usize>, MissingKey> {
        self.find(entry);
        let line = out.len();
        out.extend_from_slice(&self.head);
        let start = out.len();
        if self.has_dn {
            out.extend_from_slice(b"\"dn\":");
            // A DN is always text: nothing is left out.
            let _ = write_octets(entry.dn_octets(), out);
        }
        // Checked once, and not for each column.
        let has_further = !self.further.is_empty();
        for (n, (column, found)) in self.columns.iter_mut().zip(&self.found).enumerate() {
            out.extend_from_slice(&column.prefix);
            match found {
                Some(at) if has_further && self.further.iter().any(|(of, _)| *of == n) => {
                    let further = self.further.iter().filter(|(of, _)| *of == n).map(|(_, at)| *at);
                    let places = std::iter::once(*at).chain(further);
                    let values = together(entry, places, &column.name, self.schema);
                    column.write(entry, values.into_iter(), self.schema, out);
                }
                Some(at) if entry.value_count(*at) > 0 => {
                    column.write(entry, entry.values_at(*at), self.schema, out);
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
        if let Some(column) = self.missing_key(entry) {
            out.truncate(line);
            return Err(self.without_key(entry.dn(), column));
        }
        let record = start..out.len();
        if let Some((column, classes)) = &mut self.classes
            && let Some(at) = self.found.get(*column).copied().flatten()
        {
            classes.look(entry, at, self.schema);
        }
        if self.tail.0 != version {
            self.tail = (version, tail(version));
        }
        out.extend_from_slice(&self.tail.1);
        out.extend_from_slice(time_extracted.as_bytes());
        out.extend_from_slice(b"\"}\n");
        Ok(record)
    }

    /// Returns the key column without a value in the current entry.
    fn missing_key(&self, entry: &impl EntryView) -> Option<usize> {
        self.keys.iter().copied().find(|column| {
            let found = self.found.get(*column).copied().flatten();
            found.is_none_or(|at| entry.value_count(at) == 0)
                || self.columns.get(*column).is_some_and(|c| c.has_bad_key)
        })
    }

    #[cold]
    fn without_key(&mut self, dn: &str, column: usize) -> MissingKey {
        let Some(column) = self.columns.get_mut(column) else {
            return MissingKey { dn: dn.to_owned(), property: String::new(), stream: self.stream.clone() };
        };
        column.has_bad_key = false;
        MissingKey { dn: dn.to_owned(), property: column.name.clone(), stream: self.stream.clone() }
    }

    /// Appends the RECORD line of a deleted entry: with all properties of other records, in the same order, null if not known. A CSV
    /// target takes its columns from the first record.
    pub fn write_deletion(
        &self,
        dn: Option<&str>,
        keys: &[(&str, &Value)],
        version: Option<i64>,
        time: &str,
        out: &mut Vec<u8>,
    ) {
        let key = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        out.extend_from_slice(&self.head);
        let start = out.len();
        if self.has_dn {
            out.extend_from_slice(b"\"dn\":");
            match (dn, key("dn")) {
                (Some(dn), _) => write_text(dn, out),
                (None, Some(value)) => out.extend_from_slice(value.to_string().as_bytes()),
                (None, None) => out.extend_from_slice(b"null"),
            }
        }
        for column in &self.columns {
            out.extend_from_slice(&column.prefix);
            match key(&column.name) {
                // The key is one value, but its property may be a list.
                Some(value) if column.array => {
                    out.extend_from_slice(Value::Array(vec![value.clone()]).to_string().as_bytes());
                }
                Some(value) => out.extend_from_slice(value.to_string().as_bytes()),
                None => out.extend_from_slice(b"null"),
            }
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{DELETED_AT}\":\"{time}\"").as_bytes());
        out.extend_from_slice(&tail(version));
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(b"\"}\n");
    }

    /// Returns the warnings at the end of the stream.
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

/// Returns the line after a record's properties, up to the time.
fn tail(version: Option<i64>) -> Vec<u8> {
    let version = version.map(|v| format!(",\"version\":{v}")).unwrap_or_default();
    format!("}}{version},\"time_extracted\":\"").into_bytes()
}

impl Column {
    /// Writes all values, or null if there are none.
    fn write<'v>(
        &mut self,
        entry: &impl EntryView,
        all: impl Iterator<Item = &'v [u8]> + Clone,
        schema: &Schema,
        out: &mut Vec<u8>,
    ) {
        let mut values = all.clone();
        if self.array {
            let mut separator = b'[';
            for value in values {
                out.push(separator);
                separator = b',';
                self.value(value, entry, out);
            }
            if separator == b'[' {
                return out.extend_from_slice(b"null");
            }
            out.push(b']');
            return;
        }
        let Some(first) = values.next() else { return out.extend_from_slice(b"null") };
        if values.next().is_none() {
            return self.value(first, entry, out);
        }
        self.surplus_entries += 1;
        let value = naming_value(all, &self.name, entry.dn(), schema);
        self.value(value.unwrap_or(first), entry, out);
    }

    fn value(&mut self, value: &[u8], entry: &impl EntryView, out: &mut Vec<u8>) {
        if self.kind.write_json(value, out).is_err() {
            self.bad_value(entry.dn(), out);
        }
    }

    #[cold]
    fn bad_value(&mut self, dn: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
        self.has_bad_key |= self.is_key;
        self.bad_values += 1;
        if self.bad_values <= NAMED_BAD_VALUES {
            tracing::warn!("`{dn}`: a value of `{}` does not follow its syntax and is null", self.name);
        }
    }
}

/// Returns the values of an attribute in several places, each once: they are one set (RFC 4512 section 2.2).
fn together<'e>(
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
fn naming_value<'v>(
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
    use ldap_directory::entry::{Attribute, Entry};
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
        converter.write(entry, Some(7), "2026-01-01T00:00:00Z", &mut out).unwrap();
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
    fn an_attribute_in_several_places_of_an_entry_has_all_its_values() {
        let several = Entry {
            dn: "cn=B,dc=x".into(),
            attributes: vec![
                attribute("surname", &[b"x"]),
                attribute("cn", &[b"A"]),
                attribute("2.5.4.4", &[b"X", b"y"]),
                attribute("commonName", &[b"B"]),
                attribute("SN", &[b"z"]),
                attribute("sn", &[]),
                attribute("cn;LANG-de", &[b"d"]),
                attribute("commonName;lang-de", &[b"e"]),
            ],
        };
        let (message, warnings) = convert(&several);
        assert_eq!(message["record"]["sn"], json!(["x", "y", "z"]), "each once, by the attribute's own rule");
        assert_eq!(message["record"]["cn"], "B", "the value of the name");
        assert_eq!(message["record"]["cn;lang-de"], json!(["d", "e"]));
        assert_eq!(warnings.len(), 1, "more than one value where one is emitted: {warnings:?}");
        let stream = stream();
        let converter = Converter::new(&stream, Schema::standard());
        assert_eq!(converter.value_of(&several, "cn"), "B", "a key is what the record has");
        assert_eq!(converter.value_of(&several, "sn"), "x");
    }

    #[test]
    fn a_deletion_has_the_properties_of_a_record_in_their_order() {
        let stream = stream();
        let mut converter = Converter::new(&stream, Schema::standard());
        converter.mark_deletions();
        let parse = |out: &[u8]| serde_json::from_slice::<Value>(out).unwrap();
        let names =
            |message: &Value| message["record"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut out = Vec::new();
        converter.write(&Entry { dn: "cn=a".into(), attributes: vec![] }, None, "t", &mut out).unwrap();
        let record = parse(&out);
        out.clear();
        converter.write_deletion(Some("cn=a"), &[("cn", &json!("k"))], None, "t", &mut out);
        let deletion = parse(&out);
        assert_eq!(names(&deletion), names(&record));
        assert_eq!(
            deletion["record"],
            json!({"dn": "cn=a", "cn": "k", "sn": null, "cn;lang-de": null, "_sdc_deleted_at": "t"})
        );
        out.clear();
        converter.write_deletion(None, &[("dn", &json!("cn=b"))], Some(7), "t", &mut out);
        assert_eq!((&parse(&out)["record"]["dn"], &parse(&out)["version"]), (&json!("cn=b"), &json!(7)));
    }

    #[test]
    fn the_value_of_the_name_comes_first_where_only_one_is_wanted() {
        let (message, _) =
            convert(&Entry { dn: "cn=B,dc=x".into(), attributes: vec![attribute("cn", &[b"a", b"b"])] });
        assert_eq!(message["record"]["cn"], "b");
    }

    #[test]
    fn no_record_has_a_null_key() {
        let stream: CatalogEntry = serde_json::from_value(json!({
            "tap_stream_id": "s", "stream": "s", "key_properties": ["uidNumber", "mail"],
            "schema": {"type": "object", "properties": {
                "dn": {"type": ["null", "string"]},
                "uidNumber": {"type": ["null", "integer"]},
                "mail": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
            }},
            "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}],
        }))
        .unwrap();
        let mut converter = Converter::new(&stream, Schema::standard());
        let mut write = |attributes: Vec<Attribute>| {
            let mut out = b"before".to_vec();
            let written = converter.write(&Entry { dn: "cn=x".into(), attributes }, None, "", &mut out);
            assert_eq!(out == b"before", written.is_err(), "all of it, or nothing");
            written.err().map(|e| e.property)
        };
        let (number, mail) = (attribute("uidNumber", &[b"1"]), attribute("mail", &[b"a@x"]));
        assert_eq!(write(vec![number.clone(), mail.clone()]), None);
        assert_eq!(write(vec![mail.clone()]).as_deref(), Some("uidNumber"));
        assert_eq!(write(vec![number.clone()]).as_deref(), Some("mail"));
        assert_eq!(write(vec![number.clone(), attribute("mail", &[])]).as_deref(), Some("mail"));
        assert_eq!(write(vec![number.clone(), attribute("mail", &[b"\xff"])]).as_deref(), Some("mail"));
        assert_eq!(write(vec![attribute("uidNumber", &[b"x"]), mail.clone()]).as_deref(), Some("uidNumber"));
        assert_eq!(write(vec![number, mail]), None, "and on it goes");
        let mut other = stream.clone();
        other.key_properties = vec!["entryUUID".into()];
        assert_eq!(Converter::new(&other, Schema::standard()).lacks_key(&other), Some("entryUUID"));
    }

    #[test]
    fn only_what_is_selected_is_asked_for() {
        let stream = stream();
        assert_eq!(Converter::new(&stream, Schema::standard()).attributes(), ["cn", "sn", "cn;lang-de"]);
    }
}
