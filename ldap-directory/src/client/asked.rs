//! The part of the directory that a search asks for. An entry outside of it is not an answer: it is an error, and never a record, a match or
//! a reason for a deletion.
//!
//! Aliases are never dereferenced, and a reference that is followed has a search of its own, so every entry is at or below the base as the
//! server was asked for it. Active Directory also accepts other identifiers as a base (`<GUID=…>`, `<SID=…>`, `<WKGUID=…>`; [MS-ADTS]
//! 3.1.1.3.1.2.4), with which nothing can be compared.

use crate::directory::Scope;
use crate::dn::{self, DnKey};
use crate::error::DirectoryError;
use crate::schema::Schema;

/// The base and the scope of a search.
#[derive(Debug)]
pub(crate) struct Asked {
    base: String,
    scope: Scope,
    /// The base as the server last spelled it at the end of a DN.
    spelled: String,
}

impl Asked {
    pub(crate) fn new(base: &str, scope: Scope) -> Self {
        // OpenLDAP puts its `defaultsearchbase` in place of an empty base, except in a search for the root DSE.
        let scope = if base.is_empty() && scope == Scope::OneLevel { Scope::Subtree } else { scope };
        Self { base: base.to_owned(), scope, spelled: base.to_owned() }
    }

    /// Returns the DN of the base.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Checks the DN of an entry that arrived as an answer to `operation`.
    ///
    /// # Errors
    /// Fails if the entry is not at the base, or not below it, as the scope requires. A DN that cannot be parsed is not below anything.
    #[inline]
    pub(crate) fn check(
        &mut self,
        operation: &'static str,
        dn: &str,
        schema: &Schema,
    ) -> Result<(), DirectoryError> {
        if self.holds_as_spelled(dn.as_bytes()) || self.holds(dn, schema) {
            return Ok(());
        }
        Err(self.outside(operation, dn))
    }

    /// Returns whether the octets of a DN suffice to see that it is inside: nearly every one ends with the base as spelled before.
    #[inline]
    fn holds_as_spelled(&self, dn: &[u8]) -> bool {
        let base = self.spelled.as_bytes();
        let Some((names, end)) = dn.len().checked_sub(base.len()).and_then(|at| dn.split_at_checked(at))
        else {
            return false;
        };
        if end != base && !end.eq_ignore_ascii_case(base) {
            return false;
        }
        if names.is_empty() {
            return self.scope != Scope::OneLevel;
        }
        // What is before the base is more than a comma, and the comma is not a part of a value.
        let names = if base.is_empty() {
            names
        } else {
            match names {
                [names @ .., last, b','] if *last != b'\\' => names,
                _ => return false,
            }
        };
        match self.scope {
            Scope::Base => false,
            Scope::OneLevel => begins_as_rdn(names) && !has_separator(names),
            Scope::Subtree => begins_as_rdn(names),
        }
    }

    /// Returns whether a DN may be inside, by comparison, and remembers how the server spells the base.
    #[cold]
    fn holds(&mut self, dn: &str, schema: &Schema) -> bool {
        if self.base.starts_with('<') {
            return true;
        }
        // If the server's schema is not available, its DNs may differ in case.
        let (base, name) = (self.base.to_lowercase(), dn.to_lowercase());
        let is_inside = [schema, Schema::standard()].into_iter().any(|schema| {
            let Ok(base) = DnKey::parse(&base, schema) else {
                // The server accepts what cannot be compared here.
                return true;
            };
            let Ok(name) = DnKey::parse(&name, schema) else { return self.scope == Scope::Base };
            match self.scope {
                Scope::Base => name == base,
                Scope::OneLevel => name.parent().is_some_and(|parent| parent == base),
                Scope::Subtree => name.is_within(&base),
            }
        });
        if is_inside && let Ok(base) = dn::split(&self.base) {
            dn::last_rdns(dn, base.len()).unwrap_or_default().clone_into(&mut self.spelled);
        }
        is_inside
    }

    #[cold]
    fn outside(&self, operation: &'static str, dn: &str) -> DirectoryError {
        let wanted = match self.scope {
            Scope::Base => "this entry, the server gave another one",
            Scope::OneLevel => "the entries directly below this one, the server gave one that is not",
            Scope::Subtree => "this entry and those below it, the server gave one that is not",
        };
        let reason = format!("asked for {wanted}, `{dn}`");
        DirectoryError::Protocol { operation, dn: self.base.clone(), reason, outcome_unknown: false }
    }
}

