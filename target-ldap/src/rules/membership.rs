//! `membership`: a record is one member of one group.

use ldap_directory::schema::Schema;
use serde::Deserialize;
use serde_json::Value;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::{SettingsError, typed};

use super::keys::check_parts;
use super::rule::is_attribute_description;
use super::rule_settings::dn_template;
use super::template::{DnTemplate, FilterTemplate, Syntax, Template, TemplateError, ValueTemplate};

/// The attributes in which groups name their members (RFC 4519, RFC 2307).
pub const MEMBER_ATTRIBUTES: [&str; 3] = ["member", "uniqueMember", "memberUid"];

/// How a record names its group.
#[derive(Debug, Clone)]
pub enum GroupTemplate {
    /// By a filter that finds it.
    Filter(FilterTemplate),
    /// By its DN, which is made of the record's values.
    Dn(DnTemplate),
    /// By its DN, which is a value of the record.
    Whole(Template),
}

/// How a record names its member.
#[derive(Debug, Clone)]
pub enum MemberTemplate {
    /// By a filter that finds its entry.
    Filter(FilterTemplate),
    /// By the value itself.
    Value {
        /// The template of the value.
        template: Template,
        /// Whether the template is one placeholder, so that a DN is the source's own.
        is_whole: bool,
    },
}

/// `membership` of a rule.
#[derive(Debug, Clone)]
pub struct MembershipRule {
    /// The group.
    pub group: GroupTemplate,
    /// The member.
    pub member: MemberTemplate,
    /// The attribute of the group that has the value: its name, or a template of it.
    pub attribute: Template,
    /// The setting as it is, for comparisons with earlier runs.
    pub text: String,
}

#[derive(Deserialize)]
struct MembershipSettings {
    group: String,
    member: String,
    attribute: Option<String>,
}

/// The keys of a rule that fit `membership`.
const BESIDE: [&str; 7] =
    ["membership", "empty_group", "object_classes", "operations", "on_delete", "scope_base", "scope_filter"];

/// Checks that a rule with `membership` has no key that is about entries.
pub(super) fn check_alone(path: &str, rule: &Value) -> Result<(), SettingsError> {
    let Some(keys) = rule.as_object().filter(|keys| keys.contains_key("membership")) else { return Ok(()) };
    if let Some(key) = keys.keys().find(|key| !BESIDE.contains(&key.as_str())) {
        let problem = "a record of a rule with membership is one member of a group, and no entry";
        let expected = format!("beside membership only {}", BESIDE[1..].join(", "));
        return Err(SettingsError::value(format!("{path}.{key}"), problem, expected));
    }
    let on_delete = keys.get("on_delete").filter(|value| **value != "delete" && **value != "ignore");
    on_delete.map_or(Ok(()), |value| {
        let problem = format!("got {value}: a deletion of a membership takes a value away");
        Err(SettingsError::value(format!("{path}.on_delete"), problem, "\"delete\" or \"ignore\""))
    })
}

/// Parses `membership`. `path` is the name of the rule's setting.
pub(super) fn parse(
    path: &str,
    value: Value,
    default_base: Option<&str>,
) -> Result<MembershipRule, SettingsError> {
    let at = format!("{path}.membership");
    check_parts(&at, &value, &["group", "member", "attribute"])?;
    let text = value.to_string();
    let settings: MembershipSettings = typed(&at, value)?;
    let attribute = settings.attribute.as_deref().unwrap_or(MEMBER_ATTRIBUTES[0]);
    Ok(MembershipRule {
        group: group(&at, &settings.group, default_base)?,
        member: member(&at, &settings.member)?,
        attribute: attribute_template(&at, attribute)?,
        text,
    })
}

fn of_template(setting: &str, error: TemplateError, expected: &str) -> SettingsError {
    SettingsError::value(setting, error.to_string(), expected).near(error.nearest)
}

