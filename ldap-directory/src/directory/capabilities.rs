//! What a directory can do: conditional changes, relaxed rules, atomic writes; the rules of a file, and what it states about itself.

use super::Directory;
use crate::ldif::{LdifRules, Stated};
use crate::oid;
use crate::root_dse::Vendor;

impl Directory {
    /// Returns what a file states about its content: the search that it was made by, and attributes that are not in it. `None` for a
    /// server.
    pub fn stated(&self) -> Option<&Stated> {
        match self {
            Directory::Ldap(_) => None,
            Directory::Ldif(d) => Some(d.stated()),
            Directory::Preview(d) => d.below().stated(),
        }
    }

    /// Returns whether attributes that the schema does not define can be stored: only in a file.
    pub fn takes_unknown_attributes(&self) -> bool {
        match self {
            Directory::Ldap(_) => false,
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_unknown_attributes(),
        }
    }

    /// Returns whether changes can be conditional (RFC 4528).
    pub fn takes_assertions(&self) -> bool {
        match self {
            Directory::Ldap(d) => d.root_dse().supports_control(oid::ASSERTION),
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_assertions(),
        }
    }

    /// Returns whether the server was found unable to evaluate assertions: see [`Self::note_misjudged_assertion`].
    pub fn misjudges_assertions(&self) -> bool {
        match self {
            Directory::Ldap(d) => d.misjudges_assertions(),
            Directory::Ldif(_) => false,
            Directory::Preview(d) => d.below().misjudges_assertions(),
        }
    }

    /// Remembers that the server answered `assertionFailed` (RFC 4528) for an entry that is as asserted. OpenLDAP's overlay `unique`
    /// makes a search of its own with the controls of the change, so that the assertion is evaluated on another entry. Returns whether
    /// that is news.
    pub fn note_misjudged_assertion(&self) -> bool {
        match self {
            Directory::Ldap(d) => d.note_misjudged_assertion(),
            Directory::Ldif(_) => false,
            Directory::Preview(d) => d.below().note_misjudged_assertion(),
        }
    }

    /// Returns whether an entry can be added with attributes that the server maintains. Only an attempt shows whether the bound
    /// user has the right to.
    pub fn takes_relaxed_rules(&self) -> bool {
        match self {
            // OpenLDAP has the control, but does not list it in its root DSE.
            Directory::Ldap(d) => {
                d.root_dse().vendor == Vendor::OpenLdap || d.root_dse().supports_control(oid::RELAX_RULES)
            }
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_relaxed_rules(),
        }
    }

    /// Returns whether a change is durable once [`Self::apply`] returns; otherwise, it is after [`Self::commit`].
    pub fn applies_at_once(&self) -> bool {
        !matches!(self, Directory::Ldif(_))
    }

    /// Returns the rules for the entries of a file, or `None` for a server, which has its own.
    pub fn ldif_rules(&self) -> Option<LdifRules> {
        match self {
            Directory::Ldap(_) => None,
            Directory::Ldif(d) => Some(d.rules()),
            Directory::Preview(d) => d.ldif_rules(),
        }
    }

    /// Sets the rules for the entries of a file. Does nothing on a server.
    pub fn set_ldif_rules(&self, rules: LdifRules) {
        match self {
            Directory::Ldap(_) => {}
            Directory::Ldif(d) => d.set_rules(rules),
            Directory::Preview(d) => d.set_ldif_rules(rules),
        }
    }

    /// Returns whether no intermediate state is visible: a file of entries is replaced as a whole.
    pub fn is_written_at_once(&self) -> bool {
        match self {
            Directory::Ldap(_) => false,
            Directory::Ldif(d) => d.holds_entries(),
            Directory::Preview(d) => d.below().is_written_at_once(),
        }
    }
}
