//! The attributes in which groups name their members. Logins, SCIM and the names in groups take them from here, so that none of them sees a
//! member that another one does not.

use ldap_directory::Vendor;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

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

#[cfg(test)]
mod tests {
    use super::*;

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