/// A template without a placeholder is the same for every record.
fn check_placeholder<'n>(
    setting: &str,
    mut names: impl Iterator<Item = &'n str>,
    expected: &str,
) -> Result<(), SettingsError> {
    if names.next().is_some() {
        return Ok(());
    }
    let problem = "without a {placeholder}: every record would name the same";
    Err(SettingsError::value(setting, problem, expected))
}

fn group(at: &str, text: &str, default_base: Option<&str>) -> Result<GroupTemplate, SettingsError> {
    let at = format!("{at}.group");
    let expected =
        "a filter such as (cn={group}), a DN such as cn={group},ou=groups,dc=example,dc=com, or {group_dn}";
    if text.starts_with('(') {
        let template = FilterTemplate::parse(text).map_err(|e| of_template(&at, e, expected))?;
        check_placeholder(&at, template.names(), expected)?;
        return Ok(GroupTemplate::Filter(template));
    }
    let template = Template::parse(text).map_err(|e| of_template(&at, e, expected))?;
    if is_whole(text, &template) {
        return Ok(GroupTemplate::Whole(template));
    }
    // A rule may be about one group.
    dn_template(&at, text, default_base).map(GroupTemplate::Dn)
}

fn member(at: &str, text: &str) -> Result<MemberTemplate, SettingsError> {
    let at = format!("{at}.member");
    let expected =
        "a filter such as (uid={user}), a DN such as uid={user},ou=people,dc=example,dc=com, or {member}";
    if text.starts_with('(') {
        let template = FilterTemplate::parse(text).map_err(|e| of_template(&at, e, expected))?;
        check_placeholder(&at, template.names(), expected)?;
        return Ok(MemberTemplate::Filter(template));
    }
    let template = Template::parse(text).map_err(|e| of_template(&at, e, expected))?;
    check_placeholder(&at, template.names(), expected)?;
    let is_whole = is_whole(text, &template);
    Ok(MemberTemplate::Value { template, is_whole })
}

/// Whether a template is one placeholder, whose value is used as it is.
fn is_whole(text: &str, template: &Template) -> bool {
    DnTemplate::parse(text).is_err() && ValueTemplate::new(template, Syntax::Dn).is_ok()
}

fn attribute_template(at: &str, text: &str) -> Result<Template, SettingsError> {
    let at = format!("{at}.attribute");
    let expected = "the attribute that has the members, for example member, or {attribute}";
    let template = Template::parse(text).map_err(|e| of_template(&at, e, expected))?;
    if template.names().next().is_none() && !is_member_attribute(text) {
        let problem = format!("`{text}` is not the name of an attribute that can have members");
        return Err(SettingsError::value(at, problem, expected));
    }
    Ok(template)
}

/// Whether an attribute may have members: rows say nothing about passwords and classes.
pub fn is_member_attribute(name: &str) -> bool {
    is_attribute_description(name)
        && !is_secret_attribute(name)
        && !name.eq_ignore_ascii_case("objectClass")
        && !name.contains(';')
}

impl MembershipRule {
    /// Returns its templates, to prepare them.
    pub(crate) fn templates_mut(&mut self) -> [&mut Template; 3] {
        let group = match &mut self.group {
            GroupTemplate::Filter(template) => template.template_mut(),
            GroupTemplate::Dn(template) => template.template_mut(),
            GroupTemplate::Whole(template) => template,
        };
        let member = match &mut self.member {
            MemberTemplate::Filter(template) => template.template_mut(),
            MemberTemplate::Value { template, .. } => template,
        };
        [group, member, &mut self.attribute]
    }

    /// Returns its templates, each with the part of the rule.
    pub(crate) fn templates(&self) -> [(&'static str, &Template); 3] {
        let group = match &self.group {
            GroupTemplate::Filter(template) => template.template(),
            GroupTemplate::Dn(template) => template.template(),
            GroupTemplate::Whole(template) => template,
        };
        let member = match &self.member {
            MemberTemplate::Filter(template) => template.template(),
            MemberTemplate::Value { template, .. } => template,
        };
        [
            ("membership.group", group),
            ("membership.member", member),
            ("membership.attribute", &self.attribute),
        ]
    }

    /// Returns the names of properties, each with the part of the rule, and whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&'static str, (&str, bool))> {
        let parts = self.templates().into_iter();
        parts.flat_map(|(part, template)| template.needs().map(move |need| (part, need)))
    }

