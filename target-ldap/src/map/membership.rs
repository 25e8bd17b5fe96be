//! From one record of a rule with `membership` to the member that a group gets or loses.

use std::sync::Arc;

use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::Value;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::record::Record;

use super::column::{asserted, expectation, rewritten, rewritten_value};
use super::mapping::Mapping;
use super::mapping_new::no_dn_template;
use super::record::Nested;
use super::task::{DeleteAction, Extent, MembershipPolicy, MembershipRow, NamedEntry, Task, WritePolicy};
use crate::rules::error::MappingError;
use crate::rules::membership::{
    GroupTemplate, MEMBER_ATTRIBUTES, MemberTemplate, MembershipRule, is_member_attribute,
};
use crate::rules::rule::{OnDelete, Rule};
use crate::rules::template::{
    FilterTemplate, Lookup, RenderError, Rendered, Syntax, Template, ValueTemplate,
};

/// The attribute of Active Directory by which a user has a primary group: a membership that no group has a value for.
pub(crate) const PRIMARY_GROUP: &str = "primaryGroupID";

/// How the records of a stream name members of groups.
#[derive(Debug)]
pub(super) struct MembershipMapping {
    group: GroupTemplate,
    /// The group's DN, if it is a value of the record.
    group_value: Option<ValueTemplate>,
    member: MemberTemplate,
    /// The templates of the member's value, by the syntax of the attribute.
    values: Vec<(Syntax, ValueTemplate)>,
    attribute: Template,
    /// The attribute, if it is the same for all records.
    fixed_attribute: Option<String>,
    /// The filter that every group matches beside its own, if the rule has one.
    group_filter: Option<String>,
    policy: Arc<MembershipPolicy>,
}

impl MembershipMapping {
    /// Builds the mapping of a stream, if its rule has `membership`.
    pub(super) fn new(stream: &str, rule: &Rule, schema: &Schema) -> Result<Option<Self>, SettingsError> {
        let Some(membership) = &rule.membership else { return Ok(None) };
        let at = |part: &str| format!("mapping_rules.{stream}.membership.{part}");
        let with_schema = |part: &str, template: &FilterTemplate| {
            template.with_schema(schema).map_err(|e| no_dn_template(at(part), &e))
        };
        let group = match &membership.group {
            GroupTemplate::Filter(template) => GroupTemplate::Filter(with_schema("group", template)?),
            other => other.clone(),
        };
        let group_value = match &group {
            GroupTemplate::Whole(template) => {
                let value = ValueTemplate::new(template, Syntax::Dn);
                Some(value.map_err(|e| no_dn_template(at("group"), &e))?)
            }
            _ => None,
        };
        let fixed_attribute = membership.fixed_attribute().map(|name| schema.spell(&name));
        let (member, values) = match &membership.member {
            MemberTemplate::Filter(template) => {
                if let Some(name) = fixed_attribute.as_ref().filter(|name| !is_name(schema, name)) {
                    let problem = format!("a filter finds an entry, and `{name}` has no DNs");
                    return Err(SettingsError::value(
                        at("member"),
                        problem,
                        "a template of the value, {user}",
                    ));
                }
                (MemberTemplate::Filter(with_schema("member", template)?), Vec::new())
            }
            MemberTemplate::Value { template, .. } => {
                let values = values_of(&at("member"), template, fixed_attribute.as_deref(), schema)?;
                (membership.member.clone(), values)
            }
        };
        let is_filtered = rule.scope_filter.is_some() || !rule.object_classes.is_empty();
        let policy = Arc::new(policy_of(rule, membership));
        Ok(Some(Self {
            group_filter: is_filtered.then(|| rule.class_filter()),
            group,
            group_value,
            member,
            values,
            attribute: membership.attribute.clone(),
            fixed_attribute,
            policy,
        }))
    }

    /// Returns where the groups are of which a version takes members away. Without `scope_base` the base is empty: these are the groups
    /// that the version has.
    pub(super) fn extent(
        &self,
        rule: &Rule,
        action: &Arc<DeleteAction>,
        write_policy: &Arc<WritePolicy>,
        schema: &Schema,
    ) -> Extent {
        let attributes = rule.membership.iter().flat_map(|m| m.attributes(schema)).collect();
        Extent {
            base: rule.scope_base.clone().unwrap_or_default(),
            filter: rule.class_filter(),
            others: Vec::new(),
            action: action.clone(),
            write_policy: write_policy.clone(),
            memberships: Some((attributes, self.policy.clone())),
        }
    }

    /// Maps one record.
    pub(super) fn map(
        &self,
        mapping: &Mapping,
        record: &Record,
        deleted: bool,
        schema: &Schema,
        nested: &Nested,
    ) -> Result<Task, MappingError> {
        let parts = mapping.path_texts(record, deleted)?;
        let lookup = |name: &str| match parts.get(name) {
            Some(texts) => texts.clone(),
            None => mapping.texts(record, name).inspect(|_| nested.note(record, name)),
        };
        let attribute = match &self.fixed_attribute {
            Some(name) => name.clone(),
            None => self.attribute(&lookup, schema)?,
        };
        let group = match &self.group {
            GroupTemplate::Filter(template) => {
                let filter = template.render(&lookup).map_err(|error| of_part("group", error))?;
                let filter = asserted(&filter, schema, mapping.zone)?;
                NamedEntry::Filter(match &self.group_filter {
                    Some(classes) => format!("(&{classes}{filter})"),
                    None => filter,
                })
            }
            GroupTemplate::Dn(template) => {
                NamedEntry::Name(template.render(&lookup).map_err(|error| of_part("group", error))?)
            }
            GroupTemplate::Whole(template) => {
                let value = self.group_value.as_ref().map(|value| value.render(&lookup));
                NamedEntry::Name(needed("group", template, value)?)
            }
        };
        let group = match group {
            NamedEntry::Name(dn) => NamedEntry::Name(rewritten(&dn, &mapping.rewrites, schema).unwrap_or(dn)),
            filter @ NamedEntry::Filter(_) => filter,
        };
        let member = match &self.member {
            MemberTemplate::Filter(_) if !is_name(schema, &attribute) => {
                let reason =
                    format!("membership.member: a filter finds an entry, and `{attribute}` has no DNs");
                return Err(MappingError::Name(reason));
            }
            MemberTemplate::Filter(template) => {
                let filter = template.render(&lookup).map_err(|error| of_part("member", error))?;
                NamedEntry::Filter(asserted(&filter, schema, mapping.zone)?)
            }
            MemberTemplate::Value { template, .. } => {
                NamedEntry::Name(self.value(template, &attribute, &lookup, mapping, schema)?)
            }
        };
        let policy = self.policy.clone();
        Ok(Task::Membership(Box::new(MembershipRow {
            group,
            attribute,
            member,
            is_member: !deleted,
            policy,
        })))
    }

