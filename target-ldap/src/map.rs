//! From a record to the entry it asks for. Pure: the same record gives the same entry.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use singer_common::dn::{Dn, DnKey, SuffixRewrite, escape_value};
use singer_common::message::SchemaMessage;
use singer_common::schema::Schema;
use singer_common::schema::syntax::ValueKind;
use singer_common::settings::SettingsError;

use crate::config::{OnDelete, Operations, Rule, TargetConfig, is_attribute_description};
use crate::plan::{Policy, Wanted, WantedEntry};
use crate::rejects::is_secret_attribute;
use crate::template::{DnTemplate, RenderError};

mod attributes;

use attributes::Attributes;

/// The property that marks a record as a deletion.
const DELETED_AT: &str = "_sdc_deleted_at";

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// The entry is to be there, like this.
    Upsert {
        /// The entry.
        wanted: WantedEntry,
        /// What may be done to have it.
        operations: Operations,
    },
    /// The entry is not to be there.
    Delete {
        /// Its name.
        dn: String,
        /// What is done about it.
        removal: Arc<Removal>,
        /// Whether anything may be done.
        allowed: bool,
    },
    /// Nothing.
    Nothing,
}

impl Task {
    /// The entry it is about.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Task::Upsert { wanted, .. } => Some(&wanted.dn),
            Task::Delete { dn, .. } => Some(dn),
            Task::Nothing => None,
        }
    }
}

/// What a deletion does to an entry, if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It goes.
    Delete,
    /// It goes, and all that lies below it.
    Tree,
    /// It goes below this one.
    MoveTo(String),
    /// It gets these values.
    Set(Vec<Wanted>),
    /// Nothing.
    Nothing,
}

/// Where a stream's entries are, and what happens to those that are gone.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Below this entry.
    pub base: String,
    /// Those that this filter fits (RFC 4515).
    pub filter: String,
    /// But not what lies in the scope of a rule further down: an entry is of the stream that is nearest.
    pub others: Vec<DnKey>,
    /// What a deletion does.
    pub removal: Arc<Removal>,
    /// Whether anything may be done.
    pub allowed: bool,
}

/// Why a record makes no entry. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A value cannot be brought into the attribute's syntax.
    #[error("property `{property}` cannot become a value of `{attribute}`: {reason}")]
    Value {
        /// The record's property.
        property: String,
        /// The attribute.
        attribute: String,
        /// What would be right.
        reason: String,
    },
    /// A template cannot be filled in.
    #[error("{part}: {error}")]
    Template {
        /// Which template.
        part: String,
        /// Why.
        error: RenderError,
    },
    /// No name can be made.
    #[error("{0}")]
    Name(String),
}

impl Rule {
    /// What is said of an attribute.
    fn policy(&self, description: &str, schema: &Schema) -> Option<Policy> {
        let said = self.policies.iter().find(|(name, _)| schema.same_description(name, description));
        said.map(|(_, policy)| *policy)
    }
}

/// Where an entry's name comes from.
#[derive(Debug)]
enum Naming {
    /// The rule's template.
    Template(DnTemplate),
    /// The record's `dn`.
    Record,
    /// The stream's key below a base.
    Key { attribute: String, property: String, base: String },
}

/// A property and the attributes it becomes.
#[derive(Debug)]
struct Column {
    property: String,
    encoding: Encoding,
    attributes: Vec<Target>,
}

/// What the SCHEMA says of a property's texts (`contentEncoding`, RFC 2045 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Nothing: the attribute's syntax decides.
    Unsaid,
    /// They are base64 of the octets.
    Base64,
    /// They are the octets themselves.
    Plain,
}

#[derive(Debug)]
struct Target {
    description: String,
    kind: ValueKind,
    policy: Policy,
}

/// A stream's mapping, planned once per SCHEMA.
#[derive(Debug)]
pub struct Mapping {
    naming: Naming,
    columns: Vec<Column>,
    rule: Rule,
    values: Vec<Target>,
    defaults: Vec<Wanted>,
    removal: Arc<Removal>,
    extent: Option<Extent>,
    rewrites: Vec<SuffixRewrite>,
}

