//! Attributes whose values are chosen when an entry is made (`unique`, `next`): the candidates of a record, and its entry with the chosen values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::record::Record;

use super::attributes::Attributes;
use super::column::Column;
use super::mapping::Mapping;
use super::naming::Naming;
use super::record::Nested;
use super::task::Task;
use super::wanted::{Wanted, WantedEntry};
use crate::rules::error::MappingError;
use crate::rules::generated::{GeneratedRule, GeneratedSource, NUMBER};
use crate::rules::policy::{Compare, Policy};
use crate::rules::rule::Rule;
use crate::rules::template::{DnTemplate, FilterTemplate, Rendered, Template};

/// Stands for the number while a template is rendered. No record has it: it is in the private use area, three times.
const PLACE: &str = "\u{f8f0}\u{f8f1}\u{f8f0}";
/// The first number of `{n}`: the second of its kind.
const FIRST: u64 = 2;
/// The last number of `{n}`.
const LAST: u64 = 1_000_000;

/// The chosen values of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The values, by the attribute in lower case.
    pub values: BTreeMap<String, String>,
    /// The attributes whose value replaces one that another entry turned out to have.
    pub replaced: BTreeSet<String>,
}

/// Texts that differ in a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The text around the number.
    parts: Vec<String>,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

impl Numbered {
    /// Whether the text is the number alone.
    pub fn is_plain(&self) -> bool {
        self.parts.iter().all(String::is_empty)
    }

    /// Returns the text with a number.
    pub fn text(&self, number: u64) -> String {
        self.parts.join(&number.to_string())
    }
}

/// An attribute of one record whose value is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedAttribute {
    /// The attribute, as the schema spells it.
    pub description: String,
    /// The same in lower case.
    pub key: String,
    /// The name of its setting.
    pub setting: String,
    /// The entry below which no other one may have the value; `None`: the naming context.
    pub base: Option<String>,
    /// The candidates without a number, in order.
    pub fixed: Vec<String>,
    /// Those after them.
    pub numbered: Option<Numbered>,
    /// All attributes of the rule with the same base.
    pub together: Vec<String>,
    /// The entry that has the next number.
    pub counter: Option<Arc<str>>,
}

/// The attributes of one record whose values are chosen, and what is needed to make its entry with them.
#[derive(Clone)]
pub struct Generated {
    mapping: Arc<Mapping>,
    record: Record,
    /// The attributes.
    pub attributes: Vec<GeneratedAttribute>,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl Generated {
    /// Returns those of a record. `None`: its rule has none.
    pub fn of(mapping: &Arc<Mapping>, record: &Record, schema: &Schema) -> Option<Generated> {
        if mapping.rule.generated.is_empty() {
            return None;
        }
        let mapped = mapping.mapped_texts(record);
        let lookup = |name: &str| match mapping.path_text(record, name) {
            // An error is found when the whole record is mapped.
            Some(texts) => texts.ok().flatten(),
            None => mapping.of_record(record, &mapped, name, schema, &Nested::default()),
        };
        let attributes = mapping.generated_attributes(&lookup, schema);
        Some(Generated { mapping: mapping.clone(), record: record.clone(), attributes })
    }

    /// Whether the DN depends on a chosen value.
    pub fn names_entry(&self) -> bool {
        self.mapping.names_by_choice
    }

    /// Returns the entry with the chosen values.
    ///
    /// # Errors
    /// The record cannot be mapped with them.
    pub fn wanted(&self, chosen: &Chosen, schema: &Schema) -> Result<WantedEntry, MappingError> {
        match self.mapping.map_with(&self.record, false, schema, chosen)? {
            Task::Upsert { wanted, .. } => Ok(wanted),
            _ => Err(MappingError::Name("the record asks for no entry".to_owned())),
        }
    }
}

impl Mapping {
    /// Returns the candidates of a record. A template without a value gives none.
    fn generated_attributes(
        &self,
        lookup: &dyn Fn(&str) -> Option<Vec<String>>,
        schema: &Schema,
    ) -> Vec<GeneratedAttribute> {
        let together = |base: &Option<String>| {
            let same = self.rule.generated.iter().filter(|other| other.base == *base);
            same.map(|other| schema.spell_for_transfer(&other.attribute)).collect()
        };
        let of = |rule: &GeneratedRule| {
            let description = schema.spell_for_transfer(&rule.attribute);
            let (mut fixed, mut numbered, mut to) = (Vec::<String>::new(), None, None);
            match &rule.source {
                GeneratedSource::Numbers { min, max, counter } => {
                    let parts = vec![String::new(), String::new()];
                    numbered = Some(Numbered { parts, first: *min, last: *max });
                    to.clone_from(counter);
                }
                GeneratedSource::Templates(templates) => {
                    for template in templates {
                        match texts(template, lookup) {
                            Some(parts) if parts.len() > 1 => {
                                numbered = Some(Numbered { parts, first: FIRST, last: LAST });
                            }
                            Some(parts) => fixed.extend(parts.into_iter().filter(|text| !text.is_empty())),
                            None => {}
                        }
                    }
                }
            }
            GeneratedAttribute {
                key: description.to_ascii_lowercase(),
                description,
                setting: format!("{}.{}", rule.rule, rule.setting()),
                base: rule.base.clone(),
                together: together(&rule.base),
                fixed,
                numbered,
                counter: to,
            }
        };
        self.rule.generated.iter().map(of).collect()
    }

