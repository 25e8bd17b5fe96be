//! Checks names in the settings against the directory's schema before the first search: a misspelled class in a filter returns no
//! entries, which is not an error on any server. Neither is a comparison that no entry can match, such as `(uidNumber=abc)`.
//!
//! Not checked: names on a server that publishes no schema. Unknown OIDs are only a warning, because they are not misspellings. A
//! file has no schema of its own; there, the names in its entries are also known.

use std::collections::BTreeSet;

use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::schema::{Coverage, Schema};
use ldap_directory::{Directory, KnownNames, Undefined, UnknownName};
use singer_common::plugin::settings::SettingsError;

use crate::config::TapConfig;

/// A name that the directory does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unknown {
    /// The setting, with a path into it.
    setting: String,
    name: UnknownName,
}

/// Checks all names. Warns of those that may still be correct. Returns the streams whose filters ask for something that the
/// directory does not know: what they do not find may be there all the same.
///
/// # Errors
/// Fails if a stream cannot be read as intended: for an unknown key, or an attribute with a spelling similar to a known one.
pub(crate) fn check(config: &TapConfig, directory: &Directory) -> Result<BTreeSet<String>, SettingsError> {
    let schema = directory.schema();
    let known = Known { schema, directory, names: KnownNames::new(directory) };
    if schema.coverage() == Coverage::BuiltIn && !matches!(directory, Directory::Ldif(_)) {
        return Ok(BTreeSet::new());
    }
    let mut settings = BTreeSet::new();
    for Unknown { setting, name: unknown } in known.unknown(config)? {
        let hint = unknown.either().map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let nearest = unknown.near.first();
        let UnknownName { what, name, .. } = &unknown;
        let place = if schema.coverage() == Coverage::BuiltIn {
            "neither the standard schema nor an entry of the file has"
        } else {
            "the server's schema does not have"
        };
        tracing::warn!(setting, name, nearest, "`{setting}` asks for {what} `{name}`, which {place}{hint}");
        settings.insert(setting);
    }
    for (setting, undefined) in known.undefined(config) {
        let Undefined { comparison, name, problem, expected } = &undefined;
        tracing::warn!(
            setting,
            name,
            expected,
            "`{setting}`: no entry passes the comparison {comparison}, nor what negates it: {problem} (RFC 4511 section 4.5.1.7); expected: {expected}"
        );
        settings.insert(setting);
    }
    let streams = config.schemas.iter().enumerate();
    let doubtful = streams.filter(|(n, _)| settings.contains(&format!("schemas[{n}].filter")));
    Ok(doubtful.map(|(_, stream)| stream.name.clone()).collect())
}

/// What a name is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The stream cannot be read without it.
    Key,
    /// Its values are selected or excluded.
    Value,
    /// It is requested if the directory has it.
    Operational,
}

/// The names that the directory knows.
struct Known<'a> {
    schema: &'a Schema,
    directory: &'a Directory,
    names: KnownNames<'a>,
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
        list("operational_attributes".into(), operational, Need::Operational)?;
        list("secret_attributes".into(), &config.directory.secret_attributes, Need::Operational)?;
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
            let setting = format!("schemas[{n}].filter");
            let unknown = self.names.unknown_in(&filter).into_iter();
            found.extend(unknown.map(|name| Unknown { setting: setting.clone(), name }));
        }
        Ok(found)
    }

    /// Returns the comparisons in the settings' filters that no entry can match.
    fn undefined(&self, config: &TapConfig) -> BTreeSet<(String, Undefined)> {
        let streams = config.schemas.iter().enumerate();
        // They were parsed before.
        let filters = streams.filter_map(|(n, stream)| Some((n, Filter::parse(&stream.filter).ok()?)));
        let found = filters.flat_map(|(n, filter)| {
            let undefined = self.names.undefined_in(&filter).into_iter();
            undefined.map(move |comparison| (format!("schemas[{n}].filter"), comparison))
        });
        found.collect()
    }

    fn attribute(
        &self,
        setting: &str,
        description: &str,
        need: Need,
        found: &mut BTreeSet<Unknown>,
    ) -> Result<(), SettingsError> {
        let setting = setting.to_owned();
        if let Some(class) = base_type(description).strip_prefix('@') {
            found.extend(self.names.class(class).err().map(|name| Unknown { setting, name }));
            return Ok(());
        }
        if self.names.is_unknown_oid(base_type(description)) {
            let name =
                UnknownName { what: "attribute", name: base_type(description).to_owned(), near: vec![] };
            found.insert(Unknown { setting, name });
            return Ok(());
        }
        let Err(unknown) = self.names.attribute(description) else { return Ok(()) };
        let name = &unknown.name;
        // A server may hide operational attributes in its schema. A name that is valid elsewhere is not misspelled.
        let misspelt = !unknown.near.is_empty() && Schema::standard().attribute_type(name).is_none();
        let is_error = match need {
            Need::Key => true,
            Need::Value => misspelt,
            Need::Operational => false,
        };
        if is_error && self.schema.coverage() == Coverage::Whole {
            let problem = format!("the server's schema has no attribute `{name}`");
            let expected = self.expectation(&setting, &unknown);
            return Err(SettingsError::value(setting, problem, expected).near(unknown.near.first()));
        }
        found.insert(Unknown { setting, name: unknown });
        Ok(())
    }

    /// Returns valid alternatives: similar names, or, for a replication key, the server's change marks, the most similar first.
    fn expectation(&self, setting: &str, unknown: &UnknownName) -> String {
        let keys = self.directory.root_dse().vendor.change_keys().iter();
        let mut keys: Vec<&str> = keys.copied().filter(|k| self.schema.attribute_type(k).is_some()).collect();
        if setting.ends_with("replication_key") && !keys.is_empty() {
            keys.sort_by_key(|key| !unknown.near.iter().any(|near| near.eq_ignore_ascii_case(key)));
            return keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ");
        }
        unknown.either().unwrap_or_else(|| "an attribute of the schema".to_owned())
    }
}
