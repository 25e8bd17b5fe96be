//! From the setting `mapping_rules.STREAM` to a [`Rule`], with a function for each key that has more than a type.

use ldap_directory::dn::Dn;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::{SettingsError, typed};

use super::accounts::AccountsRule;
use super::generated;
use super::keys::check_parts;
use super::membership;
use super::password::PasswordRule;
use super::references;
use super::rule::{EmptyGroup, OnDelete, Operations, Rule, is_attribute_description};
use super::set_aside;
use super::template::{DnTemplate, FilterTemplate, Template};

const RULE_KEYS: &[&str] = &[
    "dn_template",
    "membership",
    "match",
    "delete_old_rdn",
    "empty_group",
    "object_classes",
    "attribute_mapping",
    "values",
    "unique",
    "next",
    "defaults",
    "policies",
    "compare",
    "other_options",
    "operations",
    "on_delete",
    "password",
    "accounts",
    "references",
    "scope_base",
    "scope_filter",
];

/// A rule as it is written.
#[derive(Deserialize)]
struct RuleSettings {
    dn_template: Option<String>,
    #[serde(default)]
    object_classes: Vec<String>,
    attribute_mapping: Option<Map<String, Value>>,
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    unique: Map<String, Value>,
    #[serde(default)]
    next: Map<String, Value>,
    #[serde(default)]
    defaults: Map<String, Value>,
    #[serde(default)]
    policies: Map<String, Value>,
    #[serde(default)]
    compare: Map<String, Value>,
    other_options: Option<Value>,
    #[serde(rename = "match")]
    matching: Option<String>,
    delete_old_rdn: Option<bool>,
    empty_group: Option<String>,
    operations: Option<Value>,
    on_delete: Option<Value>,
    membership: Option<Value>,
    password: Option<Value>,
    accounts: Option<Value>,
    references: Option<Value>,
    scope_base: Option<String>,
    scope_filter: Option<String>,
}

/// The attributes of a property: one, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum AttributeNames {
    One(String),
    Many(Vec<String>),
}

/// Parses a rule. `path` is the name of its setting in messages.
///
/// # Errors
/// A key that is not known, or a value that is not valid.
pub(crate) fn parse(path: &str, value: Value, default_base: Option<&str>) -> Result<Rule, SettingsError> {
    // If a misspelt key (`policy`, `on_delte`) were ignored, the run would do what the key was to prevent.
    check_parts(path, &value, RULE_KEYS)?;
    membership::check_alone(path, &value)?;
    let raw: RuleSettings = typed(path, value)?;
    let dn_template = raw
        .dn_template
        .map(|text| dn_template(&format!("{path}.dn_template"), &text, default_base))
        .transpose()?;
    let matching = raw.matching.map(|text| match_filter(path, &text)).transpose()?;
    let attribute_mapping = raw.attribute_mapping.map(|m| attribute_mapping(path, m)).transpose()?;
    let values: Vec<_> =
        raw.values.into_iter().map(|value| value_templates(path, value)).collect::<Result<_, _>>()?;
    for (attribute, value) in &raw.defaults {
        let at = format!("{path}.defaults.{attribute}");
        check_attribute(&at, attribute)?;
        check_fixed(&at, attribute, value)?;
    }
    check_scope(path, raw.scope_base.as_deref(), raw.scope_filter.as_deref())?;
    let rule = Rule {
        dn_template,
        object_classes: raw.object_classes,
        attribute_mapping,
        values: values.into_iter().flatten().collect(),
        generated: generated::parse(path, raw.unique, raw.next)?,
        defaults: raw.defaults.into_iter().collect(),
        policies: of_attributes(
            &format!("{path}.policies"),
            raw.policies,
            "force, keep, merge or create_only",
        )?,
        compare: of_attributes(&format!("{path}.compare"), raw.compare, "schema or exact")?,
        other_options: raw
            .other_options
            .map(|v| keyword(&format!("{path}.other_options"), &v, "keep or remove"))
            .transpose()?,
        matching,
        delete_old_rdn: raw.delete_old_rdn.unwrap_or(true),
        operations: operations(path, raw.operations)?,
        empty_group: raw.empty_group.map(|v| empty_group(path, v)).transpose()?.unwrap_or_default(),
        scope_base: raw.scope_base,
        scope_filter: raw.scope_filter,
        password: raw.password.map(|v| PasswordRule::parse(path, v)).transpose()?,
        accounts: raw.accounts.map(|v| AccountsRule::parse(path, v)).transpose()?,
        references: raw.references.map(|v| references::parse(path, v)).transpose()?.unwrap_or_default(),
        membership: raw.membership.map(|v| membership::parse(path, v, default_base)).transpose()?,
        on_delete: raw.on_delete.map(|v| on_delete(path, v)).transpose()?.unwrap_or_default(),
    };
    check_password_alone(path, &rule)?;
    rule.check_sources(path, str::eq_ignore_ascii_case)?;
    rule.check_grace(path)?;
    Ok(rule)
}

