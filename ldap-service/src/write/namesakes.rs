//! Names on Active Directory. People with the same common name, which is their RDN: the second one gets the user name into it. And account
//! names, of which the domain has each once.

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, Scope, Vendor};
use serde_json::{Map, Value};
use target_ldap::map::Task;

use super::rules::KindRule;
use super::{WriteError, WriteErrorKind, refusal};
use crate::lookup;

/// The most characters of a common name (ub-common-name, and Active Directory's rangeUpper).
const MOST: usize = 64;

fn find<'r>(record: &'r Map<String, Value>, name: &str, schema: &Schema) -> Option<(&'r String, &'r str)> {
    let found = record.iter().find(|(property, _)| schema.same_description(property, name));
    found.and_then(|(property, value)| Some((property, value.as_str()?)))
}

/// Returns the common name that a record gets, for that in the record belongs to another entry: `Ada Lovelace (ada2)`. `current` is the
/// DN of an existing entry, which has the user name if the record has not.
///
/// # Errors
/// The entry cannot be read.
pub(super) async fn other_name(
    rule: &KindRule,
    record: &Map<String, Value>,
    directory: &Directory,
    current: Option<&str>,
) -> Result<Option<String>, WriteError> {
    let schema = directory.schema();
    let Some((_, common)) = find(record, "cn", schema) else { return Ok(None) };
    let user = match (find(record, &rule.naming, schema), current) {
        (Some((_, user)), _) => Some(user.to_owned()),
        (None, Some(dn)) => {
            let entry = directory.read(dn, &[&rule.naming]).await;
            let entry = entry.map_err(|e| refusal::of_directory(&e, schema))?;
            entry.and_then(|entry| entry.first_text(&rule.naming).map(str::to_owned))
        }
        (None, None) => None,
    };
    Ok(user.and_then(|user| with_user(common, &user)))
}

/// Returns both names in one; the common name is cut off where both are too long. `None`: the user name alone is too long.
fn with_user(common: &str, user: &str) -> Option<String> {
    let end = format!(" ({user})");
    // What a client has read here, and sends back.
    let common = common.strip_suffix(&end).unwrap_or(common);
    let room = MOST.checked_sub(end.chars().count()).filter(|room| *room > 0)?;
    let begin: String = common.chars().take(room).collect();
    Some(format!("{}{end}", begin.trim_end()))
}

/// The attribute of an account name.
const ACCOUNT_NAME: &str = "sAMAccountName";

/// Returns the error of a write whose account name another entry of the domain has: users, groups and computers share them. `found`: the
/// DN of the entry itself.
pub(super) async fn taken_account_name(
    task: &Task,
    directory: &Directory,
    found: Option<&str>,
) -> Option<WriteError> {
    let (Task::Upsert { wanted, .. }, schema) = (task, directory.schema()) else { return None };
    if directory.root_dse().vendor != Vendor::ActiveDirectory {
        return None;
    }
    let name = wanted.attributes.iter().find(|a| schema.same_description(&a.description, ACCOUNT_NAME))?;
    let name = name.values.first()?;
    let domain = directory.root_dse().default_naming_context.as_deref()?;
    let filter = Filter::equality(ACCOUNT_NAME, name.clone());
    let holders = lookup::find(directory, domain, Scope::Subtree, filter, &["1.1"], 2).await.ok()?;
    let key = |dn: &str| DnKey::parse(dn, schema).ok();
    let own = found.and_then(key);
    let holder = holders.iter().find(|holder| own.is_none() || key(&holder.dn) != own)?;
    let detail = format!(
        "`{}` has the {ACCOUNT_NAME} `{}`, and no other entry of the domain can have it",
        holder.dn,
        String::from_utf8_lossy(name)
    );
    Some(WriteError::new(WriteErrorKind::Taken, detail).of_attribute(ACCOUNT_NAME))
}

/// Sets the common name of a record.
pub(super) fn rename(record: &mut Map<String, Value>, name: String, schema: &Schema) {
    let property =
        find(record, "cn", schema).map_or_else(|| "cn".to_owned(), |(property, _)| property.clone());
    record.insert(property, name.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_in_it_and_it_is_not_too_long() {
        assert_eq!(with_user("Ada Lovelace", "ada2").as_deref(), Some("Ada Lovelace (ada2)"));
        assert_eq!(with_user("Ada Lovelace (ada2)", "ada2").as_deref(), Some("Ada Lovelace (ada2)"));
        let long = with_user(&"é".repeat(70), "ada2").unwrap();
        assert_eq!((long.chars().count(), long.ends_with("é (ada2)")), (MOST, true));
        assert_eq!(with_user("Ada", &"a".repeat(60)).map(|name| name.chars().count()), Some(64));
        assert_eq!(with_user("Ada", &"a".repeat(61)), None);
    }
}