impl Mapping {
    /// Plans a stream. `takes_unknown`: the destination stores attributes its schema does not know. Warnings are for
    /// the log.
    pub fn new(
        message: &SchemaMessage,
        config: &TargetConfig,
        schema: &Schema,
        takes_unknown: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Mapping, SettingsError> {
        let stream = &message.stream;
        let empty = Map::new();
        let properties = message.schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let has = |name: &str| properties.keys().any(|p| p.eq_ignore_ascii_case(name));
        let rule = match config.rule(stream) {
            Some(rule) => rule.clone(),
            None if has("dn") && has("objectClass") => Rule::default(),
            None => {
                return Err(SettingsError::value(
                    format!("mapping_rules.{stream}"),
                    "not set, and the stream's records have no `dn` and `objectClass` to be mirrored by",
                    format!("a rule for `{stream}` (or for \"*\") with dn_template and object_classes"),
                ));
            }
        };
        let mut columns = match &rule.attribute_mapping {
            Some(mapping) => mapping
                .iter()
                .map(|(property, names)| Column {
                    property: property.clone(),
                    encoding: encoding(properties.get(property)),
                    attributes: names.iter().map(|n| target(schema, n)).collect(),
                })
                .collect(),
            None => pass_through(properties, stream, &rule, schema, takes_unknown, warnings),
        };
        let mut values: Vec<Target> = rule.values.iter().map(|(name, _)| target(schema, name)).collect();
        for target in columns.iter_mut().flat_map(|c| &mut c.attributes).chain(&mut values) {
            target.policy = rule.policy(&target.description, schema).unwrap_or_default();
        }
        for (name, _) in &rule.policies {
            let same = |description: &str| schema.same_description(description, name);
            let targets = columns.iter().flat_map(|c| &c.attributes).chain(&values);
            let wanted = targets.map(|t| t.description.as_str()).any(same)
                || rule.defaults.iter().any(|(default, _)| same(default))
                || same("objectClass");
            if !wanted {
                warnings.push(format!(
                    "stream `{stream}`: mapping_rules policies name `{name}`, which nothing gives a value"
                ));
            }
        }
        let naming = naming(stream, &rule, config, &columns, &message.key_properties, has("dn"))?;
        let mut defaults = Vec::new();
        for (name, value) in &rule.defaults {
            let target = target(schema, name);
            if target.kind == ValueKind::Binary && is_password(&target.description) {
                return Err(SettingsError::value(
                    format!("mapping_rules.{stream}.defaults.{name}"),
                    "a password for everybody",
                    "no default for passwords",
                ));
            }
            let values = target.fixed(&format!("mapping_rules.{stream}.defaults.{name}"), value)?;
            // A default never overwrites, whatever else is said of the attribute.
            let policy = match rule.policy(&target.description, schema) {
                Some(Policy::CreateOnly) => Policy::CreateOnly,
                _ => Policy::Keep,
            };
            defaults.push(Wanted { description: target.description, values, policy });
        }
        let removal = match &rule.on_delete {
            OnDelete::Delete => Removal::Delete,
            OnDelete::Tree => Removal::Tree,
            OnDelete::Ignore => Removal::Nothing,
            OnDelete::MoveTo(dn) => Removal::MoveTo(dn.clone()),
            OnDelete::Set(attributes) => Removal::Set(
                attributes
                    .iter()
                    .map(|(name, value)| set_on_delete(stream, name, value, schema))
                    .collect::<Result<_, _>>()?,
            ),
        };
        let removal = Arc::new(removal);
        let rewrites = config.dn_rewrite.clone();
        let extent = rule.scope_base.as_ref().map(|base| {
            let key = |dn: &String| DnKey::parse(dn, schema).ok();
            let scopes = config.rules.values().filter_map(|r| r.scope_base.as_ref()).filter_map(key);
            let others = scopes.filter(|s| key(base).is_some_and(|b| b.is_ancestor_of(s))).collect();
            let (base, filter) = (base.clone(), rule.scope_filter());
            Extent { base, filter, others, removal: removal.clone(), allowed: rule.operations.delete }
        });
        Ok(Mapping { naming, columns, rule, values, defaults, removal, extent, rewrites })
    }

    /// Where the stream's entries are; `None` where nobody said so.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// The properties whose values become those of secret attributes, directly or by a template.
    pub fn secret_properties(&self) -> BTreeSet<String> {
        let is_secret = |target: &Target| is_secret_attribute(&target.description);
        let mapped = self.columns.iter().filter(|c| c.attributes.iter().any(is_secret));
        let mut names: BTreeSet<String> = mapped.map(|c| c.property.clone()).collect();
        let made = self.rule.values.iter().filter(|(name, _)| is_secret_attribute(name));
        for name in made.flat_map(|(_, template)| template.names()) {
            // A template's name is an attribute's or a property's.
            let becomes = |c: &&Column| c.attributes.iter().any(|t| t.description.eq_ignore_ascii_case(name));
            names.extend(self.columns.iter().filter(becomes).map(|c| c.property.clone()));
            names.insert(name.to_owned());
        }
        names
    }

    /// The task of one record, which is an object.
    pub fn map(&self, record: &Value, schema: &Schema) -> Result<Task, MapError> {
        let empty = Map::new();
        let record = record.as_object().unwrap_or(&empty);
        let deleted = record.get(DELETED_AT).is_some_and(|v| !v.is_null());
        if deleted && *self.removal == Removal::Nothing {
            return Ok(Task::Nothing);
        }
        let mapped = self.mapped_texts(record);
        let lookup = |name: &str| -> Option<Vec<String>> {
            mapped
                .get(&schema.spell(name).to_ascii_lowercase())
                .cloned()
                .or_else(|| record.get(name).and_then(display_texts))
        };
        let mut attributes = Attributes::new(schema);
        if !deleted {
            for column in &self.columns {
                let Some(value) = record.get(&column.property) else { continue };
                for target in &column.attributes {
                    attributes.force(target.wanted(value, column, &self.rewrites, schema)?);
                }
            }
        }
        let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((name, template), target) in self.rule.values.iter().zip(&self.values) {
            let text = template
                .render(&lookup)
                .map_err(|error| MapError::Template { part: format!("values.{name}"), error })?;
            if let Some(text) = text {
                let column = Column {
                    property: format!("values.{name}"),
                    encoding: Encoding::Unsaid,
                    attributes: vec![],
                };
                let value = Value::String(text.clone());
                attributes.force(target.wanted(&value, &column, &self.rewrites, schema)?);
                made.insert(target.description.to_ascii_lowercase(), vec![text]);
            }
        }
        let named_lookup = |name: &str| -> Option<Vec<String>> {
            let key = schema.spell(name).to_ascii_lowercase();
            made.get(&key)
                .cloned()
                .or_else(|| lookup(name).filter(|v| v.iter().any(|t| !t.is_empty())))
                .or_else(|| {
                    let default = self.defaults.iter().find(|d| d.description.eq_ignore_ascii_case(&key))?;
                    default.values.iter().map(|v| String::from_utf8(v.clone()).ok()).collect()
                })
        };
        let written = self.name(record, &named_lookup)?;
        let dn = rewritten(&written, &self.rewrites, schema).unwrap_or_else(|| written.clone());
        let name = Dn::parse(&dn).map_err(|e| MapError::Name(format!("`{dn}` is no DN: {e}")))?;
        let rdn = name.rdn().ok_or_else(|| MapError::Name("the DN is empty".into()))?.clone();
        if deleted {
            let removal = self.removal.clone();
            return Ok(Task::Delete { dn, removal, allowed: self.rule.operations.delete });
        }
        for default in &self.defaults {
            attributes.keep(default.clone());
        }
        if !self.rule.object_classes.is_empty() {
            let values = self.rule.object_classes.iter().map(|c| c.clone().into_bytes()).collect();
            let policy = self.rule.policy("objectClass", schema).unwrap_or(Policy::Merge);
            attributes.replace(Wanted { description: "objectClass".into(), values, policy });
        }
        if dn != written {
            attributes.rename(&written, &name);
        }
        for ava in rdn.avas {
            attributes.contain(&ava.attribute, ava.value);
        }
        let wanted = WantedEntry { dn, attributes: attributes.into_list() };
        Ok(Task::Upsert { wanted, operations: self.rule.operations })
    }

    /// The record's values by the attributes they become, as templates see them.
    fn mapped_texts(&self, record: &Map<String, Value>) -> BTreeMap<String, Vec<String>> {
        let needed = !self.rule.values.is_empty() || matches!(self.naming, Naming::Template(_));
        let mut mapped = BTreeMap::new();
        for column in self.columns.iter().filter(|_| needed) {
            if let Some(texts) = record.get(&column.property).and_then(display_texts) {
                for target in &column.attributes {
                    mapped.insert(target.description.to_ascii_lowercase(), texts.clone());
                }
            }
        }
        mapped
    }

    fn name(
        &self,
        record: &Map<String, Value>,
        lookup: &dyn Fn(&str) -> Option<Vec<String>>,
    ) -> Result<String, MapError> {
        match &self.naming {
            Naming::Template(template) => template
                .render(lookup)
                .map_err(|error| MapError::Template { part: "dn_template".into(), error }),
            Naming::Record => {
                let dn = record.iter().find(|(name, _)| name.eq_ignore_ascii_case("dn")).map(|(_, v)| v);
                match dn {
                    Some(Value::String(dn)) if !dn.trim().is_empty() => Ok(dn.clone()),
                    _ => Err(MapError::Name("the record has no `dn` (a text)".into())),
                }
            }
            Naming::Key { attribute, property, base } => {
                let texts = record.get(property).and_then(display_texts).unwrap_or_default();
                match texts.as_slice() {
                    [only] if !only.trim().is_empty() => {
                        Ok(format!("{attribute}={},{base}", escape_value(only.as_bytes())))
                    }
                    _ => Err(MapError::Name(format!(
                        "the key `{property}` has not exactly one value that is not empty"
                    ))),
                }
            }
        }
    }
}

/// What `on_delete` sets an attribute to. Classes are added: what goes with the others stays.
fn set_on_delete(stream: &str, name: &str, value: &Value, schema: &Schema) -> Result<Wanted, SettingsError> {
    let at = format!("mapping_rules.{stream}.on_delete.set.{name}");
    let target = target(schema, name);
    let values = target.fixed(&at, value)?;
    if is_secret_attribute(&target.description) && !values.is_empty() {
        return Err(SettingsError::value(at, "a password for everybody", "null, which takes it away"));
    }
    let is_class = schema.same_description(&target.description, "objectClass");
    let policy = if is_class { Policy::Merge } else { Policy::Force };
    Ok(Wanted { description: target.description, values, policy })
}

impl Target {
    /// The values that the configuration gives an attribute.
    fn fixed(&self, setting: &str, value: &Value) -> Result<Vec<Vec<u8>>, SettingsError> {
        let octets = texts(value).and_then(|values| {
            values.into_iter().map(|v| self.kind.parse_json(v).ok()).collect::<Option<Vec<_>>>()
        });
        let Some(octets) = octets else {
            return Err(SettingsError::value(
                setting,
                "not a value of the attribute's syntax",
                expectation(self.kind).trim_start_matches("expected "),
            ));
        };
        Ok(octets.into_iter().flatten().collect())
    }

