//! Whether an account may be used, by its entry: for those who come with a token or a session, as a second look after a bind, and for
//! `active` of SCIM.
//!
//! What counts is what the entry itself says of the account. States of the password (expired, to be changed) are of logins with it, and
//! locks after wrong passwords or by inactivity need the policies of the server, which it applies to binds.

use chrono::{DateTime, Utc};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::time::read_time;
use ldap_directory::{Directory, DirectoryError, Vendor};
use target_ldap::rules::accounts::{AccountLock, is_locked_for_ever};

use super::find;
use crate::config::Config;
use crate::members::{self, primary};
use crate::unseen::{self, Hidden};

/// Why an account may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// An administrator has disabled it.
    Disabled,
    /// It is past its last day.
    Expired,
    /// Its first day has not come.
    NotYet,
}

/// `ACCOUNTDISABLE` of `userAccountControl` ([MS-ADTS] 2.2.16).
const ACCOUNT_DISABLE: i64 = 0x2;
/// Seconds from 1601 to 1970.
const EPOCH_OF_FILETIME: i64 = 11_644_473_600;
/// The last day of an account of Active Directory, as a FILETIME.
const EXPIRES: &str = "accountExpires";
/// The first day of OpenLDAP's ppolicy 2.5 (slapo-ppolicy(5)).
const START: &str = "pwdStartTime";
/// The last day of OpenLDAP's ppolicy 2.5.
const END: &str = "pwdEndTime";

/// Returns the attributes that [`check`] reads, and the primary group.
pub(super) fn attributes(vendor: Vendor) -> &'static [&'static str] {
    match vendor {
        Vendor::ActiveDirectory => {
            &["userAccountControl", EXPIRES, "pwdLastSet", primary::PRIMARY, primary::SID]
        }
        Vendor::Ds389 => &["nsAccountLock", "pwdUpdateTime"],
        _ => &["pwdAccountLockedTime", "nsAccountLock", START, END, "pwdChangedTime"],
    }
}

/// Returns the attributes with the first and last day of an account, where it has such a lock.
pub(crate) fn days(lock: AccountLock) -> &'static [&'static str] {
    match lock {
        AccountLock::UserAccountControl => &[EXPIRES],
        AccountLock::NsAccountLock => &[],
        AccountLock::PwdAccountLockedTime => &[START, END],
    }
}

/// Returns the attributes of a user that decide about a login or a session: the state of the account, and its names.
pub(crate) fn deciding(config: &Config, directory: &Directory) -> Vec<String> {
    let vendor = directory.root_dse().vendor;
    let mut names: Vec<String> = attributes(vendor).iter().map(|name| (*name).to_owned()).collect();
    names.extend(find::login_attributes(&config.users, vendor).into_iter().next());
    names.extend(config.users.active_attribute().map(str::to_owned));
    if config.groups.is_some() && members::has_user_names(vendor, directory.schema()) {
        names.push(members::UID.to_owned());
    }
    names
}

/// Returns a deciding attribute that the service's user may not read of a user: without the mark of a disabled account, it would count as
/// enabled.
///
/// # Errors
/// A search fails.
pub(super) async fn hidden(
    config: &Config,
    directory: &Directory,
    entry: &Entry,
) -> Result<Option<Hidden>, DirectoryError> {
    const FLAGS: &str = "userAccountControl";
    // Each account of Active Directory has it.
    if directory.root_dse().vendor == Vendor::ActiveDirectory && entry.values(FLAGS).is_empty() {
        return Ok(Some(Hidden { dn: entry.dn.clone(), attribute: FLAGS.to_owned() }));
    }
    let names = deciding(config, directory);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    unseen::hidden(directory, entry, &names).await
}

/// Returns the attributes that change with the password.
pub(super) const PASSWORD_TIMES: &[&str] = &["pwdChangedTime", "pwdLastSet", "pwdUpdateTime"];

/// Checks that an account may be used.
///
/// A lock after wrong passwords is not looked at: everybody can cause one (trap 6), and it would end the sessions of its victim. It keeps
/// passwords from being tried, and that is the server's affair.
///
/// # Errors
/// The account may not be used.
pub(super) fn check(entry: &Entry, now: DateTime<Utc>) -> Result<(), Unusable> {
    let number = |name: &str| entry.first_text(name).and_then(|text| text.trim().parse::<i64>().ok());
    if number("userAccountControl").is_some_and(|flags| flags & ACCOUNT_DISABLE != 0) {
        return Err(Unusable::Disabled);
    }
    // 389 DS also computes it for inactivated roles.
    let is_true = |value: &Vec<u8>| value.trim_ascii().eq_ignore_ascii_case(b"true");
    if entry.values("nsAccountLock").iter().any(is_true) {
        return Err(Unusable::Disabled);
    }
    if entry.first_text("pwdAccountLockedTime").is_some_and(is_locked_for_ever) {
        return Err(Unusable::Disabled);
    }
    out_of_days(entry, now).map_or(Ok(()), Err)
}

