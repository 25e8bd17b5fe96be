//! The keys of an object in the settings.

use serde_json::Value;
use singer_common::settings::{SettingsError, check_keys};

/// [`check_keys`], of what may be something else than an object.
pub(crate) fn check_parts(setting: &str, value: &Value, known: &[&str]) -> Result<(), SettingsError> {
    value.as_object().map_or(Ok(()), |object| check_keys(setting, object, known))
}