    /// The values of a property in the attribute's syntax.
    fn wanted(
        &self,
        value: &Value,
        column: &Column,
        rewrites: &[SuffixRewrite],
        schema: &Schema,
    ) -> Result<Wanted, MapError> {
        let fail = |reason: &str| MapError::Value {
            property: column.property.clone(),
            attribute: self.description.clone(),
            reason: reason.to_owned(),
        };
        let elements = texts(value)
            .ok_or_else(|| fail("an object is no value; expected a scalar or a list of scalars"))?;
        let rule = schema.equality(&self.description);
        let mut seen = HashSet::new();
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            let kind = match (column.encoding, self.kind) {
                // What is binary at its source stays so, whatever the destination calls it.
                (Encoding::Base64, _) => ValueKind::Binary,
                (Encoding::Plain, ValueKind::Binary) => ValueKind::PossiblyEmptyText,
                (_, kind) => kind,
            };
            if kind == ValueKind::Binary
                && column.encoding == Encoding::Unsaid
                && is_password(&self.description)
            {
                return Err(fail(
                    "its property is plain text; passwords are taken only as base64 (contentEncoding) of a value already hashed",
                ));
            }
            let octets = kind.parse_json(element).map_err(|_| fail(expectation(kind)))?;
            let Some(octets) = octets else { continue };
            let octets =
                if kind.is_name() { rewritten_value(octets, kind, rewrites, schema) } else { octets };
            if seen.insert(rule.normalize(&octets, schema).into_owned()) {
                values.push(octets);
            }
        }
        Ok(Wanted { description: self.description.clone(), values, policy: self.policy })
    }
}

