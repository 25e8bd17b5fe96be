//! Names of attributes and entries, in the forms that several parts need.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use ldap_directory::entry::base_type;

/// The attributes to ask a server for to have these descriptions, each once, behind those in `asked`.
///
/// `;binary` has to be asked for (RFC 4522); other options come with their type.
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

/// A number that stands for a name or a value where keeping it would take too much memory.
pub fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
