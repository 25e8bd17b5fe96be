//! The target's configuration, resolved: every template parsed, every name checked, before a record is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::directory::ldap::can_send_filter;
use singer_common::directory::ldif::LdifFormat;
use singer_common::directory::{DirectoryConfig, ServerUrl};
use singer_common::dn::{Dn, DnKey, SuffixRewrite};
use singer_common::filter::{self, Filter};
use singer_common::schema::Schema;
use singer_common::settings::{SettingsError, typed, unknown_key};

use crate::guard::{Guards, Limit};
use crate::plan::Policy;
use crate::template::{DnTemplate, Template};

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

/// What a bad record does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnError {
    /// It ends the run.
    #[default]
    Fail,
    /// It is left out.
    Skip {
        /// Where it is put.
        file: PathBuf,
        /// How many may be; `None`: any number.
        max: Option<u64>,
    },
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

/// A mapping rule.
#[derive(Debug, Clone, Default)]
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
    /// What may be done.
    pub operations: Operations,
    /// What a deletion does.
    pub on_delete: OnDelete,
    /// Where the stream's entries are, for ACTIVATE_VERSION: below this one.
    pub scope_base: Option<String>,
    /// Which of those there they are.
    pub scope_filter: Option<String>,
}

const RULE_KEYS: &[&str] = &[
    "dn_template",
    "object_classes",
    "attribute_mapping",
    "values",
    "defaults",
    "policies",
    "operations",
    "on_delete",
    "scope_base",
    "scope_filter",
];
/// Parts of a rule that belong to the contract but not to this version: refused, never ignored.
const PLANNED_RULE_KEYS: &[&str] = &["match", "password", "delete_old_rdn", "empty_group"];

/// The target's settings.
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// The directory.
    pub directory: DirectoryConfig,
    /// Where records go whose rule gives no full DN.
    pub default_base_dn: Option<String>,
    /// The rules by stream; `*` for the others.
    pub rules: BTreeMap<String, Rule>,
    /// Suffixes to rewrite.
    pub dn_rewrite: Vec<SuffixRewrite>,
    /// What a bad record does.
    pub on_error: OnError,
    /// Whether records are checked against their SCHEMA.
    pub validate_records: bool,
    /// Whether ACTIVATE_VERSION deletes what is gone.
    pub process_activate_version: bool,
    /// Whether missing parents are created.
    pub create_parents: bool,
    /// Writes outstanding at once.
    pub max_in_flight: usize,
    /// What a file holds.
    pub ldif_format: LdifFormat,
    /// Whether METRIC lines are written.
    pub metrics: bool,
    /// Whether the run only shows what it would do.
    pub dry_run: bool,
    /// Where to write what takes the run back.
    pub undo_file: Option<PathBuf>,
    /// What the run may do at most.
    pub guards: Guards,
}

