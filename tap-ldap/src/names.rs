//! The names in the settings, held against the directory's schema before the first search: a misspelt class in a filter
//! gives an answer without entries, which is no error to any server.
//!
//! Not checked: OIDs, matching rules, and names on a server that publishes no schema. A file has no schema of its own;
//! there, what occurs in its entries is known as well.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use singer_common::directory::Directory;
use singer_common::directory::ldif::NamesInUse;
use singer_common::entry::base_type;
use singer_common::filter::Filter;
use singer_common::schema::{Coverage, Schema};
use singer_common::settings::{SettingsError, nearest_of_many};

use crate::config::TapConfig;

/// A name that the directory does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unknown {
    /// The setting, with a path into it.
    setting: String,
    /// What the name would be.
    what: &'static str,
    name: String,
    /// The names that are known and near, the nearest first.
    near: Vec<String>,
}

/// Checks all names. Warns of those that may be right all the same.
///
/// # Errors
/// A name without which the stream cannot be read as it is meant: an unknown key, or an attribute whose spelling is near
/// to one that is known.
pub(crate) fn check(config: &TapConfig, directory: &Directory) -> Result<(), SettingsError> {
    let schema = directory.schema();
    let file = OnceCell::new();
    let known = Known { schema, directory, file };
    if schema.coverage() == Coverage::BuiltIn && !matches!(directory, Directory::Ldif(_)) {
        return Ok(());
    }
    for unknown in known.unknown(config)? {
        let Unknown { setting, what, name, near } = unknown;
        let hint = either(&near).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let nearest = near.first();
        let place = if schema.coverage() == Coverage::BuiltIn {
            "neither the standard schema nor an entry of the file has"
        } else {
            "the server's schema does not have"
        };
        tracing::warn!(setting, name, nearest, "`{setting}` asks for {what} `{name}`, which {place}{hint}");
    }
    Ok(())
}

/// How much hangs on a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Without it the stream cannot be read.
    Key,
    /// The user wants to have, or not to have, its values.
    Value,
    /// A filter may ask for what only other servers have.
    Filter,
}

/// What the directory knows.
struct Known<'a> {
    schema: &'a Schema,
    directory: &'a Directory,
    file: OnceCell<Option<NamesInUse>>,
}

