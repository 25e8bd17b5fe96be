//! Secrecy follows a value: from a secret property to each attribute that is made of it.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::entry::base_type;
use ldap_directory::schema::Schema;
use singer_common::operations::secret;

use super::rule::Rule;

/// Adds to the secret attributes of this run those that a rule makes of secret properties. A property is secret by its name
/// (`secret_attributes`), as the source of a password, or if it is written to a secret attribute. Its other attributes are then
/// secret too, and what a template makes of it. The name of such an attribute is that of a secret property in all rules.
pub fn follow(rules: &BTreeMap<String, Rule>, schema: &Schema) {
    let mut found: BTreeSet<String> = BTreeSet::new();
    loop {
        let mut more: BTreeSet<String> = rules.values().flat_map(attributes_of_secrets).collect();
        more.retain(|name| !found.contains(name));
        if more.is_empty() {
            return;
        }
        for name in &more {
            let known = schema.attribute_type(base_type(name));
            let names = known.iter().flat_map(|a| a.names.iter().chain([&a.oid])).cloned();
            secret::add(&names.chain([name.clone()]).collect::<Vec<_>>());
        }
        found.extend(more);
    }
}

/// Returns the attributes that a rule makes of secret properties.
fn attributes_of_secrets(rule: &Rule) -> BTreeSet<String> {
    let mapping = || rule.attribute_mapping.iter().flatten();
    let is_secret = secret::is_secret_attribute;
    let mut secrets: BTreeSet<String> = mapping()
        .filter(|(property, attributes)| is_secret(property) || attributes.iter().any(|a| is_secret(a)))
        .map(|(property, _)| property.to_lowercase())
        .chain(rule.password.iter().filter_map(|p| p.from.as_ref()).map(|from| from.to_lowercase()))
        .collect();
    let mut made: BTreeSet<String> = BTreeSet::new();
    let written = mapping().filter(|(property, _)| secrets.contains(&property.to_lowercase()));
    made.extend(written.flat_map(|(_, attributes)| attributes).cloned());
    // A placeholder names an attribute or a property. Templates do not use each other.
    secrets.extend(made.iter().map(|name| name.to_lowercase()));
    for (_, attribute, template) in rule.made() {
        if template.uses(&|name: &str| secrets.contains(&name.to_lowercase()) || is_secret(name)) {
            made.insert(attribute.to_owned());
        }
    }
    made
}
