//! The catalog entry of a stream: its properties, their JSON schemas and metadata.

use std::collections::BTreeSet;

use ldap_directory::entry::base_type;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{AttributeType, Coverage, Schema, Usage};
use serde_json::{Map, Value, json};
use singer_common::operations::secret::is_secret_attribute;
use singer_common::singer::catalog::{CatalogEntry, MetadataEntry, Places};

use crate::config::method::{FULL_TABLE, INCREMENTAL};
use crate::config::{DiscoverBy, SelectByDefault, StreamConfig, TapConfig};
use crate::discovery::context::DirectoryContext;
use crate::discovery::identity::IdentityAttributes;
use crate::discovery::sample::{Sample, any_order};
use crate::discovery::source::Source;
use crate::discovery::streams::StreamSource;

/// The names of a stream's properties, without `dn`, each once, in order.
struct Properties {
    names: Vec<String>,
    seen: BTreeSet<String>,
}

impl Properties {
    fn new() -> Self {
        Self { names: Vec::new(), seen: BTreeSet::from(["dn".to_owned()]) }
    }

    fn add(&mut self, name: &str) {
        if self.seen.insert(any_order(name)) {
            self.names.push(name.to_owned());
        }
    }
}

/// A stream that is being described.
struct Description<'a> {
    config: &'a TapConfig,
    /// The stream in the setting `schemas`, if it is one of those.
    user: Option<&'a StreamConfig>,
    schema: &'a Schema,
    ids: &'a IdentityAttributes,
    sample: &'a Sample,
    key_properties: Vec<String>,
    replication_key: Option<String>,
    /// Attributes that the sampled classes require and allow.
    must: Vec<&'a str>,
    may: Vec<&'a str>,
}

/// Returns the catalog entry of a stream.
pub(crate) fn describe(
    config: &TapConfig,
    context: &DirectoryContext,
    stream: &StreamSource,
    sample: &Sample,
) -> CatalogEntry {
    let (schema, ids) = (context.directory.schema(), &context.ids);
    let user = match &stream.source {
        Source::Search(stream) => Some(stream.as_ref()),
        _ => None,
    };
    let key_properties = match user.and_then(|s| s.key_properties.clone()) {
        Some(names) => names.iter().map(|n| if n == "dn" { n.clone() } else { schema.spell(n) }).collect(),
        None => vec![ids.key.clone().filter(|_| sample.without_id == 0).unwrap_or_else(|| "dn".to_owned())],
    };
    let incremental = user.and_then(|s| s.replication_method.as_deref()).is_some_and(|m| m == INCREMENTAL);
    let vendor = context.directory.root_dse().vendor;
    let usual_key = || sample.change_key(vendor, ids).filter(|_| incremental).cloned();
    let replication_key =
        user.and_then(|s| s.replication_key.as_deref()).map(|name| schema.spell(name)).or_else(usual_key);
    // Sorted by name, not by entry: the catalog does not depend on the order in which a server returns entries.
    let mut classes: Vec<&str> = sample.classes.iter().map(|(name, _)| name.as_str()).collect();
    classes.sort_unstable_by_key(|c| c.to_ascii_lowercase());
    let (must, may) = schema.must_may(classes);
    let description =
        Description { config, user, schema, ids, sample, key_properties, replication_key, must, may };
    let names = description.properties();
    // Of two ways to read the same entries, one is selected.
    let selected = !(config.discover_by == DiscoverBy::Both && matches!(stream.source, Source::Class { .. }));
    CatalogEntry {
        places: Places::default(),
        tap_stream_id: stream.id.clone(),
        stream: stream.name.clone(),
        schema: json!({"type": "object", "properties": description.property_schemas(&names)}),
        metadata: description.metadata(&names, selected),
        replication_method: Some(
            user.and_then(|s| s.replication_method.clone()).unwrap_or_else(|| FULL_TABLE.to_owned()),
        ),
        key_properties: description.key_properties,
        replication_key: description.replication_key,
    }
}

