//! Resources that clients send: checked and spelled canonically, and made records for the writer.

use serde_json::{Map, Value, json};

use super::definitions::{self, ENTERPRISE, Type};
use super::error::{ScimError, ScimType};
use super::filter::AttrPath;
use super::mapping::{Active, Attribute, Field, Mapping, Mutability, ResourceType, Source, Sub};
use super::values::{field_to_value, to_json, typed};

/// A resource in canonical spelling, without what clients cannot change: attributes of the core schema by name, others in an
/// object by the URI of their schema. Multi-valued attributes are arrays.
pub type Canonical = Map<String, Value>;

/// Checks a resource that was sent, and spells it canonically. Names of attributes of the core schemas that the mapping lacks are appended
/// to `ignored`.
///
/// # Errors
/// It is not an object of this resource type, a value has the wrong type, a name is in no schema, or an attribute has two values.
pub fn canonical(mapping: &Mapping, body: &Value, ignored: &mut Vec<String>) -> Result<Canonical, ScimError> {
    let Value::Object(body) = body else {
        return Err(ScimError::new(ScimType::InvalidSyntax, "the body is not a JSON object"));
    };
    let core = mapping.resource.schema();
    let schemas = get(body, "schemas").and_then(Value::as_array);
    let has_core =
        |list: &Vec<Value>| list.iter().filter_map(Value::as_str).any(|uri| uri.eq_ignore_ascii_case(core));
    if !schemas.is_some_and(has_core) {
        return Err(ScimError::value(format!("schemas: an array with `{core}` is required")));
    }
    let mut resource = Canonical::new();
    for (key, value) in body {
        if is_own(key) {
            continue;
        }
        if let Some(uri) = container(mapping, key) {
            let inner = match value {
                Value::Object(inner) => inner,
                Value::Null => continue,
                _ => return Err(ScimError::value(format!("{uri}: an object expected"))),
            };
            for (name, value) in inner.iter().filter(|(name, _)| !is_own(name)) {
                let path = AttrPath { schema: Some(uri.clone()), ..AttrPath::of(name) };
                put(mapping, &mut resource, &path, value, ignored)?;
            }
            continue;
        }
        let mut named = schemas.into_iter().flatten().filter_map(Value::as_str);
        if let (true, Value::Object(inner)) = (named.any(|uri| uri.eq_ignore_ascii_case(key)), value)
            && get(inner, "active").is_none()
        {
            // An extension of the client's own, which it has announced.
            ignored.push(key.clone());
            continue;
        }
        let path = AttrPath::from_token(key).filter(|path| path.schema.is_some());
        let path = path.unwrap_or_else(|| AttrPath { schema: Some(core.to_owned()), ..AttrPath::of(key) });
        put(mapping, &mut resource, &path, value, ignored)?;
    }
    Ok(resource)
}

