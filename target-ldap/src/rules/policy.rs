//! How wanted values are combined and compared with the existing values of an entry.

use ldap_directory::entry::base_type;
use ldap_directory::schema::{Equality, Schema};

/// How wanted values are combined with existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They replace the existing values.
    #[default]
    Force,
    /// They are written only if there are none.
    Keep,
    /// They are added; none is removed.
    Merge,
    /// They are written only when the entry is added.
    CreateOnly,
}

/// What happens to the values that an entry has of an attribute under options of which the record says nothing (`mail;lang-en`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherOptions {
    /// They stay.
    Keep,
    /// They are removed: the record says what the entry has of the attribute under any options.
    Remove,
}

/// How wanted values are compared with existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// By the attribute's EQUALITY rule.
    #[default]
    Schema,
    /// Octet by octet: values that are equal by the rule are still written (`SMTP:a@x` replaces `smtp:a@x`).
    Exact,
}

impl Compare {
    /// Returns the default of an attribute. In `proxyAddresses` the case of the prefix marks the primary address ([MS-OXOABK]
    /// 2.2.3.23).
    pub fn usual(description: &str) -> Compare {
        if base_type(description).eq_ignore_ascii_case("proxyAddresses") {
            Compare::Exact
        } else {
            Compare::Schema
        }
    }

    /// Returns the rule by which values of an attribute compare.
    pub fn rule(self, description: &str, schema: &Schema) -> Equality {
        match self {
            Compare::Schema => schema.equality(description),
            Compare::Exact => Equality::OctetString,
        }
    }
}
