//! `protect`, `protect_defaults` and `write_base`: what no run changes, and the only places where one writes.

use ldap_directory::dn::Dn;
use ldap_directory::filter::Filter;
use serde_json::{Map, Value};
use singer_common::plugin::settings::{SettingsError, check_keys};

const PROTECT: &str = "protect";
const DEFAULTS: &str = "protect_defaults";
const WRITE_BASE: &str = "write_base";
/// The keys of `protect`.
const PARTS: [&str; 3] = ["filter", "dns", "below"];
const A_DN: &str = "a DN, for example ou=people,dc=example,dc=com, or a list of DNs";

/// What is protected, and where changes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// Entries that match it are protected.
    pub filter: Option<Filter>,
    /// Protected entries.
    pub dns: Vec<String>,
    /// These entries, and all below them, are protected.
    pub below: Vec<String>,
    /// Whether the critical and the administrative objects of Active Directory are protected.
    pub defaults: bool,
    /// The entries at and below which alone something is changed; `None`: anywhere.
    pub write_base: Option<Vec<String>>,
    /// What comes before the names of the settings: empty, or `write.` of the service.
    prefix: &'static str,
}

impl Default for ProtectionSettings {
    fn default() -> Self {
        Self {
            filter: None,
            dns: Vec::new(),
            below: Vec::new(),
            defaults: true,
            write_base: None,
            prefix: "",
        }
    }
}

impl ProtectionSettings {
    /// The names of the settings.
    pub const NAMES: [&'static str; 3] = [PROTECT, DEFAULTS, WRITE_BASE];

    /// Parses the settings `protect`, `protect_defaults` and `write_base` among others. `prefix` comes before their names in messages.
    ///
    /// # Errors
    /// A value is not a filter, a DN, or of the expected type.
    pub fn parse(values: &Map<String, Value>, prefix: &'static str) -> Result<Self, SettingsError> {
        let mut settings = ProtectionSettings { prefix, ..Self::default() };
        let given = |name: &str| values.get(name).filter(|value| !value.is_null());
        if let Some(value) = given(PROTECT) {
            let at = settings.name(PROTECT);
            let Some(parts) = value.as_object() else {
                let expected = r#"{"filter": "…", "dns": […], "below": […]}"#;
                return Err(SettingsError::value(at, format!("`{value}`"), expected));
            };
            check_keys(&at, parts, &PARTS)?;
            let part = |name: &str| parts.get(name).filter(|value| !value.is_null());
            settings.filter =
                part("filter").map(|value| filter(&settings.name("protect.filter"), value)).transpose()?;
            for (name, list) in [("dns", &mut settings.dns), ("below", &mut settings.below)] {
                if let Some(value) = part(name) {
                    *list = names(&format!("{at}.{name}"), value)?;
                }
            }
        }
        if let Some(value) = given(DEFAULTS) {
            let wrong =
                || SettingsError::value(settings.name(DEFAULTS), format!("`{value}`"), "true or false");
            settings.defaults = value.as_bool().ok_or_else(wrong)?;
        }
        if let Some(value) = given(WRITE_BASE) {
            let at = settings.name(WRITE_BASE);
            let bases = names(&at, value)?;
            if bases.is_empty() {
                return Err(SettingsError::value(at, "an empty list: nothing could be written", A_DN));
            }
            settings.write_base = Some(bases);
        }
        Ok(settings)
    }

    /// Returns the name of a setting with its prefix.
    pub fn name(&self, setting: &str) -> String {
        format!("{}{setting}", self.prefix)
    }
}

fn filter(setting: &str, value: &Value) -> Result<Filter, SettingsError> {
    let expected = "a search filter (RFC 4515), for example (employeeType=executive)";
    let text = value.as_str().ok_or_else(|| SettingsError::value(setting, format!("`{value}`"), expected))?;
    Filter::parse(text).map_err(|e| SettingsError::value(setting, format!("`{text}`: {e}"), expected))
}

/// Returns the DNs of a setting: a text is a list of one.
fn names(setting: &str, value: &Value) -> Result<Vec<String>, SettingsError> {
    let wrong = |value: &Value| SettingsError::value(setting, format!("`{value}`"), A_DN);
    let list = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(list) => list,
        _ => return Err(wrong(value)),
    };
    let name = |value: &Value| {
        let dn = value.as_str().ok_or_else(|| wrong(value))?;
        match Dn::parse(dn) {
            Ok(parsed) if parsed.rdns.is_empty() => Err(wrong(value)),
            Ok(_) => Ok(dn.to_owned()),
            Err(e) => Err(SettingsError::value(setting, format!("`{dn}`: {e}"), A_DN)),
        }
    };
    list.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_part_is_checked_and_a_text_is_a_list_of_one() {
        let parse = |value: Value| ProtectionSettings::parse(value.as_object().unwrap(), "write.");
        let settings = parse(json!({
            "protect": {"filter": "(uid=a)", "dns": "uid=a,dc=x", "below": ["ou=b,dc=x"]},
            "protect_defaults": false, "write_base": "ou=people,dc=x", "other": 1
        }))
        .unwrap();
        assert_eq!(settings.dns, ["uid=a,dc=x"]);
        assert_eq!(settings.below, ["ou=b,dc=x"]);
        assert_eq!(settings.write_base, Some(vec!["ou=people,dc=x".to_owned()]));
        assert!(!settings.defaults && settings.filter.is_some());
        assert!(parse(json!({"protect": null, "write_base": null})).unwrap().defaults);
        for (bad, setting) in [
            (json!({"protect": "(uid=a)"}), "write.protect"),
            (json!({"protect": {"filters": "(uid=a)"}}), "write.protect"),
            (json!({"protect": {"filter": "(uid=a"}}), "write.protect.filter"),
            (json!({"protect": {"filter": ""}}), "write.protect.filter"),
            (json!({"protect": {"dns": [1]}}), "write.protect.dns"),
            (json!({"protect": {"below": ["people"]}}), "write.protect.below"),
            (json!({"protect": {"below": [""]}}), "write.protect.below"),
            (json!({"protect_defaults": 1}), "write.protect_defaults"),
            (json!({"write_base": []}), "write.write_base"),
            (json!({"write_base": ""}), "write.write_base"),
            (json!({"write_base": ["<GUID=0c0f>"]}), "write.write_base"),
        ] {
            let error = parse(bad.clone()).unwrap_err().to_string();
            assert!(error.contains(setting), "{bad}: {error}");
        }
    }
}
