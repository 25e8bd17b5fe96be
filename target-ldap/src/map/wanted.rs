//! An entry as it is wanted: its attributes, and what depends on what is there, a password, and whether the account may be
//! used.

use singer_common::directory::DirectoryError;
use singer_common::entry::{Attribute, Entry, Packed};
use singer_common::schema::{Equality, Schema};

use crate::rules::password::{Mode, NewPassword, When};
use crate::rules::policy::{Compare, Policy};

/// An attribute as it is wanted. No values: it is not to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The attribute description, as the destination's schema spells it.
    pub description: String,
    /// The values, none twice.
    pub values: Vec<Vec<u8>>,
    /// How they go together with those that are there.
    pub policy: Policy,
    /// How they are told from those.
    pub compare: Compare,
}

impl Wanted {
    /// One value beside those that are there.
    pub fn merged(description: String, value: Vec<u8>) -> Wanted {
        Wanted { description, values: vec![value], policy: Policy::Merge, compare: Compare::Schema }
    }

    /// Returns the rule by which its values are told from those that are there. A value that is added to others has to be another
    /// one to the server, too.
    pub fn rule(&self, schema: &Schema) -> Equality {
        let compare = if self.policy == Policy::Force { self.compare } else { Compare::Schema };
        compare.rule(&self.description, schema)
    }
}

/// An entry as it is wanted. Attributes not named are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedEntry {
    /// Its name.
    pub dn: String,
    /// Its attributes, each description once.
    pub attributes: Vec<Wanted>,
    /// Its password, and whether it may be used.
    pub account: WantedAccount,
}

impl WantedEntry {
    /// The entry to add when there is none, in one piece.
    pub fn to_packed(&self) -> Packed {
        Packed::new(&self.dn, self.attributes.iter().map(|a| (a.description.as_str(), &*a.values)))
    }

    /// The entry to add when there is none.
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

/// What is wanted of an account. Nothing, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedAccount {
    /// Its password.
    pub password: Option<NewPassword>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// Whether a password that is set now has to be changed at the next logon.
    pub must_change: Option<bool>,
}

impl WantedAccount {
    /// Whether nothing of it is about an entry that is there: then it is not looked at for it.
    pub fn is_for_new_entries_only(&self) -> bool {
        let password = |p: &NewPassword| p.when == When::CreateOnly && p.mode != Mode::Exop;
        self.enabled.is_none() && self.password.as_ref().is_none_or(password)
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// An error without the password, should a server have repeated it.
    pub fn scrub(&self, error: DirectoryError) -> DirectoryError {
        match (error, &self.password) {
            (DirectoryError::Operation { operation, dn, code, matched, text }, Some(password)) => {
                DirectoryError::Operation { operation, dn, code, matched, text: password.scrub(&text) }
            }
            (error, _) => error,
        }
    }
}
