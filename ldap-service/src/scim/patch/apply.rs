//! Operations applied to a resource in canonical spelling.

use serde_json::{Map, Value, json};

use super::{Op, Operation, unassigned};
use crate::scim::definitions::Type;
use crate::scim::error::{ScimError, ScimType};
use crate::scim::filter::{AttrPath, Expr, FilterLimits, Operator, Path, parse_path};
use crate::scim::mapping::{Attribute, Mapping, Mutability, ResourceType, Source};
use crate::scim::record::{self, Canonical, canonical_value, sub_value, value_of};

/// A resource after operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The resource.
    pub resource: Canonical,
    /// Names in values that are not mapped: nothing would hold them.
    pub ignored: Vec<String>,
}

/// Applies operations in their order, all or none.
///
/// # Errors
/// A path is not mapped, finds nothing, or cannot be changed; a value has the wrong type; a required attribute is removed.
pub fn apply(
    mapping: &Mapping,
    resource: &Canonical,
    operations: &[Operation],
    limits: FilterLimits,
) -> Result<Applied, ScimError> {
    let mut applied = Applied { resource: resource.clone(), ignored: Vec::new() };
    for operation in operations {
        match (&operation.path, &operation.value) {
            (Some(path), value) => at_path(mapping, &mut applied, operation.op, path, value.as_ref())?,
            (None, Some(Value::Object(values))) => {
                once(mapping, values, limits)?;
                for (key, value) in values {
                    at_key(mapping, &mut applied, operation.op, key, value, limits)?;
                }
            }
            (None, _) => {}
        }
    }
    record::check_required(mapping, &applied.resource)?;
    Ok(applied)
}

/// Checks that the keys of a value without a path name each attribute once: which of two values is meant is not known.
fn once(mapping: &Mapping, values: &Map<String, Value>, limits: FilterLimits) -> Result<(), ScimError> {
    let mut seen: Vec<(&str, &str, Option<String>)> = Vec::new();
    for key in values.keys() {
        let Ok(path) = parse_path(key, limits) else { continue };
        let Some(attribute) = mapping.attribute(&path.attribute).filter(|_| path.filter.is_none()) else {
            continue;
        };
        let own = (attribute.schema.as_str(), attribute.name.as_str(), path.sub().map(str::to_lowercase));
        if seen.contains(&own) {
            return Err(ScimError::value(format!("{}: it is named twice", attribute.name)));
        }
        seen.push(own);
    }
    Ok(())
}

/// Applies a key of a value without a path: the name of an attribute, or a path.
fn at_key(
    mapping: &Mapping,
    applied: &mut Applied,
    op: Op,
    key: &str,
    value: &Value,
    limits: FilterLimits,
) -> Result<(), ScimError> {
    let fault = |e| ScimError::new(ScimType::InvalidPath, format!("`{}`: {e}", key.escape_debug()));
    let path = parse_path(key, limits).map_err(fault)?;
    let is_own = record::is_own(key);
    let is_known = extension(mapping, &path).is_some() || mapping.attribute(&path.attribute).is_some();
    if is_own {
        return Ok(());
    }
    if !is_known {
        let name = &path.attribute.name;
        record::refuse_disabling(mapping, name, value)?;
        // An account that cannot be disabled is enabled.
        let is_enabling = name.eq_ignore_ascii_case("active") && mapping.resource == ResourceType::User;
        return if is_enabling { Ok(()) } else { Err(record::unknown(mapping, key)) };
    }
    if mapping.attribute(&path.attribute).is_some_and(|a| a.mutability == Mutability::ReadOnly) {
        return Ok(());
    }
    at_path(mapping, applied, op, &path, Some(value))
}

/// Returns the URI of an extension if a path is nothing but that.
fn extension<'m>(mapping: &'m Mapping, path: &Path) -> Option<&'m str> {
    let is_it = |uri: &&str| path.filter.is_none() && path.sub.is_none() && path.attribute.is_schema(uri);
    mapping.extensions().into_iter().find(is_it)
}