impl Description<'_> {
    /// Returns the attributes that the setting `schemas` lists; empty means all.
    fn listed(&self) -> &[String] {
        self.user.map(|s| s.attributes.as_slice()).unwrap_or_default()
    }

    /// Returns the names of the properties without `dn`: keys and operational attributes first, then the attributes that the
    /// classes require, those that they allow, and others that occur.
    fn properties(&self) -> Vec<String> {
        let (schema, listed) = (self.schema, self.listed());
        let mut seen: Vec<&str> = self.sample.attributes.iter().map(|a| a.description.as_str()).collect();
        seen.sort_unstable_by_key(|a| a.to_ascii_lowercase());
        let mut properties = Properties::new();
        let operational_names = self.ids.operational.iter().filter(|name| *name != "+");
        for name in self.key_properties.iter().filter(|k| *k != "dn").chain(operational_names) {
            properties.add(name);
        }
        if listed.is_empty() || listed.iter().any(|a| a == "*") {
            properties.add("objectClass");
            self.must.iter().chain(&self.may).for_each(|name| properties.add(name));
            for name in &seen {
                properties.add(name);
            }
        }
        if listed.iter().chain(&self.ids.operational).any(|a| a == "+") {
            operational(schema, &seen, listed).for_each(|name| properties.add(name));
        }
        for name in listed.iter().filter(|a| *a != "*" && *a != "+") {
            let name = schema.spell(name);
            properties.add(&name);
            // `cn;lang-de` is returned with `cn`.
            let with_options = |d: &&str| d.contains(';') && base_type(d).eq_ignore_ascii_case(&name);
            seen.iter().filter(|d| with_options(d)).for_each(|d| properties.add(d));
        }
        if let Some(name) = &self.replication_key {
            properties.add(name);
        }
        let excluded: Vec<String> = self
            .user
            .map(|s| s.exclude_attributes.iter().map(|a| schema.spell(a)).collect())
            .unwrap_or_default();
        // Excluding a type excludes its options; excluding a description with options excludes only that.
        let is_excluded = |name: &str| {
            let same = |e: &String| e.eq_ignore_ascii_case(name) || e.eq_ignore_ascii_case(base_type(name));
            excluded.iter().any(same)
        };
        properties.names.retain(|name| self.key_properties.contains(name) || !is_excluded(name));
        properties.names
    }

    fn property_schemas(&self, names: &[String]) -> Map<String, Value> {
        let single = SingleValued::new(self.config, self.user, self.schema);
        let mut properties = Map::new();
        properties.insert(
            "dn".into(),
            json!({"type": ["null", "string"], "description": "The entry's distinguished name (RFC 4514)"}),
        );
        for name in names {
            let is_single = single.contains(self.schema, name);
            properties.insert(name.clone(), property_schema(self.schema, name, is_single));
        }
        properties
    }

    fn metadata(&self, names: &[String], selected: bool) -> Vec<MetadataEntry> {
        let mut metadata = vec![stream_metadata(&self.key_properties, selected)];
        if let Some(node) = metadata.first_mut().filter(|_| !self.ids.change_keys.is_empty()) {
            node.metadata.insert("valid-replication-keys".into(), json!(self.ids.change_keys));
        }
        metadata.push(MetadataEntry {
            breadcrumb: vec!["properties".into(), "dn".into()],
            metadata: Map::from_iter([
                ("inclusion".to_owned(), json!("automatic")),
                ("selected-by-default".to_owned(), json!(true)),
            ]),
        });
        metadata.extend(names.iter().map(|name| self.property_metadata(name)));
        metadata
    }

    fn property_metadata(&self, name: &String) -> MetadataEntry {
        let automatic = self.key_properties.contains(name) || self.replication_key.as_ref() == Some(name);
        let inclusion = match () {
            () if automatic => "automatic",
            () if is_withheld(self.config, self.user, self.schema, name) => "unsupported",
            () => "available",
        };
        // Every entry has an objectClass (RFC 4512 section 2.4.1), even if no entry was sampled.
        let required = name == "objectClass" || self.must.iter().any(|m| m.eq_ignore_ascii_case(name));
        let by_default = automatic
            || required
            || self.config.select_by_default == SelectByDefault::Allowed
            || self.sample.occurrence(name).is_some()
            || self.ids.locks.contains(name)
            || self.listed().iter().any(|a| self.schema.spell(a) == *name);
        property_metadata(self.schema, name, inclusion, by_default && inclusion != "unsupported")
    }
}