/// Checks that the property of a password is used for nothing else: it would stand where everybody reads it.
fn check_password_alone(path: &str, rule: &Rule) -> Result<(), SettingsError> {
    let Some(password) = &rule.password else { return Ok(()) };
    let Some(from) = &password.from else { return Ok(()) };
    let is_it = |name: &str| name == from;
    let mapped = rule.attribute_mapping.iter().flatten().map(|(property, _)| property.as_str());
    let mut uses: Vec<String> =
        mapped.filter(|p| is_it(p)).map(|p| format!("attribute_mapping.{p}")).collect();
    let made = rule.templates().filter(|(_, template)| template.uses(&is_it));
    uses.extend(made.map(|(part, _)| part));
    let lists = rule.references.iter().filter(|reference| reference.each.as_deref().is_some_and(is_it));
    uses.extend(lists.map(|reference| format!("references.{}.each", reference.attribute)));
    let own = rule.own_properties().filter(|(part, name)| *part != "password.from" && is_it(name));
    uses.extend(own.map(|(part, _)| part.to_owned()));
    match uses.into_iter().next() {
        None => Ok(()),
        Some(part) => Err(SettingsError::value(
            format!("{path}.{part}"),
            format!("`{from}` is the property of the password"),
            "another property: a password in clear text is written nowhere else",
        )),
    }
}

/// `match`: the filter that finds an entry.
fn match_filter(path: &str, text: &str) -> Result<FilterTemplate, SettingsError> {
    let expected = "a search filter with {placeholders}, for example (employeeNumber={employee_id})";
    let at = format!("{path}.match");
    let template = FilterTemplate::parse(text)
        .map_err(|e| SettingsError::value(&at, e.to_string(), expected).near(e.nearest))?;
    if template.names().next().is_none() {
        return Err(SettingsError::value(
            at,
            "without a {placeholder}: every record would find the same entry",
            expected,
        ));
    }
    Ok(template)
}

/// `attribute_mapping`: the attributes of each property.
fn attribute_mapping(
    path: &str,
    mapping: Map<String, Value>,
) -> Result<Vec<(String, Vec<String>)>, SettingsError> {
    let attributes = |(property, names): (String, Value)| {
        let at = format!("{path}.attribute_mapping.{property}");
        let names = match typed(&at, names)? {
            AttributeNames::One(name) => vec![name],
            AttributeNames::Many(names) => names,
        };
        names.iter().try_for_each(|n| check_attribute(&at, n))?;
        Ok((property, names))
    };
    mapping.into_iter().map(attributes).collect()
}