impl Known<'_> {
    /// Returns the unknown names of the settings, each once.
    fn unknown(&self, config: &TapConfig) -> Result<BTreeSet<Unknown>, SettingsError> {
        let mut found = BTreeSet::new();
        let mut list = |setting: String, names: &[String], need| {
            names.iter().try_for_each(|name| self.attribute(&setting, name, need, &mut found))
        };
        list("single_valued".into(), &config.single_valued, Need::Value)?;
        let operational = config.operational_attributes.as_deref().unwrap_or_default();
        list("operational_attributes".into(), operational, Need::Filter)?;
        for (n, stream) in config.schemas.iter().enumerate() {
            let setting = |key: &str| format!("schemas[{n}].{key}");
            list(setting("attributes"), &stream.attributes, Need::Value)?;
            list(setting("exclude_attributes"), &stream.exclude_attributes, Need::Value)?;
            list(setting("single_valued"), &stream.single_valued, Need::Value)?;
            let keys = stream.key_properties.as_deref().unwrap_or_default();
            list(setting("key_properties"), keys, Need::Key)?;
            list(setting("replication_key"), stream.replication_key.as_slice(), Need::Key)?;
        }
        for (n, stream) in config.schemas.iter().enumerate() {
            // It was parsed before.
            let Ok(filter) = Filter::parse(&stream.filter) else { continue };
            self.filter(&format!("schemas[{n}].filter"), &filter, &mut found)?;
        }
        Ok(found)
    }

    fn attribute(
        &self,
        setting: &str,
        description: &str,
        need: Need,
        found: &mut BTreeSet<Unknown>,
    ) -> Result<(), SettingsError> {
        let name = base_type(description);
        if let Some(class) = name.strip_prefix('@') {
            self.class(setting, class, found);
            return Ok(());
        }
        if self.has_attribute(name) {
            return Ok(());
        }
        let file = self.file().map(|f| f.attributes.iter().map(String::as_str));
        let types = self.schema.attribute_types().iter().flat_map(|a| a.names.iter().map(String::as_str));
        let near = nearest_of_many(name, types.chain(file.into_iter().flatten()));
        // A server may hide operational attributes from its schema. What is right elsewhere is no misspelling.
        let misspelt = !near.is_empty() && Schema::standard().attribute_type(name).is_none();
        let is_error = match need {
            Need::Key => true,
            Need::Value => misspelt,
            Need::Filter => false,
        };
        if is_error && self.schema.coverage() == Coverage::Whole {
            return Err(SettingsError::value(
                setting,
                format!("the server's schema has no attribute `{name}`"),
                either(&near).unwrap_or_else(|| self.expectation(setting)),
            ));
        }
        found.insert(Unknown {
            setting: setting.to_owned(),
            what: "attribute",
            name: name.to_owned(),
            near: near.into_iter().map(str::to_owned).collect(),
        });
        Ok(())
    }

    /// What would be right where no name is near.
    fn expectation(&self, setting: &str) -> String {
        let keys = self.directory.root_dse().vendor.change_keys().iter();
        let keys: Vec<&str> = keys.copied().filter(|k| self.schema.attribute_type(k).is_some()).collect();
        if setting.ends_with("replication_key") && !keys.is_empty() {
            keys.join(", ")
        } else {
            "an attribute of the schema".to_owned()
        }
    }

    fn has_attribute(&self, name: &str) -> bool {
        let vendor = self.directory.root_dse().vendor;
        // Not all servers publish what they stamp entries with (389 DS: `entryusn`).
        let stamps = vendor.immutable_ids().iter().chain(vendor.change_keys());
        // `1.1` is for no attributes (RFC 4511 section 4.5.1.8); an OID is nobody's misspelling.
        matches!(name, "*" | "+" | "dn")
            || is_oid(name)
            || self.schema.attribute_type(name).is_some()
            || stamps.into_iter().any(|stamp| stamp.eq_ignore_ascii_case(name))
            || self.file().is_some_and(|f| f.attributes.iter().any(|a| a.eq_ignore_ascii_case(name)))
    }

    fn class(&self, setting: &str, name: &str, found: &mut BTreeSet<Unknown>) {
        let in_file = |f: &NamesInUse| f.classes.iter().any(|c| c.eq_ignore_ascii_case(name));
        if is_oid(name) || self.schema.object_class(name).is_some() || self.file().is_some_and(in_file) {
            return;
        }
        let file = self.file().map(|f| f.classes.iter().map(String::as_str));
        let classes = self.schema.object_classes().iter().flat_map(|c| c.names.iter().map(String::as_str));
        let near = nearest_of_many(name, classes.chain(file.into_iter().flatten()));
        found.insert(Unknown {
            setting: setting.to_owned(),
            what: "objectClass",
            name: name.to_owned(),
            near: near.into_iter().map(str::to_owned).collect(),
        });
    }

    fn filter(
        &self,
        setting: &str,
        filter: &Filter,
        found: &mut BTreeSet<Unknown>,
    ) -> Result<(), SettingsError> {
        match filter {
            Filter::And(parts) | Filter::Or(parts) => {
                return parts.iter().try_for_each(|part| self.filter(setting, part, found));
            }
            Filter::Not(inner) => return self.filter(setting, inner, found),
            Filter::Equality { attribute, value }
            | Filter::Approx { attribute, value }
            | Filter::Extensible { attribute: Some(attribute), value, .. } => {
                if self.schema.canonical_name(attribute).eq_ignore_ascii_case("objectClass")
                    && let Ok(class) = std::str::from_utf8(value)
                {
                    self.class(setting, class.trim(), found);
                }
            }
            _ => {}
        }
        let names = filter.attributes();
        names.into_iter().try_for_each(|name| self.attribute(setting, name, Need::Filter, found))
    }

    fn file(&self) -> Option<&NamesInUse> {
        self.file.get_or_init(|| self.directory.names_in_use()).as_ref()
    }
}

/// Names for a message: `` `a` or `b` ``.
fn either<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    (!names.is_empty()).then(|| names.join(" or "))
}

/// Whether a name is a numeric OID (RFC 4512 section 1.4).
fn is_oid(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}