/// Returns why an account may not be used on this day, be it disabled or not. A time that cannot be read counts as OpenLDAP counts it.
pub(crate) fn out_of_days(entry: &Entry, now: DateTime<Utc>) -> Option<Unusable> {
    let number = entry.first_text(EXPIRES).and_then(|text| text.trim().parse::<i64>().ok());
    let is_past = match number {
        // Never.
        None | Some(0 | i64::MAX) => false,
        Some(time) => time / 10_000_000 - EPOCH_OF_FILETIME <= now.timestamp(),
    };
    let time = |name: &str| entry.first_text(name).map(|text| read_time(text.trim()));
    if is_past || time(END).is_some_and(|end| end.is_none_or(|end| end <= now)) {
        return Some(Unusable::Expired);
    }
    time(START).is_some_and(|start| start.is_none_or(|start| start > now)).then_some(Unusable::NotYet)
}

/// Returns the filter of the accounts that [`out_of_days`] is about; `None`: the server has none.
pub(crate) fn out_of_days_filter(lock: AccountLock, schema: &Schema, now: DateTime<Utc>) -> Option<Filter> {
    let until = |name: &str, value: String| Filter::LessOrEqual {
        attribute: name.to_owned(),
        value: value.into_bytes(),
    };
    match lock {
        AccountLock::NsAccountLock => None,
        AccountLock::UserAccountControl => {
            let last = (now.timestamp() + EPOCH_OF_FILETIME) * 10_000_000 + 9_999_999;
            let never = Filter::Not(Box::new(Filter::equality(EXPIRES, "0")));
            Some(Filter::And(vec![until(EXPIRES, last.to_string()), never]))
        }
        AccountLock::PwdAccountLockedTime => {
            schema.attribute_type(END)?;
            let now = now.format("%Y%m%d%H%M%SZ").to_string();
            let has_begun = until(START, now.clone());
            let has_not = vec![Filter::Present(START.to_owned()), Filter::Not(Box::new(has_begun))];
            Some(Filter::Or(vec![until(END, now), Filter::And(has_not)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    fn entry(name: &str, value: &str) -> Entry {
        Entry { dn: "cn=x".into(), attributes: vec![Attribute::new(name, vec![value.as_bytes().to_vec()])] }
    }

    #[test]
    fn disabled_and_expired_accounts_are_known_by_their_entries() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let filetime = |unix: i64| ((unix + EPOCH_OF_FILETIME) * 10_000_000).to_string();
        let (past, future) = (filetime(1_699_999_999), filetime(1_700_000_001));
        for (name, value, expected) in [
            ("userAccountControl", "512", Ok(())),
            ("userAccountControl", "514", Err(Unusable::Disabled)),
            ("userAccountControl", "66050", Err(Unusable::Disabled)),
            ("useraccountcontrol", "-2147483646", Err(Unusable::Disabled)),
            ("nsAccountLock", "TRUE", Err(Unusable::Disabled)),
            ("nsaccountlock", "true", Err(Unusable::Disabled)),
            ("nsAccountLock", "FALSE", Ok(())),
            ("pwdAccountLockedTime", "000001010000Z", Err(Unusable::Disabled)),
            ("pwdAccountLockedTime", "00000101000000Z", Err(Unusable::Disabled)),
            ("pwdAccountLockedTime", "20261129190000Z", Ok(())),
            ("accountExpires", "0", Ok(())),
            ("accountExpires", "9223372036854775807", Ok(())),
            ("accountExpires", &past, Err(Unusable::Expired)),
            ("accountExpires", &future, Ok(())),
            ("pwdEndTime", "20231114221319Z", Err(Unusable::Expired)),
            ("pwdEndTime", "20231114221320Z", Err(Unusable::Expired)),
            ("pwdEndTime", "20231114221321Z", Ok(())),
            ("pwdendtime", "202311142213Z", Err(Unusable::Expired)),
            ("pwdEndTime", "20231115001321+0200", Ok(())),
            ("pwdEndTime", "soon", Err(Unusable::Expired)),
            ("pwdStartTime", "20231114221321Z", Err(Unusable::NotYet)),
            ("pwdStartTime", "20231114221320Z", Ok(())),
            ("pwdStartTime", "soon", Err(Unusable::NotYet)),
            // The first day of what is past; locks after wrong passwords; states of the password.
            ("pwdStartTime", "20200101000000Z", Ok(())),
            ("accountUnlockTime", "20400101000000Z", Ok(())),
            ("pwdReset", "TRUE", Ok(())),
        ] {
            assert_eq!(check(&entry(name, value), now), expected, "{name}: {value}");
            if name == EXPIRES {
                let schema = Schema::standard();
                let filter = out_of_days_filter(AccountLock::UserAccountControl, schema, now).unwrap();
                let is_found = filter.matches(&entry(name, value), schema) == Some(true);
                assert_eq!(is_found, expected.is_err(), "{filter}: {value}");
            }
        }
        // slapo-ppolicy(5): this simply disables the account.
        let mut both = entry("pwdStartTime", "20400101000000Z");
        both.attributes.push(Attribute::new("pwdEndTime", vec![b"20390101000000Z".to_vec()]));
        assert_eq!(check(&both, now), Err(Unusable::NotYet));
    }
}
