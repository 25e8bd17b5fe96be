//! Checks the names in a rule's filters against the directory's schema.

use ldap_directory::filter::Filter;
use ldap_directory::schema::Coverage;
use ldap_directory::{Directory, KnownNames, Undefined, UnknownName};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

use super::Mapping;
use crate::rules::membership::MembershipRule;
use crate::rules::template::FilterTemplate;

/// Two values for each placeholder: the parts that do not differ are the rule's own text.
const FILLED: [&str; 2] = ["x", "y"];

/// Checks every filter of a rule.
pub(super) fn check(
    stream: &str,
    mapping: &Mapping,
    directory: &Directory,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    let coverage = directory.schema().coverage();
    let is_file = directory.takes_unknown_attributes();
    // A server that publishes no schema may know any name.
    if coverage == Coverage::BuiltIn && !is_file {
        return Ok(());
    }
    let known = KnownNames::new(directory);
    let of_memberships = mapping.rule.membership.iter().flat_map(MembershipRule::filters);
    let templates: Vec<(&str, &FilterTemplate)> =
        mapping.rule.matching.iter().map(|template| ("match", template)).chain(of_memberships).collect();
    let matching = templates.iter().map(|(part, template)| {
        let [first, second] = FILLED
            .map(|with| template.filled(with).map(|filter| known.unknown_in(&filter)).unwrap_or_default());
        (*part, first.into_iter().filter(|unknown| second.contains(unknown)).collect::<Vec<_>>())
    });
    let scope = mapping.rule.scope_filter.iter().filter_map(|text| Filter::parse(text).ok());
    let scope = scope.map(|filter| ("scope_filter", known.unknown_in(&filter)));
    // A wrong value of a placeholder is an error of its record, not of the filter.
    let undefined = templates.iter().map(|(part, template)| {
        let [first, second] = FILLED
            .map(|with| template.filled(with).map(|filter| known.undefined_in(&filter)).unwrap_or_default());
        (*part, first.into_iter().filter(|one| second.contains(one)).collect::<Vec<_>>())
    });
    let of_scope = mapping.rule.scope_filter.iter().filter_map(|text| Filter::parse(text).ok());
    let of_scope = of_scope.map(|filter| ("scope_filter", known.undefined_in(&filter)));
    for (part, undefined) in undefined.chain(of_scope) {
        for Undefined { comparison, problem, expected, .. } in undefined {
            let setting = format!("mapping_rules.{stream}.{part}");
            let text = format!(
                "setting `{setting}`: no entry passes the comparison {comparison}, nor what negates it: {problem} (RFC 4511 section 4.5.1.7); expected: {expected}"
            );
            warnings.push(Warning::of_setting(setting, text).in_stream(stream));
        }
    }
    for (part, unknown) in matching.chain(scope) {
        let at = format!("mapping_rules.{stream}.{part}");
        for unknown in unknown {
            // An attribute that the rule writes to a file exists from then on.
            if is_file && mapping.writes(&unknown) {
                continue;
            }
            let UnknownName { what, name, .. } = &unknown;
            let problem = if is_file {
                format!(
                    "{what} `{name}` is neither in the standard schema nor in an entry of the file, and the rule does not write it"
                )
            } else {
                format!("the server's schema has no {what} `{name}`")
            };
            let near = unknown.either();
            if coverage == Coverage::Part {
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                let text = format!("setting `{at}`: {problem}, as far as it can be read{hint}");
                let mut warning = Warning::of_setting(at.clone(), text).in_stream(stream);
                warning.facts.nearest = unknown.near.into_iter().next();
                warnings.push(warning);
                continue;
            }
            return Err(SettingsError::value(
                at,
                problem,
                near.unwrap_or_else(|| format!("an {what} that the directory knows")),
            )
            .near(unknown.near.first()));
        }
    }
    Ok(())
}

impl Mapping {
    /// Whether the rule writes this attribute or object class.
    fn writes(&self, unknown: &UnknownName) -> bool {
        let is = |name: &str| ldap_directory::entry::base_type(name).eq_ignore_ascii_case(&unknown.name);
        if unknown.what == "objectClass" {
            let mut classes = self.rule.object_classes.iter();
            // Without `object_classes` the classes are the records'.
            return self.rule.object_classes.is_empty() || classes.any(|class| is(class));
        }
        let made = self.values.iter().map(|(_, target)| target);
        let mapped = self.columns.iter().flat_map(|column| &column.attributes).chain(made);
        mapped
            .map(|target| &target.description)
            .chain(self.defaults.iter().map(|d| &d.description))
            .any(|n| is(n))
            || self.naming_attributes().iter().any(|name| is(name))
    }
}
