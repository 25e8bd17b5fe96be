//! Attribute names for requests, and hashes of names.

use std::hash::{BuildHasher as _, Hash};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use ldap_directory::entry::base_type;

/// The attributes with which servers identify an entry for life (RFC 4530, Active Directory, 389 DS).
pub const ENTRY_IDS: [&str; 3] = ["entryUUID", "objectGUID", "nsUniqueId"];

/// Returns the attributes to request so that these descriptions are returned, each once, after those in `asked`.
///
/// `;binary` must be requested (RFC 4522); other options are returned with their type.
pub fn to_ask<'a>(mut asked: Vec<String>, descriptions: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    for description in descriptions {
        let is_binary = description.to_ascii_lowercase().contains(";binary");
        let name = if is_binary { description } else { base_type(description) };
        if !asked.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            asked.push(name.to_owned());
        }
    }
    asked
}

/// Returns a hash of a name or value, to be kept instead of it to save memory. It is another one in each process, so that nobody can
/// choose two values with the same.
pub fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    STATE.hash_one(value)
}
