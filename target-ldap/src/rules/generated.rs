//! `unique` and `next`: attributes whose values are chosen when an entry is made, and kept afterwards.

use std::sync::Arc;

use ldap_directory::dn::Dn;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::{SettingsError, typed};

use super::keys::check_parts;
use super::rule::is_attribute_description;
use super::template::Template;

/// The placeholder of the number in the last template of `unique`.
pub const NUMBER: &str = "n";

/// An attribute whose value is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedRule {
    /// The name of the rule's setting: `mapping_rules.users`.
    pub rule: String,
    /// The attribute.
    pub attribute: String,
    /// What it is chosen from.
    pub source: GeneratedSource,
    /// The entry below which no other one may have the value; `None`: the naming context.
    pub base: Option<String>,
}

/// What a value is chosen from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeneratedSource {
    /// `unique`: the first of these that is free.
    Templates(Vec<Template>),
    /// `next`: the lowest number that is free.
    Numbers {
        /// The first number.
        min: u64,
        /// The last number.
        max: u64,
        /// The entry whose value of the attribute is the next number.
        counter: Option<Arc<str>>,
    },
}

impl GeneratedRule {
    /// Returns the name of its setting within the rule.
    pub fn setting(&self) -> String {
        let part = match &self.source {
            GeneratedSource::Templates(_) => "unique",
            GeneratedSource::Numbers { .. } => "next",
        };
        format!("{part}.{}", self.attribute)
    }

    /// Returns its templates, to prepare them.
    pub(crate) fn templates_mut(&mut self) -> &mut [Template] {
        match &mut self.source {
            GeneratedSource::Templates(templates) => templates,
            GeneratedSource::Numbers { .. } => &mut [],
        }
    }

    /// Returns the entry that counts its numbers.
    pub fn counter(&self) -> Option<&str> {
        match &self.source {
            GeneratedSource::Numbers { counter, .. } => counter.as_deref(),
            GeneratedSource::Templates(_) => None,
        }
    }

    /// Returns its templates; none for numbers.
    pub fn templates(&self) -> &[Template] {
        match &self.source {
            GeneratedSource::Templates(templates) => templates,
            GeneratedSource::Numbers { .. } => &[],
        }
    }

    /// Returns the names of properties in its templates, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.templates().iter().flat_map(Template::needs).filter(|(name, _)| *name != NUMBER)
    }
}

/// `unique.ATTRIBUTE`: the templates, or these with a base.
#[derive(Deserialize)]
#[serde(untagged)]
enum UniqueSettings {
    Templates(Vec<String>),
    WithBase { templates: Vec<String>, base: Option<String> },
}

/// `next.ATTRIBUTE`.
#[derive(Deserialize)]
struct NextSettings {
    min: u64,
    max: u64,
    base: Option<String>,
    counter: Option<String>,
}

/// Parses `unique` and `next`. `path` is the name of the rule's setting.
///
/// # Errors
/// A value that is not valid.
pub(crate) fn parse(
    path: &str,
    unique: Map<String, Value>,
    next: Map<String, Value>,
) -> Result<Vec<GeneratedRule>, SettingsError> {
    let unique = unique.into_iter().map(|(name, value)| unique_of(path, name, value));
    let next = next.into_iter().map(|(name, value)| next_of(path, name, value));
    unique.chain(next).collect()
}

fn check_name(at: &str, attribute: &str) -> Result<(), SettingsError> {
    let problem = if !is_attribute_description(attribute) || attribute.contains(';') {
        format!("`{attribute}` is not the name of an attribute")
    } else if is_secret_attribute(attribute) {
        "the attribute is secret".to_owned()
    } else {
        return Ok(());
    };
    Err(SettingsError::value(at, problem, "an attribute whose values are compared, for example uid"))
}

fn checked_dn(at: String, dn: Option<String>) -> Result<Option<String>, SettingsError> {
    let Some(text) = dn else { return Ok(None) };
    let problem = match Dn::parse(&text) {
        Ok(dn) if dn.is_empty() => "empty".to_owned(),
        Ok(_) => return Ok(Some(text)),
        Err(e) => e.to_string(),
    };
    Err(SettingsError::value(at, problem, "the DN of an entry"))
}

