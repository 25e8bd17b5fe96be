//! Whether an account may be used: by the server's own marks, and by the attribute of one's own to which `users.scim` maps `active`.

use chrono::{DateTime, Utc};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::truth;

use super::account::{self, Unusable};
use crate::config::UsersConfig;

/// Checks that an account may be used.
///
/// # Errors
/// The account may not be used.
pub(super) fn check(
    users: &UsersConfig,
    schema: &Schema,
    entry: &Entry,
    now: DateTime<Utc>,
) -> Result<(), Unusable> {
    account::check(entry, now)?;
    let Some(attribute) = users.active_attribute() else { return Ok(()) };
    if is_off(schema.values_of(entry, attribute)) { Err(Unusable::Disabled) } else { Ok(()) }
}

/// Whether values of the mapped attribute disable an account: one of them means FALSE. Any other, and none, does not.
pub(crate) fn is_off(values: &[Vec<u8>]) -> bool {
    let is_false =
        |value: &Vec<u8>| std::str::from_utf8(value).ok().and_then(truth).is_some_and(|active| !active);
    values.iter().any(is_false)
}

/// The texts that mean FALSE.
pub(crate) const OFF: [&str; 4] = ["FALSE", "no", "off", "0"];

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;
    use ldap_directory::filter::Filter;

    use super::*;

    #[test]
    fn the_mapped_attribute_is_a_mark_as_the_servers_is() {
        let users = |scim: &[(&str, &str)]| UsersConfig {
            base_dn: "dc=x".into(),
            filter: Filter::parse("(objectClass=person)").unwrap().into(),
            login_attributes: Vec::new(),
            scim: scim.iter().map(|(key, to)| ((*key).to_owned(), (*to).to_owned())).collect(),
        };
        let entry = |name: &str, values: &[&str]| Entry {
            dn: "cn=x".into(),
            attributes: vec![Attribute::new(name, values.iter().map(|v| v.as_bytes().to_vec()).collect())],
        };
        let mapped = users(&[("userName", "uid"), ("active", "employeeType")]);
        let long = users(&[("urn:ietf:params:scim:schemas:core:2.0:User:Active", "employeeType")]);
        let none = users(&[("active", "none")]);
        let off = Err(Unusable::Disabled);
        for (users, name, values, expected) in [
            (&mapped, "employeeType", &["FALSE"][..], off),
            (&mapped, "EMPLOYEETYPE", &["false"], off),
            (&mapped, "employeeType", &["TRUE", "FALSE"], off),
            (&mapped, "employeeType", &["TRUE"], Ok(())),
            (&mapped, "employeeType", &["clerk"], Ok(())),
            (&mapped, "title", &["FALSE"], Ok(())),
            (&mapped, "nsAccountLock", &["true"], off),
            (&long, "employeeType", &["FALSE"], off),
            (&none, "employeeType", &["FALSE"], Ok(())),
            (&none, "nsAccountLock", &["true"], off),
        ] {
            let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            assert_eq!(check(users, Schema::standard(), &entry(name, values), now), expected, "{values:?}");
        }
    }
}
