//! From a record to the entry it asks for. Pure: the same record gives the same entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use singer_common::directory::Directory;
use singer_common::dn::{Dn, DnKey, SuffixRewrite, escape_value, first_rdn};
use singer_common::facts::Warning;
use singer_common::message::SchemaMessage;
use singer_common::record::Record;
use singer_common::schema::Schema;
use singer_common::schema::syntax::ValueKind;
use singer_common::settings::{SettingsError, nearest};

use crate::config::TargetConfig;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::encoding::Encoding;
use crate::rules::error::MappingError;
use crate::rules::policy::{Compare, Policy};
use crate::rules::rule::{OnDelete, Rule};
use crate::rules::template::{FilterTemplate, Rendered, Syntax, TemplateError, ValueTemplate};
use singer_common::secret::is_secret_attribute;

mod account;
mod attributes;
mod column;
mod filters;
mod naming;
mod shape;
mod task;
mod template_names;
pub mod unknown_names;
pub mod validate;
pub mod wanted;

use account::AccountMapping;
use attributes::Attributes;
use column::{
    Column, Target, asserted, display_texts, is_password, pass_through, rewritten, set_on_delete, target,
    unknown_to_schema,
};
use naming::{Naming, naming};
use shape::Shapes;
pub use task::{DeleteAction, Extent, Task, WritePolicy};

/// What names an entry for ever (RFC 4530).
pub(crate) const ENTRY_UUID: &str = "entryUUID";

impl Rule {
    /// What is said of an attribute.
    fn policy(&self, description: &str, schema: &Schema) -> Option<Policy> {
        let said = self.policies.iter().find(|(name, _)| schema.same_description(name, description));
        said.map(|(_, policy)| *policy)
    }

    /// How the values of an attribute are told apart, where that is said.
    fn compare(&self, description: &str, schema: &Schema) -> Option<Compare> {
        let said = self.compare.iter().find(|(name, _)| schema.same_description(name, description));
        said.map(|(_, compare)| *compare)
    }
}

/// A stream's mapping, planned once per SCHEMA.
#[derive(Debug)]
pub struct Mapping {
    naming: Naming,
    columns: Vec<Column>,
    rule: Rule,
    values: Vec<(ValueTemplate, Target)>,
    /// The properties whose texts are encoded.
    encoded: BTreeMap<String, Encoding>,
    defaults: Vec<Wanted>,
    write_policy: Arc<WritePolicy>,
    action: Arc<DeleteAction>,
    extent: Option<Extent>,
    rewrites: Vec<SuffixRewrite>,
    account: AccountMapping,
    /// Whether no two properties go to one attribute.
    is_distinct: bool,
}

/// How to read the entries of a stream all at once.
#[derive(Debug)]
pub struct StreamQuery {
    /// The attributes, and how the values of each are told apart.
    pub attributes: Vec<(String, Compare)>,
    /// The attribute that `match` finds entries by.
    pub matched_by: Option<String>,
    /// The filter that all of them fit (RFC 4515).
    pub filter: String,
}

