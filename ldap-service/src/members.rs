//! The attributes in which groups name their members. Logins, SCIM and the names in groups take them from here, so that none of them sees a
//! member that another one does not. Logins search by filters of these attributes, which match all descriptions that [`is_of`] says.

use ldap_directory::Vendor;
use ldap_directory::entry::{Attribute, Entry, base_type};
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{AttributeType, Schema};

pub(crate) mod primary;

/// The attributes with DNs of members.
const BY_DN: [&str; 2] = ["member", "uniqueMember"];
/// The attribute with user names of members (RFC 2307).
pub(crate) const MEMBER_UID: &str = "memberUid";
/// The attribute of users that [`MEMBER_UID`] names.
pub(crate) const UID: &str = "uid";

/// Returns the attributes with DNs of members: `own`, which the configuration names, and the usual ones that the server has. Active
/// Directory's groups have `member` alone.
pub(crate) fn by_dn(own: Option<&str>, vendor: Vendor, schema: &Schema) -> Vec<String> {
    let mut names: Vec<String> = own.map(str::to_owned).into_iter().collect();
    let usual = if vendor == Vendor::ActiveDirectory { &BY_DN[..1] } else { &BY_DN[..] };
    for name in usual {
        let is_known = names.iter().any(|known| schema.same_description(known, name));
        if !is_known && schema.attribute_type(name).is_some() && ValueKind::of(schema, name).is_name() {
            names.push((*name).to_owned());
        }
    }
    names
}

/// Whether groups may name members by user name.
pub(crate) fn has_user_names(vendor: Vendor, schema: &Schema) -> bool {
    vendor != Vendor::ActiveDirectory && schema.attribute_type(MEMBER_UID).is_some()
}

/// Returns the attribute in which a group of these classes names new members: the first one that they allow; else the first one.
pub(crate) fn of_classes<'n>(
    names: &'n [String],
    has_user_names: bool,
    classes: &[String],
    schema: &Schema,
) -> &'n str {
    let (must, may) = schema.must_may(classes.iter().map(String::as_str));
    let is_allowed = |name: &str| must.iter().chain(&may).any(|known| schema.same_description(known, name));
    let user_names = has_user_names.then_some(MEMBER_UID);
    let mut all = names.iter().map(String::as_str).chain(user_names);
    all.find(|name| is_allowed(name)).or(names.first().map(String::as_str)).unwrap_or(MEMBER_UID)
}

/// Whether a description names members, if `name` is an attribute of members: its type is that of `name` or a subtype, and it has at least
/// the options of `name` (RFC 4512 section 2.5). A filter of `name` matches its values, so they count at a login. A part of Active
/// Directory's ranges is not a description of its own.
pub(crate) fn is_of(description: &str, name: &str, schema: &Schema) -> bool {
    let options = || description.split(';').skip(1);
    let is_ranged = options().any(|o| o.get(..6).is_some_and(|o| o.eq_ignore_ascii_case("range=")));
    let has = |wanted: &str| options().any(|o| o.eq_ignore_ascii_case(wanted));
    !is_ranged && schema.is_subtype(description, name) && name.split(';').skip(1).all(has)
}

/// Returns the attributes of an entry that name members, each once: those of the first of `names` come first.
pub(crate) fn attributes<'e>(entry: &'e Entry, names: &[&str], schema: &Schema) -> Vec<&'e Attribute> {
    let of = |a: &Attribute| names.iter().position(|name| is_of(&a.description, name, schema));
    let with_values = entry.attributes.iter().filter(|a| !a.values.is_empty());
    let mut found: Vec<(usize, &Attribute)> = with_values.filter_map(|a| Some((of(a)?, a))).collect();
    found.sort_by_key(|(of, _)| *of);
    found.into_iter().map(|(_, attribute)| attribute).collect()
}

/// Returns the attributes to read for all descriptions of one: with its subtypes, which not every directory returns with it.
pub(crate) fn with_subtypes<'n>(name: &'n str, schema: &'n Schema) -> Vec<&'n str> {
    let others = schema.attribute_types().iter().map(AttributeType::name);
    let others = others.filter(|known| schema.is_subtype(known, name));
    let others = others.filter(|known| !schema.same_description(known, base_type(name)));
    std::iter::once(name).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_subtypes_name_members_and_ranges_do_not() {
        let mut schema = Schema::standard().clone();
        let staff = "( 1.3.6.1.4.1.99999.1 NAME 'staffMember' SUP member )";
        schema.add_attribute_types([AttributeType::parse(staff).unwrap()]);
        for (description, name, expected) in [
            ("member", "member", true),
            ("MEMBER;LANG-EN", "member", true),
            ("2.5.4.31;x-a", "member", true),
            ("staffMember", "member", true),
            ("staffMember;x-a;x-b", "member", true),
            ("member;x-b;x-a", "member;x-a", true),
            ("member", "member;x-a", false),
            ("member", "staffMember", false),
            ("member;range=0-1499", "member", false),
            ("member;Range=0-*;x-a", "member", false),
            ("uniqueMember", "member", false),
            ("memberUid;x-a", MEMBER_UID, true),
        ] {
            assert_eq!(is_of(description, name, &schema), expected, "{description} of {name}");
        }
        assert_eq!(with_subtypes("member", &schema), ["member", "staffMember"]);
        let attribute = |name: &str, value: &str| Attribute::new(name, vec![value.into()]);
        let attributes_of = |names: &[&str]| {
            let all = ["uniqueMember", "cn", "member;x-a", "staffMember", "member"];
            let all = all.map(|name| attribute(name, name)).to_vec();
            let entry = Entry { dn: "cn=g".into(), attributes: all };
            let found = attributes(&entry, names, &schema);
            found.into_iter().map(|a| a.description.clone()).collect::<Vec<_>>()
        };
        let expected = ["member;x-a", "staffMember", "member", "uniqueMember"];
        assert_eq!(attributes_of(&["member", "uniqueMember"]), expected);
        assert_eq!(attributes_of(&["member;x-a", "member"]), ["member;x-a", "staffMember", "member"]);
    }

    #[test]
    fn a_group_names_members_as_its_classes_allow() {
        let schema = Schema::standard();
        let names = by_dn(Some("member"), Vendor::OpenLdap, schema);
        assert_eq!(names, ["member", "uniqueMember"]);
        assert_eq!(by_dn(Some("uniquemember"), Vendor::OpenLdap, schema), ["uniquemember", "member"]);
        assert_eq!(by_dn(None, Vendor::ActiveDirectory, schema), ["member"]);
        let of = |class: &str| of_classes(&names, true, &[class.to_owned()], schema);
        assert_eq!(of("groupOfNames"), "member");
        assert_eq!(of("groupOfUniqueNames"), "uniqueMember");
        assert_eq!(of("unknown"), "member");
    }
}
