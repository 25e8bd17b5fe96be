//! The property that marks a record as a deletion, and its valid values.

use chrono::Datelike as _;
use serde_json::Value;

use ldap_directory::time::read_time;

/// The property with the time of a deletion at its source, named as in the Meltano SDK.
pub const DELETED_AT: &str = "_sdc_deleted_at";

/// The years accepted as times of deletions. Others are placeholders:
/// databases and programs without null write their first or last time (year 1, 1753, 1900, 1970; 2262, 9999).
const YEARS: std::ops::RangeInclusive<i32> = 1971..=2199;
/// The most characters of an invalid value in a message.
const SHOWN: usize = 60;

/// Returns whether a property is the deletion marker, ignoring case: some warehouses print `_SDC_DELETED_AT`.
pub fn is_marker(name: &str) -> bool {
    name.eq_ignore_ascii_case(DELETED_AT)
}

/// A deletion marker that is ambiguous. Never treated as a deletion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// The value is neither empty nor a time.
    #[error(
        "`{DELETED_AT}` is neither empty nor a time, but {0}: expected null, or when the record was deleted (RFC 3339, for \
         example 2026-01-31T08:00:00Z)"
    )]
    Other(String),
    /// The time is a placeholder.
    #[error(
        "`{DELETED_AT}` is {0}, which is a placeholder and no time of a deletion: expected null, or a time from {first} to {last}",
        first = YEARS.start(),
        last = YEARS.end()
    )]
    Placeholder(String),
    /// The record has the property in several spellings with different values.
    #[error(
        "`{DELETED_AT}` is in the record in several spellings, of which one marks a deletion and another does not"
    )]
    Contradiction,
}

impl NoTime {
    fn shown(value: &Value) -> String {
        let text = value.to_string();
        match text.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
            None => text,
        }
    }
}

/// Returns whether a record is marked as a deletion, given its properties.
///
/// # Errors
/// See [`is_deletion`]; also several spellings of the marker with different values.
pub fn is_marked<'a>(properties: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<bool, NoTime> {
    let mut said = None;
    for (_, value) in properties.into_iter().filter(|(name, _)| is_marker(name)) {
        let is_deletion = is_deletion(value)?;
        if said.replace(is_deletion).is_some_and(|before| before != is_deletion) {
            return Err(NoTime::Contradiction);
        }
    }
    Ok(said.unwrap_or(false))
}

/// Returns whether a deletion marker's value marks a deletion.
///
/// Values that do not: null, an empty or blank text, `false`, 0, and a list of nothing else.
/// The same holds for their texts ("null", "false", "0", "None", "NaN", "NaT", "\\N"), by which CSV and SQL write null.
/// Values that do: a time in any form that [`read_time`] reads, and a list of one time.
///
/// # Errors
/// All other values: another text ("yes"), `true`, another number, an object, several times, and placeholders.
pub fn is_deletion(marker: &Value) -> Result<bool, NoTime> {
    let other = || NoTime::Other(NoTime::shown(marker));
    match marker {
        Value::Null | Value::Bool(false) => Ok(false),
        Value::String(text) if is_nothing(text.trim()) => Ok(false),
        Value::String(text) => match read_time(text.trim()) {
            Some(time) if YEARS.contains(&time.year()) => Ok(true),
            Some(_) => Err(NoTime::Placeholder(NoTime::shown(marker))),
            None => Err(other()),
        },
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(false),
        Value::Array(elements) => {
            let mut marks = 0;
            for element in elements {
                if element.is_array() {
                    return Err(other());
                }
                marks += u8::from(is_deletion(element)?);
                if marks > 1 {
                    return Err(other());
                }
            }
            Ok(marks == 1)
        }
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => Err(other()),
    }
}

/// Whether a text is a way of CSV, SQL or their tools to write null or false.
fn is_nothing(text: &str) -> bool {
    const WORDS: [&str; 8] = ["", "null", "none", "false", "0", "nan", "nat", "\\n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deletion_marker_must_be_a_time() {
        assert_eq!(is_marked([("id", &json!(1))]), Ok(false));
        for nothing in [
            json!(null),
            json!(""),
            json!("  "),
            json!(false),
            json!(0),
            json!(0.0),
            json!([]),
            json!([null, ""]),
            json!("null"),
            json!("False"),
            json!("0"),
            json!("None"),
            json!("\\N"),
        ] {
            assert_eq!(is_deletion(&nothing), Ok(false), "{nothing}");
        }
        for time in [
            json!("2026-01-01T00:00:00Z"),
            json!(" 2026-01-01 00:00:00+00 "),
            json!("2026-01-01"),
            json!(["2026-01-01T00:00:00Z"]),
        ] {
            assert_eq!(is_deletion(&time), Ok(true), "{time}");
        }
        for wrong in [
            json!("yes"),
            json!("true"),
            json!("1"),
            json!("0000-00-00"),
            json!(true),
            json!(1),
            json!(1_767_225_600),
            json!({}),
            json!([["2026-01-01"]]),
            json!(["2026-01-01", "2026-01-02"]),
        ] {
            assert!(matches!(is_deletion(&wrong), Err(NoTime::Other(_))), "{wrong}");
        }
    }

    #[test]
    fn deletion_marker_rejects_placeholders() {
        for placeholder in [
            json!("0001-01-01T00:00:00Z"),
            json!("1753-01-01"),
            json!("1900-01-01T00:00:00"),
            json!("1970-01-01T00:00:00+00:00"),
            json!("9999-12-31T23:59:59.999Z"),
            json!(["9999-12-31"]),
        ] {
            let said = is_deletion(&placeholder);
            assert!(matches!(said, Err(NoTime::Placeholder(_))), "{placeholder}: {said:?}");
        }
    }

    #[test]
    fn deletion_marker_spellings_must_agree() {
        let (time, null) = (json!("2026-01-01T00:00:00Z"), json!(null));
        for name in ["_sdc_deleted_at", "_SDC_DELETED_AT", "_sdc_Deleted_At"] {
            assert_eq!(is_marked([("id", &null), (name, &time)]), Ok(true), "{name}");
        }
        assert_eq!(is_marked([("_sdc_deleted_at", &time), ("_SDC_DELETED_AT", &time)]), Ok(true));
        let both = is_marked([("_sdc_deleted_at", &null), ("_SDC_DELETED_AT", &time)]);
        assert_eq!(both, Err(NoTime::Contradiction));
        assert_eq!(is_marked([("sdc_deleted_at", &time)]), Ok(false));
    }
}
