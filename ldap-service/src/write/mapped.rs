//! The entry that a record asks for, by the rule of its kind.

use std::sync::Arc;

use ldap_directory::dn::{join, split_first};
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, Scope};
use serde_json::{Map, Value};
use target_ldap::map::wanted::WantedEntry;
use target_ldap::map::{Task, WritePolicy};

use super::attributes::{self, AttributeGuard};
use super::rules::{ACTIVE, KindRule, PASSWORD};
use super::{WriteError, WriteErrorKind, refusal};
use crate::lookup;

/// Puts a wanted entry below another one, with its own RDN.
pub(super) fn below(wanted: &mut WantedEntry, place: Option<&str>) {
    if let (Some(above), Ok((rdn, _))) = (place, split_first(&wanted.dn)) {
        wanted.dn = join(rdn, above);
    }
}

pub(super) type Upsert = (WantedEntry, Option<String>, Arc<WritePolicy>);

/// Maps a record to the entry that it asks for.
pub(super) fn upsert_of(
    rule: &KindRule,
    record: Map<String, Value>,
    directory: &Directory,
) -> Result<Upsert, WriteError> {
    match task_of(rule, record, directory)? {
        Task::Upsert { wanted, filter, write_policy } => Ok((wanted, filter, write_policy)),
        _ => Err(refusal::of_settings(&"a record that is no upsert")),
    }
}

/// Maps a record to its task. A property that the rule does not write is an error, not passed over.
fn task_of(
    rule: &KindRule,
    mut record: Map<String, Value>,
    directory: &Directory,
) -> Result<Task, WriteError> {
    let no_way = |property: &str, what: &str| {
        let detail = format!("`{property}`: {what}");
        Err(WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(property))
    };
    let is_input = |property: &str| {
        property == PASSWORD && rule.rule.password.is_some()
            || property == ACTIVE && rule.rule.accounts.is_some()
    };
    if let Some(password) = record.get(PASSWORD).filter(|_| is_input(PASSWORD)) {
        attributes::check_password(password)?;
    }
    // Without a mapping, properties are attributes. With one, the configuration says what is written.
    if rule.rule.attribute_mapping.is_none() {
        let guard = AttributeGuard::of(directory);
        let is_enabled = record.get(ACTIVE).is_some_and(|active| active.is_null() || *active == true);
        if is_enabled && !is_input(ACTIVE) {
            // An account that cannot be disabled is enabled.
            record.shift_remove(ACTIVE);
        }
        for (property, value) in record.iter().filter(|(property, _)| !is_input(property)) {
            if property == PASSWORD {
                return no_way(property, "passwords cannot be set on this connection to the directory");
            }
            if property == ACTIVE {
                return no_way(property, "the directory has no lock of accounts");
            }
            if let Some(guarded) = guard.guarded_value(property, value) {
                return Err(guarded.error(property));
            }
            if directory.schema().same_description(property, "objectClass") {
                return no_way(property, "object classes are those of the service's rule");
            }
        }
    }
    let mapping = rule.mapping(&record, directory).map_err(|e| refusal::of_settings(&e))?;
    let used = mapping.used_properties();
    if let Some(property) = record.keys().find(|property| !used.contains(*property)) {
        return no_way(property, "the service's rule does not write it");
    }
    mapping.map(&record.into(), false, directory.schema()).map_err(|e| refusal::of_mapping(&e))
}

/// Checks that no entry matches a new record by the rule's own `match`.
pub(super) async fn check_match(directory: &Directory, base: &str, filter: &str) -> Result<(), WriteError> {
    let filter = Filter::parse(filter).map_err(|e| refusal::of_settings(&e))?;
    let found = lookup::find(directory, base, Scope::Subtree, filter, &["1.1"], 1).await;
    let found = found.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
    match found.first() {
        None => Ok(()),
        Some(entry) => {
            let detail = format!("`{}` is the entry of this record (match)", entry.dn);
            Err(WriteError::new(WriteErrorKind::Taken, detail))
        }
    }
}
