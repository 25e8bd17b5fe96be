//! The default mappings: inetOrgPerson (RFC 2798) and groupOfNames (RFC 4519), or Active Directory's users and groups.

use ldap_directory::Vendor;

use super::ResourceType;

/// What inetOrgPerson and Active Directory share.
macro_rules! users {
    ($($key:literal => $attribute:literal,)*) => {
        &[
            $(($key, $attribute),)*
            ("name.familyName", "sn"),
            ("name.givenName", "givenName"),
            ("displayName", "displayName"),
            ("title", "title"),
            ("userType", "employeeType"),
            ("preferredLanguage", "preferredLanguage"),
            ("emails[work]", "mail"),
            ("phoneNumbers[work]", "telephoneNumber"),
            ("phoneNumbers[mobile]", "mobile"),
            ("phoneNumbers[home]", "homePhone"),
            ("phoneNumbers[pager]", "pager"),
            ("addresses[work].locality", "l"),
            ("addresses[work].region", "st"),
            ("addresses[work].postalCode", "postalCode"),
            ("employeeNumber", "employeeNumber"),
            ("manager", "manager"),
        ]
    };
}

const PERSON: &[(&str, &str)] = users! {
    "userName" => "uid",
    "name.formatted" => "cn",
    "addresses[work].streetAddress" => "street",
    "organization" => "o",
    "department" => "departmentNumber",
};

const AD_USER: &[(&str, &str)] = users! {
    "userName" => "sAMAccountName",
    "name.formatted" => "cn",
    "name.middleName" => "middleName",
    "addresses[work].streetAddress" => "streetAddress",
    "addresses[work].country" => "c",
    "organization" => "company",
    "division" => "division",
    "department" => "department",
};

const GROUPS: &[(&str, &str)] = &[("displayName", "cn"), ("members", "member")];

/// Returns the pairs of keys and LDAP attributes.
pub(super) fn of(resource: ResourceType, vendor: Vendor) -> &'static [(&'static str, &'static str)] {
    match (resource, vendor) {
        (ResourceType::User, Vendor::ActiveDirectory) => AD_USER,
        (ResourceType::User, _) => PERSON,
        (ResourceType::Group, _) => GROUPS,
    }
}
