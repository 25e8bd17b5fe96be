//! Which SCIM attribute is held in which LDAP attribute: the settings `users.scim` and `groups.scim`, checked against the server's
//! schema.

mod attributes;
mod defaults;
mod key;

use ldap_directory::Vendor;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{Equality, Schema};
use ldap_directory::secret::SecretAttributes;
use serde_json::Value;
use target_ldap::rules::accounts::AccountLock;

use super::definitions::{self, GROUP, Type, USER};
use super::filter::AttrPath;
use crate::members::primary;
use crate::{login, members};
pub use attributes::{Attribute, Mutability, Returned, Source, Sub};
pub use key::FieldKey;

/// The value of a key of the setting that removes the default.
pub const NONE: &str = "none";

/// A resource type (RFC 7643 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceType {
    /// `/Users`
    User,
    /// `/Groups`
    Group,
}

impl ResourceType {
    /// Both, in the order of documents.
    pub const ALL: [Self; 2] = [Self::User, Self::Group];

    /// Returns the name: `User`, `Group`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// Returns the path below the base: `Users`, `Groups`.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    /// Returns the URI of the core schema.
    pub fn schema(self) -> &'static str {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
        }
    }

    /// Returns the name of the setting of the base.
    pub fn base_setting(self) -> &'static str {
        match self {
            Self::User => "users.base_dn",
            Self::Group => "groups.base_dn",
        }
    }

    /// Returns the name of the setting of the mapping.
    pub fn setting(self) -> &'static str {
        match self {
            Self::User => "users.scim",
            Self::Group => "groups.scim",
        }
    }
}

/// A SCIM value that is held in one LDAP attribute.
#[allow(clippy::struct_excessive_bools, reason = "properties of an attribute, each by itself")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where it is in a resource.
    pub key: FieldKey,
    /// Whether it is an array of values in JSON.
    pub multi_valued: bool,
    /// The LDAP attribute description.
    pub attribute: String,
    /// The form of the LDAP values.
    pub values: ValueKind,
    /// The JSON type.
    pub kind: Type,
    /// Whether the LDAP attribute is SINGLE-VALUE.
    pub single_valued: bool,
    /// Whether its equality rule distinguishes case.
    pub case_exact: bool,
    /// Whether the values are DNs of users, shown as their ids.
    pub is_user: bool,
    /// Whether the object classes of new entries require it.
    pub required: bool,
}

/// How `active` is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// By the server's own mark of a disabled account.
    Lock(AccountLock),
    /// In the attribute of the field with this position.
    Field(usize),
}

/// The server's properties that a mapping depends on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'d> {
    /// The kind of server.
    pub vendor: Vendor,
    /// Its schema.
    pub schema: &'d Schema,
    /// The attributes that are never shown.
    pub secrets: &'d SecretAttributes,
    /// The object classes of new entries.
    pub object_classes: &'d [String],
}

/// The mapping of a resource type.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The resource type.
    pub resource: ResourceType,
    /// The fields.
    pub fields: Vec<Field>,
    /// The attributes of the schemas, in the order of documents.
    pub attributes: Vec<Attribute>,
    /// How `active` is stored, if it is.
    pub active: Option<Active>,
    /// The attribute of a group's members.
    pub members: Option<String>,
    /// All attributes with DNs of a group's members, the mapped one first. Empty if members are not mapped.
    pub member_names: Vec<String>,
    /// Whether groups may name users by `uid`.
    pub has_user_names: bool,
    /// Whether a group has the accounts as members whose primary group it is.
    pub has_primary_groups: bool,
    /// The immutable identifier.
    pub id: IdAttribute,
    /// The attribute of `meta.created`.
    pub created: &'static str,
    /// The attribute of `meta.lastModified`.
    pub modified: &'static str,
    /// The attributes that change with every change of an entry, the most exact first.
    pub stamps: &'static [&'static str],
}

/// The attribute of `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdAttribute {
    /// The LDAP attribute.
    pub attribute: String,
    /// The form of its value.
    pub values: ValueKind,
}

