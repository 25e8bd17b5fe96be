//! From one record to its task.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ldap_directory::dn::{Dn, escape_value, first_rdn};
use ldap_directory::schema::Schema;
use serde_json::Value;
use singer_common::singer::record::Record;

use super::attributes::Attributes;
use super::column::{asserted, display_texts, has_unknown, rewritten};
use super::generated::{Chosen, of_choice};
use super::mapping::Mapping;
use super::naming::Naming;
use super::references::References;
use super::task::{DeleteAction, Task};
use super::wanted::{Wanted, WantedEntry, WantedReference};
use crate::rules::error::MappingError;
use crate::rules::policy::{Compare, Policy};
use crate::rules::template::Lookup;

/// The first value that a template names and that is no value: an object, or a list within a list. Taken for nothing, it would
/// remove what is there, or give an account no end.
#[derive(Debug, Default)]
pub(super) struct Nested(RefCell<Option<MappingError>>);

impl Nested {
    /// Notes the value of a name, if it is nested.
    pub(super) fn note(&self, record: &Record, name: &str) {
        let is_nested = |value: &Value| value.is_object() || value.is_array();
        let reason = match record.get(name) {
            Some(Value::Object(_)) => "it is an object: name one of its members, as in `.value`",
            Some(Value::Array(elements)) if elements.iter().any(is_nested) => {
                "it is a list of objects or lists: name a member of one, as in `[0].value`, or of all, as in `[].value`"
            }
            _ => return,
        };
        let error = || MappingError::Path { path: name.to_owned(), reason: reason.to_owned() };
        self.0.borrow_mut().get_or_insert_with(error);
    }
}

impl Mapping {
    /// Maps one record to its task. `deleted`: it is marked as a deletion ([`singer_common::singer::deletion`]).
    ///
    /// # Errors
    /// A value is not valid for its attribute, or the record lacks a part of the DN or of the match filter.
    pub fn map(&self, record: &Record, deleted: bool, schema: &Schema) -> Result<Task, MappingError> {
        self.map_with(record, deleted, schema, &Chosen::default())
    }

    /// The same with the values that are chosen for its entry. Without them, the entry has the first candidates.
    pub(super) fn map_with(
        &self,
        record: &Record,
        deleted: bool,
        schema: &Schema,
        chosen: &Chosen,
    ) -> Result<Task, MappingError> {
        if deleted && *self.action == DeleteAction::Nothing {
            return Ok(Task::Nothing);
        }
        let nested = Nested::default();
        let task = match &self.membership {
            Some(membership) => membership.map(self, record, deleted, schema, &nested),
            None => self.map_entry(record, deleted, schema, chosen, &nested),
        };
        nested.0.into_inner().map_or(task, Err)
    }