fn target(schema: &Schema, name: &str) -> Target {
    let description = schema.spell(name);
    let kind = ValueKind::of(schema, &description);
    Target { description, kind, policy: Policy::default() }
}

/// A keyword of a property, or of its items.
fn keyword<'p>(property: &'p Value, name: &str) -> Option<&'p str> {
    property.get(name).or_else(|| property.get("items")?.get(name)).and_then(Value::as_str)
}

fn encoding(property: Option<&Value>) -> Encoding {
    match property.and_then(|p| keyword(p, "contentEncoding")) {
        None => Encoding::Unsaid,
        Some(name) if name.eq_ignore_ascii_case("base64") => Encoding::Base64,
        Some(_) => Encoding::Plain,
    }
}

/// The kind of an attribute that the destination's schema does not know: what the SCHEMA tells.
fn unknown_kind(property: &Value) -> ValueKind {
    let is = |kind: &str| {
        let types = property.get("items").unwrap_or(property).get("type");
        types.is_some_and(|t| t == kind || t.as_array().is_some_and(|all| all.iter().any(|t| t == kind)))
    };
    if keyword(property, "format") == Some("date-time") {
        ValueKind::GeneralizedTime
    } else if is("boolean") {
        ValueKind::Boolean
    } else if is("integer") {
        ValueKind::Integer
    } else {
        ValueKind::PossiblyEmptyText
    }
}

