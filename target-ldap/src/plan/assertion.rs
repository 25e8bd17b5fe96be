//! `assert_unchanged`: the condition of a modify (RFC 4528), made of the entry as it was read. Pure.

use ldap_directory::WriteControl;
use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::{Equality, Schema};

use singer_common::operations::secret::is_secret_attribute;

/// Longer lists are asserted value by value only if they are replaced: for 50,000 values of `member` the server would compare
/// each with each.
const ALL_VALUES: usize = 100;

/// Returns the condition that the attributes to be changed are as they were read: each value that existed, or that there was
/// none.
///
/// Passwords are left out: they may exist without being readable, and must not be sent.
pub fn unchanged(changes: &[Modification], read: &Entry, schema: &Schema) -> Option<WriteControl> {
    let mut names: Vec<&str> = Vec::new();
    for change in changes {
        let name = change.description.as_str();
        if !is_secret_attribute(name) && !names.iter().any(|n| schema.same_description(n, name)) {
            names.push(name);
        }
    }
    let parts: Vec<Filter> = names.into_iter().flat_map(|name| of(name, changes, read, schema)).collect();
    (!parts.is_empty()).then_some(WriteControl::Assertion(Filter::And(parts)))
}

fn of(name: &str, changes: &[Modification], read: &Entry, schema: &Schema) -> Vec<Filter> {
    let there = schema.values_of(read, name);
    if there.is_empty() {
        let none = Filter::Not(Box::new(Filter::Present(name.to_owned())));
        // A filter of `member` matches `member;lang-en` and subtypes, too (RFC 4512 section 2.5).
        return if none.matches(read, schema) == Some(false) { Vec::new() } else { vec![none] };
    }
    if !is_comparable(name, schema) {
        return vec![Filter::Present(name.to_owned())];
    }
    let equality = |value: &Vec<u8>| Filter::Equality { attribute: name.to_owned(), value: value.clone() };
    let of_it = || changes.iter().filter(|c| schema.same_description(&c.description, name));
    let is_singly = |c: &Modification| {
        matches!(c.kind, ModificationKind::Add | ModificationKind::Delete) && !c.values.is_empty()
    };
    if there.len() > ALL_VALUES && of_it().all(is_singly) {
        // The server refuses to add an existing value, and to delete a missing one (RFC 4511 section 4.6).
        return vec![Filter::Present(name.to_owned())];
    }
    there.iter().map(equality).collect()
}

/// Whether a filter compares values of the attribute as they are written. Filters identify certificates by serial number and
/// issuer (RFC 4523 section 2.1), and first components by themselves.
fn is_comparable(name: &str, schema: &Schema) -> bool {
    let octets = || schema.equality_name(name).is_some_and(|n| n.eq_ignore_ascii_case("octetStringMatch"));
    schema.has_equality(name) && (schema.equality(name) != Equality::OctetString || octets())
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;

    fn asserted(there: &[(&str, &[&str])], changes: &[(ModificationKind, &str, &[&str])]) -> Option<String> {
        let octets = |v: &[&str]| v.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>();
        let attributes = there.iter().map(|(n, v)| Attribute::new(*n, octets(v))).collect();
        let read = Entry { dn: "cn=x".into(), attributes };
        let changes: Vec<Modification> =
            changes.iter().map(|(k, n, v)| Modification::new(*k, *n, octets(v))).collect();
        match unchanged(&changes, &read, Schema::standard())? {
            WriteControl::Assertion(filter) => Some(filter.to_string()),
            WriteControl::RelaxRules => None,
        }
    }

    #[test]
    fn each_attribute_that_changes_is_as_it_was_read() {
        use ModificationKind::{Add, Delete, Replace};
        let there: &[(&str, &[&str])] = &[
            ("mail", &["a*@x", "b@x"]),
            ("sn", &["S"]),
            ("userPassword", &["{SSHA}x"]),
            ("jpegPhoto", &["p"]),
        ];
        let text = asserted(
            there,
            &[(Delete, "mail", &["a@x"]), (Add, "MAIL", &["c@x"]), (Replace, "title", &["T"])],
        );
        assert_eq!(text.as_deref(), Some(r"(&(mail=a\2A@x)(mail=b@x)(!(title=*)))"));
        let text = asserted(there, &[(Replace, "jpegPhoto", &["q"]), (Replace, "userPassword", &["y"])]);
        assert_eq!(text.as_deref(), Some("(&(jpegPhoto=*))"), "neither compared nor, if secret, shown");
        assert_eq!(asserted(there, &[(Replace, "userPassword", &["y"])]), None);
    }

    #[test]
    fn another_description_that_the_filter_matches_is_not_asserted_away() {
        use ModificationKind::{Add, Replace};
        let there: &[(&str, &[&str])] = &[("member;lang-en", &["cn=a"]), ("cn", &["C"]), ("title", &["t"])];
        for (name, expected) in [
            ("member", None),
            ("member;lang-en;lang-de", Some("(&(!(member;lang-en;lang-de=*)))")),
            ("member;lang-de", Some("(&(!(member;lang-de=*)))")),
            ("name", None),
            ("sn", Some("(&(!(sn=*)))")),
        ] {
            assert_eq!(asserted(there, &[(Replace, name, &["cn=b"])]).as_deref(), expected, "{name}");
        }
        let two = asserted(there, &[(Add, "member", &["cn=b"]), (Replace, "title", &["u"])]);
        assert_eq!(two.as_deref(), Some("(&(title=t))"));
    }

    #[test]
    fn a_long_list_is_not_compared_value_by_value() {
        use ModificationKind::{Add, Replace};
        let members: Vec<String> = (0..=ALL_VALUES).map(|n| format!("cn={n}")).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let there: &[(&str, &[&str])] = &[("member", &members)];
        assert_eq!(asserted(there, &[(Add, "member", &["cn=y"])]).as_deref(), Some("(&(member=*))"));
        let all = asserted(there, &[(Replace, "member", &["cn=y"])]).unwrap();
        assert_eq!(all.matches("(member=").count(), ALL_VALUES + 1);
    }
}
