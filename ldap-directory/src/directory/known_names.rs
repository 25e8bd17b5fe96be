//! The attributes and object classes that a directory knows: by its schema, or, in a file without one, by its entries.

use std::cell::OnceCell;

use super::Directory;
use super::ldif::NamesInUse;
use crate::entry::{as_oid, base_type};
use crate::filter::Filter;
use crate::filter::active_directory::category_class;
use crate::nearest::nearest_of_many;
use crate::schema::Schema;

/// The names that a directory knows.
#[derive(Debug)]
pub struct KnownNames<'a> {
    pub(super) directory: &'a Directory,
    pub(super) schema: &'a Schema,
    file: OnceCell<Option<NamesInUse>>,
}

/// A name that a directory does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownName {
    /// The kind of name: `attribute` or `objectClass`.
    pub what: &'static str,
    /// The name, without options.
    pub name: String,
    /// Similar known names, the nearest first.
    pub near: Vec<String>,
}

impl<'a> KnownNames<'a> {
    /// Returns the names of a directory. A file is searched when a name is requested that the schema does not define.
    pub fn new(directory: &'a Directory) -> Self {
        Self { directory, schema: directory.schema(), file: OnceCell::new() }
    }

    fn file(&self) -> Option<&NamesInUse> {
        self.file.get_or_init(|| self.directory.names_in_use()).as_ref()
    }

    /// Checks that an attribute is known, with or without options. `*`, `+` and OIDs are always known.
    ///
    /// # Errors
    /// Fails with similar names if it is not known.
    pub fn attribute(&self, description: &str) -> Result<(), UnknownName> {
        let name = base_type(description);
        let vendor = self.directory.root_dse().vendor;
        // Not every server publishes its own attributes (389 DS: `entryusn`).
        let mut stamps = vendor.immutable_ids().iter().chain(vendor.change_keys());
        // `1.1` means no attributes (RFC 4511 section 4.5.1.8); an OID is never a misspelling.
        let is_known = matches!(name, "*" | "+" | "dn")
            || is_oid(name)
            || self.schema.attribute_type(name).is_some()
            || stamps.any(|stamp| stamp.eq_ignore_ascii_case(name))
            || self.file().is_some_and(|f| f.attributes.iter().any(|a| a.eq_ignore_ascii_case(name)));
        if is_known {
            return Ok(());
        }
        let file = self.file().map(|f| f.attributes.iter().map(String::as_str));
        let types = self.schema.attribute_types().iter().flat_map(|a| a.names.iter().map(String::as_str));
        Err(UnknownName::new("attribute", name, types.chain(file.into_iter().flatten())))
    }

    /// Returns whether a name is an OID that is not defined here. A server may know more than it publishes.
    pub fn is_unknown_oid(&self, name: &str) -> bool {
        // `1.1` means no attributes (RFC 4511 section 4.5.1.8).
        is_oid(name)
            && name != "1.1"
            && self.schema.attribute_type(name).is_none()
            && !self.file().is_some_and(|f| f.attributes.iter().any(|a| a.eq_ignore_ascii_case(name)))
    }

    /// Checks that an object class is known, or is an OID.
    ///
    /// # Errors
    /// Fails with similar names if it is not known.
    pub fn class(&self, name: &str) -> Result<(), UnknownName> {
        let in_file = |f: &NamesInUse| f.classes.iter().any(|c| c.eq_ignore_ascii_case(name));
        if is_oid(name) || self.schema.object_class(name).is_some() || self.file().is_some_and(in_file) {
            return Ok(());
        }
        let file = self.file().map(|f| f.classes.iter().map(String::as_str));
        let classes = self.schema.object_classes().iter().flat_map(|c| c.names.iter().map(String::as_str));
        Err(UnknownName::new("objectClass", name, classes.chain(file.into_iter().flatten())))
    }

    /// Returns the unknown names in a filter, in order: attributes, and the classes that `objectClass` and
    /// `objectCategory` are compared with.
    pub fn unknown_in(&self, filter: &Filter) -> Vec<UnknownName> {
        let mut found = Vec::new();
        self.look(filter, &mut found);
        found
    }

    fn look(&self, filter: &Filter, found: &mut Vec<UnknownName>) {
        match filter {
            Filter::And(parts) | Filter::Or(parts) => {
                return parts.iter().for_each(|part| self.look(part, found));
            }
            Filter::Not(inner) => return self.look(inner, found),
            Filter::Equality { attribute, value }
            | Filter::Approx { attribute, value }
            | Filter::Extensible { attribute: Some(attribute), value, .. } => {
                if self.schema.canonical_name(attribute).eq_ignore_ascii_case("objectClass")
                    && let Ok(class) = std::str::from_utf8(value)
                {
                    found.extend(self.class(class.trim()).err());
                }
                if let Some(class) = category_class(attribute, value) {
                    found.extend(self.class(class).err());
                }
            }
            _ => {}
        }
        found.extend(filter.attributes().into_iter().filter_map(|name| self.attribute(name).err()));
    }
}

impl UnknownName {
    fn new<'n>(what: &'static str, name: &str, known: impl Iterator<Item = &'n str>) -> Self {
        let near = nearest_of_many(name, known).into_iter().map(str::to_owned).collect();
        Self { what, name: name.to_owned(), near }
    }

    /// Returns the similar names for a message: `` `a` or `b` ``; `None` if there are none.
    pub fn either(&self) -> Option<String> {
        let names: Vec<String> = self.near.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| names.join(" or "))
    }
}

/// Returns whether a name is a numeric OID (RFC 4512 section 1.4).
fn is_oid(name: &str) -> bool {
    as_oid(name).is_some()
}
