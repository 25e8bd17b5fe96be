//! The entry of a user: by login name, or by its immutable id.

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor};
use serde_json::Value;

use super::account;
use crate::config::UsersConfig;
use crate::error::ApiError;
use crate::lookup;

/// The longest login name, in octets. A longer one fits nobody.
pub(super) const LONGEST_NAME: usize = 1024;

const CLASSES: &str = "objectClass";

/// What a login name fits.
#[derive(Debug)]
pub(super) enum Fitting {
    One(Box<Entry>),
    None,
    /// Several entries: their DNs.
    Several(Vec<String>),
    /// An entry that refers to another server: no bind as it says anything about a password here.
    Referral,
}

/// Returns the attributes that a login name is compared with.
pub fn login_attributes(users: &UsersConfig, vendor: Vendor) -> Vec<String> {
    if !users.login_attributes.is_empty() {
        return users.login_attributes.clone();
    }
    let [uid, account_name] = UsersConfig::USUAL_LOGIN_ATTRIBUTES;
    vec![if vendor == Vendor::ActiveDirectory { account_name } else { uid }.to_owned()]
}

/// Returns the form of a login name by which failures are counted: the same for all spellings that the directory takes for equal
/// (trap 11).
pub(super) fn canonical_name(users: &UsersConfig, directory: &Directory, name: &str) -> Vec<u8> {
    let schema = directory.schema();
    let mut name = name.as_bytes().to_vec();
    for attribute in login_attributes(users, directory.root_dse().vendor) {
        name = schema.equality(&attribute).normalize(&name, schema).into_owned();
    }
    name
}

/// Returns the filter of the users with a name in one of these attributes. The name is a value, whatever it contains (trap 2).
pub(super) fn name_filter(users: &UsersConfig, vendor: Vendor, attributes: &[String], name: &str) -> Filter {
    let mut named: Vec<Filter> =
        attributes.iter().map(|attribute| Filter::equality(attribute, name.as_bytes())).collect();
    let named = if named.len() == 1 { named.remove(0) } else { Filter::Or(named) };
    Filter::And(vec![users.filter.on(vendor).clone(), named])
}

/// Whether a text can be a login name.
pub(super) fn can_be_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= LONGEST_NAME
}

/// Finds the entry with a name in one of these attributes. Others are not compared: a name in them is no reason to refuse it.
///
/// # Errors
/// The search fails.
pub(super) async fn by_name(
    users: &UsersConfig,
    directory: &Directory,
    attributes: &[String],
    name: &str,
) -> Result<Fitting, DirectoryError> {
    if !can_be_name(name) {
        return Ok(Fitting::None);
    }
    search(users, directory, name_filter(users, directory.root_dse().vendor, attributes, name)).await
}

/// Checks that no other user has the immutable id of an entry, which was not found by it: applications take both for one.
///
/// # Errors
/// One has: 403. Or the search fails.
pub(super) async fn check_id(
    (users, directory): (&UsersConfig, &Directory),
    entry: &Entry,
    id: &str,
) -> Result<(), ApiError> {
    match by_id(users, directory, id).await.map_err(super::outage)? {
        Fitting::Several(dns) => {
            tracing::error!(
                dn = entry.dn,
                ?dns,
                "login refused: several entries have the identifier `{id}`: give them identifiers of their own"
            );
            Err(super::unusable("several entries have the identifier of the account"))
        }
        Fitting::One(_) | Fitting::None | Fitting::Referral => Ok(()),
    }
}

/// Finds the entry of an immutable id, as [`id`] returns it.
///
/// # Errors
/// The search fails.
pub(super) async fn by_id(
    users: &UsersConfig,
    directory: &Directory,
    id: &str,
) -> Result<Fitting, DirectoryError> {
    let schema = directory.schema();
    let matches = directory.root_dse().vendor.immutable_ids().iter().filter_map(|attribute| {
        schema.attribute_type(attribute)?;
        let octets = ValueKind::of(schema, attribute).parse_json(&Value::from(id)).ok().flatten()?;
        Some(Filter::equality(*attribute, octets))
    });
    let filter = Filter::And(vec![
        users.filter.on(directory.root_dse().vendor).clone(),
        Filter::Or(matches.collect()),
    ]);
    search(users, directory, filter).await
}

