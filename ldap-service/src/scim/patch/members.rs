//! Operations on the members of a group, by single values: a group may have 50,000.

use ldap_directory::text::printable_line;
use serde_json::Value;

use super::apply::is_members;
use super::{Op, Operation, unassigned};
use crate::scim::error::{ScimError, ScimType};
use crate::scim::filter::{Expr, FilterLimits, Operator, Path, parse_path};
use crate::scim::mapping::Mapping;

/// A change of the members, in the order of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds members, by id.
    Add(Vec<String>),
    /// Removes members, by id.
    Remove(Vec<String>),
    /// Replaces all members, by id.
    Replace(Vec<String>),
    /// Removes all members: `remove` of `members` without a value, `replace` by null.
    RemoveAll,
}

/// The operations of a request on a group, separated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberChanges {
    /// The changes of the members.
    pub members: Vec<MemberChange>,
    /// The other operations.
    pub others: Vec<Operation>,
}

/// Separates the changes of members from other operations.
///
/// # Errors
/// A value does not name members by `value`; a path names a sub-attribute of members; a `remove` has an empty or null value; or a filter is not `value eq "…"`, several
/// joined by `or`.
pub fn split_members(
    mapping: &Mapping,
    operations: Vec<Operation>,
    limits: FilterLimits,
) -> Result<MemberChanges, ScimError> {
    let mut changes = MemberChanges::default();
    for mut operation in operations {
        match &operation.path {
            Some(path) if is_members(mapping, &path.attribute) => {
                changes.members.push(change(operation.op, path, operation.value.as_ref())?);
                continue;
            }
            Some(_) => {}
            None => {
                if let Some(Value::Object(values)) = &mut operation.value {
                    let mut rest = serde_json::Map::new();
                    for (key, value) in std::mem::take(values) {
                        match parse_path(&key, limits) {
                            Ok(path) if is_members(mapping, &path.attribute) => {
                                changes.members.push(change(operation.op, &path, Some(&value))?);
                            }
                            _ => {
                                rest.insert(key, value);
                            }
                        }
                    }
                    if rest.is_empty() {
                        continue;
                    }
                    *values = rest;
                }
            }
        }
        changes.others.push(operation);
    }
    Ok(changes)
}

fn change(op: Op, path: &Path, value: Option<&Value>) -> Result<MemberChange, ScimError> {
    let (op, value) = unassigned(op, value);
    let filter = path.filter.as_ref();
    match path.sub() {
        // What is left of a member without its id is none.
        Some(sub) if sub.eq_ignore_ascii_case("value") && filter.is_some() => {}
        Some(sub) if sub.eq_ignore_ascii_case("value") => {
            let detail = "members.value: a member is added or removed as a whole, by the path `members`";
            return Err(ScimError::value(detail));
        }
        Some(_) => {
            let detail = "members: a member is added or removed as a whole";
            return Err(ScimError::new(ScimType::Mutability, detail));
        }
        None => {}
    }
    match (op, filter, value) {
        (Op::Remove, Some(filter), _) => {
            let mut ids = Vec::new();
            ids_of_filter(filter, &mut ids)?;
            Ok(MemberChange::Remove(ids))
        }
        (Op::Remove, None, None) => Ok(MemberChange::RemoveAll),
        (Op::Remove, None, Some(value)) => {
            let ids = ids(value)?;
            if ids.is_empty() {
                // Some clients send what they computed, and it was nothing: that must not empty the group.
                return Err(ScimError::value("members: `remove` with a value that names no member"));
            }
            Ok(MemberChange::Remove(ids))
        }
        (Op::Add | Op::Replace, Some(_), _) => {
            Err(ScimError::new(ScimType::Mutability, "members: a member is added or removed as a whole"))
        }
        (Op::Add, None, value) => Ok(MemberChange::Add(value.map_or(Ok(Vec::new()), ids)?)),
        (Op::Replace, None, value) => Ok(MemberChange::Replace(value.map_or(Ok(Vec::new()), ids)?)),
    }
}

/// The sub-attributes that a member may have (RFC 7643 section 2.4). Its id alone counts.
const SUBS: [&str; 5] = ["value", "$ref", "type", "display", "primary"];

/// Returns the ids of a value: objects with `value`, or texts, one or an array.
///
/// # Errors
/// An element has no id; or it says something else of the member, which could be meant for more than what is done: SCIM 1.1 removes a member
/// by `"operation": "delete"`.
pub fn ids(value: &Value) -> Result<Vec<String>, ScimError> {
    let one = |element: &Value| {
        let is_unknown = |(name, value): &(&String, &Value)| {
            !value.is_null() && !SUBS.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        if let Some((name, _)) = element.as_object().into_iter().flatten().find(is_unknown) {
            let detail = format!("members: a member has no `{}`", printable_line(name));
            return Err(ScimError::value(detail));
        }
        let id = match element {
            Value::String(id) => Some(id.as_str()),
            Value::Object(object) => crate::scim::record::get(object, "value").and_then(Value::as_str),
            _ => None,
        };
        let id = id.map(str::trim).filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| ScimError::value("members: each needs its id in `value`"))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(elements) => elements.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn ids_of_filter(filter: &Expr, ids: &mut Vec<String>) -> Result<(), ScimError> {
    match filter {
        Expr::Or(parts) => parts.iter().try_for_each(|part| ids_of_filter(part, ids)),
        Expr::Compare { path, operator: Operator::Eq, value: Value::String(id) }
            if path.name.eq_ignore_ascii_case("value") && path.sub.is_none() =>
        {
            ids.push(id.clone());
            Ok(())
        }
        _ => Err(ScimError::new(
            ScimType::InvalidPath,
            "members: only `value eq \"…\"` in brackets, also several joined by `or`",
        )),
    }
}
