//! Values that should belong to one entry each, and belong to several: counted in the entries that discovery reads anyway.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;

/// Attributes that identify a person or an account.
const ATTRIBUTES: [&str; 5] = ["uid", "mail", "employeeNumber", "sAMAccountName", "userPrincipalName"];
/// The most values that are kept, as hashes: about 100 MB.
const MOST: usize = 2_000_000;

/// What was found. Only hashes of values are kept.
#[derive(Debug, Default)]
pub struct Doubles {
    /// By attribute: the hash of a value, that of the DN of its first entry, and whether another entry has it, too.
    values: HashMap<(usize, u64), (u64, bool)>,
    hasher: RandomState,
    /// Whether there were more values than are kept.
    is_full: bool,
}

impl Doubles {
    /// Adds an entry. The same entry may be added several times: streams may overlap.
    pub(crate) fn add(&mut self, entry: &Entry, schema: &Schema) {
        let dn = self.hasher.hash_one(entry.dn.to_lowercase());
        for (at, name) in ATTRIBUTES.into_iter().enumerate() {
            for value in schema.values_of(entry, name) {
                // They are compared without regard to case (RFC 4519 section 2.39, RFC 4524 section 2.16).
                let value = self.hasher.hash_one(String::from_utf8_lossy(value).trim().to_lowercase());
                let next = self.values.len();
                match self.values.get_mut(&(at, value)) {
                    Some((first, is_double)) => *is_double |= *first != dn,
                    None if next >= MOST => self.is_full = true,
                    None => {
                        self.values.insert((at, value), (dn, false));
                    }
                }
            }
        }
    }

    /// Returns the attributes that occur, each with the number of its values, and the number of those that several entries have.
    pub fn counts(&self) -> Vec<(&'static str, u64, u64)> {
        let mut counts = ATTRIBUTES.map(|name| (name, 0, 0));
        for ((at, _), (_, is_double)) in &self.values {
            if let Some((_, values, doubles)) = counts.get_mut(*at) {
                *values += 1;
                *doubles += u64::from(*is_double);
            }
        }
        counts.into_iter().filter(|(_, values, _)| *values > 0).collect()
    }

    /// Whether there were more values than are kept.
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;

    #[test]
    fn a_value_of_two_entries_is_a_double_and_an_entry_read_twice_is_not() {
        let entry = |dn: &str, uid: &[&str], mail: &str| Entry {
            dn: dn.to_owned(),
            attributes: vec![
                Attribute::new("UID", uid.iter().map(|v| v.as_bytes().to_vec()).collect()),
                Attribute::new("mail", vec![mail.as_bytes().to_vec()]),
            ],
        };
        let mut doubles = Doubles::default();
        for entry in [
            entry("uid=a,dc=x", &["a"], "one@x.test"),
            entry("UID=a,DC=x", &["a"], "one@x.test"),
            entry("uid=b,dc=x", &["b", "A "], "ONE@x.test"),
            entry("uid=c,dc=x", &["c"], "one@x.test"),
            entry("uid=d,dc=x", &["d"], "four@x.test"),
            entry("uid=d,dc=x", &["d"], "four@x.test"),
        ] {
            doubles.add(&entry, Schema::standard());
        }
        assert_eq!(doubles.counts(), [("uid", 4, 1), ("mail", 2, 1)]);
        assert!(!doubles.is_full());
    }
}