fn is_password(description: &str) -> bool {
    ["userPassword", "unicodePwd"].iter().any(|p| description.eq_ignore_ascii_case(p))
}

/// Properties that are attributes of the destination. What the server keeps itself is left out.
fn pass_through(
    properties: &Map<String, Value>,
    stream: &str,
    rule: &Rule,
    schema: &Schema,
    takes_unknown: bool,
    warnings: &mut Vec<String>,
) -> Vec<Column> {
    let mut columns = Vec::new();
    for (property, property_schema) in properties {
        if property.eq_ignore_ascii_case("dn") || property.starts_with("_sdc_") {
            continue;
        }
        let target = match schema.attribute_type(property) {
            Some(attribute) if attribute.no_user_modification => continue,
            Some(_) => target(schema, property),
            None if takes_unknown && is_attribute_description(property) => Target {
                description: property.clone(),
                kind: unknown_kind(property_schema),
                policy: Policy::default(),
            },
            // With templates, properties that are no attributes may be their material.
            None if rule.dn_template.is_some() || !rule.values.is_empty() => continue,
            None => {
                warnings.push(format!("stream `{stream}`: the destination's schema has no attribute `{property}`; it is left out"));
                continue;
            }
        };
        columns.push(Column {
            property: property.clone(),
            encoding: encoding(Some(property_schema)),
            attributes: vec![target],
        });
    }
    columns
}

