//! The attributes of a mapping as clients see them (RFC 7643 section 7): what the Schemas documents have, and what requests are
//! checked against.

use super::{Active, Mapping, ResourceType};
use crate::scim::definitions::{self, Definition, Type};

/// Whether clients can change an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// They can.
    ReadWrite,
    /// They cannot: what they send is ignored.
    ReadOnly,
    /// They can set it with its value, and not change it.
    Immutable,
    /// They can set it, and never read it.
    WriteOnly,
}

impl Mutability {
    /// Returns the keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::ReadWrite => "readWrite",
            Self::ReadOnly => "readOnly",
            Self::Immutable => "immutable",
            Self::WriteOnly => "writeOnly",
        }
    }
}

/// When an attribute is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Returned {
    /// Unless it is excluded.
    Default,
    /// If it is requested.
    Request,
    /// Never.
    Never,
}

impl Returned {
    /// Returns the keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Request => "request",
            Self::Never => "never",
        }
    }
}

/// Where the value of an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// In LDAP attributes.
    Fields,
    /// In the state of the account.
    Active,
    /// In the password, which cannot be read.
    Password,
    /// In the groups that have the user as a member.
    Groups,
    /// In the member attribute of the group.
    Members,
}

/// A sub-attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sub {
    /// The name.
    pub name: String,
    /// The type.
    pub kind: Type,
    /// Whether a value must have it.
    pub required: bool,
    /// Whether case counts.
    pub case_exact: bool,
    /// Whether it can be changed.
    pub mutability: Mutability,
    /// When it is returned.
    pub returned: Returned,
    /// The values that can be stored, for `type`.
    pub canonical: Vec<String>,
    /// The resource types of a reference.
    pub reference_types: &'static [&'static str],
    /// A description.
    pub description: &'static str,
}

/// An attribute.
#[allow(clippy::struct_excessive_bools, reason = "they are those of RFC 7643 section 7")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The URI of the schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// The type.
    pub kind: Type,
    /// Whether it has several values.
    pub multi_valued: bool,
    /// Whether a resource must have it.
    pub required: bool,
    /// Whether case counts.
    pub case_exact: bool,
    /// Whether it can be changed.
    pub mutability: Mutability,
    /// When it is returned.
    pub returned: Returned,
    /// Whether the server keeps it unique.
    pub is_unique: bool,
    /// Where its value is.
    pub source: Source,
    /// The sub-attributes, if it is complex.
    pub subs: Vec<Sub>,
    /// A description.
    pub description: String,
}

impl Attribute {
    /// Returns the sub-attribute with this name, in any case.
    pub fn sub(&self, name: &str) -> Option<&Sub> {
        self.subs.iter().find(|sub| sub.name.eq_ignore_ascii_case(name))
    }

    fn new(schema: &str, name: &str, kind: Type, source: Source, description: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind,
            multi_valued: false,
            required: false,
            case_exact: false,
            mutability: Mutability::ReadWrite,
            returned: Returned::Default,
            is_unique: false,
            source,
            subs: Vec::new(),
            description: description.to_owned(),
        }
    }
}

/// Returns the attributes of a mapping, in the order of the core schemas, then those of other schemas.
pub(super) fn of(mapping: &Mapping, takes_password: bool) -> Vec<Attribute> {
    let mut found: Vec<Attribute> = Vec::new();
    for field in &mapping.fields {
        let key = &field.key;
        if found.iter().any(|a| a.schema == key.schema && a.name == key.name) {
            continue;
        }
        let definition = definitions::find(&key.schema, &key.name);
        let description = definition
            .map_or_else(|| format!("The LDAP attribute {}", field.attribute), |d| d.description.to_owned());
        let kind = definition.map_or(field.kind, |d| d.kind);
        let source = if key.name == "active" { Source::Active } else { Source::Fields };
        let mut attribute = Attribute::new(&key.schema, &key.name, kind, source, &description);
        attribute.multi_valued = field.multi_valued;
        attribute.case_exact = field.case_exact;
        attribute.subs = definition.map_or_else(Vec::new, |d| subs(mapping, &key.schema, d));
        let is_name = matches!(key.name.as_str(), "userName" | "displayName");
        let names_it = mapping.naming_attribute() == Some(field.attribute.as_str()) && is_name;
        attribute.is_unique = names_it;
        attribute.required = names_it
            || (kind != Type::Complex && field.required)
            || attribute.subs.iter().any(|s| s.required);
        found.push(attribute);
    }
    let core = mapping.resource.schema();
    if matches!(mapping.active, Some(Active::Lock(_))) {
        let description = "Whether the account is enabled; true unless it is given";
        let active = Attribute::new(core, "active", Type::Boolean, Source::Active, description);
        // The state of an account is one or the other.
        found.push(Attribute { required: true, ..active });
    }
    if mapping.resource == ResourceType::User {
        if takes_password {
            found.push(password(core));
        }
        found.push(groups(core));
    }
    if mapping.members.is_some() {
        found.push(members(core));
    }
    let order = |a: &Attribute| {
        let of = |list: &[Definition]| list.iter().position(|d| d.name == a.name).unwrap_or(list.len());
        let list = match a.schema.as_str() {
            definitions::USER => definitions::USER_ATTRIBUTES,
            definitions::GROUP => definitions::GROUP_ATTRIBUTES,
            _ => definitions::ENTERPRISE_ATTRIBUTES,
        };
        (a.schema != core, a.schema.clone(), of(list))
    };
    found.sort_by_key(order);
    found
}