impl IdAttribute {
    /// Returns the `id` of a value; `None` if it violates its syntax.
    pub fn to_text(&self, value: &[u8]) -> Option<String> {
        match super::values::to_json(self.values, value)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value of an `id`; `None` if none has this form.
    pub fn to_value(&self, id: &str) -> Option<Vec<u8>> {
        self.values.parse_json(&Value::String(id.to_owned())).ok().flatten()
    }
}

impl Mapping {
    /// Returns the mapping of a setting, completed by the defaults for the server: a key of `given` replaces the default with this
    /// key, and the one with its LDAP attribute; [`NONE`] removes it. Defaults that the server's schema lacks are left out.
    ///
    /// # Errors
    /// A key is not an attribute of SCIM, an LDAP attribute does not exist, is secret or has two keys, or `userName` or `displayName` is
    /// missing. Each message names its setting.
    pub fn new(
        resource: ResourceType,
        given: &[(String, String)],
        context: &Context<'_>,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let pairs = merged(resource, given, context, &mut errors);
        let (must, _) = context.schema.must_may(context.object_classes.iter().map(String::as_str));
        let mut mapping = Self {
            resource,
            fields: Vec::new(),
            attributes: Vec::new(),
            active: None,
            members: None,
            member_names: Vec::new(),
            has_user_names: members::has_user_names(context.vendor, context.schema),
            has_primary_groups: primary::exist(context.vendor),
            id: id_attribute(context),
            created: if context.vendor == Vendor::ActiveDirectory {
                "whenCreated"
            } else {
                "createTimestamp"
            },
            modified: if context.vendor == Vendor::ActiveDirectory {
                "whenChanged"
            } else {
                "modifyTimestamp"
            },
            stamps: context.vendor.change_keys(),
        };
        for (key, attribute) in pairs {
            if key.name == "members" && resource == ResourceType::Group {
                if !ValueKind::of(context.schema, &attribute).is_name() {
                    let at = resource.setting();
                    errors.push(format!("{at}.members: the values of `{attribute}` are not DNs"));
                }
                mapping.member_names = members::by_dn(Some(&attribute), context.vendor, context.schema);
                mapping.members = Some(attribute);
                continue;
            }
            let field = field(key, attribute, context, &must);
            if field.key.name == "active" {
                mapping.active = Some(Active::Field(mapping.fields.len()));
            }
            mapping.fields.push(field);
        }
        let is_removed = |name: &str| given.iter().any(|(key, to)| key == name && to == NONE);
        let wants_active = !is_removed("active");
        if resource == ResourceType::User && mapping.active.is_none() && wants_active {
            mapping.active = AccountLock::of(context.vendor, context.schema).map(Active::Lock);
        }
        let wanted = if resource == ResourceType::User { "userName" } else { "displayName" };
        if !mapping.fields.iter().any(|f| f.key.name == wanted && f.key.schema == resource.schema()) {
            errors.push(format!("{}.{wanted}: an LDAP attribute is required", resource.setting()));
        }
        mapping.attributes = attributes::of(&mapping, !is_removed("password"));
        if errors.is_empty() { Ok(mapping) } else { Err(errors) }
    }

    /// Returns the attribute that a path names, with or without its schema, in any case.
    pub fn attribute(&self, path: &AttrPath) -> Option<&Attribute> {
        let same_schema = |a: &Attribute| match &path.schema {
            Some(uri) => a.schema.eq_ignore_ascii_case(uri),
            None => a.schema == self.resource.schema(),
        };
        self.attributes.iter().find(|a| same_schema(a) && a.name.eq_ignore_ascii_case(&path.name))
    }

    /// Returns the URIs of the extensions that have a mapped attribute, in order.
    pub fn extensions(&self) -> Vec<&str> {
        let mut uris: Vec<&str> = Vec::new();
        for attribute in &self.attributes {
            if attribute.schema != self.resource.schema() && !uris.contains(&attribute.schema.as_str()) {
                uris.push(&attribute.schema);
            }
        }
        uris
    }