fn at_path(
    mapping: &Mapping,
    applied: &mut Applied,
    op: Op,
    path: &Path,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    if let Some(uri) = extension(mapping, path) {
        return whole_extension(mapping, applied, op, uri, value);
    }
    let Some(attribute) = mapping.attribute(&path.attribute) else {
        let own = ["id", "meta", "schemas"].iter().any(|own| path.attribute.name.eq_ignore_ascii_case(own));
        if own {
            let detail = format!("`{}` cannot be changed", path.attribute);
            return Err(ScimError::new(ScimType::Mutability, detail));
        }
        return Err(record::unknown(mapping, &path.attribute.to_string()));
    };
    if attribute.mutability == Mutability::ReadOnly {
        let detail = format!("`{}` cannot be changed", path.attribute);
        return Err(ScimError::new(ScimType::Mutability, detail));
    }
    let (op, value) = unassigned(op, value);
    // It is not read, so that nothing would be removed; and no server takes an empty one.
    let is_password = attribute.source == Source::Password;
    if is_password && (op == Op::Remove || value.is_none_or(|v| v.is_null() || v.as_str() == Some(""))) {
        let detail = format!("{}: it cannot be removed or empty; replace it by another one", attribute.name);
        return Err(ScimError::value(detail));
    }
    let target = Target::new(mapping, attribute, path)?;
    let old = value_of(mapping, &applied.resource, attribute).cloned().unwrap_or(Value::Null);
    let new = match (op, value) {
        (Op::Remove, value) => target.without(old, value, &mut applied.ignored)?,
        (_, None | Some(Value::Null)) => old,
        (op, Some(value)) => target.with(old, op, value, &mut applied.ignored)?,
    };
    record::set(mapping, &mut applied.resource, attribute, new);
    Ok(())
}

fn whole_extension(
    mapping: &Mapping,
    applied: &mut Applied,
    op: Op,
    uri: &str,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    if op == Op::Remove || value.is_some_and(Value::is_null) {
        applied.resource.shift_remove(uri);
        return Ok(());
    }
    let Some(Value::Object(values)) = value else {
        return Err(ScimError::value(format!("{uri}: an object expected")));
    };
    for (name, value) in values.iter().filter(|(name, _)| !record::is_own(name)) {
        let attribute = AttrPath { schema: Some(uri.to_owned()), ..AttrPath::of(name) };
        if mapping.attribute(&attribute).is_none() {
            return Err(record::unknown(mapping, &attribute.to_string()));
        }
        let path = Path { attribute, filter: None, sub: None };
        at_path(mapping, applied, op, &path, Some(value))?;
    }
    Ok(())
}

/// The attribute that an operation changes.
struct Target<'t> {
    mapping: &'t Mapping,
    attribute: &'t Attribute,
    path: &'t Path,
    /// The filter in brackets, without `primary eq true`.
    filter: Option<Expr>,
    /// Whether the brackets have `primary eq true`. No LDAP attribute holds it: the only value is meant.
    is_primary: bool,
}

impl<'t> Target<'t> {
    /// # Errors
    /// There are brackets after an attribute of one value, or a sub-attribute in them is not mapped: no value could match, and `replace`
    /// would add another one.
    fn new(mapping: &'t Mapping, attribute: &'t Attribute, path: &'t Path) -> Result<Self, ScimError> {
        let invalid = |detail: String| Err(ScimError::new(ScimType::InvalidPath, detail));
        if path.filter.is_some() && !attribute.multi_valued {
            return invalid(format!("`{}` has one value: no filter in brackets", attribute.name));
        }
        let (mut filter, mut is_primary) = (path.filter.clone(), false);
        if attribute.sub("primary").is_none() {
            let parts = match filter {
                Some(Expr::And(parts)) => parts,
                other => other.into_iter().collect(),
            };
            let (primary, mut rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_primary_true);
            is_primary = !primary.is_empty();
            filter = if rest.len() > 1 { Some(Expr::And(rest)) } else { rest.pop() };
        }
        if let Some(unknown) = filter.as_ref().and_then(|filter| unknown_sub(attribute, filter)) {
            return invalid(format!("`{}` has no sub-attribute `{unknown}` that is mapped", attribute.name));
        }
        Ok(Self { mapping, attribute, path, filter, is_primary })
    }

    /// Returns the positions of the values that the path means.
    fn found(&self, elements: &[Value]) -> Result<Vec<usize>, ScimError> {
        let fits = |element: &Value| self.filter.as_ref().is_none_or(|f| matches(self.attribute, f, element));
        let found: Vec<usize> =
            elements.iter().enumerate().filter(|(_, element)| fits(element)).map(|(at, _)| at).collect();
        if self.is_primary && found.len() > 1 {
            let detail = format!(
                "`{}` has several values, and no LDAP attribute says which is primary: name its `type` or `value`",
                self.attribute.name
            );
            return Err(ScimError::new(ScimType::NoTarget, detail));
        }
        Ok(found)
    }

    /// Returns the sub-attribute of the path.
    fn sub(&self) -> Result<Option<&crate::scim::mapping::Sub>, ScimError> {
        let Some(name) = self.path.sub() else { return Ok(None) };
        self.attribute.sub(name).map(Some).ok_or_else(|| {
            let detail = format!("`{}` has no sub-attribute `{name}` that is mapped", self.attribute.name);
            ScimError::new(ScimType::InvalidPath, detail)
        })
    }

