//! Builds a stream's mapping from its SCHEMA and its rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::time::Zone;
use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::message::SchemaMessage;

use super::ENTRY_UUID;
use super::account::AccountMapping;
use super::column::{
    Column, Target, is_password, pass_through, rewritten, set_on_delete, target, unknown_to_schema,
};
use super::generated;
use super::mapping::Mapping;
use super::membership::MembershipMapping;
use super::naming::{Naming, naming};
use super::references::reference_columns;
use super::shape::Shapes;
use super::task::{AsideRule, DeleteAction, Extent, GracePolicy, SetAside, WritePolicy};
use super::template_names;
use super::wanted::Wanted;
use crate::config::TargetConfig;
use crate::rules::encoding::Encoding;
use crate::rules::policy::{Compare, OtherOptions, Policy};
use crate::rules::rule::{OnDelete, Rule};
use crate::rules::template::{FilterTemplate, Moment, Path, Syntax, TemplateError, ValueTemplate};

/// The templates of `values`, each with its attribute.
type Values = Vec<(ValueTemplate, Target)>;

impl Rule {
    /// Returns the policy for an attribute, if the rule sets one.
    pub(super) fn policy(&self, description: &str, schema: &Schema) -> Option<Policy> {
        let said = self.policies.iter().find(|(name, _)| schema.same_description(name, description));
        said.map(|(_, policy)| *policy)
    }

    /// Returns the comparison for an attribute, if the rule sets one.
    pub(super) fn compare(&self, description: &str, schema: &Schema) -> Option<Compare> {
        let said = self.compare.iter().find(|(name, _)| schema.same_description(name, description));
        said.map(|(_, compare)| *compare)
    }
}

impl Mapping {
    /// Builds the mapping of a stream. `takes_unknown`: the destination stores attributes that its schema does not know. Warnings
    /// are for the log.
    ///
    /// # Errors
    /// The stream has no rule and cannot be mirrored, or its rule does not fit its SCHEMA or the directory's schema.
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
        let mut rule = rule_of(stream, config, has("dn") && has("objectClass"))?;
        let paths = prepare_templates(&mut rule, config, &shapes);
        let mut columns = match &rule.attribute_mapping {
            Some(mapping) => mapping
                .iter()
                .map(|(property, names)| Column {
                    property: property.clone(),
                    encoding: shapes.of(property).encoding,
                    attributes: names.iter().map(|n| target(schema, n)).collect(),
                })
                .collect(),
            None if rule.membership.is_some() => Vec::new(),
            None => pass_through(properties, &shapes, stream, &rule, config, schema, takes_unknown, warnings),
        };
        let mut values = value_templates(stream, &rule, schema)?;
        if let Some(template) = &rule.matching {
            let at = format!("mapping_rules.{stream}.match");
            rule.matching = Some(template.with_schema(schema).map_err(|e| no_dn_template(at, &e))?);
        }
        let made = values.iter_mut().map(|(_, target)| target);
        for target in columns.iter_mut().flat_map(|c| &mut c.attributes).chain(made) {
            target.zone = config.default_timezone;
            target.policy = rule.policy(&target.description, schema).unwrap_or_default();
            target.compare = rule.compare(&target.description, schema).unwrap_or(target.compare);
            // An entry keeps its entryUUID for life.
            if config.preserve_uuid && target.description.eq_ignore_ascii_case(ENTRY_UUID) {
                target.policy = Policy::CreateOnly;
            }
        }
        warnings.extend(unknown_to_schema(stream, &rule, schema, takes_unknown));
        let is_own = config.rules.contains_key(stream);
        template_names::check(stream, &rule, &shapes, &columns, schema, is_own, warnings)?;
        warn_of_unused_policies(stream, &rule, &columns, &values, schema, warnings);
        warn_of_two_sources(stream, &rule, &columns, schema, warnings);
        let references = reference_columns(stream, &rule, schema, no_dn_template)?;
        let naming = naming(stream, &rule, config, &columns, &message.key_properties, has("dn"))?;
        let path = format!("mapping_rules.{stream}");
        rule.check_sources(&path, |a, b| schema.same_description(a, b))?;
        generated::check(stream, &rule, &naming, &columns, schema)?;
        if let Naming::Key { base, .. } = &naming {
            let base = rewritten(base, &config.dn_rewrite, schema).unwrap_or_else(|| base.clone());
            rule.check_move_to(&path, "default_base_dn", &base, schema)?;
        }
        let defaults = defaults(stream, &rule, schema, config.default_timezone)?;
        let made = values.iter().map(|(_, target)| target);
        let written = columns.iter().flat_map(|c| &c.attributes).chain(made).map(|t| t.description.as_str());
        let defaulted = defaults.iter().map(|d: &Wanted| d.description.as_str());
        let account = AccountMapping::new(stream, &rule, &shapes, written.chain(defaulted))?;
        let grace = grace_policy(stream, &rule, &columns, config, schema)?;
        let action = delete_action(stream, &rule, grace.as_ref(), schema, config.default_timezone)?;
        let action = Arc::new(action);
        let write_policy = Arc::new(WritePolicy {
            operations: rule.operations,
            delete_old_rdn: rule.delete_old_rdn,
            exact_rdn: false,
            empty_group: rule.empty_group.clone(),
            base: rule.scope_base.clone(),
            other_scopes: other_scopes(&rule, config, schema),
            match_attributes: rule.matching.as_ref().map(FilterTemplate::attributes).unwrap_or_default(),
            object_classes: rule.object_classes.clone(),
            known_options: known_options(&rule, &naming, &columns),
            grace,
        });
        let membership = MembershipMapping::new(stream, &rule, schema)?;
        let extent = match &membership {
            Some(membership) => Some(membership.extent(&rule, &action, &write_policy, schema)),
            None => extent(&rule, config, schema, &action, &write_policy),
        };
        let has_templates = rule.templates().next().is_some();
        let is_distinct = is_distinct(&columns, &values, schema);
        let names_by_choice = generated::names_by_choice(&rule, &naming, schema);
        let encoded = encoded_properties(stream, &shapes, warnings);
        let rewrites = config.dn_rewrite.clone();
        Ok(Mapping {
            naming,
            columns,
            rule,
            paths,
            values,
            references,
            encoded,
            defaults,
            write_policy,
            action,
            extent,
            rewrites,
            account,
            membership,
            has_templates,
            is_distinct,
            names_by_choice,
            zone: config.default_timezone,
        })
    }
}