/// One of `values`: an attribute, and the templates of its values.
fn value_templates(
    path: &str,
    (attribute, texts): (String, Value),
) -> Result<Vec<(String, Template)>, SettingsError> {
    let at = format!("{path}.values.{attribute}");
    check_attribute(&at, &attribute)?;
    let texts = match texts {
        Value::Array(texts) if texts.is_empty() => {
            return Err(SettingsError::value(at, "no template", "a template, or a list of templates"));
        }
        Value::Array(texts) => {
            texts.into_iter().enumerate().map(|(n, text)| (format!("{at}[{n}]"), text)).collect()
        }
        text => vec![(at, text)],
    };
    let template = |(at, text): (String, Value)| {
        let text: String = typed(&at, text)?;
        let template = Template::parse(&text).map_err(|e| {
            SettingsError::value(&at, e.to_string(), "a text with {placeholders}").near(e.nearest)
        })?;
        Ok((attribute.clone(), template))
    };
    texts.into_iter().map(template).collect()
}

/// `scope_base` and `scope_filter`. The root cannot be a scope: everything in the directory would be deleted.
fn check_scope(path: &str, base: Option<&str>, filter: Option<&str>) -> Result<(), SettingsError> {
    if let Some(base) = base {
        let problem = match Dn::parse(base) {
            Ok(dn) if dn.is_empty() => Some("empty".to_owned()),
            Ok(_) => None,
            Err(e) => Some(e.to_string()),
        };
        if let Some(problem) = problem {
            let expected = "the DN below which the stream's entries are";
            return Err(SettingsError::value(format!("{path}.scope_base"), problem, expected));
        }
    }
    let Some(filter) = filter else { return Ok(()) };
    let at = format!("{path}.scope_filter");
    let expected = "a search filter (RFC 4515), for example (objectClass=inetOrgPerson)";
    if let Err(e) = Filter::parse(filter) {
        return Err(SettingsError::value(at, e.to_string(), expected));
    }
    if base.is_none() {
        return Err(SettingsError::value(at, "scope_base is not set", "both, or scope_base alone"));
    }
    Ok(())
}

/// `operations`: what may be done to entries.
fn operations(path: &str, value: Option<Value>) -> Result<Operations, SettingsError> {
    let value = value.unwrap_or_else(|| Map::new().into());
    let at = format!("{path}.operations");
    check_parts(&at, &value, &["create", "update", "rename", "delete"])?;
    serde_json::from_value(value.clone())
        .map_err(|e| e.to_string())
        .and_then(|read| if value.is_object() { Ok(read) } else { Err("no object".to_owned()) })
        .map_err(|problem| {
            let expected = "an object of create, update, rename and delete, each true or false";
            SettingsError::value(at, problem, expected)
        })
}

/// Parses a keyword for each attribute.
fn of_attributes<T: serde::de::DeserializeOwned>(
    path: &str,
    said: Map<String, Value>,
    expected: &str,
) -> Result<Vec<(String, T)>, SettingsError> {
    let read = |(attribute, word): (String, Value)| {
        let at = format!("{path}.{attribute}");
        check_attribute(&at, &attribute)?;
        Ok((attribute, keyword(&at, &word, expected)?))
    };
    said.into_iter().map(read).collect()
}

/// Parses a keyword.
pub(super) fn keyword<T: serde::de::DeserializeOwned>(
    at: &str,
    word: &Value,
    expected: &str,
) -> Result<T, SettingsError> {
    serde_json::from_value(word.clone()).map_err(|_| {
        let known = expected.split([' ', ',']).filter(|known| !known.is_empty() && *known != "or");
        let near = word.as_str().and_then(|word| nearest(word, known));
        SettingsError::value(at, format!("got {word}"), expected).near(near)
    })
}

/// Parses `empty_group`.
fn empty_group(path: &str, value: String) -> Result<EmptyGroup, SettingsError> {
    match value.as_str() {
        "fail" => Ok(EmptyGroup::Fail),
        "keep_last" => Ok(EmptyGroup::KeepLast),
        "delete" => Ok(EmptyGroup::Delete),
        dn if Dn::parse(dn).is_ok_and(|dn| !dn.is_empty()) => Ok(EmptyGroup::Placeholder(value)),
        other => Err(SettingsError::value(
            format!("{path}.empty_group"),
            format!("got \"{other}\""),
            "keep_last, delete, fail, or the DN of a placeholder, for example cn=nobody,dc=example,dc=com",
        )
        .near(nearest(other, ["keep_last", "delete", "fail"].into_iter()))),
    }
}

