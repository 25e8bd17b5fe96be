//! From a record's property to the values of attributes.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use ldap_directory::dn::SuffixRewrite;
use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use ldap_directory::schema::syntax::{ValueKind, number_text};
use ldap_directory::schema::{AttributeType, Schema, Usage};
use ldap_directory::time::Zone;
use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

use super::ENTRY_UUID;
use super::references::is_source;
use super::shape::{Shape, Shapes};
use crate::config::TargetConfig;
use crate::map::unknown_names::unknown_attributes;
use crate::map::wanted::Wanted;
use crate::rules::encoding::Encoding;
use crate::rules::error::MappingError;
use crate::rules::policy::{Compare, Policy};
use crate::rules::rule::{Rule, is_attribute_description};
use singer_common::operations::secret::is_secret_attribute;

/// A property and the attributes that it is written to.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) property: String,
    pub(super) encoding: Encoding,
    pub(super) attributes: Vec<Target>,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) description: String,
    pub(super) kind: ValueKind,
    pub(super) policy: Policy,
    pub(super) compare: Compare,
    /// The zone of times that do not name one.
    pub(super) zone: Zone,
    /// Whether a list with a null was met, of which one warning is logged.
    pub(super) has_met_null: AtomicBool,
    /// Whether a value of blanks alone was met, of which one warning is logged.
    pub(super) has_met_blanks: AtomicBool,
}

/// Returns the values that `on_delete` sets. Object classes are added, so that attributes of other classes stay.
pub(super) fn set_on_delete(
    stream: &str,
    name: &str,
    value: &Value,
    schema: &Schema,
    zone: Zone,
) -> Result<Wanted, SettingsError> {
    let at = format!("mapping_rules.{stream}.on_delete.set.{name}");
    let target = Target { zone, ..target(schema, name) };
    let values = target.fixed(&at, value)?;
    if is_secret_attribute(&target.description) && !values.is_empty() {
        return Err(SettingsError::value(at, "a password for everybody", "null, which takes it away"));
    }
    let is_class = schema.same_description(&target.description, "objectClass");
    let policy = if is_class { Policy::Merge } else { Policy::Force };
    Ok(Wanted { description: target.description, values, policy, compare: target.compare })
}

impl Target {
    /// Returns the values that the configuration sets.
    pub(super) fn fixed(&self, setting: &str, value: &Value) -> Result<Vec<Vec<u8>>, SettingsError> {
        let octets = texts(value).and_then(|values| {
            values.iter().map(|v| self.kind.parse_json_in(v, self.zone).ok()).collect::<Option<Vec<_>>>()
        });
        let Some(octets) = octets else {
            return Err(SettingsError::value(
                setting,
                "not a value of the attribute's syntax",
                expectation(self.kind).trim_start_matches("expected "),
            ));
        };
        Ok(octets.into_iter().flatten().filter(|value| !value.is_empty()).collect())
    }

    /// Returns the attribute without values.
    pub(super) fn none(&self) -> Wanted {
        self.giving(Vec::new())
    }

    /// Returns the attribute with these values.
    fn giving(&self, values: Vec<Vec<u8>>) -> Wanted {
        Wanted { description: self.description.clone(), values, policy: self.policy, compare: self.compare }
    }