/// Whether a name is one of the attributes that clients do not change (RFC 7643 section 3.1), also within an extension.
pub fn is_own(name: &str) -> bool {
    ["schemas", "id", "meta"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Returns the URI of a schema whose attributes a key holds: of the resource type itself, or of an extension, mapped or not.
fn container(mapping: &Mapping, key: &str) -> Option<String> {
    let core = mapping.resource.schema();
    let enterprise = (mapping.resource == ResourceType::User).then_some(ENTERPRISE);
    let mut known = std::iter::once(core).chain(enterprise).chain(mapping.extensions());
    known.find(|uri| key.eq_ignore_ascii_case(uri)).map(str::to_owned)
}

fn put(
    mapping: &Mapping,
    resource: &mut Canonical,
    path: &AttrPath,
    value: &Value,
    ignored: &mut Vec<String>,
) -> Result<(), ScimError> {
    let Some(attribute) = mapping.attribute(path).filter(|_| path.sub.is_none()) else {
        refuse_disabling(mapping, &path.name, value)?;
        let schema = path.schema.as_deref().unwrap_or_default();
        if path.sub.is_some() || definitions::find(schema, &path.name).is_none() {
            return Err(unknown(mapping, &path.name));
        }
        if path.name.eq_ignore_ascii_case("password") && !value.is_null() {
            return Err(ScimError::value("password: this server cannot set it on its connection"));
        }
        if !value.is_null() {
            ignored.push(path.name.clone());
        }
        return Ok(());
    };
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(());
    }
    let value = canonical_value(attribute, value, ignored)?;
    if value_of(mapping, resource, attribute).is_some_and(|known| *known != value) {
        return Err(ScimError::value(format!("{}: two different values", attribute.name)));
    }
    set(mapping, resource, attribute, value);
    Ok(())
}

/// Returns the error of a name that no schema of the resource type has, or that is not mapped.
pub fn unknown(mapping: &Mapping, name: &str) -> ScimError {
    let shown = name.escape_debug();
    let detail = format!("`{shown}` is not an attribute of {} that is mapped", mapping.resource.name());
    ScimError::new(ScimType::InvalidPath, detail)
}

/// A client that disables an account must not believe that it did.
///
/// # Errors
/// `active` is false, and cannot be stored.
pub fn refuse_disabling(mapping: &Mapping, name: &str, value: &Value) -> Result<(), ScimError> {
    let is_active = mapping.resource == ResourceType::User && name.eq_ignore_ascii_case("active");
    if is_active && typed(Type::Boolean, "active", value)? == Value::Bool(false) {
        let detail = "active: this server has no mark of a disabled account; map `active` in users.scim";
        return Err(ScimError::value(detail));
    }
    Ok(())
}

/// Sets an attribute, or removes it if the value is null or empty.
pub(super) fn set(mapping: &Mapping, resource: &mut Canonical, attribute: &Attribute, value: Value) {
    let is_core = attribute.schema == mapping.resource.schema();
    let is_nothing = match &value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    let within = if is_core {
        resource
    } else {
        let extension = resource.entry(attribute.schema.clone()).or_insert_with(|| json!({}));
        match extension.as_object_mut() {
            Some(object) => object,
            None => return,
        }
    };
    if is_nothing {
        within.shift_remove(&attribute.name);
    } else {
        within.insert(attribute.name.clone(), value);
    }
}

/// Returns the value of an attribute.
pub(super) fn value_of<'v>(
    mapping: &Mapping,
    resource: &'v Canonical,
    attribute: &Attribute,
) -> Option<&'v Value> {
    if attribute.schema == mapping.resource.schema() {
        return resource.get(&attribute.name);
    }
    resource.get(&attribute.schema)?.get(&attribute.name)
}

/// Sub-attributes that say nothing of the value itself: which one is primary, how it is shown, where it is.
const BESIDE: &[&str] = &["primary", "display", "displayName", "type", "$ref", "ref"];

/// Returns a value in the type of its attribute, with canonical names of sub-attributes. Those that are not mapped are appended to
/// `ignored`.
///
/// # Errors
/// It has another type, or a sub-attribute that its schema does not have.
pub(super) fn canonical_value(
    attribute: &Attribute,
    value: &Value,
    ignored: &mut Vec<String>,
) -> Result<Value, ScimError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if !attribute.multi_valued {
        return one(attribute, value, ignored);
    }
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        single => std::slice::from_ref(single),
    };
    let elements = elements.iter().map(|element| one(attribute, element, ignored));
    Ok(Value::Array(elements.collect::<Result<_, _>>()?))
}

fn one(attribute: &Attribute, value: &Value, ignored: &mut Vec<String>) -> Result<Value, ScimError> {
    if attribute.source == Source::Active && value.as_str().is_some_and(|text| text.trim().is_empty()) {
        // It would change nothing, and look like a change.
        return Err(ScimError::value(format!(
            "{}: true or false expected, not an empty text",
            attribute.name
        )));
    }
    if attribute.kind != Type::Complex {
        return typed(attribute.kind, &attribute.name, value);
    }
    let object = match value {
        Value::Object(object) => object,
        // `"manager": "ID"`, `"emails": ["a@example.com"]`: what Microsoft Entra sends for the value alone.
        Value::String(_) if attribute.sub("value").is_some() => {
            &Map::from_iter([("value".into(), value.clone())])
        }
        _ => return Err(ScimError::value(format!("{}: an object expected", attribute.name))),
    };
    let mut found = Map::new();
    for (key, value) in object {
        let Some(sub) = attribute.sub(key) else {
            let name = format!("{}.{key}", attribute.name);
            let is_beside = BESIDE.iter().any(|beside| key.eq_ignore_ascii_case(beside));
            let is_known = || definitions::find(&attribute.schema, &attribute.name)?.sub(key);
            if !is_beside && is_known().is_none() && !matches!(attribute.source, Source::Members) {
                let detail = format!("`{}` is not a sub-attribute", name.escape_debug());
                return Err(ScimError::new(ScimType::InvalidPath, detail));
            }
            if !is_beside && !value.is_null() {
                ignored.push(name);
            }
            continue;
        };
        let value = sub_value(attribute, sub, value)?;
        if !value.is_null() {
            found.insert(sub.name.clone(), value);
        }
    }
    Ok(Value::Object(found))
}

