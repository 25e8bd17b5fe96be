//! Converts entries to RECORD lines. Planned once per stream; without a clock or network. The line is written directly into the
//! output buffer while the entry is read.

use std::collections::HashSet;
use std::ops::Range;

use ldap_directory::conflict;
use ldap_directory::entry::{EntryView, UNKNOWN, base_type};
use ldap_directory::json::write_octets;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::{ValueKind, write_text};
use ldap_directory::text::printable_line;
use serde_json::Value;
use singer_common::singer::catalog::CatalogEntry;

use self::classes::SeenClasses;
use self::column::{Column, is_array, naming_value, together};
use self::descriptions::{Descriptions, Destination};
use crate::discovery::containers::CLASS;
use singer_common::singer::deletion::DELETED_AT;

mod classes;
mod column;
mod descriptions;
mod grow;
mod objects;

pub use objects::ObjectWriter;

/// Returned attributes without a property that are listed in the warning: a server cannot flood the log.
const NAMED_UNFORESEEN: usize = 1_000;

/// An entry without a value of its stream's key. Its record could not be identified, so it is never written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{dn}` has no value of `{property}`, or none that its syntax allows, and that is in key_properties of the stream `{stream}`: let every entry have one that this run may read, or choose a key that every entry has, such as `dn`"
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
    /// The further places of attributes that the current entry has more than once: under several descriptions (`cn`,
    /// `commonName`, `2.5.4.3`), or one description twice.
    further: Vec<(usize, usize)>,
    /// The columns whose values in the current entry are not known.
    unknown: Vec<usize>,
    /// The line from the record's end to the time, for this version.
    tail: (Option<i64>, Vec<u8>),
    /// Attributes that were not requested by name: subtypes and options that discovery did not see.
    unforeseen: Vec<String>,
    /// Those of them that got properties ([`Self::grow`]).
    grown: Vec<String>,
    /// Properties of the catalog that are not selected, in normal form.
    deselected: HashSet<String>,
    /// The column of objectClass and the classes seen, if they are watched.
    classes: Option<(usize, SeenClasses)>,
    /// The number of entries with names of a conflict, and the first of them.
    conflicts: (u64, String),
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
            let (is_first, is_key) = (!has_dn && columns.is_empty(), stream.key_properties.contains(name));
            let kind = ValueKind::emitted(schema, name);
            columns.push(Column { is_key, ..Column::new(name.clone(), kind, is_array(property), is_first) });
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
            unknown: Vec::new(),
            columns,
            tail: (None, tail(None)),
            unforeseen: Vec::new(),
            grown: Vec::new(),
            deselected: stream
                .properties()
                .filter(|(name, _)| !stream.is_property_selected(name))
                .map(|(name, _)| schema.normal_description(name))
                .collect(),
            classes: None,
            conflicts: (0, String::new()),
        }
    }

    /// Watches for entries of classes with attributes that the catalog lacks, and which are therefore not requested. Excluded
    /// attributes are ignored.
    pub fn watch_classes(&mut self, stream: &CatalogEntry, excluded: &[String]) {
        let column = self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(CLASS));
        self.classes = column.map(|column| (column, SeenClasses::of(stream, excluded, self.schema)));
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

    /// Returns the properties of attributes, without those of the key.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| !column.is_key).map(|column| column.name.as_str())
    }

    /// Leaves a property out of the records of entries that show no value of it: whether they have one is not known.
    pub fn leave_out_null(&mut self, property: &str) {
        self.columns.iter_mut().filter(|column| column.name == property).for_each(|c| c.is_hidden = true);
    }

    /// Returns a property's value as in the entry's record; the first one of a list.
    pub fn value_of(&self, entry: &impl EntryView, property: &str) -> Value {
        let mut json = Vec::new();
        let kind = ValueKind::emitted(self.schema, property);
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
            // `userCertificate;binary` must be requested by this name (RFC 4522). Other options are returned with their type
            // (RFC 4511 section 4.5.1.8), but some servers return a description only if it is requested by its exact name.
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
    fn resolve(&mut self, description: &[u8]) -> Destination {
        let Ok(description) = std::str::from_utf8(description) else { return Destination::Nowhere };
        // An alias or an OID of a known name (`surname`, `2.5.4.4`).
        let name = self.schema.spell(description);
        let normal = self.schema.normal_description(description);
        let destination = self.descriptions.column(&normal);
        if destination == Destination::Nowhere && !self.deselected.contains(&normal) {
            let base = base_type(&name);
            if name.contains(';')
                && self.columns.iter().any(|c| c.name.eq_ignore_ascii_case(base))
                && self.unforeseen.len() + self.grown.len() < NAMED_UNFORESEEN
                && !self.unforeseen.contains(&name)
            {
                self.unforeseen.push(name);
            }
        }
        destination
    }

    /// Finds the attribute of the current entry for each column.
    fn locate(&mut self, entry: &impl EntryView) {
        self.found.fill(None);
        self.further.clear();
        self.descriptions.begin();
        self.unknown.clear();
        for at in 0..entry.len() {
            let description = entry.description(at);
            if description == UNKNOWN.as_bytes() {
                self.mark_unknown(entry.values_at(at));
                continue;
            }
            let destination = self.descriptions.next(description).unwrap_or_else(|| {
                let destination = self.resolve(description);
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

    /// Notes the columns that an entry says are not known ([`UNKNOWN`]).
    fn mark_unknown<'v>(&mut self, names: impl Iterator<Item = &'v [u8]>) {
        for name in names {
            if name == UNKNOWN.as_bytes() {
                self.unknown.extend(0..self.columns.len());
            } else if let Destination::Column(column) = self.resolve(name) {
                self.unknown.push(column);
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
        self.locate(entry);
        if conflict::is_name(entry.dn_octets()) {
            self.conflicts.0 += 1;
            if self.conflicts.0 == 1 {
                entry.dn().clone_into(&mut self.conflicts.1);
            }
        }
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
            let property = out.len();
            out.extend_from_slice(match column.prefix.strip_prefix(b",") {
                Some(first) if property == start => first,
                _ => &column.prefix,
            });
            let is_told = match found {
                Some(at) if has_further && self.further.iter().any(|(of, _)| *of == n) => {
                    let further = self.further.iter().filter(|(of, _)| *of == n).map(|(_, at)| *at);
                    let places = std::iter::once(*at).chain(further);
                    let values = together(entry, places, &column.name, self.schema);
                    column.write(entry, values.into_iter(), self.schema, out)
                }
                Some(at) if entry.value_count(*at) > 0 => {
                    column.write(entry, entry.values_at(*at), self.schema, out)
                }
                _ if self.unknown.contains(&n) => false,
                _ => {
                    out.extend_from_slice(b"null");
                    !column.is_hidden
                }
            };
            // Null is "has no value", by which a target removes what it has. Not to know the value is no property at all.
            if !is_told {
                out.truncate(property);
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
            classes.check(entry, at, self.schema);
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

    /// Appends the RECORD line of a deleted entry: with all properties of other records, in the same order, null if not
    /// known. A CSV target takes its columns from the first record.
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
                let instead = if column.array {
                    "are null in their lists"
                } else {
                    "are not emitted, nor the property in their records"
                };
                warnings.push(format!(
                    "{} value(s) of `{}` {instead}: a value {}",
                    column.bad_values,
                    column.name,
                    column.kind.flaw()
                ));
            }
            if column.surplus_entries > 0 {
                warnings.push(format!(
                    "{} entries have more than one value of `{}`, which is emitted as one (single_valued)",
                    column.surplus_entries, column.name
                ));
            }
        }
        let (conflicts, first) = &self.conflicts;
        if *conflicts > 0 {
            warnings.push(format!(
                "{conflicts} entries are left over from a conflict of replication (the first is `{}`): each is a record beside that of the entry whose name it had",
                printable_line(first)
            ));
        }
        if !self.grown.is_empty() {
            warnings.push(format!(
                "{}: values were received that the catalog does not have, and the SCHEMA of this run was extended; run --discover again, so that later runs begin with it",
                self.grown.join(", ")
            ));
        }
        if !self.unforeseen.is_empty() {
            warnings.push(format!(
                "{}: values were received that the catalog does not have; run --discover again (discovery_sample_size: 0 reads every entry)",
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

#[cfg(test)]
mod tests;