    /// Converts the values of a property to the attribute's syntax.
    pub(super) fn wanted(
        &self,
        value: &Value,
        column: &Column,
        rewrites: &[SuffixRewrite],
        schema: &Schema,
    ) -> Result<Wanted, MappingError> {
        let fail = |reason: &str| MappingError::Value {
            property: column.property.clone(),
            attribute: self.description.clone(),
            reason: reason.to_owned(),
        };
        let elements = texts(value).ok_or_else(|| {
            let is_object =
                value.is_object() || value.as_array().is_some_and(|all| all.iter().any(Value::is_object));
            let what = if is_object { "an object" } else { "a list within a list" };
            fail(&format!("{what} is no value; expected a scalar or a list of scalars"))
        })?;
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            let kind = match (column.encoding, self.kind) {
                (Encoding::Plain, ValueKind::Binary) => ValueKind::PossiblyEmptyText,
                (_, kind) => kind,
            };
            if kind == ValueKind::Binary
                && column.encoding == Encoding::Unsaid
                && is_password(&self.description)
            {
                return Err(fail(
                    "its property is plain text; the rule's `password` sets passwords from it; a mapping takes only base64 (contentEncoding) of a value already hashed",
                ));
            }
            let octets = match element {
                Value::Null => continue,
                // An encoded text is decoded, whatever syntax the destination has.
                element if column.encoding.is_encoded() => {
                    let octets = element.as_str().and_then(|text| column.encoding.decode(text));
                    octets.ok_or_else(|| fail(&format!("expected {}", column.encoding.name())))?
                }
                element => {
                    let octets =
                        kind.parse_json_in(element, self.zone).map_err(|_| fail(expectation(kind)))?;
                    let Some(octets) = octets else { continue };
                    octets
                }
            };
            if octets.first() == Some(&b' ') && !column.encoding.is_encoded() {
                self.check_blanks(&octets, &column.property);
            }
            let octets =
                if kind.is_name() { rewritten_value(octets, kind, rewrites, schema) } else { octets };
            values.push(octets);
        }
        if values.len() > 1 {
            let rule = schema.equality(&self.description);
            let mut seen = HashSet::new();
            values.retain(|octets| seen.insert(rule.normalize(octets, schema).into_owned()));
        }
        let mut wanted = self.giving(values);
        if has_unknown(value) {
            self.keep_unknown(&mut wanted, &column.property, schema);
        }
        Ok(wanted)
    }

    /// Warns of a value of blanks alone: it looks like none, and is one.
    fn check_blanks(&self, octets: &[u8], property: &str) {
        let is_blank = octets.iter().all(|octet| *octet == b' ');
        if is_blank && !self.has_met_blanks.swap(true, Ordering::Relaxed) {
            let attribute = &self.description;
            tracing::warn!(
                property,
                attribute,
                "`{property}` has a value of blanks alone, which is written to `{attribute}` as it is; for no value, its source is to send null or an empty text"
            );
        }
    }

    /// Lets the entry keep values of an attribute of which not all values are known.
    fn keep_unknown(&self, wanted: &mut Wanted, property: &str, schema: &Schema) {
        // The one value is known, if there is one.
        let is_whole = !wanted.values.is_empty() && schema.is_single_valued(&self.description);
        if is_whole || wanted.policy != Policy::Force {
            return;
        }
        wanted.policy = Policy::Merge;
        if !self.has_met_null.swap(true, Ordering::Relaxed) {
            let attribute = &self.description;
            tracing::warn!(
                property,
                "`{property}` has a list with a null, which is a value that its source could not read: in such records values of `{attribute}` are added, and none is removed"
            );
        }
    }
}

/// Whether a list has a null: tap-ldap writes it in place of a value that is not valid in its syntax.
pub(super) fn has_unknown(value: &Value) -> bool {
    value.as_array().is_some_and(|elements| elements.iter().any(Value::is_null))
}

pub(super) fn target(schema: &Schema, name: &str) -> Target {
    let description = schema.spell_for_transfer(name);
    let kind = ValueKind::of(schema, &description);
    let compare = Compare::usual(&description);
    Target {
        description,
        kind,
        policy: Policy::default(),
        compare,
        zone: Zone::Utc,
        has_met_null: AtomicBool::new(false),
        has_met_blanks: AtomicBool::new(false),
    }
}

