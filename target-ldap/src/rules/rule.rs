//! A mapping rule: what becomes of a stream's records.

use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::dn::Dn;
use singer_common::filter::{self, Filter};
use singer_common::settings::{SettingsError, check_keys, nearest, typed};

use super::keys::check_parts;
use crate::rules::accounts::AccountsRule;
use crate::rules::password::PasswordRule;
use crate::rules::policy::{Compare, Policy};
use crate::rules::template::{DnTemplate, FilterTemplate, Template};

/// What a record with `_sdc_deleted_at` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// Its entry is deleted.
    #[default]
    Delete,
    /// Nothing.
    Ignore,
    /// Its entry is deleted with all that lies below it.
    Tree,
    /// Its entry is moved below this one.
    MoveTo(String),
    /// Its entry is given these values; null takes an attribute away.
    Set(Vec<(String, Value)>),
}

/// What a rule may do to entries. What it may not leaves the entry as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the setting, as it is")]
pub struct Operations {
    /// Add an entry that is not there.
    pub create: bool,
    /// Change the attributes of one that is.
    pub update: bool,
    /// Give it another name.
    pub rename: bool,
    /// Do to it what `on_delete` says.
    pub delete: bool,
}

impl Default for Operations {
    fn default() -> Self {
        Self { create: true, update: true, rename: true, delete: true }
    }
}

/// What becomes of a group that would be left without a member, which its class forbids (RFC 4519 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EmptyGroup {
    /// Nobody said: as `fail` where a server would refuse it, and where a file is to be checked; else it is written as it is.
    #[default]
    NotSaid,
    /// It is an error of the record.
    Fail,
    /// The members it has stay.
    KeepLast,
    /// This entry becomes its member, until there is another.
    Placeholder(String),
    /// It goes, or is not made.
    Delete,
}

/// A mapping rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The DN of a record's entry.
    pub dn_template: Option<DnTemplate>,
    /// The classes an entry is given, and keeps.
    pub object_classes: Vec<String>,
    /// From record property to attributes; `None`: properties that are attributes pass through.
    pub attribute_mapping: Option<Vec<(String, Vec<String>)>>,
    /// Attributes made by template.
    pub values: Vec<(String, Template)>,
    /// Values of attributes that neither the record nor the entry has.
    pub defaults: Vec<(String, Value)>,
    /// How an attribute's wanted values go together with those that are there; `force` where nothing is said.
    pub policies: Vec<(String, Policy)>,
    /// How an attribute's values are told from those that are there; by its EQUALITY rule where nothing is said, but for
    /// [`Compare::usual`].
    pub compare: Vec<(String, Compare)>,
    /// What finds an entry, whatever it is called; `None`: its DN.
    pub matching: Option<FilterTemplate>,
    /// Whether the values of its old name leave an entry that is renamed.
    pub delete_old_rdn: bool,
    /// What becomes of a group that would be left without a member.
    pub empty_group: EmptyGroup,
    /// What may be done.
    pub operations: Operations,
    /// What a deletion does.
    pub on_delete: OnDelete,
    /// Where a password comes from, and how it is set.
    pub password: Option<PasswordRule>,
    /// Whether accounts may be used.
    pub accounts: Option<AccountsRule>,
    /// Where the stream's entries are, for ACTIVATE_VERSION and `match`: below this one.
    pub scope_base: Option<String>,
    /// Which of those there they are.
    pub scope_filter: Option<String>,
}

const RULE_KEYS: &[&str] = &[
    "dn_template",
    "match",
    "delete_old_rdn",
    "empty_group",
    "object_classes",
    "attribute_mapping",
    "values",
    "defaults",
    "policies",
    "compare",
    "operations",
    "on_delete",
    "password",
    "accounts",
    "scope_base",
    "scope_filter",
];

impl Default for Rule {
    fn default() -> Self {
        Self {
            dn_template: None,
            object_classes: Vec::new(),
            attribute_mapping: None,
            values: Vec::new(),
            defaults: Vec::new(),
            policies: Vec::new(),
            compare: Vec::new(),
            matching: None,
            delete_old_rdn: true,
            empty_group: EmptyGroup::default(),
            operations: Operations::default(),
            on_delete: OnDelete::default(),
            password: None,
            accounts: None,
            scope_base: None,
            scope_filter: None,
        }
    }
}

impl Rule {
    /// Whether it finds entries that others may lie below (units and their like), and gives them other names.
    pub fn renames_parents(&self) -> bool {
        const CONTAINERS: [&str; 6] = ["ou", "o", "l", "c", "st", "dc"];
        let names = self.dn_template.iter().flat_map(DnTemplate::naming_attributes);
        self.matching.is_some()
            && self.operations.rename
            && names.into_iter().any(|name| CONTAINERS.iter().any(|c| name.eq_ignore_ascii_case(c)))
    }

