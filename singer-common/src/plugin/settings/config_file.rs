//! Config files: JSON objects.

use std::path::Path;

use serde_json::{Map, Value};

use crate::operations::file::read_text;
use crate::operations::settings_error::SettingsError;
use ldap_directory::json;

/// Reads a JSON object. An error if it is YAML, another JSON value, or has a key twice.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, SettingsError> {
    let fail = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
    let text = read_text(path).map_err(|e| fail(e.to_string()))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => match json::twice(&text) {
            None => Ok(object),
            Some(setting) => {
                let problem = format!("it stands twice in {}, and one would be lost", path.display());
                Err(SettingsError::value(setting, problem, "each name once"))
            }
        },
        Ok(_) => Err(fail("the file holds no JSON object".into())),
        // serde_json's messages contain line and column, and never quote the text.
        Err(e) if looks_like_yaml(&text) => {
            Err(fail(format!("not JSON but YAML, as it seems ({e}); Meltano takes YAML, in its meltano.yml")))
        }
        Err(e) => Err(fail(format!("not JSON: {e}"))),
    }
}

/// Whether a text begins like YAML: `name: value`, or a list of such lines.
fn looks_like_yaml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.find(|line| *line != "---").unwrap_or_default();
    let name = first.strip_prefix("- ").unwrap_or(first).split_once(':').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)))
}