fn naming(
    stream: &str,
    rule: &Rule,
    config: &TargetConfig,
    columns: &[Column],
    key_properties: &[String],
    has_dn: bool,
) -> Result<Naming, SettingsError> {
    if let Some(template) = &rule.dn_template {
        return Ok(Naming::Template(template.clone()));
    }
    if has_dn {
        return Ok(Naming::Record);
    }
    let missing = |problem: &str| {
        SettingsError::value(
            format!("mapping_rules.{stream}.dn_template"),
            problem,
            "a DN with {placeholders}, for example uid={uid},ou=users,dc=example,dc=com",
        )
    };
    let Some(base) = &config.default_base_dn else {
        return Err(missing("not set, the records have no `dn`, and default_base_dn is not set either"));
    };
    let [property] = key_properties else {
        return Err(missing("not set, and the stream has not exactly one key property to name entries by"));
    };
    if rule.object_classes.is_empty() {
        return Err(SettingsError::value(
            format!("mapping_rules.{stream}.object_classes"),
            "not set",
            "the classes of the entries to be made",
        ));
    }
    let attribute = columns
        .iter()
        .find(|c| c.property == *property)
        .and_then(|c| c.attributes.first())
        .map_or("cn", |t| t.description.as_str());
    Ok(Naming::Key { attribute: attribute.to_owned(), property: property.clone(), base: base.clone() })
}

/// The elements of a property: a scalar is one, a list its elements, null none.
fn texts(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Null => Some(vec![value]),
        Value::Array(elements) => {
            let scalar = |v: &&Value| !v.is_array() && !v.is_object();
            elements.iter().all(|v| scalar(&v)).then(|| elements.iter().filter(|v| !v.is_null()).collect())
        }
        Value::Object(_) => None,
        scalar => Some(vec![scalar]),
    }
}

/// A property's values as text, for templates.
fn display_texts(value: &Value) -> Option<Vec<String>> {
    let text = |v: &Value| match v {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    };
    let values: Vec<String> = match value {
        Value::Array(elements) => elements.iter().filter_map(text).collect(),
        scalar => text(scalar).into_iter().collect(),
    };
    (!values.is_empty()).then_some(values)
}

fn rewritten(dn: &str, rewrites: &[SuffixRewrite], schema: &Schema) -> Option<String> {
    rewrites.iter().find_map(|r| r.apply(dn, schema))
}

/// A DN-valued attribute's value, moved; a NameAndOptionalUID keeps its `#'0101'B` (RFC 4517 section 3.3.21).
fn rewritten_value(value: Vec<u8>, kind: ValueKind, rewrites: &[SuffixRewrite], schema: &Schema) -> Vec<u8> {
    if rewrites.is_empty() {
        return value;
    }
    let Ok(text) = std::str::from_utf8(&value) else { return value };
    if let Some(moved) = rewritten(text, rewrites, schema) {
        return moved.into_bytes();
    }
    match text.rsplit_once('#').filter(|(_, uid)| kind == ValueKind::NameAndOptionalUid && uid.ends_with('B'))
    {
        Some((name, uid)) => match rewritten(name, rewrites, schema) {
            Some(moved) => format!("{moved}#{uid}").into_bytes(),
            None => value,
        },
        None => value,
    }
}

fn expectation(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean => "expected true or false",
        ValueKind::Integer => "expected a whole number",
        ValueKind::GeneralizedTime | ValueKind::UtcTime | ValueKind::FileTime => {
            "expected a time (RFC 3339, for example 2026-01-31T08:00:00Z)"
        }
        ValueKind::Uuid | ValueKind::Guid => "expected a UUID",
        ValueKind::Sid => "expected a security identifier (S-1-…)",
        ValueKind::Binary => "expected base64",
        ValueKind::DistinguishedName
        | ValueKind::NameAndOptionalUid
        | ValueKind::PossiblyEmptyText
        | ValueKind::Text => "expected a text",
    }
}