fn unique_of(path: &str, attribute: String, value: Value) -> Result<GeneratedRule, SettingsError> {
    let at = format!("{path}.unique.{attribute}");
    check_name(&at, &attribute)?;
    let expected = "a list of templates, for example [\"{first}.{last}\", \"{first}.{last}{n}\"], or {\"templates\": […], \"base\": \"dc=example,dc=com\"}";
    if value.is_object() {
        check_parts(&at, &value, &["templates", "base"])?;
    }
    let (texts, base) = match serde_json::from_value(value) {
        Ok(UniqueSettings::Templates(templates)) => (templates, None),
        Ok(UniqueSettings::WithBase { templates, base }) => (templates, base),
        Err(_) => return Err(SettingsError::value(&at, "not a list of templates", expected)),
    };
    let count = texts.len();
    if count == 0 {
        return Err(SettingsError::value(&at, "the list is empty", expected));
    }
    let parsed = |(index, text): (usize, String)| {
        let template = Template::parse(&text)
            .map_err(|e| SettingsError::value(&at, e.to_string(), expected).near(e.nearest))?;
        let is_last = index + 1 == count;
        let has_number = template.names().any(|name| name == NUMBER);
        let problem = if has_number && !is_last {
            format!(
                "template {text:?}: {{n}} can be in the last template only: what follows it would never be tried"
            )
        } else if template.is_filtered(NUMBER) {
            format!("template {text:?}: {{n}} takes no filter")
        } else if is_last && !has_number && template.names().next().is_none() {
            format!("template {text:?}: without a {{placeholder}} it is the same for all entries")
        } else {
            return Ok(template);
        };
        Err(SettingsError::value(&at, problem, expected))
    };
    let templates = texts.into_iter().enumerate().map(parsed).collect::<Result<_, _>>()?;
    let base = checked_dn(format!("{at}.base"), base)?;
    let (rule, source) = (path.to_owned(), GeneratedSource::Templates(templates));
    Ok(GeneratedRule { rule, attribute, source, base })
}

fn next_of(path: &str, attribute: String, value: Value) -> Result<GeneratedRule, SettingsError> {
    let at = format!("{path}.next.{attribute}");
    check_name(&at, &attribute)?;
    check_parts(&at, &value, &["min", "max", "base", "counter"])?;
    let NextSettings { min, max, base, counter } = typed(&at, value)?;
    if min > max || max == u64::MAX {
        let problem = format!("min is {min}, and max is {max}");
        return Err(SettingsError::value(
            &at,
            problem,
            "the first and the last number, for example {\"min\": 10000, \"max\": 59999}",
        ));
    }
    // RFC 2307: who has the number 0 is root, or in root's group.
    if min == 0 && ["uidNumber", "gidNumber"].iter().any(|name| attribute.eq_ignore_ascii_case(name)) {
        let problem = "min is 0: the first new account would have the rights of root";
        return Err(SettingsError::value(
            &at,
            problem,
            "a min above the numbers of the system's own accounts, such as 10000",
        ));
    }
    let base = checked_dn(format!("{at}.base"), base)?;
    let counter = checked_dn(format!("{at}.counter"), counter)?.map(Arc::from);
    let (rule, source) = (path.to_owned(), GeneratedSource::Numbers { min, max, counter });
    Ok(GeneratedRule { rule, attribute, source, base })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(unique: Value, next: Value) -> Result<Vec<GeneratedRule>, SettingsError> {
        let object = |value: Value| value.as_object().cloned().unwrap();
        parse("mapping_rules.u", object(unique), object(next))
    }

    #[test]
    fn a_list_that_can_never_do_what_it_says_is_refused() {
        for (unique, next, setting) in [
            (json!({"uid": []}), json!({}), "unique.uid"),
            (json!({"uid": "{a}"}), json!({}), "unique.uid"),
            (json!({"uid": ["{a}{n}", "{a}"]}), json!({}), "unique.uid"),
            (json!({"uid": ["{a}{n|upper}"]}), json!({}), "unique.uid"),
            (json!({"uid": ["fixed"]}), json!({}), "unique.uid"),
            (json!({"uid": {"templates": ["{a}"], "from": 1}}), json!({}), "unique.uid.from"),
            (json!({"uid": {"templates": ["{a}"], "base": ""}}), json!({}), "unique.uid.base"),
            (json!({"userPassword": ["{a}"]}), json!({}), "unique.userPassword"),
            (json!({"uid;lang-en": ["{a}"]}), json!({}), "unique.uid;lang-en"),
            (json!({}), json!({"uidNumber": {"min": 2, "max": 1}}), "next.uidNumber"),
            (json!({}), json!({"uidNumber": {"min": 1}}), "next.uidNumber"),
            (json!({}), json!({"uidNumber": {"min": 0, "max": 9}}), "next.uidNumber"),
            (json!({}), json!({"gidnumber": {"min": 0, "max": 9}}), "next.gidnumber"),
            (json!({}), json!({"uidNumber": {"min": 1, "max": 2, "counter": "x"}}), "next.uidNumber.counter"),
        ] {
            let error = parsed(unique, next).unwrap_err().to_string();
            assert!(error.contains(&format!("mapping_rules.u.{setting}")), "{setting}: {error}");
        }
        let both = parsed(
            json!({"uid": ["{a}", "{a}{n}"], "mail": {"templates": ["{a}@x"]}}),
            json!({"uidNumber": {"min": 1, "max": 1}}),
        );
        assert_eq!(both.unwrap().len(), 3);
    }
}
