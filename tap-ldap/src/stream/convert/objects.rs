//! Entries as JSON objects without a catalog: whatever attributes an entry has, each in the form that it has in records.

use std::collections::HashMap;

use ldap_directory::entry::EntryView;
use ldap_directory::json::write_octets;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

use super::column::{Column, together};

/// Writes entries as JSON objects: `dn` first, then each attribute as a record has it. SINGLE-VALUE decides between a value and a list.
///
/// ```
/// use ldap_directory::entry::{Attribute, Entry};
/// use ldap_directory::schema::Schema;
/// use tap_ldap::stream::convert::ObjectWriter;
///
/// let mail = Attribute::new("MAIL", vec![b"ada@example.com".to_vec()]);
/// let entry = Entry { dn: "uid=ada,dc=x".into(), attributes: vec![mail] };
/// let mut objects = ObjectWriter::new(Schema::standard(), &["sn".into()]);
/// let mut out = Vec::new();
/// objects.write(&entry, |_| false, &mut out);
/// assert_eq!(out, br#"{"dn":"uid=ada,dc=x","sn":null,"mail":["ada@example.com"]}"#);
/// ```
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    schema: &'a Schema,
    /// The number of columns that every object has.
    always: usize,
    columns: Vec<Column>,
    /// The column of each description, in its normal form.
    by_normal: HashMap<String, usize>,
    /// The column of each description, as a server spells it.
    by_spelling: HashMap<Vec<u8>, usize>,
}

impl<'a> ObjectWriter<'a> {
    /// Returns a writer. Every object has these attributes, null if an entry does not have them.
    pub fn new(schema: &'a Schema, always: &[String]) -> Self {
        let (by_normal, by_spelling) = (HashMap::new(), HashMap::new());
        let mut writer = Self { schema, always: 0, columns: Vec::new(), by_normal, by_spelling };
        for name in always {
            writer.column(name.as_bytes());
        }
        writer.always = writer.columns.len();
        writer
    }

    /// Returns the column of a description.
    fn column(&mut self, description: &[u8]) -> Option<usize> {
        if let Some(at) = self.by_spelling.get(description) {
            return Some(*at);
        }
        let text = std::str::from_utf8(description).ok()?;
        let at = *self.by_normal.entry(self.schema.normal_description(text)).or_insert(self.columns.len());
        if at == self.columns.len() {
            let name = self.schema.spell(text);
            let (kind, array) =
                (ValueKind::emitted(self.schema, &name), !self.schema.is_single_valued(&name));
            self.columns.push(Column::new(name, kind, array, false));
        }
        self.by_spelling.insert(description.to_owned(), at);
        Some(at)
    }

    /// Appends an entry, without the attributes that `is_withheld` names.
    pub fn write(&mut self, entry: &impl EntryView, is_withheld: impl Fn(&str) -> bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"dn\":");
        // A DN is always text: nothing is left out.
        let _ = write_octets(entry.dn_octets(), out);
        let mut places: Vec<(usize, Vec<usize>)> = (0..self.always).map(|at| (at, Vec::new())).collect();
        for at in 0..entry.len() {
            if entry.value_count(at) == 0 {
                continue;
            }
            let Some(column) = self.column(entry.description(at)) else { continue };
            match places.iter_mut().find(|(known, _)| *known == column) {
                Some((_, of)) => of.push(at),
                None => places.push((column, vec![at])),
            }
        }
        for (column, at) in places {
            let Some(column) = self.columns.get_mut(column) else { continue };
            if is_withheld(&column.name) {
                continue;
            }
            out.extend_from_slice(&column.prefix);
            // An object is what was found, not what is to be made: an invalid value stays null, and is counted.
            match at.as_slice() {
                [] => out.extend_from_slice(b"null"),
                [at] => {
                    let _ = column.write(entry, entry.values_at(*at), self.schema, out);
                }
                _ => {
                    let values = together(entry, at.iter().copied(), &column.name, self.schema);
                    let _ = column.write(entry, values.into_iter(), self.schema, out);
                }
            }
        }
        out.push(b'}');
    }

    /// Returns the attributes with values that do not follow their syntax, and the number of those values, which are null.
    pub fn invalid_values(&self) -> impl Iterator<Item = (&str, u64)> {
        let some = |column: &&Column| column.bad_values > 0;
        self.columns.iter().filter(some).map(|column| (column.name.as_str(), column.bad_values))
    }

    /// Returns the attributes of one value that entries have several values of, and the number of those entries. One value is written:
    /// the one in the DN, else the first.
    pub fn surplus_values(&self) -> impl Iterator<Item = (&str, u64)> {
        let some = |column: &&Column| column.surplus_entries > 0;
        self.columns.iter().filter(some).map(|column| (column.name.as_str(), column.surplus_entries))
    }
}
