//! Checks the names in a rule against the properties of the stream's SCHEMA. A misspelt name gives no value in any record,
//! without another sign.

use std::collections::BTreeSet;

use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

use super::column::Column;
use super::shape::Shapes;
use crate::rules::membership::MembershipRule;
use crate::rules::rule::Rule;
use crate::rules::template::{DnTemplate, FilterTemplate, Template};

/// The most properties of a stream that a message lists.
const NAMED: usize = 12;

/// The properties of a stream.
struct StreamProperties<'s> {
    name: &'s str,
    properties: BTreeSet<&'s str>,
}

impl StreamProperties<'_> {
    fn has(&self, property: &str) -> bool {
        self.properties.contains(property)
    }

    /// Returns the problem with a name that the stream does not have.
    fn lacks(&self, name: &str) -> String {
        let all: Vec<&str> = self.properties.iter().take(NAMED).copied().collect();
        let more = if self.properties.len() > NAMED { ", …" } else { "" };
        let has = format!("(it has {}{more})", all.join(", "));
        format!("the SCHEMA of stream `{}` has no `{name}` {has}", self.name)
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.properties.iter().copied())
    }

    /// Returns the nearest property for a warning, also one that contains the name or is contained in it (`fullname`, `name`).
    fn nearest_or_part(&self, name: &str) -> Option<&str> {
        const SHORTEST: usize = 3;
        let name = name.to_lowercase();
        let is_part = |property: &&&str| {
            let property = property.to_lowercase();
            property.len().min(name.len()) >= SHORTEST
                && (property.contains(&name) || name.contains(&property))
        };
        self.nearest(&name)
            .or_else(|| self.properties.iter().filter(is_part).max_by_key(|p| p.len()).copied())
    }
}

/// Whether one name is most likely another one, misspelled. Short names are similar by chance, and numbers are chosen on purpose
/// (`phone1`, `phone2`).
fn is_misspelled(name: &str, meant: &str) -> bool {
    const SHORT: usize = 3;
    let letters = |text: &str| text.chars().filter(|c| !c.is_numeric()).collect::<String>();
    let is_short = name.chars().count() <= SHORT || meant.chars().count() <= SHORT;
    !is_short && letters(name) != letters(meant)
}

/// Checks every name in a rule. `is_own`: the rule is this stream's, not `*`. A DN or `match` that no record can fill is an
/// error; other names give one warning each.
pub(super) fn check(
    stream: &str,
    rule: &Rule,
    shapes: &Shapes<'_>,
    columns: &[Column],
    schema: &Schema,
    is_own: bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    let known = StreamProperties { name: stream, properties: shapes.properties().collect() };
    // A SCHEMA that names no properties says nothing about records.
    if known.properties.is_empty() {
        return Ok(());
    }
    let at = |part: &str| format!("mapping_rules.{stream}.{part}");
    let mut warn = |part: &str, name: &str| {
        let text = format!("setting `{}`: {}", at(part), known.lacks(name));
        let warning =
            Warning::of_setting(at(part), text).in_stream(stream).near(name, known.nearest_or_part(name));
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    };
    let mapped: BTreeSet<&str> =
        rule.attribute_mapping.iter().flatten().map(|(property, _)| property.as_str()).collect();
    let used = rule.used_names();
    for property in mapped.iter().copied().filter(|property| !known.has(property)) {
        // A similar property that the rule does not use is the one that was meant. A rule for all streams, or an open SCHEMA,
        // can still be right.
        let meant =
            known.nearest(property).filter(|near| !used.contains(near) && is_misspelled(property, near));
        if meant.is_some() && is_own && !shapes.is_open() {
            let expected = "a property of the stream";
            let error = SettingsError::value(at("attribute_mapping"), known.lacks(property), expected);
            return Err(error.near(meant).in_stream(stream));
        }
        warn("attribute_mapping", property);
    }
    for (part, name) in rule.own_properties().filter(|(_, name)| !known.has(name)) {
        warn(part, name);
    }
    // An attribute's name stands for the property that is written to it.
    let mapped = |name: &str| {
        let is = |c: &&Column| c.attributes.iter().any(|t| schema.same_description(&t.description, name));
        columns.iter().filter(is).any(|c| known.has(&c.property))
    };
    let is_given = |name: &str| known.has(name) || mapped(name);
    let is_chosen = |name: &str| rule.is_chosen(name, |a, b| schema.same_description(a, b));
    let is_known = |name: &str| is_given(name) || is_chosen(name);
    for (attribute, template) in &rule.values {
        for (name, _) in template.needs().filter(|(name, _)| !is_known(name)) {
            warn(&format!("values.{attribute}"), name);
        }
    }
    // A template without a value gives none: if no record has its input, no record has its result.
    let has_value = |template: &Template| {
        template.needs().all(|(name, has_default)| has_default || is_known(name)) || shapes.is_open()
    };
    let is_made =
        |name: &str| rule.values.iter().any(|(made, t)| schema.same_description(made, name) && has_value(t));
    let is_defaulted = |name: &str| rule.defaults.iter().any(|(by, _)| schema.same_description(by, name));
    for (part, template) in rule.account_templates() {
        let is_there = |name: &str| is_known(name) || is_made(name) || is_defaulted(name);
        for (name, _) in template.needs().filter(|(name, _)| !is_there(name)) {
            warn(part, name);
        }
    }
    let in_dn = rule.dn_template.iter().flat_map(DnTemplate::needs);
    let in_dn = in_dn.filter(|(name, _)| !is_defaulted(name)).map(|need| ("dn_template", need));
    let in_match = rule.matching.iter().flat_map(FilterTemplate::needs).map(|need| ("match", need));
    let in_membership = rule.membership.iter().flat_map(MembershipRule::needs);
    let in_find = rule.references.iter().flat_map(|reference| {
        let part = format!("references.{}", reference.attribute);
        let each = reference.each.as_deref().map(|name| (format!("{part}.each"), (name, false)));
        reference.needs().map(move |need| (format!("{part}.find"), need)).chain(each)
    });
    // Chosen values are made of what the record has, before anything is made of them.
    let for_choice = rule.generated.iter().flat_map(|one| one.needs().map(|need| (one.setting(), need)));
    let for_choice = for_choice.filter(|(_, (name, _))| !is_given(name));
    let owned = |(part, need): (&str, _)| (part.to_owned(), need);
    let others = in_dn.chain(in_match).chain(in_membership).map(owned).chain(in_find);
    let others = others.filter(|(_, (name, _))| !is_known(name) && !is_made(name));
    for (part, (name, has_default)) in others.chain(for_choice) {
        let part = part.as_str();
        // With a default, or an open SCHEMA, it can still be right.
        if has_default || shapes.is_open() {
            warn(part, name);
            continue;
        }
        let expected = "a property of the stream, or an attribute that one is mapped to";
        return Err(SettingsError::value(at(part), known.lacks(name), expected).near(known.nearest(name)));
    }
    Ok(())
}