/// Returns the value of a sub-attribute in its type.
pub(super) fn sub_value(attribute: &Attribute, sub: &Sub, value: &Value) -> Result<Value, ScimError> {
    typed(sub.kind, &format!("{}.{}", attribute.name, sub.name), value)
}

/// Checks that a resource has what every resource must have.
///
/// # Errors
/// It lacks a required attribute.
pub fn check_required(mapping: &Mapping, resource: &Canonical) -> Result<(), ScimError> {
    let missing = |path: String| Err(ScimError::value(format!("{path}: a value is required")));
    // `active` has a default.
    for attribute in mapping.attributes.iter().filter(|a| a.required && a.source != Source::Active) {
        let value = value_of(mapping, resource, attribute).filter(|v| v.as_str() != Some(""));
        let Some(value) = value else {
            let sub = attribute.subs.iter().find(|s| s.required).map(|s| format!(".{}", s.name));
            return missing(format!("{}{}", attribute.name, sub.unwrap_or_default()));
        };
        for sub in attribute.subs.iter().filter(|s| s.required && !attribute.multi_valued) {
            if value.get(&sub.name).is_none_or(|v| v.as_str() == Some("")) {
                return missing(format!("{}.{}", attribute.name, sub.name));
            }
        }
    }
    Ok(())
}

/// Returns the ids of users that a resource refers to, for [`to_record`].
pub fn referenced_users(mapping: &Mapping, resource: &Canonical) -> Vec<String> {
    let of = |attribute: &Attribute| {
        let is_user = mapping.fields_of(attribute).any(|f| f.is_user);
        let value = value_of(mapping, resource, attribute).filter(|_| is_user);
        value.and_then(|v| v.get("value")).and_then(Value::as_str).map(str::to_owned)
    };
    mapping.attributes.iter().filter_map(of).collect()
}

/// A record for the writer, and what cannot be stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// The LDAP attributes that change, with all of their new values; null removes one. Also `active` and `password`.
    pub record: Map<String, Value>,
    /// The values that the mapping has no place for, as paths.
    pub unstored: Vec<String>,
}

/// Returns the changes from one state of a resource to another; `before` is empty for a new one. Members are not included.
///
/// # Errors
/// A value violates the syntax of its LDAP attribute, an attribute that holds one value gets several, or a reference is to no
/// user (`dn_of` returns `None`).
pub fn to_record(
    mapping: &Mapping,
    before: &Canonical,
    after: &Canonical,
    dn_of: &dyn Fn(&str) -> Option<String>,
) -> Result<Changes, ScimError> {
    let mut changes = Changes::default();
    for field in &mapping.fields {
        let of = |resource: &Canonical| -> Vec<(&Field, Value)> {
            values_of(mapping, resource, field).into_iter().map(|v| (field, v)).collect()
        };
        let (old, mut new) = (of(before), of(after));
        if new.is_empty() && field.required && field.key.sub.as_deref() == Some("formatted") {
            new.extend(full_name(after).map(|name| (field, Value::String(name))));
        }
        let is_same = old.len() == new.len() && old.iter().all(|(_, o)| new.iter().any(|(_, n)| n == o));
        if !is_same {
            changes.record.insert(field.attribute.clone(), stored(field, new, dn_of)?);
        }
    }
    if let Some(Active::Lock(_)) = mapping.active
        && let Some(active) = after.get("active")
        && before.get("active") != Some(active)
    {
        changes.record.insert("active".to_owned(), active.clone());
    }
    if let Some(password) = after.get("password") {
        changes.record.insert("password".to_owned(), password.clone());
    }
    changes.unstored = unstored(mapping, after);
    Ok(changes)
}

/// Returns the values of a field in JSON.
fn values_of(mapping: &Mapping, resource: &Canonical, field: &Field) -> Vec<Value> {
    let schema = Some(field.key.schema.clone());
    let Some(attribute) = mapping.attribute(&AttrPath { schema, ..AttrPath::of(&field.key.name) }) else {
        return Vec::new();
    };
    let Some(value) = value_of(mapping, resource, attribute) else { return Vec::new() };
    let is_something = |v: &Value| !v.is_null() && v.as_str() != Some("");
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        single => std::slice::from_ref(single),
    };
    let chosen = elements.iter().filter(|e| attribute.subs.is_empty() || fits(mapping, attribute, field, e));
    let part = |element: &Value| match field.key.sub.as_deref() {
        Some(sub) => element.get(sub).cloned(),
        None => Some(element.clone()),
    };
    // Where several LDAP attributes make one value, there is one value.
    let shares = mapping.fields_of(attribute).filter(|f| f.key.element == field.key.element).count() > 1;
    let most = if attribute.multi_valued && shares { 1 } else { usize::MAX };
    chosen.take(most).filter_map(part).filter(is_something).collect()
}