    /// Returns the fields of an attribute, with their positions.
    pub fn fields_of<'m>(&'m self, attribute: &'m Attribute) -> impl Iterator<Item = &'m Field> {
        self.fields.iter().filter(|f| f.key.schema == attribute.schema && f.key.name == attribute.name)
    }

    /// Returns the fields of a multi-valued attribute by the `type` of the values that they make, in order.
    pub fn elements_of<'m>(&'m self, attribute: &'m Attribute) -> Vec<(Option<&'m str>, Vec<&'m Field>)> {
        let mut elements: Vec<(Option<&str>, Vec<&Field>)> = Vec::new();
        for field in self.fields_of(attribute) {
            let element = field.key.element.as_deref();
            match elements.iter_mut().find(|(known, _)| *known == element) {
                Some((_, fields)) => fields.push(field),
                None => elements.push((element, vec![field])),
            }
        }
        elements
    }

    /// Returns the LDAP attribute of `userName` or of a group's `displayName`.
    pub fn naming_attribute(&self) -> Option<&str> {
        let wanted = if self.resource == ResourceType::User { "userName" } else { "displayName" };
        self.fields.iter().find(|f| f.key.name == wanted).map(|f| f.attribute.as_str())
    }

    /// Returns all attributes in which a group may name its members. Empty if members are not mapped.
    pub fn member_attributes(&self) -> Vec<&str> {
        let user_names = self.members.is_some() && self.has_user_names;
        let names = self.member_names.iter().map(String::as_str);
        names.chain(user_names.then_some(members::MEMBER_UID)).collect()
    }

    /// Returns the LDAP attributes of the resource itself: identifier, times, stamps, `active`, and what memberships depend on.
    pub fn own_attributes(&self) -> Vec<&str> {
        let mut names = vec![self.id.attribute.as_str(), self.created, self.modified];
        names.extend(self.stamps);
        if let Some(Active::Lock(lock)) = self.active {
            names.push(lock.attribute());
            names.extend(login::days(lock));
        }
        match self.resource {
            // Groups may name users by it.
            ResourceType::User if self.has_user_names => names.push(members::UID),
            ResourceType::User if self.has_primary_groups => names.extend([primary::PRIMARY, primary::SID]),
            // The class says which attribute has the members.
            ResourceType::Group if self.members.is_some() => {
                names.push("objectClass");
                names.extend(self.has_primary_groups.then_some(primary::SID));
            }
            _ => {}
        }
        names
    }
}

fn id_attribute(context: &Context<'_>) -> IdAttribute {
    let names = context.vendor.immutable_ids();
    let known = names.iter().find(|name| context.schema.attribute_type(name).is_some());
    let attribute = *known.or(names.first()).unwrap_or(&"entryUUID");
    // A server may publish it without a syntax of its own.
    let values = match (ValueKind::of(context.schema, attribute), attribute) {
        (_, "objectGUID") => ValueKind::Guid,
        (_, "entryUUID") => ValueKind::Uuid,
        (kind, _) => kind,
    };
    IdAttribute { attribute: attribute.to_owned(), values }
}

/// A key with its LDAP attribute.
struct Pair {
    key: FieldKey,
    attribute: String,
    /// The key as the setting has it; `None`: a default.
    given: Option<String>,
}