    fn no_target(&self) -> ScimError {
        let detail = format!("no value of `{}` is found by the path", self.attribute.name);
        ScimError::new(ScimType::NoTarget, detail)
    }

    /// Adds or replaces.
    fn with(&self, old: Value, op: Op, value: &Value, ignored: &mut Vec<String>) -> Result<Value, ScimError> {
        let sub = self.sub()?;
        if self.attribute.multi_valued {
            let mut elements = elements_of(old);
            match (&self.path.filter, sub) {
                (None, None) => {
                    let new = elements_of(canonical_value(self.attribute, value, ignored)?);
                    if op == Op::Replace {
                        return Ok(Value::Array(new));
                    }
                    for element in new {
                        if !elements.iter().any(|known| same(known, &element)) {
                            elements.push(element);
                        }
                    }
                }
                (_, sub) => {
                    let mut found = self.found(&elements)?;
                    if found.is_empty() {
                        found.push(elements.len());
                        elements.push(self.described(op)?);
                    }
                    for at in found.into_iter().rev() {
                        let Some(element) = elements.get_mut(at) else { continue };
                        self.change(element, op, sub, value, ignored)?;
                        if element.as_object().is_some_and(|o| o.keys().all(|key| key == "type")) {
                            elements.remove(at);
                        }
                    }
                }
            }
            return Ok(Value::Array(elements));
        }
        match (sub, self.attribute.kind) {
            (Some(_), _) | (None, Type::Complex) => {
                let mut object = if old.is_object() { old } else { json!({}) };
                self.change(&mut object, op, sub, value, ignored)?;
                Ok(object)
            }
            (None, _) => canonical_value(self.attribute, value, ignored),
        }
    }

    /// Changes one complex value: a sub-attribute, or those that the new value has. `replace` by null removes one.
    fn change(
        &self,
        element: &mut Value,
        op: Op,
        sub: Option<&crate::scim::mapping::Sub>,
        value: &Value,
        ignored: &mut Vec<String>,
    ) -> Result<(), ScimError> {
        let Some(object) = element.as_object_mut() else { return Err(self.no_target()) };
        if let Some(sub) = sub {
            object.insert(sub.name.clone(), sub_value(self.attribute, sub, value)?);
        } else {
            let single = Attribute { multi_valued: false, ..self.attribute.clone() };
            if let Value::Object(new) = canonical_value(&single, value, ignored)? {
                object.extend(new);
            }
            let nulls = value.as_object().into_iter().flatten().filter(|(_, value)| value.is_null());
            for sub in nulls.filter(|_| op == Op::Replace).filter_map(|(key, _)| self.attribute.sub(key)) {
                object.shift_remove(&sub.name);
            }
        }
        object.retain(|_, value| !value.is_null());
        Ok(())
    }

    /// Returns the element that a filter describes by equalities alone: `type eq "work"`. One that names the value which it replaces
    /// describes none: that value is not there (RFC 7644 section 3.5.2.3).
    fn described(&self, op: Op) -> Result<Value, ScimError> {
        let mut object = Map::new();
        let mut open: Vec<&Expr> = self.filter.iter().collect();
        if self.path.filter.is_none()
            && self.mapping.fields_of(self.attribute).all(|f| f.key.element.is_some())
        {
            return Err(self.no_target());
        }
        while let Some(expr) = open.pop() {
            match expr {
                Expr::And(parts) => open.extend(parts),
                Expr::Compare { path, operator: Operator::Eq, value } if path.sub.is_none() => {
                    let is_set = self.path.sub().is_some_and(|sub| sub.eq_ignore_ascii_case(&path.name));
                    if is_set || op == Op::Replace && path.name.eq_ignore_ascii_case("value") {
                        return Err(self.no_target());
                    }
                    if let Some(sub) = self.attribute.sub(&path.name) {
                        object.insert(sub.name.clone(), sub_value(self.attribute, sub, value)?);
                    }
                }
                _ => return Err(self.no_target()),
            }
        }
        Ok(Value::Object(object))
    }

