//! Attributes of users that look as if they held secrets, and are none by the rule: search and export show them to whoever may read.

use std::collections::BTreeSet;

use ldap_directory::entry::base_type;
use ldap_directory::lookup::sample;
use ldap_directory::{Directory, DirectoryError, Scope};

use super::settings::warning;
use super::{Finding, SAMPLE};
use crate::config::Config;

/// Parts of names that occur in those of secrets.
const PARTS: [&str; 12] = [
    "secret",
    "token",
    "otp",
    "seed",
    "credential",
    "privkey",
    "privatekey",
    "passcode",
    "pincode",
    "recovery",
    "apikey",
    "hash",
];
/// Public keys of Active Directory.
const PUBLIC: &str = "msDS-KeyCredentialLink";

/// Looks at the attributes of some users.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    let (users, schema) = (&config.users, directory.schema());
    let filter = users.filter.on(directory.root_dse().vendor).clone();
    let place = (users.base_dn.as_str(), Scope::Subtree);
    let some = match sample(directory, place, filter, &["*"], SAMPLE).await {
        Err(error) if error.is_connection() => return Err(error),
        // Another check tells it.
        found => found.unwrap_or_default(),
    };
    let secrets = directory.secret_attributes();
    let looks_so = |name: &&str| {
        let small = name.to_ascii_lowercase();
        PARTS.iter().any(|part| small.contains(part))
            && !secrets.contains(name)
            && !schema.is_operational(name)
            && !name.eq_ignore_ascii_case(PUBLIC)
    };
    let names = some.iter().flat_map(|entry| &entry.attributes).map(|a| base_type(&a.description));
    let names: BTreeSet<String> = names.filter(looks_so).map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let problem =
        format!("users have {names}, which may hold secrets by the name, and search and export show it");
    Ok(Some(warning("secrets", "secret_attributes", problem, "the names of those that are secret")))
}