    /// Which entries in the scope are the stream's. Without a filter they are those that have the rule's classes: what
    /// others put there, and the units they are in, are not.
    pub fn scope_filter(&self) -> String {
        if let Some(filter) = &self.scope_filter {
            return filter.clone();
        }
        if self.object_classes.is_empty() {
            return "(objectClass=*)".to_owned();
        }
        let mut all = "(&".to_owned();
        for class in &self.object_classes {
            all.push_str("(objectClass=");
            all.push_str(&filter::escape_value(class.as_bytes()));
            all.push(')');
        }
        all.push(')');
        all
    }
}

/// Reads a rule. `path` names it in messages.
pub(crate) fn rule(path: &str, value: Value, default_base: Option<&str>) -> Result<Rule, SettingsError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    #[derive(Deserialize)]
    struct Raw {
        dn_template: Option<String>,
        #[serde(default)]
        object_classes: Vec<String>,
        attribute_mapping: Option<Map<String, Value>>,
        #[serde(default)]
        values: Map<String, Value>,
        #[serde(default)]
        defaults: Map<String, Value>,
        #[serde(default)]
        policies: Map<String, Value>,
        #[serde(default)]
        compare: Map<String, Value>,
        #[serde(rename = "match")]
        matching: Option<String>,
        delete_old_rdn: Option<bool>,
        empty_group: Option<String>,
        operations: Option<Value>,
        on_delete: Option<Value>,
        password: Option<Value>,
        accounts: Option<Value>,
        scope_base: Option<String>,
        scope_filter: Option<String>,
    }
    // A part that is left out because it is misspelt (`policy`, `on_delte`) has the run do what somebody ruled out.
    check_parts(path, &value, RULE_KEYS)?;
    let raw: Raw = typed(path, value)?;
    let dn_template = raw.dn_template.map(|text| dn_template(path, &text, default_base)).transpose()?;
    let matching = raw.matching.map(|text| {
        let expected = "a search filter with {placeholders}, for example (employeeNumber={employee_id})";
        let at = format!("{path}.match");
        let template = FilterTemplate::parse(&text)
            .map_err(|e| SettingsError::value(&at, e.to_string(), expected).near(e.nearest))?;
        if template.names().next().is_none() {
            return Err(SettingsError::value(
                at,
                "without a {placeholder}: every record would find the same entry",
                expected,
            ));
        }
        Ok(template)
    });
    let matching = matching.transpose()?;
    let attribute_mapping = raw
        .attribute_mapping
        .map(|mapping| {
            mapping
                .into_iter()
                .map(|(property, names)| {
                    let at = format!("{path}.attribute_mapping.{property}");
                    let names = match typed(&at, names)? {
                        Names::One(name) => vec![name],
                        Names::Many(names) => names,
                    };
                    names.iter().try_for_each(|n| check_attribute(&at, n))?;
                    Ok((property, names))
                })
                .collect::<Result<Vec<_>, SettingsError>>()
        })
        .transpose()?;
    let mut values = Vec::new();
    for (attribute, text) in raw.values {
        let at = format!("{path}.values.{attribute}");
        check_attribute(&at, &attribute)?;
        let text: String = typed(&at, text)?;
        let template = Template::parse(&text).map_err(|e| {
            SettingsError::value(&at, e.to_string(), "a text with {placeholders}").near(e.nearest)
        })?;
        values.push((attribute, template));
    }
    for attribute in raw.defaults.keys() {
        check_attribute(&format!("{path}.defaults.{attribute}"), attribute)?;
    }
    if let Some(base) = &raw.scope_base {
        // The root is nobody's scope: all that a directory holds would be gone.
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
    if let Some(filter) = &raw.scope_filter {
        let at = format!("{path}.scope_filter");
        let expected = "a search filter (RFC 4515), for example (objectClass=inetOrgPerson)";
        if let Err(e) = Filter::parse(filter) {
            return Err(SettingsError::value(at, e.to_string(), expected));
        }
        if raw.scope_base.is_none() {
            return Err(SettingsError::value(at, "scope_base is not set", "both, or scope_base alone"));
        }
    }
    let policies =
        of_attributes(&format!("{path}.policies"), raw.policies, "force, keep, merge or create_only")?;
    let compare = of_attributes(&format!("{path}.compare"), raw.compare, "schema or exact")?;
    let operations = raw.operations.unwrap_or_else(|| Map::new().into());
    check_parts(&format!("{path}.operations"), &operations, &["create", "update", "rename", "delete"])?;
    let operations = serde_json::from_value(operations.clone())
        .map_err(|e| e.to_string())
        .and_then(|read| if operations.is_object() { Ok(read) } else { Err("no object".to_owned()) })
        .map_err(|problem| {
            let expected = "an object of create, update, rename and delete, each true or false";
            SettingsError::value(format!("{path}.operations"), problem, expected)
        })?;
    Ok(Rule {
        dn_template,
        object_classes: raw.object_classes,
        attribute_mapping,
        values,
        defaults: raw.defaults.into_iter().collect(),
        policies,
        compare,
        matching,
        delete_old_rdn: raw.delete_old_rdn.unwrap_or(true),
        empty_group: raw.empty_group.map(|v| empty_group(path, v)).transpose()?.unwrap_or_default(),
        operations,
        scope_base: raw.scope_base,
        scope_filter: raw.scope_filter,
        password: raw.password.map(|v| PasswordRule::parse(path, v)).transpose()?,
        accounts: raw.accounts.map(|v| AccountsRule::parse(path, v)).transpose()?,
        on_delete: raw.on_delete.map(|v| on_delete(path, v)).transpose()?.unwrap_or_default(),
    })
}

