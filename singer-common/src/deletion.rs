//! The property that marks a record as a deletion: one place decides what counts as one.

use serde_json::Value;

use crate::time::read_time;

/// The property (as the Meltano SDK names it) that says when a record was deleted at its source.
pub const DELETED_AT: &str = "_sdc_deleted_at";

/// A deletion marker that is neither empty nor a time. Never taken for a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{DELETED_AT}` is neither empty nor a time: expected null, or when the record was deleted (RFC 3339, for example \
     2026-01-31T08:00:00Z)"
)]
pub struct NoTime;

/// Whether a deletion marker's value marks a deletion.
///
/// Nothing, null, an empty or blank text, `false`, 0, and a list of nothing else do not: they are how CSV and SQL write a
/// null. A time does, in any form that [`read_time`] reads, and a list of one time.
///
/// # Errors
/// Every other value: a text that is no time ("null", "false", "0"), `true`, another number, an object, several times.
pub fn is_deletion(marker: Option<&Value>) -> Result<bool, NoTime> {
    match marker {
        None | Some(Value::Null | Value::Bool(false)) => Ok(false),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(false),
        Some(Value::String(text)) => read_time(text.trim()).map(|_| true).ok_or(NoTime),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(false),
        Some(Value::Array(elements)) => {
            let mut marks = 0;
            for element in elements {
                if element.is_array() {
                    return Err(NoTime);
                }
                marks += u8::from(is_deletion(Some(element))?);
                if marks > 1 {
                    return Err(NoTime);
                }
            }
            Ok(marks == 1)
        }
        Some(Value::Bool(true) | Value::Number(_) | Value::Object(_)) => Err(NoTime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_time_is_a_deletion() {
        assert_eq!(is_deletion(None), Ok(false));
        for nothing in [
            json!(null),
            json!(""),
            json!("  "),
            json!(false),
            json!(0),
            json!(0.0),
            json!([]),
            json!([null, ""]),
        ] {
            assert_eq!(is_deletion(Some(&nothing)), Ok(false), "{nothing}");
        }
        for time in [
            json!("2026-01-01T00:00:00Z"),
            json!(" 2026-01-01 00:00:00+00 "),
            json!("2026-01-01"),
            json!(["2026-01-01T00:00:00Z"]),
        ] {
            assert_eq!(is_deletion(Some(&time)), Ok(true), "{time}");
        }
        for wrong in [
            json!("null"),
            json!("false"),
            json!("0"),
            json!("yes"),
            json!("0000-00-00"),
            json!(true),
            json!(1),
            json!(1_767_225_600),
            json!({}),
            json!([["2026-01-01"]]),
            json!(["2026-01-01", "2026-01-02"]),
        ] {
            assert_eq!(is_deletion(Some(&wrong)), Err(NoTime), "{wrong}");
        }
    }
}
