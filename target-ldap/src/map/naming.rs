//! How entries get their DN.

use singer_common::plugin::settings::SettingsError;

use super::column::Column;
use crate::config::TargetConfig;
use crate::rules::rule::Rule;
use crate::rules::template::DnTemplate;

/// How entries get their DN.
#[derive(Debug)]
pub(super) enum Naming {
    /// By the rule's `dn_template`.
    Template(DnTemplate),
    /// By the record's `dn`.
    Record,
    /// By the stream's key, below a base.
    Key { attribute: String, property: String, base: String },
    /// Not at all: each record is a member of a group.
    Membership,
}

pub(super) fn naming(
    stream: &str,
    rule: &Rule,
    config: &TargetConfig,
    columns: &[Column],
    key_properties: &[String],
    has_dn: bool,
) -> Result<Naming, SettingsError> {
    if rule.membership.is_some() {
        return Ok(Naming::Membership);
    }
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