/// Returns the keys with their LDAP attributes: the defaults, and what is given instead or in addition. An LDAP attribute has one key: of
/// two, a change of one would be undone by the other. So a key that is given removes a default with the same attribute.
fn merged(
    resource: ResourceType,
    given: &[(String, String)],
    context: &Context<'_>,
    errors: &mut Vec<String>,
) -> Vec<(FieldKey, String)> {
    let setting = resource.setting();
    let of_default = |(key, attribute): &(&str, &str)| {
        let key = FieldKey::parse(resource, key).ok()?;
        Some(Pair { key, attribute: (*attribute).to_owned(), given: None })
    };
    let mut pairs: Vec<Pair> = defaults::of(resource, context.vendor)
        .iter()
        .filter(|(_, attribute)| context.schema.attribute_type(attribute).is_some())
        .filter(|(_, attribute)| !context.secrets.contains(attribute))
        .filter_map(of_default)
        .collect();
    for (text, attribute) in given {
        // Whether clients may set it; the form is the writer's.
        if text == "password" && resource == ResourceType::User {
            continue;
        }
        let key = match FieldKey::parse(resource, text) {
            Ok(key) => key,
            Err(reason) => {
                errors.push(format!("{setting}.{text}: {reason}"));
                continue;
            }
        };
        pairs.retain(|known| known.key != key);
        if attribute == NONE {
            continue;
        }
        if context.secrets.contains(attribute) {
            errors.push(format!("{setting}.{text}: `{attribute}` is secret"));
        } else if context.schema.attribute_type(attribute).is_none() && !context.schema.is_assumed() {
            errors.push(format!("{setting}.{text}: the server has no attribute `{attribute}`"));
        } else {
            pairs.push(Pair { key, attribute: attribute.clone(), given: Some(text.clone()) });
        }
    }
    errors.extend(shared(resource, &pairs, context.schema));
    let same = |a: &Pair, b: &Pair| context.schema.same_description(&a.attribute, &b.attribute);
    let is_replaced = |pair: &Pair| {
        pair.given.is_none() && pairs.iter().any(|other| other.given.is_some() && same(pair, other))
    };
    let replaced: Vec<bool> = pairs.iter().map(is_replaced).collect();
    let kept = pairs.into_iter().zip(replaced).filter(|(_, is_replaced)| !is_replaced);
    kept.map(|(pair, _)| (pair.key, pair.attribute)).collect()
}

/// Returns the errors of keys with the LDAP attribute of another key that is given, or of a default that a resource must have.
fn shared(resource: ResourceType, pairs: &[Pair], schema: &Schema) -> Vec<String> {
    let needed = |key: &FieldKey| {
        let names: &[&str] = match resource {
            ResourceType::User => &["userName"],
            ResourceType::Group => &["displayName", "members"],
        };
        key.schema == resource.schema() && names.contains(&key.name.as_str())
    };
    let mut errors = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let Some(text) = &pair.given else { continue };
        let same = |other: &&Pair| schema.same_description(&pair.attribute, &other.attribute);
        let before = pairs.iter().take(at).filter(same);
        let mut taken = before.filter(|other| other.given.is_some() || needed(&other.key));
        if let Some(other) = taken.next() {
            let other = other.given.clone().unwrap_or_else(|| other.key.path());
            errors.push(format!(
                "{}.{text}: `{}` is the attribute of `{other}`: two keys cannot have one LDAP attribute",
                resource.setting(),
                pair.attribute
            ));
        }
    }
    errors
}

fn field(key: FieldKey, attribute: String, context: &Context<'_>, must: &[&str]) -> Field {
    let schema = context.schema;
    let values = ValueKind::of(schema, &attribute);
    let definition = definitions::find(&key.schema, &key.name);
    let leaf = match key.sub.as_deref() {
        Some(sub) => definition.and_then(|d| d.sub(sub)),
        None => definition,
    };
    let kind = leaf.map_or_else(|| type_of(values), |d| d.kind);
    let single_valued = schema.is_single_valued(&attribute);
    let multi_valued = definition.map_or(!single_valued, |d| d.multi_valued);
    let exact = !matches!(
        schema.equality(&attribute),
        Equality::CaseIgnore | Equality::CaseIgnoreList | Equality::Telephone | Equality::Uuid
    );
    Field {
        multi_valued,
        values,
        kind,
        single_valued,
        case_exact: exact,
        is_user: key.name == "manager" && key.sub.as_deref() == Some("value") && values.is_name(),
        required: must.iter().any(|name| schema.same_description(name, &attribute)),
        key,
        attribute,
    }
}

fn type_of(values: ValueKind) -> Type {
    match values {
        ValueKind::Boolean => Type::Boolean,
        ValueKind::Integer => Type::Integer,
        ValueKind::GeneralizedTime | ValueKind::UtcTime | ValueKind::FileTime => Type::DateTime,
        ValueKind::Binary => Type::Binary,
        _ => Type::String,
    }
}
