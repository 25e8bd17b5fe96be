//! The entry that a record asks for, by the rule of its kind.

use std::sync::Arc;

use ldap_directory::dn::{Ava, Rdn, first_rdn, join, split_first};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
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

/// Keeps the other values of an RDN of several: in it, only what the record changes is changed. Without them, the server would take these
/// values from the entry.
pub(super) fn keep_naming_values(wanted: &mut WantedEntry, current: &str, schema: &Schema) {
    let avas = |dn: &str| first_rdn(dn).ok().flatten().map(|rdn| rdn.avas).unwrap_or_default();
    let (there, ruled) = (avas(current), avas(&wanted.dn));
    if there.len() < 2 {
        return;
    }
    let is_of = |ava: &Ava, name: &str| schema.same_description(&ava.attribute, name);
    let kept = there.into_iter().filter_map(|ava| {
        if let Some(new) = ruled.iter().find(|new| is_of(&ava, &new.attribute)) {
            return Some(Ava { value: new.value.clone(), ..ava });
        }
        let Some(new) = wanted.attributes.iter().find(|new| is_of(&ava, &new.description)) else {
            return Some(ava);
        };
        let is_same = |value: &&Vec<u8>| schema.values_match(&ava.attribute, value, &ava.value);
        let value = new.values.iter().find(is_same).or(new.values.first())?.clone();
        Some(Ava { value, ..ava })
    });
    let avas: Vec<Ava> = kept.collect();
    if let (false, Ok((_, above))) = (avas.is_empty(), split_first(&wanted.dn)) {
        wanted.dn = join(&Rdn { avas }.to_string(), &above);
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

#[cfg(test)]
mod tests {
    use target_ldap::map::wanted::{Wanted, WantedAccount};

    use super::*;

    #[test]
    fn of_an_rdn_of_several_values_only_what_changes_is_changed() {
        let schema = Schema::standard();
        let of = |current: &str, dn: &str, values: &[(&str, &[&str])]| {
            let attribute = |(name, values): &(&str, &[&str])| Wanted {
                values: values.iter().map(|v| v.as_bytes().to_vec()).collect(),
                ..Wanted::merged((*name).to_owned(), Vec::new())
            };
            let attributes = values.iter().map(attribute).collect();
            let mut wanted = WantedEntry {
                dn: dn.into(),
                attributes,
                references: Vec::new(),
                account: WantedAccount::default(),
            };
            keep_naming_values(&mut wanted, current, schema);
            wanted.dn
        };
        let max = "cn=Max M+uid=max,ou=p";
        let uid: (&str, &[&str]) = ("uid", &["max2"]);
        assert_eq!(of(max, "uid=max2,ou=p", &[uid]), "cn=Max M+uid=max2,ou=p");
        assert_eq!(
            of(max, "uid=max2,ou=q", &[uid, ("commonName", &["X", "max m"])]),
            "cn=max m+uid=max2,ou=q"
        );
        assert_eq!(of(max, "uid=max2,ou=p", &[uid, ("cn", &["X, Y"])]), "cn=X\\, Y+uid=max2,ou=p");
        assert_eq!(of(max, "uid=max2,ou=p", &[uid, ("cn", &[])]), "uid=max2,ou=p");
        // The rule names entries otherwise.
        let numbered = "cn=Max M+employeeNumber=17,ou=p";
        assert_eq!(of(numbered, "uid=max,ou=p", &[("cn", &["X"])]), "cn=X+employeeNumber=17,ou=p");
        assert_eq!(of("cn=Max M,ou=p", "uid=max,ou=p", &[("cn", &["X"])]), "uid=max,ou=p");
    }
}