    /// Returns the value of each such attribute: the chosen one, or, before the choice, the first candidate.
    pub(super) fn picked(
        &self,
        lookup: &dyn Fn(&str) -> Option<Vec<String>>,
        chosen: &Chosen,
        schema: &Schema,
    ) -> BTreeMap<String, String> {
        let mut picked = chosen.values.clone();
        if picked.len() < self.rule.generated.len() {
            for attribute in self.generated_attributes(lookup, schema) {
                let numbered = || attribute.numbered.as_ref().map(|numbered| numbered.text(numbered.first));
                if let Some(first) = attribute.fixed.first().cloned().or_else(numbered) {
                    picked.entry(attribute.key).or_insert(first);
                }
            }
        }
        picked
    }

    /// Adds the chosen values. They are kept, also if the record has other names by now.
    pub(super) fn put_chosen(
        &self,
        picked: &BTreeMap<String, String>,
        chosen: &Chosen,
        schema: &Schema,
        attributes: &mut Attributes<'_>,
    ) {
        for description in self.chosen_attributes(schema) {
            let key = description.to_ascii_lowercase();
            let Some(value) = picked.get(&key) else { continue };
            let policy = if chosen.replaced.contains(&key) { Policy::Force } else { Policy::Keep };
            let (values, compare) = (vec![value.clone().into_bytes()], Compare::Schema);
            attributes.replace(Wanted { description, values, policy, compare });
        }
    }

    /// Returns the attributes whose values are chosen.
    pub(super) fn chosen_attributes<'m>(&'m self, schema: &'m Schema) -> impl Iterator<Item = String> + 'm {
        self.rule.generated.iter().map(|rule| schema.spell_for_transfer(&rule.attribute))
    }
}

/// Returns the chosen value of a name in a template.
pub(super) fn of_choice(
    picked: &BTreeMap<String, String>,
    name: &str,
    schema: &Schema,
) -> Option<Vec<String>> {
    if picked.is_empty() {
        return None;
    }
    picked.get(&schema.spell(name).to_ascii_lowercase()).map(|value| vec![value.clone()])
}

/// Returns the text of a template, split where the number is to be. `None`: a value is missing.
fn texts(template: &Template, lookup: &dyn Fn(&str) -> Option<Vec<String>>) -> Option<Vec<String>> {
    let numbered = |name: &str| if name == NUMBER { Some(vec![PLACE.to_owned()]) } else { lookup(name) };
    match template.render(&numbered) {
        Ok(Rendered::Text(text)) => Some(text.split(PLACE).map(str::to_owned).collect()),
        _ => None,
    }
}

/// Whether the DN depends on a chosen value, directly or by `values`.
pub(super) fn names_by_choice(rule: &Rule, naming: &Naming, schema: &Schema) -> bool {
    let is_chosen = |name: &str| rule.is_chosen(name, |a, b| schema.same_description(a, b));
    let is_made_of = |name: &str| {
        let made = rule.values.iter().filter(|(made, _)| schema.same_description(made, name));
        made.flat_map(|(_, template)| template.names()).any(is_chosen)
    };
    match naming {
        Naming::Template(template) => template.names().any(|name| is_chosen(name) || is_made_of(name)),
        Naming::Record | Naming::Membership => false,
        Naming::Key { attribute, .. } => is_chosen(attribute),
    }
}

/// Checks `unique` and `next` against the rest of the rule and the directory's schema.
///
/// # Errors
/// No later run would find the entry, the value would not be kept, or no value could be found or compared.
pub(super) fn check(
    stream: &str,
    rule: &Rule,
    naming: &Naming,
    columns: &[Column],
    schema: &Schema,
) -> Result<(), SettingsError> {
    for one in &rule.generated {
        let at = format!("mapping_rules.{stream}.{}", one.setting());
        let name = &one.attribute;
        let is_it = |other: &str| schema.same_description(other, name);
        let error = |problem: &str, expected: &str| Err(SettingsError::value(&at, problem, expected));
        let mapped = columns.iter().flat_map(|column| &column.attributes).any(|t| is_it(&t.description));
        if mapped {
            return error("a property of that name is written to it as well", "one source of its value");
        }
        if rule.policies.iter().any(|(n, policy)| is_it(n) && *policy != Policy::Keep) {
            return error(
                "policies has another policy for it than keep",
                "no policy: a chosen value is kept",
            );
        }
        if rule.matching.iter().flat_map(FilterTemplate::attributes).any(|n| is_it(&n)) {
            return error(
                "match compares it: an entry without it would never be found",
                "a match by another attribute, for example (employeeNumber={id})",
            );
        }
        if schema.attribute_type(name).is_some() {
            let kind = ValueKind::of(schema, name);
            let is_number = matches!(one.source, GeneratedSource::Numbers { .. });
            let fits = match kind {
                ValueKind::Text | ValueKind::PossiblyEmptyText => true,
                ValueKind::Integer => is_number,
                _ => false,
            };
            if !fits || !schema.has_equality(name) {
                let expected = if is_number {
                    "an attribute of numbers"
                } else {
                    "an attribute of text with an EQUALITY rule"
                };
                return error("its syntax does not fit, or its values cannot be compared", expected);
            }
        }
        let is_chosen = |name: &str| rule.is_chosen(name, |a, b| schema.same_description(a, b));
        if let Some((need, _)) = one.needs().find(|(need, _)| is_chosen(need)) {
            let problem = format!("`{need}` is chosen itself");
            return error(&problem, "properties of the stream");
        }
    }
    let needs_match = names_by_choice(rule, naming, schema) && rule.matching.is_none();
    if needs_match {
        let names = rule.dn_template.iter().flat_map(DnTemplate::names).collect::<Vec<_>>().join("`, `");
        let problem = format!(
            "not set, and the DN is chosen (dn_template has `{names}`): no later run would find the entry"
        );
        return Err(SettingsError::value(
            format!("mapping_rules.{stream}.match"),
            problem,
            "a filter that finds an entry whatever its DN, for example (employeeNumber={id})",
        ));
    }
    Ok(())
}