/// Returns the properties for `+` (RFC 3673): the operational attributes seen, and the others of the server's schema.
fn operational<'a>(schema: &'a Schema, seen: &'a [&str], listed: &[String]) -> impl Iterator<Item = &'a str> {
    // Without `*`, an attribute that the schema does not know can only have been returned for `+`.
    let by_it_alone = !listed.is_empty() && !listed.iter().any(|a| a == "*");
    let is_one = move |name: &&&str| {
        schema.is_operational(name) || by_it_alone && schema.attribute_type(base_type(name)).is_none()
    };
    let known = schema.attribute_types().iter().filter(|a| a.usage != Usage::UserApplications);
    // The built-in schema also has the attributes of other kinds of server.
    let known = known.filter(|_| schema.coverage() != Coverage::BuiltIn).map(AttributeType::name);
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    seen.iter().filter(is_one).copied().chain(known)
}

/// Returns the metadata of a stream itself.
pub(crate) fn stream_metadata(key_properties: &[String], selected: bool) -> MetadataEntry {
    let metadata = json!({
        "inclusion": "available",
        "selected": selected,
        "selected-by-default": selected,
        "table-key-properties": key_properties,
    });
    MetadataEntry { breadcrumb: vec![], metadata: metadata.as_object().cloned().unwrap_or_default() }
}

/// Returns the JSON schema of a property. SINGLE-VALUE decides between a scalar and an array, never the data.
fn property_schema(schema: &Schema, name: &str, single: bool) -> Value {
    let kind = ValueKind::emitted(schema, name);
    let mut value = kind.json_schema();
    // No schema says what the attribute is, or only the server's own does, and other servers have it as octets. The encoding
    // says that the text is the octets themselves (RFC 2045 section 2.8), so that a target does not guess by the name.
    let is_said =
        schema.attribute_type(name).is_some() && ValueKind::of(Schema::standard(), name) != ValueKind::Binary;
    if !is_said
        && matches!(kind, ValueKind::Text | ValueKind::PossiblyEmptyText | ValueKind::DistinguishedName)
        && let Value::Object(object) = &mut value
    {
        object.insert("contentEncoding".into(), "8bit".into());
    }
    if !single {
        value = json!({"type": ["null", "array"], "items": value});
    }
    let description = schema.attribute_type(name).and_then(|a| a.description.clone());
    if let (Some(description), Value::Object(object)) = (description, &mut value) {
        object.insert("description".into(), description.into());
    }
    value
}

/// Returns whether an attribute is secret and not named in the settings. Selecting everything must not select it.
fn is_withheld(config: &TapConfig, stream: Option<&StreamConfig>, schema: &Schema, name: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|a| schema.same_description(base_type(a), base_type(name)));
    is_secret_attribute(name)
        && !named(stream.map(|s| s.attributes.as_slice()).unwrap_or_default())
        && !named(config.operational_attributes.as_deref().unwrap_or_default())
}

fn property_metadata(schema: &Schema, name: &str, inclusion: &str, by_default: bool) -> MetadataEntry {
    let mut metadata = Map::new();
    metadata.insert("inclusion".into(), inclusion.into());
    metadata.insert("selected-by-default".into(), by_default.into());
    if let Some(syntax) = schema.syntax(name) {
        metadata.insert("ldap.syntax".into(), syntax.into());
    }
    metadata.insert("ldap.single-value".into(), schema.is_single_valued(name).into());
    if let Some(rule) = schema.equality_name(name) {
        metadata.insert("ldap.equality".into(), rule.into());
    }
    if let Some(attribute) = schema.attribute_type(name) {
        metadata.insert("ldap.usage".into(), attribute.usage.keyword().into());
    }
    MetadataEntry { breadcrumb: vec!["properties".into(), name.to_owned()], metadata }
}

/// The attributes that are emitted as one value: by the schema, and by the setting `single_valued`.
struct SingleValued {
    names: BTreeSet<String>,
}

impl SingleValued {
    /// Reads the settings for all streams and for one.
    fn new(config: &TapConfig, stream: Option<&StreamConfig>, schema: &Schema) -> Self {
        let names = config
            .single_valued
            .iter()
            .chain(stream.map(|s| s.single_valued.as_slice()).unwrap_or_default())
            .map(|n| schema.spell(n).to_ascii_lowercase())
            .collect();
        Self { names }
    }

    /// Returns whether an attribute is emitted as one value.
    fn contains(&self, schema: &Schema, name: &str) -> bool {
        schema.is_single_valued(name) || self.names.contains(&name.to_ascii_lowercase())
    }
}
