//! The keys of an object in the settings.

use serde_json::Value;
use singer_common::plugin::settings::{SettingsError, check_keys};

/// Checks the keys of a value, if it is an object ([`check_keys`]).
pub(crate) fn check_parts(setting: &str, value: &Value, known: &[&str]) -> Result<(), SettingsError> {
    value.as_object().map_or(Ok(()), |object| check_keys(setting, object, known))
}
