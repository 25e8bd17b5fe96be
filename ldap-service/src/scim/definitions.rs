//! The core schemas' attributes (RFC 7643 sections 4 and 8.7) that a directory can hold.

/// The schema of users (RFC 7643 section 4.1).
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The schema of groups (RFC 7643 section 4.2).
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The enterprise extension of users (RFC 7643 section 4.3).
pub const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The type of an attribute (RFC 7643 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// RFC 3339.
    DateTime,
    /// Base64.
    Binary,
    /// A URI, or the name of a resource type.
    Reference,
    /// Sub-attributes.
    Complex,
}

impl Type {
    /// Returns the name in a schema document.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::DateTime => "dateTime",
            Self::Binary => "binary",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }
}

/// An attribute of a core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: Type,
    /// Whether it has several values.
    pub multi_valued: bool,
    /// The sub-attributes of a complex one.
    pub subs: &'static [Definition],
    /// A description for the schema document.
    pub description: &'static str,
}

impl Definition {
    /// Returns the sub-attribute with this name, in any case.
    pub fn sub(&self, name: &str) -> Option<&'static Definition> {
        self.subs.iter().find(|sub| sub.name.eq_ignore_ascii_case(name))
    }
}

const fn simple(name: &'static str, kind: Type, description: &'static str) -> Definition {
    Definition { name, kind, multi_valued: false, subs: &[], description }
}

const fn text(name: &'static str, description: &'static str) -> Definition {
    simple(name, Type::String, description)
}

const fn complex(
    name: &'static str,
    multi_valued: bool,
    subs: &'static [Definition],
    description: &'static str,
) -> Definition {
    Definition { name, kind: Type::Complex, multi_valued, subs, description }
}

const TYPE: Definition = text("type", "The kind of the value");
const TYPED: &[Definition] = &[text("value", "The value"), TYPE];

/// The common attribute `externalId` (RFC 7643 section 3.1).
pub const EXTERNAL_ID: Definition = text("externalId", "The identifier of the resource at the client");

/// The attributes of users that can be mapped. `groups`, `id` and `meta` are derived.
pub const USER_ATTRIBUTES: &[Definition] = &[
    text("userName", "The name with which the user logs in; unique in the directory"),
    complex(
        "name",
        false,
        &[
            text("formatted", "The full name"),
            text("familyName", "The family name"),
            text("givenName", "The given name"),
            text("middleName", "The middle names"),
            text("honorificPrefix", "The title before the name"),
            text("honorificSuffix", "The suffix after the name"),
        ],
        "The parts of the name",
    ),
    text("displayName", "The name as it is displayed"),
    text("nickName", "The casual name"),
    simple("profileUrl", Type::Reference, "A page about the user"),
    text("title", "The job title"),
    text("userType", "The relation to the organization"),
    text("preferredLanguage", "The preferred languages (RFC 7231 section 5.3.5)"),
    text("locale", "The locale (RFC 5646)"),
    text("timezone", "The time zone (IANA)"),
    simple("active", Type::Boolean, "Whether the account is enabled"),
    text("password", "A new password in clear text; never returned"),
    complex("emails", true, TYPED, "Mail addresses"),
    complex("phoneNumbers", true, TYPED, "Telephone numbers"),
    complex("ims", true, TYPED, "Addresses of instant messaging"),
    complex(
        "photos",
        true,
        &[simple("value", Type::Reference, "The URL of the photo"), TYPE],
        "Photos of the user",
    ),
    complex(
        "addresses",
        true,
        &[
            text("formatted", "The whole address"),
            text("streetAddress", "Street and number"),
            text("locality", "City"),
            text("region", "State or region"),
            text("postalCode", "Postal code"),
            text("country", "Country (ISO 3166-1 alpha-2)"),
            TYPE,
        ],
        "Postal addresses",
    ),
    complex("entitlements", true, TYPED, "Entitlements"),
    complex("roles", true, TYPED, "Roles"),
    complex(
        "x509Certificates",
        true,
        &[simple("value", Type::Binary, "The certificate (DER)"), TYPE],
        "Certificates",
    ),
];

/// The attributes of the enterprise extension.
pub const ENTERPRISE_ATTRIBUTES: &[Definition] = &[
    text("employeeNumber", "The number of the employee"),
    text("costCenter", "The cost center"),
    text("organization", "The organization"),
    text("division", "The division"),
    text("department", "The department"),
    complex(
        "manager",
        false,
        &[
            text("value", "The id of the manager's User"),
            simple("$ref", Type::Reference, "The URI of the manager's User"),
        ],
        "The manager",
    ),
];

/// The attributes of groups that can be mapped.
pub const GROUP_ATTRIBUTES: &[Definition] = &[
    text("displayName", "The name of the group"),
    complex(
        "members",
        true,
        &[
            text("value", "The id of the member"),
            simple("$ref", Type::Reference, "The URI of the member"),
            text("type", "`User` or `Group`"),
            text("display", "The member's name; only if it is requested"),
        ],
        "The direct members",
    ),
];

/// Returns the definition of an attribute of a core schema, in any case.
pub fn find(schema: &str, name: &str) -> Option<&'static Definition> {
    let of_schema = if schema.eq_ignore_ascii_case(USER) {
        USER_ATTRIBUTES
    } else if schema.eq_ignore_ascii_case(GROUP) {
        GROUP_ATTRIBUTES
    } else if schema.eq_ignore_ascii_case(ENTERPRISE) {
        ENTERPRISE_ATTRIBUTES
    } else {
        return None;
    };
    let found = of_schema.iter().find(|d| d.name.eq_ignore_ascii_case(name));
    let common = (schema != ENTERPRISE && name.eq_ignore_ascii_case("externalId")).then_some(&EXTERNAL_ID);
    found.or(common)
}