/// Returns the rule of a stream. A stream without one can be mirrored if its records have `dn` and `objectClass`.
fn rule_of(stream: &str, config: &TargetConfig, can_be_mirrored: bool) -> Result<Rule, SettingsError> {
    match config.rule(stream) {
        Some(rule) => Ok(rule.clone()),
        None if can_be_mirrored => Ok(Rule::default()),
        None => Err(SettingsError::value(
            format!("mapping_rules.{stream}"),
            "not set, and the stream's records have no `dn` and `objectClass` to be mirrored by",
            format!("a rule for `{stream}` (or for \"*\") with dn_template and object_classes"),
        )
        .near(nearest(stream, config.rules.keys().map(String::as_str)))),
    }
}

/// Returns the descriptions with options that the records have properties for, if values under others are removed: if the stream is mirrored
/// as it is, or if its rule says so.
fn known_options(rule: &Rule, naming: &Naming, columns: &[Column]) -> Option<Vec<String>> {
    let is_mirrored = matches!(naming, Naming::Record) && rule.attribute_mapping.is_none();
    let removes = match rule.other_options {
        Some(said) => said == OtherOptions::Remove,
        None => is_mirrored,
    };
    let all = columns.iter().flat_map(|column| &column.attributes).map(|target| &target.description);
    removes.then(|| all.filter(|description| description.contains(';')).cloned().collect())
}

/// Sets what the run knows of time in the templates of a rule, decides what ambiguous names are by the SCHEMA, and returns the paths of
/// all templates by their keys, each with its property.
fn prepare_templates(
    rule: &mut Rule,
    config: &TargetConfig,
    shapes: &Shapes<'_>,
) -> BTreeMap<String, (String, Path)> {
    let moment = Moment { zone: config.default_timezone, today: Some(config.today) };
    let known: BTreeSet<&str> = shapes.properties().collect();
    let mapped: BTreeSet<String> =
        rule.attribute_mapping.iter().flatten().flat_map(|(_, names)| names).cloned().collect();
    let is_property = |name: &str| known.contains(name) || mapped.contains(name);
    if let Some(accounts) = &mut rule.accounts {
        accounts.set_moment(moment);
    }
    let mut paths = BTreeMap::new();
    for template in rule.templates_mut() {
        template.resolve(&is_property);
        template.set_moment(moment);
        paths.extend(template.paths().map(|(key, name, path)| (key, (name.to_owned(), path.clone()))));
    }
    paths
}

/// Returns the templates of the rule's `values`, for the syntaxes of their attributes.
fn value_templates(stream: &str, rule: &Rule, schema: &Schema) -> Result<Values, SettingsError> {
    let mut values = Vec::with_capacity(rule.values.len());
    for (name, template) in &rule.values {
        let at = || format!("mapping_rules.{stream}.values.{name}");
        let target = target(schema, name);
        let template =
            ValueTemplate::new(template, Syntax::of_template(schema, &target.description, template));
        values.push((template.map_err(|e| no_dn_template(at(), &e))?, target));
    }
    Ok(values)
}

