//! How the values that are wanted go together with those that an entry has.

use singer_common::entry::base_type;
use singer_common::schema::{Equality, Schema};

/// How wanted values go together with those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They replace them.
    #[default]
    Force,
    /// They count only where there are none.
    Keep,
    /// They are added; none is removed.
    Merge,
    /// They count only where the entry is added.
    CreateOnly,
}

/// How wanted values are told from those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// By the attribute's EQUALITY rule.
    #[default]
    Schema,
    /// Octet by octet: what the rule takes for the same is written all the same (`SMTP:a@x` in the place of `smtp:a@x`).
    Exact,
}

impl Compare {
    /// Returns what holds for an attribute of which nothing is said: in `proxyAddresses` the case of the prefix says which
    /// address is the primary one ([MS-OXOABK] 2.2.3.23).
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