impl TargetConfig {
    /// Resolves the settings. Warnings are for the log.
    pub fn from_settings(
        values: &Map<String, Value>,
        warnings: &mut Vec<String>,
    ) -> Result<TargetConfig, SettingsError> {
        #[derive(Deserialize)]
        struct Rewrite {
            from: String,
            to: String,
        }
        #[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
        #[derive(Deserialize)]
        struct Raw {
            default_base_dn: Option<String>,
            mapping_rules: Map<String, Value>,
            dn_rewrite: Vec<Rewrite>,
            on_error: String,
            reject_file: Option<PathBuf>,
            max_rejects: Option<u64>,
            validate_records: bool,
            create_parents: bool,
            process_activate_version: bool,
            max_in_flight: usize,
            ldif_format: LdifFormat,
            ldif_export_path: Option<PathBuf>,
            enable_metrics: bool,
            dry_run: bool,
            undo_file: Option<PathBuf>,
            max_deletes: Option<Value>,
            max_changes: Option<Value>,
        }
        let export =
            values.get("ldif_export_path").and_then(Value::as_str).map(PathBuf::from).map(ServerUrl::Ldif);
        let directory = DirectoryConfig::from_settings(values, export, warnings)?;
        let raw: Raw = typed("(target)", Value::Object(values.clone()))?;
        if raw.ldif_export_path.is_some()
            && !directory.servers.iter().any(|s| matches!(s, ServerUrl::Ldif(_)))
        {
            warnings.push("ldif_export_path is not used: a server is given".to_owned());
        }
        let dn_rewrite = raw
            .dn_rewrite
            .iter()
            .enumerate()
            .map(|(n, r)| {
                SuffixRewrite::new(&r.from, &r.to).map_err(|e| {
                    SettingsError::value(
                        format!("dn_rewrite[{n}]"),
                        e.to_string(),
                        "two DNs, `from` and `to`",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if let Some(base) = &raw.default_base_dn {
            Dn::parse(base).map_err(|e| {
                SettingsError::value(
                    "default_base_dn",
                    e.to_string(),
                    "a DN, for example ou=imported,dc=example,dc=com",
                )
            })?;
        }
        let on_error = match (raw.on_error.as_str(), raw.reject_file) {
            ("skip", Some(file)) if !file.as_os_str().is_empty() => {
                OnError::Skip { file, max: raw.max_rejects }
            }
            ("skip", _) => {
                return Err(SettingsError::value(
                    "reject_file",
                    "not set, though on_error is skip: rejected records would be lost",
                    "a path, for example rejects.jsonl",
                ));
            }
            (_, file) => {
                if file.is_some() || raw.max_rejects.is_some() {
                    warnings
                        .push("reject_file and max_rejects are not used: on_error is not skip".to_owned());
                }
                OnError::Fail
            }
        };
        let mut rules = BTreeMap::new();
        for (stream, value) in raw.mapping_rules {
            let path = format!("mapping_rules.{stream}");
            rules.insert(stream, rule(&path, value, raw.default_base_dn.as_deref(), warnings)?);
        }
        let scoped = |(_, rule): &(&String, &Rule)| rule.scope_base.is_some() || rule.scope_filter.is_some();
        if let (false, Some((stream, _))) = (raw.process_activate_version, rules.iter().find(scoped)) {
            warnings.push(format!(
                "mapping_rules.{stream}: scope_base and scope_filter are not used: process_activate_version is not true"
            ));
        }
        check_scopes(&rules)?;
        Ok(TargetConfig {
            directory,
            default_base_dn: raw.default_base_dn,
            rules,
            dn_rewrite,
            on_error,
            validate_records: raw.validate_records,
            create_parents: raw.create_parents,
            process_activate_version: raw.process_activate_version,
            max_in_flight: raw.max_in_flight,
            ldif_format: raw.ldif_format,
            metrics: raw.enable_metrics,
            dry_run: raw.dry_run,
            undo_file: raw.undo_file,
            guards: Guards {
                max_deletes: raw.max_deletes.map(|v| Limit::parse("max_deletes", &v)).transpose()?,
                max_changes: raw.max_changes.map(|v| Limit::parse("max_changes", &v)).transpose()?,
            },
        })
    }

    /// The rule of a stream: its own, or `*`.
    pub fn rule(&self, stream: &str) -> Option<&Rule> {
        self.rules.get(stream).or_else(|| self.rules.get("*"))
    }
}

impl Rule {
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

/// A scope is one stream's: what one stream did not bring, another may be about to.
fn check_scopes(rules: &BTreeMap<String, Rule>) -> Result<(), SettingsError> {
    let mut seen: BTreeMap<(DnKey, String), &String> = BTreeMap::new();
    for (stream, rule) in rules {
        let Some(base) = &rule.scope_base else { continue };
        let at = format!("mapping_rules.{stream}.scope_base");
        if stream == "*" {
            let problem = "a rule for several streams, each of which would delete the others' entries";
            return Err(SettingsError::value(at, problem, "a rule for each stream that has a scope"));
        }
        // The standard schema will do: the destination's is not known yet.
        let key = DnKey::parse(base, Schema::standard()).unwrap_or_default();
        if let Some(other) = seen.insert((key, rule.scope_filter()), stream) {
            let problem = format!("the scope of `{other}`, too: each would delete the other's entries");
            return Err(SettingsError::value(at, problem, "another scope_base or scope_filter"));
        }
    }
    Ok(())
}

fn rule(
    path: &str,
    value: Value,
    default_base: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Rule, SettingsError> {
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
        operations: Option<Value>,
        on_delete: Option<Value>,
        scope_base: Option<String>,
        scope_filter: Option<String>,
    }
    for key in value.as_object().into_iter().flat_map(Map::keys) {
        if PLANNED_RULE_KEYS.contains(&key.as_str()) {
            return Err(SettingsError::value(
                format!("{path}.{key}"),
                "this version cannot do that yet, and leaving it out silently could do harm",
                "the setting to be removed",
            ));
        }
        if !RULE_KEYS.contains(&key.as_str()) {
            warnings.push(unknown_key(&format!("{path}."), key, RULE_KEYS.iter().copied()));
        }
    }
    let raw: Raw = typed(path, value)?;
    let dn_template = raw.dn_template.map(|text| dn_template(path, &text, default_base)).transpose()?;
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
        let template = Template::parse(&text)
            .map_err(|e| SettingsError::value(&at, e.to_string(), "a text with {placeholders}"))?;
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
        if !can_send_filter(filter) {
            return Err(SettingsError::value(at, "it cannot be sent to a server", expected));
        }
        if raw.scope_base.is_none() {
            return Err(SettingsError::value(at, "scope_base is not set", "both, or scope_base alone"));
        }
    }
    let mut policies: Vec<(String, Policy)> = Vec::new();
    for (attribute, policy) in raw.policies {
        let at = format!("{path}.policies.{attribute}");
        check_attribute(&at, &attribute)?;
        let policy = serde_json::from_value(policy.clone()).map_err(|_| {
            SettingsError::value(&at, format!("got {policy}"), "force, keep, merge or create_only")
        })?;
        policies.push((attribute, policy));
    }
    // A misspelt key would leave an operation on that somebody wants off.
    let operations = raw.operations.unwrap_or_else(|| Map::new().into());
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
        operations,
        scope_base: raw.scope_base,
        scope_filter: raw.scope_filter,
        on_delete: raw.on_delete.map(|v| on_delete(path, v)).transpose()?.unwrap_or_default(),
    })
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
                _ => Err(wrong(format!("got \"{name}\""))),
            };
        }
        other => return Err(wrong(format!("got {other}"))),
    };
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