/// Warns of attributes that `attribute_mapping` and `values` both write.
fn warn_of_two_sources(
    stream: &str,
    rule: &Rule,
    columns: &[Column],
    schema: &Schema,
    warnings: &mut Vec<Warning>,
) {
    if rule.attribute_mapping.is_none() {
        return;
    }
    for (name, _) in &rule.values {
        let is_it = |column: &&Column| {
            column.attributes.iter().any(|target| schema.same_description(&target.description, name))
        };
        if let Some(column) = columns.iter().find(is_it) {
            let setting = format!("mapping_rules.{stream}.values.{name}");
            let text = format!(
                "setting `{setting}`: `attribute_mapping` writes the property `{}` to `{name}` as well, and the entry gets both values",
                column.property
            );
            warnings.push(Warning::of_setting(setting, text).in_stream(stream));
        }
    }
}

/// Warns of `policies` and `compare` for attributes that get no value.
fn warn_of_unused_policies(
    stream: &str,
    rule: &Rule,
    columns: &[Column],
    values: &Values,
    schema: &Schema,
    warnings: &mut Vec<Warning>,
) {
    let policies = rule.policies.iter().map(|(name, _)| ("policies", name));
    for (part, name) in policies.chain(rule.compare.iter().map(|(name, _)| ("compare", name))) {
        let same = |description: &str| schema.same_description(description, name);
        let targets = columns.iter().flat_map(|c| &c.attributes).chain(values.iter().map(|(_, t)| t));
        let given = targets.map(|t| t.description.as_str());
        let given = given.chain(rule.references.iter().map(|reference| reference.attribute.as_str()));
        let mut given = given
            .chain(rule.defaults.iter().map(|(d, _)| d.as_str()))
            .chain(["objectClass"])
            .chain(rule.generated.iter().map(|one| one.attribute.as_str()));
        if !given.clone().any(same) {
            let setting = format!("mapping_rules.{stream}.{part}");
            let text = format!("setting `{setting}`: nothing gives `{name}` a value");
            let warning = Warning::of_setting(setting, text).in_stream(stream);
            warnings.push(warning.near(name, nearest(name, &mut given)));
        }
    }
}

/// Returns the values of the rule's `defaults`. They never overwrite, whatever else the rule says of the attribute.
fn defaults(stream: &str, rule: &Rule, schema: &Schema, zone: Zone) -> Result<Vec<Wanted>, SettingsError> {
    let mut defaults = Vec::new();
    for (name, value) in &rule.defaults {
        let target = Target { zone, ..target(schema, name) };
        if target.kind == ValueKind::Binary && is_password(&target.description) {
            return Err(SettingsError::value(
                format!("mapping_rules.{stream}.defaults.{name}"),
                "a password for everybody",
                "no default for passwords",
            ));
        }
        let values = target.fixed(&format!("mapping_rules.{stream}.defaults.{name}"), value)?;
        let policy = match rule.policy(&target.description, schema) {
            Some(Policy::CreateOnly) => Policy::CreateOnly,
            _ => Policy::Keep,
        };
        defaults.push(Wanted { description: target.description, values, policy, compare: target.compare });
    }
    Ok(defaults)
}

/// Returns how entries are found again that the rule sets aside for some days.
fn grace_policy(
    stream: &str,
    rule: &Rule,
    columns: &[Column],
    config: &TargetConfig,
    schema: &Schema,
) -> Result<Option<Arc<GracePolicy>>, SettingsError> {
    let Some(grace) = rule.on_delete.grace() else { return Ok(None) };
    let marker = schema.spell(&grace.marker);
    let is_it = |target: &Target| schema.same_description(&target.description, &marker);
    // Without `attribute_mapping` the SCHEMA says what is written.
    if let Some(column) = columns.iter().find(|column| column.attributes.iter().any(is_it)) {
        return Err(SettingsError::value(
            format!("mapping_rules.{stream}.on_delete.then.marker"),
            format!("records write `{marker}` (property `{}`)", column.property),
            "an attribute that nothing else writes",
        ));
    }
    let move_to = rule.on_delete.move_to().map(str::to_owned);
    let rules = config.rules.iter().map(|(name, rule)| {
        let has_it = rule.on_delete.grace().is_some_and(|g| schema.same_description(&g.marker, &marker));
        (name.clone(), has_it.then(|| aside_rule(name, rule, schema, config.default_timezone)).flatten())
    });
    let rules = rules.collect();
    Ok(Some(Arc::new(GracePolicy { stream: stream.to_owned(), marker, days: grace.days, move_to, rules })))
}