/// Returns whether octets begin with an attribute and an equals sign.
#[inline]
fn begins_as_rdn(names: &[u8]) -> bool {
    memchr::memchr(b'=', names).is_some_and(|at| at > 0)
}

/// Returns whether octets may be more than one RDN: in doubt, `true`.
#[inline]
fn has_separator(names: &[u8]) -> bool {
    if memchr::memchr3(b',', b';', b'"', names).is_none() {
        return false;
    }
    // `cn=Lovelace\, Ada`
    let mut octets = names.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => {
                octets.next();
            }
            b',' | b';' | b'"' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(base: &str, scope: Scope, dn: &str) -> bool {
        let mut asked = Asked::new(base, scope);
        let first = asked.check("search", dn, Schema::standard()).is_ok();
        // The same again, with the base as the server spells it.
        assert_eq!(asked.check("search", dn, Schema::standard()).is_ok(), first, "{base} {dn}");
        first
    }

    #[test]
    fn one_entry_has_many_spellings() {
        for (asked, given) in [
            ("", ""),
            ("cn=subschema", "cn=Subschema"),
            ("CN=a\\2cb, OU=X", "cn=A\\,b,ou=x"),
            ("2.5.4.3=a,dc=x", "commonName=a,dc=x"),
            ("a=1+b=2,dc=x", "b=2+a=1,dc=x"),
            ("<GUID=5c8b9d2e00001000800000000000000a>", "cn=a,dc=x"),
            ("unknownAttribute=A,dc=x", "unknownattribute=a,dc=x"),
        ] {
            assert!(holds(asked, Scope::Base, given), "{asked} {given}");
            assert!(holds(asked, Scope::Subtree, given), "{asked} {given}");
        }
        for (asked, given) in [
            ("cn=a,dc=x", "cn=b,dc=x"),
            ("cn=a,dc=x", "dc=x"),
            ("", "dc=x"),
            ("dc=x", ""),
            ("dc=x", "cn=a,dc=x"),
        ] {
            assert!(!holds(asked, Scope::Base, given), "{asked} {given}");
        }
    }

    #[test]
    fn what_is_below_is_seen_by_its_end_or_by_comparison() {
        for (base, given) in [
            ("dc=x", "cn=a,dc=x"),
            ("dc=X", "cn=Lovelace\\, Ada,DC=x"),
            ("dc=example,dc=com", "cn=a, dc=example, dc=com"),
            ("0.9.2342.19200300.100.1.25=x", "cn=a,dc=x"),
            ("", "dc=x"),
            ("", "ou=a,dc=x"),
            ("dc=x", "cn=a\\\\,dc=x"),
            ("dc=\u{e4}", "cn=a,DC=\u{c4}"),
            ("<GUID=5c8b9d2e00001000800000000000000a>", "cn=a,dc=x"),
        ] {
            assert!(holds(base, Scope::OneLevel, given), "{base} {given}");
            assert!(holds(base, Scope::Subtree, given), "{base} {given}");
        }
        for (base, given) in [
            ("dc=x", "cn=a,dc=y"),
            ("dc=x", ""),
            ("dc=x", "cn=a\\,dc=x"),
            ("dc=x", "cn=a,adc=x"),
            ("dc=x", ",dc=x"),
            ("dc=x", "nonsense,dc=x"),
            ("dc=x", "nonsense"),
            ("", "nonsense"),
            ("ou=a,dc=x", "dc=x"),
            ("ou=a,dc=x", "cn=b,ou=c,dc=x"),
        ] {
            assert!(!holds(base, Scope::OneLevel, given), "{base} {given}");
            assert!(!holds(base, Scope::Subtree, given), "{base} {given}");
        }
        for given in ["cn=a,ou=b,dc=x", "dc=x", "CN=a, OU=b, DC=x"] {
            assert!(holds("dc=x", Scope::Subtree, given), "{given}");
            assert!(!holds("dc=x", Scope::OneLevel, given), "{given}");
        }
    }

    #[test]
    fn the_spelling_of_the_server_is_compared_by_octets_the_next_time() {
        let mut asked = Asked::new("dc=example, dc=com", Scope::Subtree);
        assert!(!asked.holds_as_spelled(b"cn=a,dc=example,dc=com"));
        asked.check("search", "cn=a,dc=example,dc=com", Schema::standard()).unwrap();
        assert!(asked.holds_as_spelled(b"cn=b,dc=example,dc=com"));
        assert!(asked.check("search", "cn=a,dc=com", Schema::standard()).is_err());
    }
}
