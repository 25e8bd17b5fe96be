//! PATCH (RFC 7644 section 3.5.2), also as Microsoft Entra and Okta send it.
//!
//! Accepted beyond the RFC: `op` in any case; booleans as text; names of paths (`name.familyName`, `emails[type eq "work"].value`)
//! as keys of a value without a path; `remove` with an array of the members to remove; `add` and `replace` at a filter that
//! nothing matches, if the filter says what the new value is (`type eq "work"`).

mod apply;
mod members;
mod read_only;

use serde_json::{Map, Value};

use super::error::{ScimError, ScimType};
use super::filter::{FilterLimits, Path, parse_path};
use super::record::get;

pub use apply::{Applied, apply};
pub use members::{MemberChange, MemberChanges, ids, split_members};
pub use read_only::check_read_only;

/// The schema of the message.
pub const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// The most operations in a request.
const MOST_OPERATIONS: usize = 1000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Adds values, or sets an attribute that has one.
    Add,
    /// Replaces values.
    Replace,
    /// Removes values.
    Remove,
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub op: Op,
    /// Its target; `None`: the keys of its value are the targets.
    pub path: Option<Path>,
    /// Its value.
    pub value: Option<Value>,
}

/// Returns what an operation with a value does. Null is "not assigned" (RFC 7643 section 2.5), as if the value were left out: `replace` by
/// it is `remove` without a value, with the guards of that, and `add` of it adds nothing.
pub(super) fn unassigned(op: Op, value: Option<&Value>) -> (Op, Option<&Value>) {
    match (op, value) {
        (Op::Replace, Some(Value::Null)) => (Op::Remove, None),
        (op, value) => (op, value),
    }
}

/// Parses the body of a PATCH request.
///
/// # Errors
/// It is not a PatchOp message, or an operation has an unknown `op`, a path that is not valid, or no value or path where one is
/// required.
pub fn parse(body: &Value, limits: FilterLimits) -> Result<Vec<Operation>, ScimError> {
    let syntax = |detail: &str| Err(ScimError::new(ScimType::InvalidSyntax, detail));
    let Value::Object(body) = body else { return syntax("the body is not a JSON object") };
    let schemas = get(body, "schemas").and_then(Value::as_array);
    let is_patch = |list: &Vec<Value>| {
        list.iter().filter_map(Value::as_str).any(|uri| uri.eq_ignore_ascii_case(PATCH_OP))
    };
    if !schemas.is_some_and(is_patch) {
        return syntax(&format!("schemas: an array with `{PATCH_OP}` is required"));
    }
    let Some(Value::Array(operations)) = get(body, "Operations") else {
        return syntax("Operations: an array is required");
    };
    if operations.is_empty() {
        return syntax("Operations: at least one is required");
    }
    if operations.len() > MOST_OPERATIONS {
        return syntax(&format!("Operations: more than {MOST_OPERATIONS}"));
    }
    operations.iter().enumerate().map(|(n, operation)| one(n, operation, limits)).collect()
}

/// Returns operations without the URI of the core schema as a container: its attributes are those of the resource itself.
///
/// # Errors
/// All attributes would be removed, or the container is not an object.
pub fn unwrapped(core: &str, operations: Vec<Operation>) -> Result<Vec<Operation>, ScimError> {
    let inner = |values: Map<String, Value>, into: &mut Map<String, Value>| {
        for (name, value) in values {
            into.insert(format!("{core}:{name}"), value);
        }
    };
    let not_an_object = || ScimError::value(format!("{core}: an object expected"));
    let one = |mut operation: Operation| {
        let is_core =
            |path: &Path| path.filter.is_none() && path.sub.is_none() && path.attribute.is_schema(core);
        let mut values = Map::new();
        match (&operation.path, operation.value.take()) {
            (Some(path), value) if is_core(path) => {
                let (Op::Add | Op::Replace, Some(Value::Object(within))) = (operation.op, value) else {
                    return Err(not_an_object());
                };
                inner(within, &mut values);
            }
            (None, Some(Value::Object(all))) => {
                for (key, value) in all {
                    match value {
                        value if !key.eq_ignore_ascii_case(core) => {
                            values.insert(key, value);
                        }
                        Value::Object(within) => inner(within, &mut values),
                        _ => return Err(not_an_object()),
                    }
                }
            }
            (_, value) => {
                operation.value = value;
                return Ok(operation);
            }
        }
        Ok(Operation { op: operation.op, path: None, value: Some(Value::Object(values)) })
    };
    operations.into_iter().map(one).collect()
}

fn one(n: usize, operation: &Value, limits: FilterLimits) -> Result<Operation, ScimError> {
    let at = format!("Operations[{n}]");
    let Value::Object(operation) = operation else {
        return Err(ScimError::new(ScimType::InvalidSyntax, format!("{at}: not an object")));
    };
    let op = match get(operation, "op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("add") => Op::Add,
        Some("replace") => Op::Replace,
        Some("remove") => Op::Remove,
        _ => {
            let detail = format!("{at}.op: `add`, `replace` or `remove` expected");
            return Err(ScimError::new(ScimType::InvalidSyntax, detail));
        }
    };
    let path = match get(operation, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => Some(
            parse_path(text, limits)
                .map_err(|e| ScimError::new(ScimType::InvalidPath, format!("{at}.path: {e}")))?,
        ),
        Some(_) => {
            return Err(ScimError::new(ScimType::InvalidPath, format!("{at}.path: a text expected")));
        }
    };
    let value = get(operation, "value").cloned();
    match (op, &path, &value) {
        (Op::Remove, None, _) => {
            Err(ScimError::new(ScimType::NoTarget, format!("{at}: `remove` needs a path")))
        }
        (Op::Add | Op::Replace, _, None) => {
            Err(ScimError::new(ScimType::InvalidValue, format!("{at}: a value is required")))
        }
        (Op::Add | Op::Replace, None, Some(value)) if !value.is_object() => {
            let detail = format!("{at}.value: without a path, an object with the attributes is required");
            Err(ScimError::new(ScimType::InvalidValue, detail))
        }
        _ => Ok(Operation { op, path, value }),
    }
}

#[cfg(test)]
mod tests;