/// Returns whether an element belongs to the field's type. One without a type belongs to the first.
fn fits(mapping: &Mapping, attribute: &Attribute, field: &Field, element: &Value) -> bool {
    if !attribute.multi_valued {
        return true;
    }
    let first = mapping.fields_of(attribute).next().and_then(|f| f.key.element.as_deref());
    let kind = element.get("type").and_then(Value::as_str).or(first);
    match (field.key.element.as_deref(), kind) {
        (Some(own), Some(kind)) => own.eq_ignore_ascii_case(kind),
        (own, _) => own.is_none(),
    }
}

/// Returns the values of one LDAP attribute as the writer expects them: null, one, or a list.
fn stored(
    field: &Field,
    values: Vec<(&Field, Value)>,
    dn_of: &dyn Fn(&str) -> Option<String>,
) -> Result<Value, ScimError> {
    let mut list: Vec<Value> = Vec::new();
    for (of, value) in values {
        let path = of.key.path();
        let value = if of.is_user {
            let id = value.as_str().unwrap_or_default();
            let unknown = || ScimError::value(format!("{path}: there is no user with the id `{id}`"));
            Value::String(dn_of(id).ok_or_else(unknown)?)
        } else {
            match field_to_value(of, &path, &value)? {
                None => continue,
                // In the form of its syntax: TRUE for a text, base64 for octets.
                Some(octets) => to_json(of.values, &octets).unwrap_or(value),
            }
        };
        if !list.contains(&value) {
            list.push(value);
        }
    }
    if list.len() > 1 && (field.single_valued || !field.multi_valued) {
        let detail = format!("{}: the LDAP attribute {} has one value", field.key.path(), field.attribute);
        return Err(ScimError::value(detail));
    }
    Ok(match list.pop() {
        None => Value::Null,
        Some(only) if list.is_empty() => only,
        Some(end) => {
            list.push(end);
            Value::Array(list)
        }
    })
}

/// Returns the values that no field takes of multi-valued attributes which would lose others by that.
pub fn displacing(mapping: &Mapping, before: &Canonical, after: &Canonical) -> Vec<String> {
    let is_emptied = |field: &Field| {
        !values_of(mapping, before, field).is_empty() && values_of(mapping, after, field).is_empty()
    };
    let loses = |path: &String| {
        let mut fields = mapping.fields.iter();
        fields.any(|f| path.starts_with(&format!("{}[", f.key.name)) && is_emptied(f))
    };
    unstored(mapping, after).into_iter().filter(loses).collect()
}

/// Returns the values of multi-valued attributes that no field takes: of a type that is not mapped, or a second one where several
/// LDAP attributes make one value.
pub fn unstored(mapping: &Mapping, resource: &Canonical) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in mapping.attributes.iter().filter(|a| a.multi_valued && a.source == Source::Fields) {
        let elements = value_of(mapping, resource, attribute).and_then(Value::as_array);
        let mut filled: Vec<Option<&str>> = Vec::new();
        for element in elements.into_iter().flatten().filter(|e| e.is_object()) {
            let fields: Vec<&Field> =
                mapping.fields_of(attribute).filter(|f| fits(mapping, attribute, f, element)).collect();
            let kind = element.get("type").and_then(Value::as_str).unwrap_or_default();
            match fields.as_slice() {
                [] => found.push(format!("{}[type eq \"{kind}\"]", attribute.name)),
                [_] => {}
                [first, ..] => {
                    let kind = first.key.element.as_deref();
                    if filled.contains(&kind) {
                        found.push(format!(
                            "a second {}[type eq \"{}\"]",
                            attribute.name,
                            kind.unwrap_or_default()
                        ));
                    }
                    filled.push(kind);
                }
            }
        }
    }
    found
}

/// Returns the full name that an entry must have, of the other names.
fn full_name(resource: &Canonical) -> Option<String> {
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).map(str::trim).unwrap_or_default().to_owned();
    let name = resource.get("name");
    let parts = ["givenName", "familyName"].map(|part| text(name.and_then(|n| n.get(part))));
    let joined = parts.iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join(" ");
    let candidates = [text(resource.get("displayName")), joined, text(resource.get("userName"))];
    candidates.into_iter().find(|name| !name.is_empty())
}

/// Returns the value of a key in any case.
pub(super) fn get<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}
