//! Searches for few entries.

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope};

pub(crate) use ldap_directory::lookup::find;
use ldap_directory::lookup::sample;

/// The class of entries that refer to other servers (RFC 3296).
const REFERRAL: &str = "referral";

/// Whether an entry refers to another server. With ManageDsaIT it is an entry like others.
pub(crate) fn is_referral(entry: &Entry, schema: &Schema) -> bool {
    let is_it = |class: &Vec<u8>| class.trim_ascii().eq_ignore_ascii_case(REFERRAL.as_bytes());
    schema.values_of(entry, "objectClass").iter().any(is_it)
}

/// Returns entries below a base that refer to other servers, at most `most`. With ManageDsaIT they are entries like others, which the filters
/// of people do not match: no answer would show that it ends there.
///
/// # Errors
/// The search fails.
pub(crate) async fn referrals(
    directory: &Directory,
    base: &str,
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    if directory.schema().object_class(REFERRAL).is_none() {
        return Ok(Vec::new());
    }
    let filter = Filter::equality("objectClass", REFERRAL);
    sample(directory, (base, Scope::Subtree), filter, &["1.1"], most).await
}