    /// Removes.
    fn without(
        &self,
        old: Value,
        value: Option<&Value>,
        ignored: &mut Vec<String>,
    ) -> Result<Value, ScimError> {
        let sub = self.sub()?;
        if self.attribute.required && self.attribute.source == Source::Active {
            return Err(ScimError::value("active: it is true or false, and cannot be removed"));
        }
        if !self.attribute.multi_valued {
            let Some(sub) = sub else { return Ok(Value::Null) };
            let mut old = old;
            if let Some(object) = old.as_object_mut() {
                object.shift_remove(&sub.name);
            }
            return Ok(old);
        }
        let mut elements = elements_of(old);
        if let (None, None, Some(value)) = (&self.path.filter, sub, value.filter(|v| !v.is_null())) {
            let unwanted = elements_of(canonical_value(self.attribute, value, ignored)?);
            if unwanted.is_empty() || unwanted.iter().any(|u| u.as_object().is_some_and(Map::is_empty)) {
                let detail = format!("`{}`: the value names nothing to remove", self.attribute.name);
                return Err(ScimError::value(detail));
            }
            elements.retain(|element| !unwanted.iter().any(|u| same(element, u)));
            return Ok(Value::Array(elements));
        }
        for at in self.found(&elements)?.into_iter().rev() {
            let Some(sub) = sub else {
                elements.remove(at);
                continue;
            };
            let object = elements.get_mut(at).and_then(Value::as_object_mut);
            if object.is_some_and(|o| o.shift_remove(&sub.name).is_some() && o.keys().all(|k| k == "type")) {
                elements.remove(at);
            }
        }
        Ok(Value::Array(elements))
    }
}

/// Whether a part of a filter is `primary eq true`, also as a text.
fn is_primary_true(filter: &Expr) -> bool {
    let Expr::Compare { path, operator: Operator::Eq, value } = filter else { return false };
    let is_true = value == true || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true"));
    is_true && path.name.eq_ignore_ascii_case("primary")
}

/// Returns the first sub-attribute in a filter that the values of an attribute do not have.
fn unknown_sub<'e>(attribute: &Attribute, filter: &'e Expr) -> Option<&'e str> {
    match filter {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().find_map(|part| unknown_sub(attribute, part)),
        Expr::Not(inner) => unknown_sub(attribute, inner),
        Expr::Element { path, .. } => Some(&path.name),
        Expr::Present(path) | Expr::Compare { path, .. } => {
            let is_value = attribute.subs.is_empty() && path.name.eq_ignore_ascii_case("value");
            (!is_value && attribute.sub(&path.name).is_none()).then_some(path.name.as_str())
        }
    }
}

fn elements_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        Value::Null => Vec::new(),
        single => vec![single],
    }
}

/// Returns whether two elements are the same value: equal `value` and, if both have one, `type`.
fn same(a: &Value, b: &Value) -> bool {
    let (Some(a_value), Some(b_value)) = (a.get("value"), b.get("value")) else { return a == b };
    let of_type = |v: &Value| v.get("type").and_then(Value::as_str).map(str::to_lowercase);
    a_value == b_value && (of_type(a).is_none() || of_type(b).is_none() || of_type(a) == of_type(b))
}

/// Returns whether a value of a multi-valued attribute matches a filter.
pub(super) fn matches(attribute: &Attribute, filter: &Expr, element: &Value) -> bool {
    match filter {
        Expr::And(parts) => parts.iter().all(|p| matches(attribute, p, element)),
        Expr::Or(parts) => parts.iter().any(|p| matches(attribute, p, element)),
        Expr::Not(inner) => !matches(attribute, inner, element),
        Expr::Element { .. } => false,
        Expr::Present(path) => part(attribute, element, path).is_some(),
        Expr::Compare { path, operator, value } => {
            let exact = attribute.sub(&path.name).is_some_and(|s| s.case_exact);
            compares(part(attribute, element, path), *operator, value, exact)
        }
    }
}

fn part<'v>(attribute: &Attribute, element: &'v Value, path: &AttrPath) -> Option<&'v Value> {
    if !element.is_object() {
        return path.name.eq_ignore_ascii_case("value").then_some(element);
    }
    element.get(&attribute.sub(&path.name)?.name)
}

fn compares(value: Option<&Value>, operator: Operator, wanted: &Value, exact: bool) -> bool {
    let value = value.unwrap_or(&Value::Null);
    match (value, wanted, operator) {
        (Value::String(a), Value::String(b), _) if exact => operator.holds(a, b),
        (Value::String(a), Value::String(b), _) => operator.holds(&a.to_lowercase(), &b.to_lowercase()),
        (_, _, Operator::Eq) => value == wanted,
        (_, _, Operator::Ne) => value != wanted,
        _ => false,
    }
}

/// Whether the attribute is the members of a group.
pub(super) fn is_members(mapping: &Mapping, path: &AttrPath) -> bool {
    mapping.attribute(path).is_some_and(|a| a.source == Source::Members)
}