    /// Returns the filters, each with the part of the rule.
    pub fn filters(&self) -> Vec<(&'static str, &FilterTemplate)> {
        let group = match &self.group {
            GroupTemplate::Filter(template) => Some(("membership.group", template)),
            _ => None,
        };
        let member = match &self.member {
            MemberTemplate::Filter(template) => Some(("membership.member", template)),
            MemberTemplate::Value { .. } => None,
        };
        group.into_iter().chain(member).collect()
    }

    /// Returns the attribute, if it is the same for all records.
    pub fn fixed_attribute(&self) -> Option<String> {
        self.attribute.names().next().is_none().then(|| self.attribute.text().to_owned())
    }

    /// Returns the attributes that the records of the rule may be about.
    pub fn attributes(&self, schema: &Schema) -> Vec<String> {
        match self.fixed_attribute() {
            Some(name) => vec![schema.spell(&name)],
            None => MEMBER_ATTRIBUTES
                .iter()
                .filter(|name| schema.attribute_type(name).is_some())
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::rule::Rule;
    use serde_json::json;

    fn parsed(rule: Value) -> Result<Rule, SettingsError> {
        Rule::parse("mapping_rules.m", rule, Some("ou=groups,dc=x"))
    }

    #[test]
    fn a_group_and_a_member_are_a_filter_a_dn_or_a_value() {
        let rule = parsed(json!({"membership": {"group": "(cn={g})", "member": "(uid={u})"}})).unwrap();
        let membership = rule.membership.unwrap();
        assert!(matches!(membership.group, GroupTemplate::Filter(_)));
        assert!(matches!(membership.member, MemberTemplate::Filter(_)));
        assert_eq!(membership.fixed_attribute().as_deref(), Some("member"));
        let rule = parsed(json!({"membership": {"group": "cn={g}", "member": "uid={u},ou=p,dc=x",
            "attribute": "uniqueMember"}}));
        let membership = rule.unwrap().membership.unwrap();
        let GroupTemplate::Dn(template) = &membership.group else { panic!() };
        let dn = template.render(&|_| Some(vec!["a".into()])).unwrap();
        assert_eq!(dn, "cn=a,ou=groups,dc=x");
        assert!(matches!(membership.member, MemberTemplate::Value { is_whole: false, .. }));
        let rule = parsed(json!({"membership": {"group": "{group_dn}", "member": "{member}",
            "attribute": "{attribute}"}}));
        let membership = rule.unwrap().membership.unwrap();
        assert!(matches!(membership.group, GroupTemplate::Whole(_)));
        assert!(matches!(membership.member, MemberTemplate::Value { is_whole: true, .. }));
        assert_eq!(membership.fixed_attribute(), None);
    }

    #[test]
    fn what_a_membership_rule_cannot_mean_is_refused() {
        let membership = json!({"group": "(cn={g})", "member": "(uid={u})"});
        for (rule, at) in [
            (json!({"membership": membership, "dn_template": "cn={g},dc=x"}), "dn_template"),
            (json!({"membership": membership, "values": {"a": "b"}}), "values"),
            (json!({"membership": membership, "on_delete": {"move_to": "ou=x"}}), "on_delete"),
            (json!({"membership": {"group": "(cn=g)", "member": "(uid={u})"}}), "membership.group"),
            (json!({"membership": {"group": "(cn={g})", "member": "uid=u"}}), "membership.member"),
            (json!({"membership": {"group": "{g} {h}", "member": "{u}"}}), "membership.group"),
            (
                json!({"membership": {"group": "(cn={g})", "member": "{u}", "attribute": "userPassword"}}),
                "membership.attribute",
            ),
            (json!({"membership": {"group": "(cn={g})", "user": "{u}"}}), "membership.user"),
        ] {
            let error = parsed(rule.clone()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("mapping_rules.m.{at}")), "{rule}: {text}");
        }
    }
}
