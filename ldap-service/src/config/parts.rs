//! Settings that are objects: each with its known keys.

use ldap_directory::dn::Dn;
use ldap_directory::filter::Filter;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use singer_common::plugin::settings::{SettingsError, check_keys, typed};

use super::OwnFilter;

/// Returns a setting that is an object; `None` if it is not set.
pub(super) fn object<T: DeserializeOwned>(
    values: &Map<String, Value>,
    setting: &str,
    known: &[&str],
) -> Result<Option<T>, SettingsError> {
    let Some(value) = values.get(setting).filter(|v| !v.is_null()) else { return Ok(None) };
    if let Value::Object(object) = value {
        check_keys(setting, object, known)?;
    }
    typed(setting, value.clone()).map(Some)
}

/// Returns the elements of a setting that is a list of objects, with the path of each.
pub(super) fn objects<T: DeserializeOwned>(
    values: &Map<String, Value>,
    setting: &str,
    known: &[&str],
) -> Result<Vec<(String, T)>, SettingsError> {
    let list = values.get(setting).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut parsed = Vec::new();
    for (n, value) in list.iter().enumerate() {
        let path = format!("{setting}[{n}]");
        if let Value::Object(object) = value {
            check_keys(&path, object, known)?;
        }
        parsed.push((path.clone(), typed(&path, value.clone())?));
    }
    Ok(parsed)
}

/// Returns the texts of a key in the elements of a setting that is a list of objects, with the path of each.
pub(super) fn texts(values: &Map<String, Value>, setting: &str, key: &str) -> Vec<(String, String)> {
    let list = values.get(setting).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |(n, value): (usize, &Value)| {
        Some((format!("{setting}[{n}].{key}"), value.get(key)?.as_str()?.to_owned()))
    };
    list.iter().enumerate().filter_map(text).collect()
}

/// Checks a DN that is not empty.
pub(super) fn dn(setting: String, dn: Option<String>) -> Result<String, SettingsError> {
    let expected = "a DN, for example ou=people,dc=example,dc=com";
    let Some(dn) = dn.filter(|dn| !dn.trim().is_empty()) else {
        return Err(SettingsError::value(setting, "not set", expected));
    };
    match Dn::parse(&dn) {
        Ok(_) => Ok(dn),
        Err(e) => Err(SettingsError::value(setting, e.to_string(), expected)),
    }
}

/// Parses a filter; without one, it is the default.
pub(super) fn own_filter(
    setting: &str,
    text: Option<String>,
    default: OwnFilter,
) -> Result<OwnFilter, SettingsError> {
    let Some(text) = text else { return Ok(default) };
    Filter::parse(&text).map(OwnFilter::from).map_err(|e| {
        SettingsError::value(setting, e.to_string(), "a filter, for example (objectClass=person)")
    })
}
