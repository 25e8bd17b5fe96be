//! Values without a path that name what clients do not change: the same value is no change, another one is refused.

use std::collections::HashSet;

use serde_json::Value;

use super::{Op, Operation};
use crate::scim::error::{ScimError, ScimType};
use crate::scim::filter::{FilterLimits, parse_path};
use crate::scim::mapping::{Mapping, Mutability};
use crate::scim::record;

/// Checks that no operation without a path gives `id` or a read-only attribute another value than the resource shows. `schemas` and `meta` are
/// passed over, as RFC 7644 section 3.5.1 has it for a whole resource: clients send back what they have read.
///
/// # Errors
/// One does: `mutability`, as with a path. A client that takes somebody out of all groups so must not believe that it did.
pub fn check_read_only(
    mapping: &Mapping,
    shown: &Value,
    operations: &[Operation],
    limits: FilterLimits,
) -> Result<(), ScimError> {
    for operation in operations {
        let (None, Some(Value::Object(values))) = (&operation.path, &operation.value) else { continue };
        for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
            let Ok(path) = parse_path(key, limits) else { continue };
            let is_same = if key.eq_ignore_ascii_case("id") {
                ids(value) == ids(shown.get("id").unwrap_or(&Value::Null))
            } else if let Some(attribute) =
                mapping.attribute(&path.attribute).filter(|a| a.mutability == Mutability::ReadOnly)
            {
                let is_whole = path.filter.is_none() && path.sub().is_none();
                let now = shown.get(&attribute.name).unwrap_or(&Value::Null);
                is_whole && keeps(operation.op, now, value)
            } else {
                true
            };
            if !is_same {
                let detail = format!("`{}` cannot be changed", key.escape_debug());
                return Err(ScimError::new(ScimType::Mutability, detail));
            }
        }
    }
    Ok(())
}

/// Whether an operation with a value leaves references as they are.
fn keeps(op: Op, now: &Value, value: &Value) -> bool {
    match (ids(now), ids(value)) {
        (Some(now), Some(new)) if op == Op::Add => new.is_subset(&now),
        (Some(now), Some(new)) => new == now,
        _ => now == value,
    }
}

/// Returns the ids of a value, a text or a list of objects with `value`, in small letters; `None`: it is neither.
fn ids(value: &Value) -> Option<HashSet<String>> {
    let one = |element: &Value| {
        let id = match element {
            Value::Object(object) => record::get(object, "value")?.as_str()?,
            other => other.as_str()?,
        };
        Some(id.to_ascii_lowercase())
    };
    match value {
        Value::Null => Some(HashSet::new()),
        Value::Array(elements) => elements.iter().map(one).collect(),
        single => Some(HashSet::from([one(single)?])),
    }
}