    /// Maps one record to the task of its entry.
    fn map_entry(
        &self,
        record: &Record,
        deleted: bool,
        schema: &Schema,
        chosen: &Chosen,
        nested: &Nested,
    ) -> Result<Task, MappingError> {
        let mapped = self.mapped_texts(record);
        let parts = self.path_texts(record, deleted)?;
        let of_record = |name: &str| match parts.get(name) {
            Some(texts) => texts.clone(),
            None => self.of_record(record, &mapped, name, schema, nested),
        };
        let picked = if deleted { BTreeMap::new() } else { self.picked(&of_record, chosen, schema) };
        let lookup = |name: &str| of_choice(&picked, name, schema).or_else(|| of_record(name));
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
        let made = self.made(&lookup, deleted, schema, &mut attributes)?;
        let given = |name: &str| -> Option<Vec<String>> {
            let key = schema.spell(name).to_ascii_lowercase();
            made.get(&key).cloned().or_else(|| lookup(name).filter(|v| v.iter().any(|t| !t.is_empty())))
        };
        let known = |name: &str| {
            let made = made.get(&schema.spell(name).to_ascii_lowercase());
            made.cloned().or_else(|| lookup(name))
        };
        let references = self.wanted_references(record, deleted, &known, &mut attributes, schema)?;
        let filter = self.rule.matching.as_ref().map(|template| {
            let filter = template.render(&given);
            let filter = filter.map_err(|error| MappingError::Template { part: "match".into(), error })?;
            asserted(&filter, schema, self.zone)
        });
        let filter = filter.transpose()?;
        let named = |name: &str| -> Option<Vec<String>> {
            given(name)
                .or_else(|| {
                    let key = schema.spell(name);
                    let default = self.defaults.iter().find(|d| d.description.eq_ignore_ascii_case(&key))?;
                    default.values.iter().map(|v| String::from_utf8(v.clone()).ok()).collect()
                })
                // Null is not the same as absent.
                .or_else(|| lookup(name))
        };
        let written = self.name(record, &named);
        if deleted && filter.is_some() && written.is_err() {
            // The filter locates the entry: a deletion may lack parts of the DN.
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
        self.put_chosen(&picked, chosen, schema, &mut attributes);
        for default in &self.defaults {
            attributes.keep(default.clone());
        }
        self.add_classes(&mut attributes, schema);
        if dn != written {
            attributes.rename(&written, &Dn::parse(&dn).map_err(no_dn)?);
        }
        for ava in rdn.avas {
            if !self.rule.delete_old_rdn && self.rule.policy(&ava.attribute, schema).is_none() {
                // The values of former RDNs stay, in later runs as well.
                attributes.merge(&ava.attribute);
            }
            attributes.contain(&ava.attribute, ava.value);
        }
        let account = self.account.of(&self.rule, record, &named)?;
        let wanted = WantedEntry { dn, attributes: attributes.into_list(), references, account };
        Ok(Task::Upsert { wanted, filter, write_policy: self.write_policy.clone() })
    }

    /// Adds the object classes of the rule.
    fn add_classes(&self, attributes: &mut Attributes<'_>, schema: &Schema) {
        if !self.rule.object_classes.is_empty() {
            let values = self.rule.object_classes.iter().map(|c| c.clone().into_bytes()).collect();
            let policy = self.rule.policy("objectClass", schema).unwrap_or(Policy::Merge);
            let compare = Compare::Schema;
            attributes.replace(Wanted { description: "objectClass".into(), values, policy, compare });
        }
    }

    /// Returns the references that are to be found. An attribute that is to have none is added to the attributes.
    fn wanted_references(
        &self,
        record: &Record,
        deleted: bool,
        lookup: Lookup<'_>,
        attributes: &mut Attributes<'_>,
        schema: &Schema,
    ) -> Result<Vec<WantedReference>, MappingError> {
        let mut references = Vec::new();
        for column in self.references.iter().filter(|_| !deleted) {
            match column.of(record, lookup, |name| self.texts(record, name), schema, self.zone)? {
                References::Find(reference) => references.push(reference),
                References::None(none) => attributes.force(none),
                References::Unsaid => {}
            }
        }
        Ok(references)
    }

    /// Returns the attributes of the RDN, if they are known before the first record.
    pub(super) fn naming_attributes(&self) -> Vec<String> {
        match &self.naming {
            Naming::Template(template) => template.naming_attributes(),
            Naming::Record | Naming::Membership => Vec::new(),
            Naming::Key { attribute, .. } => vec![attribute.clone()],
        }
    }

    /// Returns the task that does to an entry what `on_delete` says. `dn`: its DN; `filter` locates it, if it is not found by its DN.
    pub fn deletion(&self, dn: Option<String>, filter: Option<String>) -> Task {
        let (action, write_policy) = (self.action.clone(), self.write_policy.clone());
        Task::Delete { dn, filter, action, condition: None, write_policy }
    }

    /// Returns the record's values by attribute, as text for templates.
    pub(super) fn mapped_texts(&self, record: &Record) -> BTreeMap<String, Vec<String>> {
        let mut mapped = BTreeMap::new();
        for column in self.columns.iter().filter(|_| self.has_templates) {
            if let Some(texts) = self.texts(record, &column.property) {
                for target in &column.attributes {
                    mapped.insert(target.description.to_ascii_lowercase(), texts.clone());
                }
            }
        }
        mapped
    }

    /// Returns the values of a name in a template: of the property that is written to such an attribute, or of the property.
    pub(super) fn of_record(
        &self,
        record: &Record,
        mapped: &BTreeMap<String, Vec<String>>,
        name: &str,
        schema: &Schema,
        nested: &Nested,
    ) -> Option<Vec<String>> {
        let of_attribute = mapped.get(&schema.spell(name).to_ascii_lowercase());
        if let Some(texts) = of_attribute.filter(|texts| !texts.is_empty()) {
            return Some(texts.clone());
        }
        nested.note(record, name);
        self.texts(record, name).or_else(|| of_attribute.cloned())
    }

    /// Returns a property's values as text for templates; `None` if the record lacks the property.
    pub(super) fn texts(&self, record: &Record, property: &str) -> Option<Vec<String>> {
        let encoding = self.encoded.get(property).copied().unwrap_or_default();
        let texts = record.get(property).map(|value| display_texts(value, encoding))?;
        let is_unknown = texts.is_empty() && record.get(property).is_some_and(has_unknown);
        (!is_unknown).then_some(texts)
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
            Naming::Membership => Err(MappingError::Name("a membership is no entry".into())),
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
