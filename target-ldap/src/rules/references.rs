//! The part `references` of a rule: attributes whose values are the DNs of entries that a filter finds.

use ldap_directory::dn::Dn;
use ldap_directory::nearest::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::plugin::settings::{SettingsError, check_keys, typed};

use super::rule::is_attribute_description;
use super::rule_settings::keyword;
use super::template::FilterTemplate;

/// The placeholder that stands for each value of the property `each`.
pub const VALUE: &str = "value";
const EXAMPLE: &str = r#"an object such as {"find": "(employeeNumber={manager_id})"}, or {"each": "member_ids", "find": "(uid={value})"} for each value of a list"#;

/// What happens at the end of a run if a filter has found no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is an error of the record. What else the record says is written.
    #[default]
    Wait,
    /// It is a warning. The values that were found are written, and the existing ones stay.
    Warn,
    /// It is an error of the record, of which nothing is written.
    Fail,
}

/// The references of one attribute.
#[derive(Debug, Clone)]
pub struct ReferenceRule {
    /// The attribute that they are written to.
    pub attribute: String,
    /// The property with a value for each reference; `None`: there is one, or none.
    pub each: Option<String>,
    /// The filter that finds an entry.
    pub find: FilterTemplate,
    /// The base of the search; `None`: the naming context of the record's entry.
    pub base: Option<String>,
    /// What happens if there is no entry.
    pub missing: Missing,
}

#[derive(Deserialize)]
struct Settings {
    find: String,
    each: Option<String>,
    base: Option<String>,
    missing: Option<Value>,
}

/// Parses `references`. `path` is the name of the rule's setting in messages.
pub(super) fn parse(path: &str, value: Value) -> Result<Vec<ReferenceRule>, SettingsError> {
    let all: Map<String, Value> = typed(&format!("{path}.references"), value)?;
    all.into_iter().map(|(attribute, value)| one(path, attribute, value)).collect()
}

fn one(path: &str, attribute: String, value: Value) -> Result<ReferenceRule, SettingsError> {
    let at = format!("{path}.references.{attribute}");
    if !is_attribute_description(&attribute) {
        let problem = format!("`{attribute}` is no attribute");
        return Err(SettingsError::value(at, problem, "the name of an LDAP attribute, for example manager"));
    }
    let Value::Object(object) = &value else {
        return Err(SettingsError::value(at, format!("got {value}"), EXAMPLE));
    };
    check_keys(&at, object, &["find", "each", "base", "missing"])?;
    if !object.contains_key("find") {
        return Err(SettingsError::value(format!("{at}.find"), "not set", EXAMPLE));
    }
    let Settings { find, each, base, missing } = typed(&at, value)?;
    let find = find_filter(&at, &find, each.as_deref())?;
    let missing = missing.map(|word| keyword(&format!("{at}.missing"), &word, "wait, warn or fail"));
    let missing = missing.transpose()?.unwrap_or_default();
    if let Some(base) = &base {
        check_base(&at, base)?;
    }
    Ok(ReferenceRule { attribute, each, find, base, missing })
}

/// `find`, which has a placeholder: `{value}` with `each`.
fn find_filter(at: &str, text: &str, each: Option<&str>) -> Result<FilterTemplate, SettingsError> {
    let at = format!("{at}.find");
    let expected = "a search filter with {placeholders}, for example (employeeNumber={manager_id})";
    let template = FilterTemplate::parse(text)
        .map_err(|e| SettingsError::value(&at, e.to_string(), expected).near(e.nearest))?;
    let Some(first) = template.names().next() else {
        let problem = "without a {placeholder}: every record would find the same entry";
        return Err(SettingsError::value(at, problem, expected));
    };
    if let Some(each) = each
        && !template.names().any(|name| name == VALUE)
    {
        let problem = format!("with each: \"{each}\", nothing in it is one of the values of `{each}`");
        let expected = "a search filter with {value}, which is one value of the list: (uid={value})";
        let near = (each == first).then_some(VALUE).or_else(|| nearest(first, [VALUE].into_iter()));
        return Err(SettingsError::value(at, problem, expected).near(near));
    }
    if template.attributes().is_empty() {
        let problem = "no placeholder is the value of an equality";
        return Err(SettingsError::value(at, problem, expected));
    }
    Ok(template)
}

fn check_base(at: &str, base: &str) -> Result<(), SettingsError> {
    let problem = match Dn::parse(base) {
        Ok(dn) if dn.is_empty() => "empty".to_owned(),
        Ok(_) => return Ok(()),
        Err(e) => e.to_string(),
    };
    Err(SettingsError::value(format!("{at}.base"), problem, "the DN below which the entries are"))
}

impl ReferenceRule {
    /// Returns the properties or attributes that its filter needs, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.find.needs().filter(|(name, _)| self.each.is_none() || *name != VALUE)
    }

    /// Returns the properties that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.needs().map(|(name, _)| name).chain(self.each.as_deref())
    }

    /// Returns those of which it uses the whole value, and not a part by its path.
    pub(crate) fn whole_names(&self) -> impl Iterator<Item = &str> {
        let names = self.find.template().whole_names();
        names.filter(|name| self.each.is_none() || *name != VALUE).chain(self.each.as_deref())
    }
}