/// Returns how a rule sets entries aside; `None`: not at all, for there is a fault in it.
fn aside_rule(name: &str, rule: &Rule, schema: &Schema, zone: Zone) -> Option<AsideRule> {
    let values = rule.on_delete.set().iter();
    let set = values.map(|(attribute, value)| set_on_delete(name, attribute, value, schema, zone));
    let set = set.collect::<Result<_, _>>().ok()?;
    Some(AsideRule {
        move_to: rule.on_delete.move_to().map(str::to_owned),
        set,
        scope: rule.scope_base.clone(),
    })
}

/// Returns what `on_delete` does.
fn delete_action(
    stream: &str,
    rule: &Rule,
    grace: Option<&Arc<GracePolicy>>,
    schema: &Schema,
    zone: Zone,
) -> Result<DeleteAction, SettingsError> {
    let values = rule.on_delete.set().iter();
    let set = values.map(|(name, value)| set_on_delete(stream, name, value, schema, zone));
    let set = set.collect::<Result<_, _>>()?;
    Ok(match &rule.on_delete {
        OnDelete::Delete => DeleteAction::Delete,
        OnDelete::Tree => DeleteAction::Tree,
        OnDelete::Ignore => DeleteAction::Nothing,
        OnDelete::MoveTo(dn) => DeleteAction::MoveTo(dn.clone()),
        OnDelete::Set(_) => DeleteAction::Set(set),
        OnDelete::SetAside(aside) => {
            DeleteAction::SetAside(SetAside { set, move_to: aside.move_to.clone(), grace: grace.cloned() })
        }
    })
}

/// Returns the scopes of other rules whose `match` compares the same attributes, but for those within the rule's own.
fn other_scopes(rule: &Rule, config: &TargetConfig, schema: &Schema) -> Vec<String> {
    let compared = |rule: &Rule| -> Option<BTreeSet<String>> {
        let names = rule.matching.as_ref()?.attributes();
        Some(names.iter().map(|name| schema.normal_description(name)).collect())
    };
    let key = |dn: &String| DnKey::parse(dn, schema).ok();
    let (Some(own), Some(base)) = (compared(rule), rule.scope_base.as_ref().and_then(key)) else {
        return Vec::new();
    };
    let mut scopes: Vec<(DnKey, String)> = Vec::new();
    for other in config.rules.values().filter(|other| other.membership.is_none()) {
        if compared(other).is_none_or(|names| names.is_empty() || names != own) {
            continue;
        }
        let Some((scope, dn)) = other.scope_base.as_ref().and_then(|dn| Some((key(dn)?, dn))) else {
            continue;
        };
        if !scope.is_within(&base) && !scopes.iter().any(|(known, _)| *known == scope) {
            scopes.push((scope, dn.clone()));
        }
    }
    scopes.into_iter().map(|(_, dn)| dn).collect()
}

/// Returns where the stream's entries are: the rule's scope without nested scopes.
fn extent(
    rule: &Rule,
    config: &TargetConfig,
    schema: &Schema,
    action: &Arc<DeleteAction>,
    write_policy: &Arc<WritePolicy>,
) -> Option<Extent> {
    let base = rule.scope_base.as_ref()?;
    let key = |dn: &String| DnKey::parse(dn, schema).ok();
    let of_entries = config.rules.values().filter(|r| r.membership.is_none());
    let scopes = of_entries.filter_map(|r| r.scope_base.as_ref()).filter_map(key);
    let others = scopes.filter(|s| key(base).is_some_and(|b| b.is_ancestor_of(s))).collect();
    let (base, filter) = (base.clone(), rule.scope_filter());
    let (action, write_policy) = (action.clone(), write_policy.clone());
    Some(Extent { base, filter, others, action, write_policy, memberships: None })
}

/// Whether no two properties or templates give values to one attribute.
fn is_distinct(columns: &[Column], values: &Values, schema: &Schema) -> bool {
    let mut seen = BTreeSet::new();
    columns
        .iter()
        .flat_map(|c| &c.attributes)
        .chain(values.iter().map(|(_, target)| target))
        .all(|t| seen.insert(schema.normal_description(&t.description)))
}

/// Returns the properties whose texts are encoded (`contentEncoding`).
fn encoded_properties(
    stream: &str,
    shapes: &Shapes<'_>,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<String, Encoding> {
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
    encoded
}

/// Returns the error for a template that can never give a value of its attribute's syntax.
pub(super) fn no_dn_template(setting: String, error: &TemplateError) -> SettingsError {
    let expected = "a DN with placeholders in its values, as in uid={manager_id},ou=people,dc=example,dc=com, or a single placeholder for a whole DN";
    SettingsError::value(setting, error.to_string(), expected)
}
