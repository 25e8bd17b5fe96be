//! Whether OpenLDAP's password policies let the lock of a disabled account count: without `pwdLockout: TRUE` the server ignores it.

use std::collections::BTreeMap;

use ldap_directory::client::probe::Grade;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope};
use singer_common::plugin::settings::SettingsError;
use target_ldap::write::lockout::{self, Lockout, POLICY};

use super::{Finding, SAMPLE};
use crate::config::Config;
use crate::lookup::find;
use crate::write::Writer;

const NAME: &str = "lockout";
const SETTING: &str = "write.mapping_rules.users.accounts";

fn warning(dn: &str, why: &str, effect: &str) -> Finding {
    let problem = format!("`active: false` of `{dn}` {effect}: {why}");
    let expected = "a password policy with `pwdLockout: TRUE` that the service's user may read";
    let fault = SettingsError::value(SETTING, problem, expected);
    Finding::fault(NAME, Grade::Warning, fault)
}

/// Returns what is known of a directory that does not find users by their policy in time.
pub(super) fn too_slow() -> Finding {
    let problem = "the users with a password policy of their own are not found in time";
    let fault = SettingsError::value(SETTING, problem, "an index of `pwdPolicySubentry`");
    Finding::fault(NAME, Grade::Unknown, fault)
}

/// Checks the policies of some users.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    if !Writer::needs_lockout(config, directory) {
        return Ok(Vec::new());
    }
    let users = &config.users;
    let some = async |filter: Filter, most: u32| {
        let filter = Filter::And(vec![users.filter.on(directory.root_dse().vendor).clone(), filter]);
        match find(directory, &users.base_dn, Scope::Subtree, filter, &[POLICY], most).await {
            Err(error) if error.is_connection() => Err(error),
            // Another check tells it.
            found => Ok::<_, DirectoryError>(found.unwrap_or_default()),
        }
    };
    let has_policy = || Filter::Present(POLICY.to_owned());
    let has_password = Filter::Present("userPassword".to_owned());
    let mut sample = some(has_policy(), SAMPLE).await?;
    sample.extend(some(Filter::And(vec![Filter::Not(Box::new(has_policy())), has_password]), 1).await?);
    // One user of each policy.
    let mut by_policy: BTreeMap<String, Entry> = BTreeMap::new();
    for user in sample {
        let policy = user.first_text(POLICY).unwrap_or_default().to_owned();
        by_policy.entry(policy).or_insert(user);
    }
    let mut found = Vec::new();
    for user in by_policy.values() {
        let dn = user.dn.as_str();
        match lockout::of_entry(directory, Some(user)).await? {
            Lockout::Effective => {}
            Lockout::Ignored(why) => found.push(warning(dn, &why, "is refused")),
            Lockout::Unknown(why) => {
                if lockout::has_no_policy(directory, dn).await? {
                    found.push(warning(dn, &format!("no password policy is in force: {why}"), "is refused"));
                } else if !lockout::is_shown(directory, dn).await? {
                    found.push(warning(dn, &why, "may have no effect, and that cannot be found out"));
                }
            }
        }
    }
    if found.is_empty() {
        let text = "the lock of a disabled account counts, or it is taken back and the request refused";
        found.push(Finding::well(NAME, text));
    }
    Ok(found)
}
