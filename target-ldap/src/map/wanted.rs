//! A wanted entry: its attributes, its password and the state of its account.

use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::entry::{Attribute, CompactEntry, Entry};
use ldap_directory::schema::{Equality, Schema};
use singer_common::operations::secret::is_write_only;

use crate::rules::password::{NewPassword, PasswordMode, PasswordPolicy};
use crate::rules::policy::{Compare, Policy};
use crate::rules::references::Missing;

/// A wanted attribute. Without values the attribute is to be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The attribute description, as the destination's schema spells it.
    pub description: String,
    /// The values, without duplicates.
    pub values: Vec<Vec<u8>>,
    /// How they are combined with the existing values.
    pub policy: Policy,
    /// How they are compared with the existing values.
    pub compare: Compare,
}

impl Wanted {
    /// Returns a value to be added to the existing ones.
    pub fn merged(description: String, value: Vec<u8>) -> Wanted {
        Wanted { description, values: vec![value], policy: Policy::Merge, compare: Compare::Schema }
    }

    /// Whether it must be known that an entry which shows no value has none. A value that is written in place of all others needs no
    /// comparison if the server never returns the attribute, such as a password.
    pub fn needs_to_know(&self) -> bool {
        match self.policy {
            Policy::CreateOnly => false,
            Policy::Force if self.values.is_empty() => true,
            _ if self.values.is_empty() => false,
            Policy::Keep => true,
            Policy::Force | Policy::Merge => !is_write_only(&self.description),
        }
    }

    /// Returns the rule that compares its values with the existing ones. A value that is added must differ by the server's
    /// rule.
    pub fn rule(&self, schema: &Schema) -> Equality {
        let compare = if self.policy == Policy::Force { self.compare } else { Compare::Schema };
        compare.rule(&self.description, schema)
    }
}

/// A wanted entry. Attributes that are not listed are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedEntry {
    /// Its DN.
    pub dn: String,
    /// Its attributes, each description once.
    pub attributes: Vec<Wanted>,
    /// The attributes whose values are still to be found. None of them is among the attributes.
    pub references: Vec<WantedReference>,
    /// Its password and the state of its account.
    pub account: WantedAccount,
}

/// A wanted attribute whose values are the DNs of entries that filters find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedReference {
    /// The attribute description, as the destination's schema spells it.
    pub description: String,
    /// The filters (RFC 4515), each of which is to find one entry.
    pub filters: Vec<String>,
    /// As for [`Wanted`].
    pub policy: Policy,
    /// As for [`Wanted`].
    pub compare: Compare,
    /// How they are found.
    pub find: Arc<Find>,
}

/// How the references of an attribute are found.
#[derive(Debug, PartialEq, Eq)]
pub struct Find {
    /// The name of the setting, for messages.
    pub setting: String,
    /// The base of the searches; `None`: the naming context of the record's entry.
    pub base: Option<String>,
    /// What happens if there is no entry.
    pub missing: Missing,
    /// The filter that every such entry matches, and the attribute that is compared; `None`: there is none.
    pub all: Option<(String, String)>,
    /// The attributes that are compared with values of the record.
    pub attributes: Vec<String>,
    /// Whether no message may show a filter.
    pub is_secret: bool,
}

impl WantedEntry {
    /// Returns the entry to add, in compact form.
    pub fn to_packed(&self) -> CompactEntry {
        CompactEntry::new(&self.dn, self.attributes.iter().map(|a| (a.description.as_str(), &*a.values)))
    }

    /// Returns the entry to add.
    pub fn to_entry(&self) -> Entry {
        let attributes = self
            .attributes
            .iter()
            .filter(|a| !a.values.is_empty())
            .map(|a| Attribute::new(a.description.clone(), a.values.clone()))
            .collect();
        Entry { dn: self.dn.clone(), attributes }
    }
}

/// A wanted password and account state. By default neither is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedAccount {
    /// The password.
    pub password: Option<NewPassword>,
    /// Whether the account is enabled.
    pub enabled: Option<bool>,
    /// Whether a password that is set now must be changed at the next logon.
    pub must_change: Option<bool>,
}

impl WantedAccount {
    /// Whether an existing entry is not affected, so that it need not be read for this.
    pub fn is_for_new_entries_only(&self) -> bool {
        let password = |p: &NewPassword| p.when == PasswordPolicy::CreateOnly && p.mode != PasswordMode::Exop;
        self.enabled.is_none() && self.password.as_ref().is_none_or(password)
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the error without the password, in case the server repeated it.
    pub fn scrub(&self, error: DirectoryError) -> DirectoryError {
        match (error, &self.password) {
            (DirectoryError::Operation { operation, dn, code, matched, text }, Some(password)) => {
                DirectoryError::Operation { operation, dn, code, matched, text: password.scrub(&text) }
            }
            (error, _) => error,
        }
    }
}