/// Parses `on_delete`.
fn on_delete(path: &str, value: Value) -> Result<OnDelete, SettingsError> {
    let at = format!("{path}.on_delete");
    let wrong = |problem: String| {
        let forms = r#""delete", "tree", "ignore", {"move_to": "ou=gone,dc=example,dc=com"}, {"set": {"nsAccountLock": "TRUE"}}, or both; with "then": {"delete_after_days": 30, "marker": "info"} they are deleted later"#;
        SettingsError::value(&at, problem, forms)
    };
    let object = match value {
        Value::Object(object) => object,
        Value::String(name) => {
            return match name.as_str() {
                "delete" => Ok(OnDelete::Delete),
                "tree" => Ok(OnDelete::Tree),
                "ignore" => Ok(OnDelete::Ignore),
                _ => Err(wrong(format!("got \"{name}\""))
                    .near(nearest(&name, ["delete", "tree", "ignore"].into_iter()))),
            };
        }
        other => return Err(wrong(format!("got {other}"))),
    };
    set_aside::parse(&at, object, &wrong)
}

/// Parses `dn_template`. A template of one RDN is relative to `default_base_dn`: entries right below the root are never meant.
pub(super) fn dn_template(
    at: &str,
    text: &str,
    default_base: Option<&str>,
) -> Result<DnTemplate, SettingsError> {
    let parse = |text: &str| {
        DnTemplate::parse(text).map_err(|e| {
            SettingsError::value(
                at,
                e.to_string(),
                "a DN with {placeholders}, for example uid={uid},ou=users,dc=example,dc=com",
            )
            .near(e.nearest)
        })
    };
    let template = parse(text)?;
    let filled = template.render(&|_| Some(vec!["x".to_owned()]));
    let relative = filled.ok().and_then(|dn| Dn::parse(&dn).ok()).is_some_and(|dn| dn.depth() == 1);
    match default_base {
        Some(base) if relative => parse(&format!("{text},{}", base.replace('{', "{{").replace('}', "}}"))),
        _ => Ok(template),
    }
}

/// Returns the first placeholder in a text, as a template has them. An identifier in braces (`{31b2f340-016d-11d2-945f-00c04fb984f9}`) is
/// none.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let is_id = |name: &str| name.len() == 36 && name.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '$'))
    };
    text.match_indices('{').find_map(|(start, _)| {
        let rest = text.get(start..)?;
        let found = rest.get(..=rest.find('}')?)?;
        let inner = found.get(1..found.len() - 1)?;
        let name = inner.split('|').next().unwrap_or_default().trim();
        (is_name(name) && !is_id(name)).then_some(found)
    })
}

/// Checks a value that is the same for all records: a placeholder in it would be written as it is.
pub(super) fn check_fixed(at: &str, attribute: &str, value: &Value) -> Result<(), SettingsError> {
    let found = match value {
        // `{SSHA}` begins a hash.
        _ if is_secret_attribute(attribute) => None,
        Value::String(text) => placeholder(text),
        Value::Array(all) => all.iter().filter_map(Value::as_str).find_map(placeholder),
        _ => None,
    };
    found.map_or(Ok(()), |found| {
        let problem = format!("nothing fills `{found}`: the value is the same for all entries");
        let expected = "a value without {placeholders} (templates are in `values`)";
        Err(SettingsError::value(at, problem, expected))
    })
}

/// Checks an attribute description: a name or OID, with options (RFC 4512 section 2.5).
pub(super) fn check_attribute(setting: &str, name: &str) -> Result<(), SettingsError> {
    if is_attribute_description(name) {
        return Ok(());
    }
    Err(SettingsError::value(
        setting,
        format!("`{name}` is no attribute"),
        "the name of an LDAP attribute, for example mail",
    ))
}
