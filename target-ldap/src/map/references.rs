//! References by look-up: from a record to the filters that find the entries which an attribute names.

use std::sync::Arc;

use ldap_directory::schema::Schema;
use ldap_directory::time::Zone;
use serde_json::Value;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::record::Record;

use super::column::{Target, asserted, has_unknown, target};
use super::wanted::{Find, Wanted, WantedReference};
use crate::rules::error::MappingError;
use crate::rules::policy::Policy;
use crate::rules::references::{ReferenceRule, VALUE};
use crate::rules::rule::Rule;
use crate::rules::template::{Lookup, Rendered, TemplateError};

/// The references of an attribute.
#[derive(Debug)]
pub(super) struct ReferenceColumn {
    rule: ReferenceRule,
    pub(super) target: Target,
    find: Arc<Find>,
}

/// What a record says of the references of an attribute.
pub(super) enum References {
    /// They are to be found.
    Find(WantedReference),
    /// There are none.
    None(Wanted),
    /// Nothing.
    Unsaid,
}

/// Returns the references of a rule.
///
/// # Errors
/// A filter compares a DN with what can never be one.
pub(super) fn reference_columns(
    stream: &str,
    rule: &Rule,
    schema: &Schema,
    wrong: impl Fn(String, &TemplateError) -> SettingsError,
) -> Result<Vec<ReferenceColumn>, SettingsError> {
    let mut columns = Vec::with_capacity(rule.references.len());
    for reference in &rule.references {
        let setting = format!("mapping_rules.{stream}.references.{}", reference.attribute);
        let find = reference.find.with_schema(schema).map_err(|e| wrong(format!("{setting}.find"), &e))?;
        let attributes = find.attributes();
        let is_secret =
            attributes.iter().map(String::as_str).chain(reference.names()).any(is_secret_attribute);
        let mut target = target(schema, &reference.attribute);
        target.policy = rule.policy(&target.description, schema).unwrap_or_default();
        target.compare = rule.compare(&target.description, schema).unwrap_or(target.compare);
        columns.push(ReferenceColumn {
            target,
            find: Arc::new(Find {
                setting,
                base: reference.base.clone(),
                missing: reference.missing,
                all: find.of_all(),
                attributes,
                is_secret,
            }),
            rule: ReferenceRule { find, ..reference.clone() },
        });
    }
    Ok(columns)
}

/// Whether a property is the source of a reference, so that it does not pass through. Other properties in a filter may be attributes as
/// well.
pub(super) fn is_source(rule: &Rule, property: &str, schema: &Schema) -> bool {
    rule.references.iter().any(|reference| {
        schema.same_description(&reference.attribute, property)
            || reference.each.as_deref() == Some(property)
            || reference.names().any(|name| name == property) && schema.attribute_type(property).is_none()
    })
}

impl ReferenceColumn {
    /// Returns what a record says. `lookup`: its values by name. `values`: those of a property, as texts.
    pub(super) fn of(
        &self,
        record: &Record,
        lookup: Lookup<'_>,
        values: impl Fn(&str) -> Option<Vec<String>>,
        schema: &Schema,
        zone: Zone,
    ) -> Result<References, MappingError> {
        for name in self.rule.whole_names() {
            self.check_scalars(name, record)?;
        }
        let mut policy = self.target.policy;
        let mut filters: Vec<String> = Vec::new();
        match &self.rule.each {
            None => match self.render(lookup)? {
                Rendered::Text(filter) => filters.push(filter),
                Rendered::Nothing => {}
                Rendered::Unknown => return Ok(References::Unsaid),
            },
            Some(each) => {
                let Some(values) = values(each) else { return Ok(References::Unsaid) };
                for value in values.into_iter().filter(|value| !value.trim().is_empty()) {
                    let lookup = |name: &str| match name {
                        VALUE => Some(vec![value.clone()]),
                        name => lookup(name),
                    };
                    match self.render(&lookup)? {
                        Rendered::Text(filter) => filters.push(filter),
                        // Another value of the filter is null: none of them names an entry.
                        Rendered::Nothing => {}
                        Rendered::Unknown => return Ok(References::Unsaid),
                    }
                }
                // A null in the list is a value that its source could not read.
                if policy == Policy::Force && record.get(each).is_some_and(has_unknown) {
                    policy = Policy::Merge;
                }
            }
        }
        if filters.is_empty() {
            return Ok(References::None(Wanted { policy, ..self.target.none() }));
        }
        let asserted = |filter: String| {
            asserted(&filter, schema, zone).map_err(|error| match error {
                MappingError::Value { attribute, reason, .. } => {
                    MappingError::Value { property: self.part(), attribute, reason }
                }
                other => other,
            })
        };
        let mut filters = filters.into_iter().map(asserted).collect::<Result<Vec<_>, _>>()?;
        let mut seen = std::collections::HashSet::new();
        filters.retain(|filter| seen.insert(filter.clone()));
        Ok(References::Find(WantedReference {
            description: self.target.description.clone(),
            filters,
            policy,
            compare: self.target.compare,
            find: self.find.clone(),
        }))
    }

    fn part(&self) -> String {
        format!("references.{}", self.rule.attribute)
    }

    fn render(&self, lookup: Lookup<'_>) -> Result<Rendered, MappingError> {
        let rendered = self.rule.find.render_or_nothing(lookup);
        rendered.map_err(|error| MappingError::Template { part: format!("{}.find", self.part()), error })
    }

    /// Checks that a property has no objects: as a text they would be no value, which removes the existing ones.
    fn check_scalars(&self, property: &str, record: &Record) -> Result<(), MappingError> {
        let is_nested = |value: &Value| value.is_object() || value.is_array();
        let is_wrong = |value: &Value| match value {
            Value::Array(all) => all.iter().any(is_nested),
            value => value.is_object(),
        };
        if !record.get(property).is_some_and(is_wrong) {
            return Ok(());
        }
        Err(MappingError::Value {
            property: property.to_owned(),
            attribute: self.target.description.clone(),
            reason: "an object is no value; expected a scalar, or a list of scalars with `each`".to_owned(),
        })
    }
}