/// One of a few words for each of some attributes.
fn of_attributes<T: serde::de::DeserializeOwned>(
    path: &str,
    said: Map<String, Value>,
    expected: &str,
) -> Result<Vec<(String, T)>, SettingsError> {
    let read = |(attribute, word): (String, Value)| {
        let at = format!("{path}.{attribute}");
        check_attribute(&at, &attribute)?;
        let read = serde_json::from_value(word.clone());
        let read = read.map_err(|_| {
            let known = expected.split([' ', ',']).filter(|known| !known.is_empty() && *known != "or");
            let near = word.as_str().and_then(|word| nearest(word, known));
            SettingsError::value(&at, format!("got {word}"), expected).near(near)
        })?;
        Ok((attribute, read))
    };
    said.into_iter().map(read).collect()
}

/// One of the forms of `empty_group`.
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

/// One of the forms of `on_delete`.
fn on_delete(path: &str, value: Value) -> Result<OnDelete, SettingsError> {
    let at = format!("{path}.on_delete");
    let wrong = |problem: String| {
        let forms = r#""delete", "tree", "ignore", {"move_to": "ou=gone,dc=example,dc=com"} or {"set": {"nsAccountLock": "TRUE"}}"#;
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
    check_keys(&at, &object, &["move_to", "set"])?;
    let mut forms = object.into_iter();
    match (forms.next(), forms.next()) {
        (Some((name, Value::String(dn))), None) if name == "move_to" => match Dn::parse(&dn) {
            Ok(name) if !name.is_empty() => Ok(OnDelete::MoveTo(dn)),
            Ok(_) => Err(wrong("move_to is empty".into())),
            Err(e) => Err(wrong(format!("move_to: {e}"))),
        },
        (Some((name, Value::Object(values))), None) if name == "set" && !values.is_empty() => {
            for attribute in values.keys() {
                check_attribute(&format!("{at}.set.{attribute}"), attribute)?;
            }
            Ok(OnDelete::Set(values.into_iter().collect()))
        }
        (Some((name, value)), None) => Err(wrong(format!("got {{\"{name}\": {value}}}"))),
        (Some(_), Some(_)) => Err(wrong("got several forms at once".into())),
        (None, _) => Err(wrong("got {}".into())),
    }
}

/// A template of one RDN is relative to `default_base_dn`: an entry right below the root is never meant.
fn dn_template(path: &str, text: &str, default_base: Option<&str>) -> Result<DnTemplate, SettingsError> {
    let at = format!("{path}.dn_template");
    let parse = |text: &str| {
        DnTemplate::parse(text).map_err(|e| {
            SettingsError::value(
                &at,
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

/// An attribute description: a name or OID, with options (RFC 4512 section 2.5).
fn check_attribute(setting: &str, name: &str) -> Result<(), SettingsError> {
    if is_attribute_description(name) {
        return Ok(());
    }
    Err(SettingsError::value(
        setting,
        format!("`{name}` is no attribute"),
        "the name of an LDAP attribute, for example mail",
    ))
}

/// Whether a text can be an attribute description at all.
pub fn is_attribute_description(text: &str) -> bool {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    let word = |w: &str| {
        !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '='))
    };
    let oid = name.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (oid || word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic())) && parts.all(word)
}