    /// Returns the attribute that a record names.
    fn attribute(&self, lookup: Lookup<'_>, schema: &Schema) -> Result<String, MappingError> {
        let name = needed("attribute", &self.attribute, Some(self.attribute.render(lookup)))?;
        // A record could give a group another name, by which filters and roles find it.
        let has_members =
            is_name(schema, &name) || MEMBER_ATTRIBUTES.iter().any(|of| schema.same_description(of, &name));
        if !is_member_attribute(&name) || !has_members {
            let reason = "membership.attribute: the value is not the name of an attribute with members (member, uniqueMember, memberUid, or another one with DNs)";
            return Err(MappingError::Name(reason.to_owned()));
        }
        Ok(schema.spell(&name))
    }

    /// Returns the value of the member.
    fn value(
        &self,
        template: &Template,
        attribute: &str,
        lookup: Lookup<'_>,
        mapping: &Mapping,
        schema: &Schema,
    ) -> Result<Vec<u8>, MappingError> {
        let syntax = syntax_of(schema, attribute, template);
        let value = self.values.iter().find(|(of, _)| *of == syntax);
        let text = needed("member", template, value.map(|(_, value)| value.render(lookup)))?;
        let mut kind = ValueKind::of(schema, attribute);
        if syntax == Syntax::Dn && !kind.is_name() {
            kind = ValueKind::DistinguishedName;
        }
        let value = kind.parse_json_in(&Value::from(text), mapping.zone).ok().flatten();
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| MappingError::Value {
            property: "membership.member".to_owned(),
            attribute: attribute.to_owned(),
            reason: expectation(kind).to_owned(),
        })?;
        Ok(if kind.is_name() { rewritten_value(value, kind, &mapping.rewrites, schema) } else { value })
    }
}

fn policy_of(rule: &Rule, membership: &MembershipRule) -> MembershipPolicy {
    let by_filter = matches!(membership.group, GroupTemplate::Filter(_));
    MembershipPolicy {
        operations: rule.operations,
        takes_away: rule.on_delete != OnDelete::Ignore,
        empty_group: rule.empty_group.clone(),
        base: rule.scope_base.clone(),
        scope_filter: (!by_filter && rule.scope_base.is_some()).then(|| rule.class_filter()),
        new_classes: if by_filter { Vec::new() } else { rule.object_classes.clone() },
        takes_dangling: matches!(membership.member, MemberTemplate::Value { is_whole: true, .. }),
    }
}

/// Returns the templates of a member's value: for its attribute, or for each syntax that a record's attribute may have.
fn values_of(
    setting: &str,
    template: &Template,
    attribute: Option<&str>,
    schema: &Schema,
) -> Result<Vec<(Syntax, ValueTemplate)>, SettingsError> {
    let value = |syntax| ValueTemplate::new(template, syntax).map(|value| (syntax, value));
    if let Some(name) = attribute {
        let value = value(syntax_of(schema, name, template));
        return Ok(vec![value.map_err(|e| no_dn_template(setting.to_owned(), &e))?]);
    }
    // One that does not fit is an error of the records with such an attribute.
    let all = [Syntax::Text, Syntax::Dn, Syntax::NameAndUid];
    Ok(all.into_iter().filter_map(|syntax| value(syntax).ok()).collect())
}

fn syntax_of(schema: &Schema, attribute: &str, template: &Template) -> Syntax {
    // By its name it is a number, and in a record of a membership the DN of the user.
    if attribute.eq_ignore_ascii_case(PRIMARY_GROUP) {
        return Syntax::Dn;
    }
    Syntax::of_template(schema, attribute, template)
}

fn is_name(schema: &Schema, attribute: &str) -> bool {
    ValueKind::of(schema, attribute).is_name() || attribute.eq_ignore_ascii_case(PRIMARY_GROUP)
}

fn of_part(part: &str, error: RenderError) -> MappingError {
    MappingError::Template { part: format!("membership.{part}"), error }
}

/// Returns the text that a template gives, without which nothing is known of a member.
fn needed(
    part: &str,
    template: &Template,
    rendered: Option<Result<Rendered, RenderError>>,
) -> Result<String, MappingError> {
    match rendered.transpose().map_err(|error| of_part(part, error))? {
        Some(Rendered::Text(text)) if !text.trim().is_empty() => Ok(text),
        _ => {
            let placeholder = template.names().next().unwrap_or_default().to_owned();
            let template = template.text().to_owned();
            Err(of_part(part, RenderError::Missing { placeholder, template }))
        }
    }
}