/// Returns the mapped sub-attributes, with `type` and `$ref` where values have them.
fn subs(mapping: &Mapping, schema: &str, definition: &Definition) -> Vec<Sub> {
    let fields = || mapping.fields.iter().filter(|f| f.key.schema == schema && f.key.name == definition.name);
    let mut types: Vec<String> = Vec::new();
    for element in fields().filter_map(|f| f.key.element.clone()) {
        if !types.contains(&element) {
            types.push(element);
        }
    }
    let mapped = |d: &&Definition| match d.name {
        "type" => !types.is_empty(),
        "$ref" => fields().any(|f| f.is_user),
        name => fields().any(|f| f.key.sub.as_deref() == Some(name)),
    };
    let sub = |d: &Definition| {
        let field = fields().find(|f| f.key.sub.as_deref() == Some(d.name));
        Sub {
            name: d.name.to_owned(),
            kind: d.kind,
            // A default is made of the other names: see `record`.
            required: field.is_some_and(|f| f.required) && d.name != "formatted",
            case_exact: field.is_some_and(|f| f.case_exact),
            mutability: Mutability::ReadWrite,
            returned: Returned::Default,
            canonical: if d.name == "type" { types.clone() } else { Vec::new() },
            reference_types: match (d.kind, d.name) {
                (Type::Reference, "$ref") => &["User"],
                (Type::Reference, _) => &["external"],
                _ => &[],
            },
            description: d.description,
        }
    };
    definition.subs.iter().filter(mapped).map(sub).collect()
}

fn password(core: &str) -> Attribute {
    let description = "A new password in clear text; never returned";
    Attribute {
        mutability: Mutability::WriteOnly,
        returned: Returned::Never,
        case_exact: true,
        ..Attribute::new(core, "password", Type::String, Source::Password, description)
    }
}

fn reference(name: &str, kind: Type, mutability: Mutability, description: &'static str) -> Sub {
    Sub {
        name: name.to_owned(),
        kind,
        required: false,
        case_exact: kind != Type::String || name == "value",
        mutability,
        returned: Returned::Default,
        canonical: Vec::new(),
        reference_types: &[],
        description,
    }
}

fn groups(core: &str) -> Attribute {
    use Mutability::ReadOnly;
    let description = "The groups that have the user as a direct member; changed at the groups";
    let mut uri = reference("$ref", Type::Reference, ReadOnly, "The URI of the group");
    uri.reference_types = &["Group"];
    let mut kind = reference("type", Type::String, ReadOnly, "`direct`");
    kind.canonical = vec!["direct".to_owned()];
    Attribute {
        multi_valued: true,
        mutability: ReadOnly,
        subs: vec![
            reference("value", Type::String, ReadOnly, "The id of the group"),
            uri,
            reference("display", Type::String, ReadOnly, "The name of the group"),
            kind,
        ],
        ..Attribute::new(core, "groups", Type::Complex, Source::Groups, description)
    }
}

fn members(core: &str) -> Attribute {
    use Mutability::{Immutable, ReadOnly};
    let mut uri = reference("$ref", Type::Reference, Immutable, "The URI of the member");
    uri.reference_types = &["User", "Group"];
    let mut kind = reference("type", Type::String, Immutable, "`User` or `Group`");
    kind.canonical = vec!["User".to_owned(), "Group".to_owned()];
    let mut display =
        reference("display", Type::String, ReadOnly, "The member's name; only if it is requested");
    display.returned = Returned::Request;
    Attribute {
        multi_valued: true,
        subs: vec![reference("value", Type::String, Immutable, "The id of the member"), uri, kind, display],
        ..Attribute::new(core, "members", Type::Complex, Source::Members, "The direct members")
    }
}