impl Mapping {
    /// Plans a stream. `takes_unknown`: the destination stores attributes its schema does not know. Warnings are for
    /// the log.
    pub fn new(
        message: &SchemaMessage,
        config: &TargetConfig,
        schema: &Schema,
        takes_unknown: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Mapping, SettingsError> {
        let stream = &message.stream;
        let empty = Map::new();
        let properties = message.schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let shapes = Shapes::new(&message.schema);
        let has = |name: &str| properties.keys().any(|p| p.eq_ignore_ascii_case(name));
        let mut rule = match config.rule(stream) {
            Some(rule) => rule.clone(),
            None if has("dn") && has("objectClass") => Rule::default(),
            None => {
                return Err(SettingsError::value(
                    format!("mapping_rules.{stream}"),
                    "not set, and the stream's records have no `dn` and `objectClass` to be mirrored by",
                    format!("a rule for `{stream}` (or for \"*\") with dn_template and object_classes"),
                )
                .near(nearest(stream, config.rules.keys().map(String::as_str))));
            }
        };
        let mut columns = match &rule.attribute_mapping {
            Some(mapping) => mapping
                .iter()
                .map(|(property, names)| Column {
                    property: property.clone(),
                    encoding: shapes.of(property).encoding,
                    attributes: names.iter().map(|n| target(schema, n)).collect(),
                })
                .collect(),
            None => pass_through(properties, &shapes, stream, &rule, config, schema, takes_unknown, warnings),
        };
        let mut values = Vec::with_capacity(rule.values.len());
        for (name, template) in &rule.values {
            let at = || format!("mapping_rules.{stream}.values.{name}");
            let target = target(schema, name);
            let template =
                ValueTemplate::new(template, Syntax::of_template(schema, &target.description, template));
            values.push((template.map_err(|e| no_dn_template(at(), &e))?, target));
        }
        if let Some(template) = &rule.matching {
            let at = format!("mapping_rules.{stream}.match");
            rule.matching = Some(template.with_schema(schema).map_err(|e| no_dn_template(at, &e))?);
        }
        let made = values.iter_mut().map(|(_, target)| target);
        for target in columns.iter_mut().flat_map(|c| &mut c.attributes).chain(made) {
            target.policy = rule.policy(&target.description, schema).unwrap_or_default();
            target.compare = rule.compare(&target.description, schema).unwrap_or(target.compare);
            // An entry has it for life.
            if config.preserve_uuid && target.description.eq_ignore_ascii_case(ENTRY_UUID) {
                target.policy = Policy::CreateOnly;
            }
        }
        warnings.extend(unknown_to_schema(stream, &rule, schema, takes_unknown));
        let is_own = config.rules.contains_key(stream);
        template_names::check(stream, &rule, &shapes, &columns, schema, is_own, warnings)?;
        let policies = rule.policies.iter().map(|(name, _)| ("policies", name));
        for (part, name) in policies.chain(rule.compare.iter().map(|(name, _)| ("compare", name))) {
            let same = |description: &str| schema.same_description(description, name);
            let targets = columns.iter().flat_map(|c| &c.attributes).chain(values.iter().map(|(_, t)| t));
            let given = targets.map(|t| t.description.as_str());
            let mut given = given.chain(rule.defaults.iter().map(|(d, _)| d.as_str())).chain(["objectClass"]);
            if !given.clone().any(same) {
                let setting = format!("mapping_rules.{stream}.{part}");
                let text = format!("setting `{setting}`: nothing gives `{name}` a value");
                let warning = Warning::of_setting(setting, text).in_stream(stream);
                warnings.push(warning.near(name, nearest(name, &mut given)));
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
            defaults.push(Wanted {
                description: target.description,
                values,
                policy,
                compare: target.compare,
            });
        }
        let made = values.iter().map(|(_, target)| target);
        let written = columns.iter().flat_map(|c| &c.attributes).chain(made).map(|t| t.description.as_str());
        let defaulted = defaults.iter().map(|d: &Wanted| d.description.as_str());
        let account = AccountMapping::new(stream, &rule, &shapes, written.chain(defaulted))?;
        let action = match &rule.on_delete {
            OnDelete::Delete => DeleteAction::Delete,
            OnDelete::Tree => DeleteAction::Tree,
            OnDelete::Ignore => DeleteAction::Nothing,
            OnDelete::MoveTo(dn) => DeleteAction::MoveTo(dn.clone()),
            OnDelete::Set(attributes) => DeleteAction::Set(
                attributes
                    .iter()
                    .map(|(name, value)| set_on_delete(stream, name, value, schema))
                    .collect::<Result<_, _>>()?,
            ),
        };
        let action = Arc::new(action);
        let write_policy = Arc::new(WritePolicy {
            operations: rule.operations,
            delete_old_rdn: rule.delete_old_rdn,
            empty_group: rule.empty_group.clone(),
            base: rule.scope_base.clone(),
            match_attributes: rule.matching.as_ref().map(FilterTemplate::attributes).unwrap_or_default(),
        });
        let rewrites = config.dn_rewrite.clone();
        let extent = rule.scope_base.as_ref().map(|base| {
            let key = |dn: &String| DnKey::parse(dn, schema).ok();
            let scopes = config.rules.values().filter_map(|r| r.scope_base.as_ref()).filter_map(key);
            let others = scopes.filter(|s| key(base).is_some_and(|b| b.is_ancestor_of(s))).collect();
            let (base, filter) = (base.clone(), rule.scope_filter());
            Extent { base, filter, others, action: action.clone(), write_policy: write_policy.clone() }
        });
        let mut seen = BTreeSet::new();
        let is_distinct = columns
            .iter()
            .flat_map(|c| &c.attributes)
            .chain(values.iter().map(|(_, target)| target))
            .all(|t| seen.insert(schema.normal_description(&t.description)));
        let mut encoded = BTreeMap::new();
        for name in shapes.properties() {
            let shape = shapes.of(name);
            if let Some(unknown) = shape.unknown_encoding {
                let text = format!(
                    "stream `{stream}`: the contentEncoding `{unknown}` of `{name}` is not known; its texts are taken as they are"
                );
                warnings.push(Warning::from(text).in_stream(stream));
            }
            if shape.encoding.is_encoded() {
                encoded.insert(name.to_owned(), shape.encoding);
            }
        }
        Ok(Mapping {
            naming,
            columns,
            rule,
            values,
            encoded,
            defaults,
            write_policy,
            action,
            extent,
            rewrites,
            account,
            is_distinct,
        })
    }

    /// Whether entries are named by the `dn` of their records.
    pub fn is_mirror(&self) -> bool {
        matches!(self.naming, Naming::Record)
    }

    /// An empty text is no value: a mapping's source has it where it has nothing. What is mirrored as it is comes from a directory,
    /// where an empty value is one.
    fn leave_out_empty(&self, wanted: &mut Wanted) {
        if !(self.is_mirror() && self.rule.attribute_mapping.is_none()) {
            wanted.values.retain(|value| !value.is_empty());
        }
    }

    /// Where the stream's entries are; `None` where nobody said so.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// Whether entries are found by a filter (`match`).
    pub fn finds_by_filter(&self) -> bool {
        self.rule.matching.is_some()
    }

    /// Checks the names in the rule's filters against what the directory knows: a misspelt one finds nothing, which is no error
    /// to any server, and then nothing is where it seems to be.
    ///
    /// # Errors
    /// A name that a server's schema does not have; in a file, one that the rule does not write either.
    pub fn check_filters(
        &self,
        stream: &str,
        directory: &Directory,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), SettingsError> {
        filters::check(stream, self, directory, warnings)
    }

    /// The property that becomes an attribute.
    pub fn property_of(&self, attribute: &str, schema: &Schema) -> Option<&str> {
        let is_it = |target: &Target| schema.same_description(&target.description, attribute);
        self.columns.iter().find(|c| c.attributes.iter().any(is_it)).map(|c| c.property.as_str())
    }

    /// How to read the stream's entries all at once: the attributes, the filter, and the attribute that `match` finds them
    /// by. `None`: what `match` finds cannot be told from the entries.
    pub fn stream_query(&self) -> Option<StreamQuery> {
        let (filter, matched_by) = match &self.rule.matching {
            None => (self.rule.scope_filter(), None),
            Some(template) => template.of_all().map(|(filter, matched_by)| (filter, Some(matched_by)))?,
        };
        let made = self.values.iter().map(|(_, target)| target);
        let mapped = self.columns.iter().flat_map(|c| &c.attributes).chain(made);
        let mapped = mapped.map(|t| (t.description.clone(), t.compare));
        let defaulted = self.defaults.iter().map(|d| (d.description.clone(), d.compare));
        let naming = self.naming_attributes().into_iter().map(|name| (name, Compare::Schema));
        let mut names: Vec<(String, Compare)> = Vec::new();
        for (name, compare) in mapped.chain(defaulted).chain(naming) {
            if name != "objectClass" && !names.iter().any(|(there, _)| *there == name) {
                names.push((name, compare));
            }
        }
        Some(StreamQuery { attributes: names, matched_by, filter })
    }

    /// The properties that an entry's name is made of, and what finds it: all that a deletion needs.
    pub fn naming_properties(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = match &self.naming {
            Naming::Template(template) => template.names().map(str::to_owned).collect(),
            Naming::Record => BTreeSet::from(["dn".to_owned()]),
            Naming::Key { property, .. } => BTreeSet::from([property.clone()]),
        };
        names.extend(self.rule.matching.iter().flat_map(FilterTemplate::names).map(str::to_owned));
        // A name is an attribute's or a property's.
        for ((made, template), (_, target)) in self.rule.values.iter().zip(&self.values) {
            if [made, &target.description].iter().any(|name| names.contains(*name)) {
                names.extend(template.names().map(str::to_owned));
            }
        }
        let is_named =
            |target: &Target| names.iter().any(|name| name.eq_ignore_ascii_case(&target.description));
        let mapped = self.columns.iter().filter(|c| c.attributes.iter().any(is_named));
        let mapped: Vec<String> = mapped.map(|c| c.property.clone()).collect();
        names.extend(mapped);
        names
    }

    /// The properties that the rule uses.
    pub fn used_properties(&self) -> BTreeSet<String> {
        let mut names = self.naming_properties();
        names.extend(self.columns.iter().map(|column| column.property.clone()));
        names.extend(self.rule.values.iter().flat_map(|(_, template)| template.names()).map(str::to_owned));
        names.extend(self.rule.taken_properties().into_iter().map(str::to_owned));
        names
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
        names.extend(self.rule.password.as_ref().map(|p| p.from.clone()));
        names
    }

    /// The task of one record. `deleted`: it is marked as a deletion ([`singer_common::deletion`]).
    pub fn map(&self, record: &Record, deleted: bool, schema: &Schema) -> Result<Task, MappingError> {
        if deleted && *self.action == DeleteAction::Nothing {
            return Ok(Task::Nothing);
        }
        let mapped = self.mapped_texts(record);
        let lookup = |name: &str| -> Option<Vec<String>> {
            let of_attribute = mapped.get(&schema.spell(name).to_ascii_lowercase());
            if let Some(texts) = of_attribute.filter(|texts| !texts.is_empty()) {
                return Some(texts.clone());
            }
            self.texts(record, name).or_else(|| of_attribute.cloned())
        };
        let mut attributes = Attributes::new(schema, self.columns.len() + self.values.len() + 1);
        if !deleted {
            for column in &self.columns {
                let Some(value) = record.get(&column.property) else { continue };
                for target in &column.attributes {
                    let mut wanted = target.wanted(value, column, &self.rewrites, schema)?;
                    self.leave_out_empty(&mut wanted);
                    if self.is_distinct { attributes.push(wanted) } else { attributes.force(wanted) }
                }
            }
        }
        let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((name, _), (template, target)) in self.rule.values.iter().zip(&self.values) {
            let rendered = match template.render(&lookup) {
                Ok(rendered) => rendered,
                // What its entry is called may be made without it, and nothing else of it matters.
                Err(_) if deleted => continue,
                Err(error) => return Err(MappingError::Template { part: format!("values.{name}"), error }),
            };
            match rendered {
                Rendered::Text(text) => {
                    if !deleted {
                        let column = Column {
                            property: format!("values.{name}"),
                            encoding: Encoding::Unsaid,
                            attributes: vec![],
                        };
                        let value = Value::String(text.clone());
                        let mut wanted = target.wanted(&value, &column, &self.rewrites, schema)?;
                        self.leave_out_empty(&mut wanted);
                        attributes.force(wanted);
                    }
                    made.insert(target.description.to_ascii_lowercase(), vec![text]);
                }
                // As a null of a mapped property: what was made of an earlier record is no longer so. A password is not
                // taken away by what is no value.
                Rendered::Nothing if !deleted && !is_password(&target.description) => {
                    attributes.force(target.none());
                }
                Rendered::Nothing | Rendered::Unknown => {}
            }
        }
        let given = |name: &str| -> Option<Vec<String>> {
            let key = schema.spell(name).to_ascii_lowercase();
            made.get(&key).cloned().or_else(|| lookup(name).filter(|v| v.iter().any(|t| !t.is_empty())))
        };
        let filter = self.rule.matching.as_ref().map(|template| {
            let filter = template.render(&given);
            let filter = filter.map_err(|error| MappingError::Template { part: "match".into(), error })?;
            asserted(&filter, schema)
        });
        let filter = filter.transpose()?;
        let named = |name: &str| -> Option<Vec<String>> {
            given(name).or_else(|| {
                let key = schema.spell(name);
                let default = self.defaults.iter().find(|d| d.description.eq_ignore_ascii_case(&key))?;
                default.values.iter().map(|v| String::from_utf8(v.clone()).ok()).collect()
            })
        };
        let written = self.name(record, &named);
        if deleted && filter.is_some() && written.is_err() {
            // Found by the filter: a record that only says what is gone need not have all that a name is made of.
            return Ok(self.deletion(None, filter));
        }
        let written = written?;
        let dn = rewritten(&written, &self.rewrites, schema).unwrap_or_else(|| written.clone());
        let no_dn = |e| MappingError::Name(format!("`{dn}` is no DN: {e}"));
        let rdn =
            first_rdn(&dn).map_err(no_dn)?.ok_or_else(|| MappingError::Name("the DN is empty".into()))?;
        if deleted {
            return Ok(self.deletion(Some(dn), filter));
        }
        for default in &self.defaults {
            attributes.keep(default.clone());
        }
        if !self.rule.object_classes.is_empty() {
            let values = self.rule.object_classes.iter().map(|c| c.clone().into_bytes()).collect();
            let policy = self.rule.policy("objectClass", schema).unwrap_or(Policy::Merge);
            let compare = Compare::Schema;
            attributes.replace(Wanted { description: "objectClass".into(), values, policy, compare });
        }
        if dn != written {
            attributes.rename(&written, &Dn::parse(&dn).map_err(no_dn)?);
        }
        for ava in rdn.avas {
            if !self.rule.delete_old_rdn && self.rule.policy(&ava.attribute, schema).is_none() {
                // What an entry was called before stays with it, in later runs, too.
                attributes.merge(&ava.attribute);
            }
            attributes.contain(&ava.attribute, ava.value);
        }
        let account = self.account.of(&self.rule, record)?;
        let wanted = WantedEntry { dn, attributes: attributes.into_list(), account };
        Ok(Task::Upsert { wanted, filter, write_policy: self.write_policy.clone() })
    }

    /// The attributes of the RDN, where they are known before a record is.
    fn naming_attributes(&self) -> Vec<String> {
        match &self.naming {
            Naming::Template(template) => template.naming_attributes(),
            Naming::Record => Vec::new(),
            Naming::Key { attribute, .. } => vec![attribute.clone()],
        }
    }

    fn deletion(&self, dn: Option<String>, filter: Option<String>) -> Task {
        Task::Delete { dn, filter, action: self.action.clone(), write_policy: self.write_policy.clone() }
    }

    /// The record's values by the attributes they become, as templates see them.
    fn mapped_texts(&self, record: &Record) -> BTreeMap<String, Vec<String>> {
        let needed = !self.rule.values.is_empty()
            || self.rule.matching.is_some()
            || matches!(self.naming, Naming::Template(_));
        let mut mapped = BTreeMap::new();
        for column in self.columns.iter().filter(|_| needed) {
            if let Some(texts) = self.texts(record, &column.property) {
                for target in &column.attributes {
                    mapped.insert(target.description.to_ascii_lowercase(), texts.clone());
                }
            }
        }
        mapped
    }

    /// A property's values as templates see them; `None` where the record does not have it.
    fn texts(&self, record: &Record, property: &str) -> Option<Vec<String>> {
        let encoding = self.encoded.get(property).copied().unwrap_or_default();
        record.get(property).map(|value| display_texts(value, encoding))
    }

    fn name(
        &self,
        record: &Record,
        lookup: &dyn Fn(&str) -> Option<Vec<String>>,
    ) -> Result<String, MappingError> {
        match &self.naming {
            Naming::Template(template) => template
                .render(lookup)
                .map_err(|error| MappingError::Template { part: "dn_template".into(), error }),
            Naming::Record => match record.iter().find(|(name, _)| name.eq_ignore_ascii_case("dn")) {
                Some((name, Value::String(dn))) if !dn.trim().is_empty() => {
                    let encoded = self.encoded.get(name).map(|encoding| encoding.decode(dn));
                    let Some(octets) = encoded else { return Ok(dn.clone()) };
                    let decoded = octets.and_then(|octets| String::from_utf8(octets).ok());
                    decoded
                        .ok_or_else(|| MappingError::Name("`dn` is not as its contentEncoding says".into()))
                }
                _ => Err(MappingError::Name("the record has no `dn` (a text)".into())),
            },
            Naming::Key { attribute, property, base } => {
                let texts = self.texts(record, property).unwrap_or_default();
                match texts.as_slice() {
                    [only] if !only.trim().is_empty() => {
                        Ok(format!("{attribute}={},{base}", escape_value(only.as_bytes())))
                    }
                    _ => Err(MappingError::Name(format!(
                        "the key `{property}` has not exactly one value that is not empty"
                    ))),
                }
            }
        }
    }
}

/// A template that gives no value of its attribute's syntax.
fn no_dn_template(setting: String, error: &TemplateError) -> SettingsError {
    let expected = "a DN with placeholders in its values, as in uid={manager_id},ou=people,dc=example,dc=com, or a single placeholder for a whole DN";
    SettingsError::value(setting, error.to_string(), expected)
}