async fn search(
    users: &UsersConfig,
    directory: &Directory,
    filter: Filter,
) -> Result<Fitting, DirectoryError> {
    let vendor = directory.root_dse().vendor;
    let login = login_attributes(users, vendor);
    let mut attributes: Vec<&str> = login.iter().map(String::as_str).collect();
    attributes.extend(["uid", "cn", "displayName", "mail"]);
    attributes.extend(vendor.immutable_ids());
    attributes.extend(account::attributes(vendor));
    attributes.extend(users.active_attribute());
    attributes.push(CLASSES);
    attributes.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    attributes.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
    let mut request = SearchRequest::new(&users.base_dn, Scope::Subtree, filter, &attributes).repeating();
    // One more than may be.
    request.paging = Paging::Limited(2);
    let mut stream = directory.search(request).await?;
    let mut found: Vec<Entry> = Vec::new();
    while let Some(entry) = stream.next_entry().await? {
        // It may be returned twice after a lost connection.
        if found.iter().all(|known| known.dn != entry.dn) {
            found.push(entry);
        }
    }
    Ok(match found.len() {
        0 => Fitting::None,
        1 if found.iter().any(|entry| refers(entry, directory)) => Fitting::Referral,
        1 => found.pop().map_or(Fitting::None, |entry| Fitting::One(Box::new(entry))),
        _ => Fitting::Several(found.into_iter().map(|entry| entry.dn).collect()),
    })
}

/// Whether an entry refers to another server, which the log tells then.
fn refers(entry: &Entry, directory: &Directory) -> bool {
    let is_it = lookup::is_referral(entry, directory.schema());
    if is_it {
        tracing::warn!(
            dn = entry.dn,
            "`{}` refers to another server (its class `referral`), which is never followed: its password cannot be checked, and the answer is as for a part of the directory that is not there; remove its class and `ref`",
            entry.dn
        );
    }
    is_it
}

/// Returns the immutable id of an entry as text, the same as in SCIM; `None` if the server shows none.
pub fn id(directory: &Directory, entry: &Entry) -> Option<String> {
    directory.root_dse().vendor.immutable_ids().iter().find_map(|attribute| {
        let value = entry.values(attribute).first()?;
        let mut json = Vec::new();
        ValueKind::of(directory.schema(), attribute).write_json(value, &mut json).ok()?;
        serde_json::from_slice::<Value>(&json).ok()?.as_str().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(attributes: &[&str]) -> UsersConfig {
        UsersConfig {
            base_dn: "dc=x".into(),
            filter: Filter::parse("(objectClass=person)").unwrap().into(),
            login_attributes: attributes.iter().map(|a| (*a).to_owned()).collect(),
            scim: Vec::new(),
        }
    }

    #[test]
    fn trap_02_a_login_name_is_a_value_whatever_it_contains() {
        let filter = |attributes: &[&str], name: &str| {
            let users = users(attributes);
            let attributes = login_attributes(&users, Vendor::OpenLdap);
            name_filter(&users, Vendor::OpenLdap, &attributes, name).to_string()
        };
        assert_eq!(filter(&[], "ada"), "(&(objectClass=person)(uid=ada))");
        assert_eq!(filter(&["uid", "mail"], "a"), "(&(objectClass=person)(|(uid=a)(mail=a)))");
        assert_eq!(filter(&["uid"], "*"), r"(&(objectClass=person)(uid=\2A))");
        let injected = filter(&["uid"], "a)(|(objectClass=*)");
        assert_eq!(injected, r"(&(objectClass=person)(uid=a\29\28|\28objectClass=\2A\29))");
        // Not escaped twice: a name with a backslash stays that name.
        assert_eq!(filter(&["uid"], r"a\2a"), r"(&(objectClass=person)(uid=a\5C2a))");
        assert_eq!(login_attributes(&users(&[]), Vendor::ActiveDirectory), ["sAMAccountName"]);
    }
}