/// Converts the assertion values of a filter to the syntaxes of their attributes: a UUID to Active Directory's octets, `true`
/// to TRUE.
pub(super) fn asserted(filter: &str, schema: &Schema, zone: Zone) -> Result<String, MappingError> {
    fn assert(filter: &mut Filter, schema: &Schema, zone: Zone) -> Result<(), MappingError> {
        match filter {
            Filter::And(all) | Filter::Or(all) => all.iter_mut().try_for_each(|f| assert(f, schema, zone)),
            Filter::Not(inner) => assert(inner, schema, zone),
            Filter::Equality { attribute, value } => {
                let kind = ValueKind::of(schema, attribute);
                // A binary value may be written in any way: it is used as it is.
                if kind == ValueKind::Binary {
                    return Ok(());
                }
                let Ok(text) = std::str::from_utf8(value) else { return Ok(()) };
                match kind.parse_json_in(&Value::from(text), zone) {
                    Ok(octets) => *value = octets.unwrap_or_default(),
                    // A time may be written in LDAP's syntax.
                    Err(_) if matches!(kind, ValueKind::GeneralizedTime | ValueKind::UtcTime) => {}
                    Err(_) => {
                        return Err(MappingError::Value {
                            property: "match".to_owned(),
                            attribute: attribute.clone(),
                            reason: expectation(kind).to_owned(),
                        });
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    let mut parsed = Filter::parse(filter)
        .map_err(|e| MappingError::Name(format!("match makes no search filter: {e}")))?;
    assert(&mut parsed, schema, zone)?;
    Ok(parsed.to_string())
}

/// Returns the kind of an attribute that the destination's schema does not know, by the SCHEMA.
fn unknown_kind(shape: &Shape) -> ValueKind {
    if shape.is_time {
        ValueKind::GeneralizedTime
    } else if shape.is("boolean") {
        ValueKind::Boolean
    } else if shape.is("integer") {
        ValueKind::Integer
    } else {
        ValueKind::PossiblyEmptyText
    }
}

pub(super) fn is_password(description: &str) -> bool {
    ["userPassword", "unicodePwd"].iter().any(|p| description.eq_ignore_ascii_case(p))
}

/// Whether a property is metadata that a tap adds (the Meltano SDK's `_sdc_…`, in any case), not an attribute.
fn is_metadata(property: &str) -> bool {
    property.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("_sdc_"))
}

/// Attributes that a domain controller maintains and does not accept, though its schema does not say so ([MS-ADTS] 3.1.1.5.3.1,
/// [MS-SAMR] 3.1.1.8).
const COUNTED: [&str; 9] = [
    "badPasswordTime",
    "badPwdCount",
    "lastLogoff",
    "lastLogon",
    "lastLogonTimestamp",
    "logonCount",
    "msDS-FailedInteractiveLogonCount",
    "msDS-LastFailedInteractiveLogonTime",
    "msDS-LastSuccessfulInteractiveLogonTime",
];

/// Whether an attribute is maintained by servers, so that it is not written. A file maintains nothing: it receives what a
/// search by `*` returns, including Active Directory's identifiers. Operational attributes stay with their server.
fn is_kept_by_servers(attribute: &AttributeType, is_file: bool) -> bool {
    attribute.no_user_modification && !(is_file && attribute.usage == Usage::UserApplications)
}

/// Returns the properties that are attributes of the destination. Attributes that the server maintains are left out.
#[allow(clippy::too_many_arguments, reason = "they are what decides")]
pub(super) fn pass_through(
    properties: &Map<String, Value>,
    shapes: &Shapes<'_>,
    stream: &str,
    rule: &Rule,
    config: &TargetConfig,
    schema: &Schema,
    takes_unknown: bool,
    warnings: &mut Vec<Warning>,
) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut unknown = Vec::new();
    let taken: BTreeSet<&str> = rule.own_properties().map(|(_, name)| name).collect();
    for property in properties.keys() {
        if property.eq_ignore_ascii_case("dn") || is_metadata(property) || taken.contains(property.as_str()) {
            continue;
        }
        if is_source(rule, property, schema) {
            continue;
        }
        let shape = shapes.of(property);
        let is_kept_uuid = config.preserve_uuid && property.eq_ignore_ascii_case(ENTRY_UUID);
        let target = match schema.attribute_type(property) {
            // Active Directory marks objectClass as maintained by the system, and still requires it in every add.
            Some(attribute)
                if is_kept_by_servers(attribute, takes_unknown)
                    && !is_kept_uuid
                    && !schema.same_description(property, "objectClass") =>
            {
                continue;
            }
            Some(attribute)
                if !takes_unknown && COUNTED.iter().any(|c| attribute.name().eq_ignore_ascii_case(c)) =>
            {
                continue;
            }
            // A mirror has what its source has.
            Some(_) => Target { has_met_blanks: AtomicBool::new(true), ..target(schema, property) },
            None if takes_unknown && is_attribute_description(property) => Target {
                description: property.clone(),
                kind: unknown_kind(&shape),
                policy: Policy::default(),
                compare: Compare::usual(property),
                zone: Zone::Utc,
                has_met_null: AtomicBool::new(false),
                has_met_blanks: AtomicBool::new(true),
            },
            // If the rule has templates, other properties may be their input.
            None if rule.dn_template.is_some() || !rule.values.is_empty() || !rule.generated.is_empty() => {
                continue;
            }
            None => {
                unknown.push(property.as_str());
                continue;
            }
        };
        columns.push(Column {
            property: property.clone(),
            encoding: shape.encoding,
            attributes: vec![target],
        });
    }
    warnings.extend(unknown_attributes(stream, &unknown, "left out").map(Warning::from));
    columns
}

/// Warns of attributes in the rule that the destination does not know. The server decides.
pub(super) fn unknown_to_schema(
    stream: &str,
    rule: &Rule,
    schema: &Schema,
    takes_unknown: bool,
) -> Vec<Warning> {
    if takes_unknown {
        return Vec::new();
    }
    let mapped = rule.attribute_mapping.iter().flatten().flat_map(|(_, names)| names);
    let named = mapped.chain(rule.values.iter().map(|(n, _)| n)).chain(rule.defaults.iter().map(|(n, _)| n));
    let named = named.chain(rule.generated.iter().map(|one| &one.attribute));
    let named = named.chain(rule.on_delete.set().iter().map(|(n, _)| n));
    let mut unknown: Vec<&str> =
        named.map(String::as_str).filter(|n| schema.attribute_type(base_type(n)).is_none()).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let consequence = "its rule has records write them, and the server may refuse that";
    let Some(text) = unknown_attributes(stream, &unknown, consequence) else { return Vec::new() };
    let mut warning = Warning::of_setting(format!("mapping_rules.{stream}"), text).in_stream(stream);
    for name in unknown {
        let known = schema.attribute_types().iter().flat_map(|a| &a.names).map(String::as_str);
        if let Some(near) = nearest(base_type(name), known) {
            let _ = write!(warning.text, "; for `{name}` did you mean `{near}`?");
            warning.facts.nearest.get_or_insert_with(|| near.to_owned());
        }
    }
    vec![warning]
}

/// Returns the elements of a property: a scalar is one element, a list has its own. A null is no value.
fn texts(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(elements) => {
            elements.iter().all(|v| !v.is_array() && !v.is_object()).then_some(elements)
        }
        Value::Object(_) => None,
        scalar => Some(std::slice::from_ref(scalar)),
    }
}

/// Returns the values of a property as text for templates, decoded by the SCHEMA's encoding. A null has none. Decoded octets
/// that are not text stay as they are written.
pub(super) fn display_texts(value: &Value, encoding: Encoding) -> Vec<String> {
    let text = |v: &Value| match v {
        Value::String(text) if encoding.is_encoded() => {
            let decoded = encoding.decode(text).and_then(|octets| String::from_utf8(octets).ok());
            Some(decoded.unwrap_or_else(|| text.clone()))
        }
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(number_text(n)),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    };
    match value {
        Value::Array(elements) => elements.iter().filter_map(text).collect(),
        scalar => text(scalar).into_iter().collect(),
    }
}

pub(super) fn rewritten(dn: &str, rewrites: &[SuffixRewrite], schema: &Schema) -> Option<String> {
    rewrites.iter().find_map(|r| r.apply(dn, schema))
}

/// Rewrites the suffix of a DN value. A NameAndOptionalUID keeps its `#'0101'B` (RFC 4517 section 3.3.21).
pub(super) fn rewritten_value(
    value: Vec<u8>,
    kind: ValueKind,
    rewrites: &[SuffixRewrite],
    schema: &Schema,
) -> Vec<u8> {
    if rewrites.is_empty() {
        return value;
    }
    let Ok(text) = std::str::from_utf8(&value) else { return value };
    if let Some(moved) = rewritten(text, rewrites, schema) {
        return moved.into_bytes();
    }
    match text.rsplit_once('#').filter(|(_, uid)| kind == ValueKind::NameAndOptionalUid && uid.ends_with('B'))
    {
        Some((name, uid)) => match rewritten(name, rewrites, schema) {
            Some(moved) => format!("{moved}#{uid}").into_bytes(),
            None => value,
        },
        None => value,
    }
}

pub(super) fn expectation(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean => "expected true or false, yes or no, on or off, 1 or 0",
        ValueKind::Integer => "expected a whole number, without leading zeros, blanks or a plus",
        ValueKind::GeneralizedTime | ValueKind::UtcTime | ValueKind::FileTime => {
            "expected a time (RFC 3339, for example 2026-01-31T08:00:00Z)"
        }
        ValueKind::Uuid | ValueKind::Guid => "expected a UUID",
        ValueKind::Sid => "expected a security identifier (S-1-…)",
        ValueKind::Binary => "expected base64",
        ValueKind::DistinguishedName
        | ValueKind::NameAndOptionalUid
        | ValueKind::PossiblyEmptyText
        | ValueKind::Text => "expected a text",
    }
}
