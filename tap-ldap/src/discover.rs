//! Discovery: which streams a directory makes, and what their records look like.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use singer_common::catalog::{Catalog, CatalogEntry, MetadataEntry, Places};
use singer_common::directory::{DirectoryError, Vendor};
use singer_common::entry::base_type;
use singer_common::schema::syntax::ValueKind;
use singer_common::schema::{AttributeType, Coverage, Schema, Usage};
use singer_common::secret::is_secret_attribute;

use crate::config::{DiscoverBy, SelectByDefault, StreamConfig, TapConfig};
use crate::discovery::container::{CONTAINERS_STREAM, snake_case};
use crate::discovery::sample::{IdentityAttributes, Occurrence, Sample};
use crate::replication::{FULL_TABLE, INCREMENTAL};
use crate::stream::entries::{Source, Tree};
use crate::stream::members;

/// A stream before its schema is known.
#[derive(Debug, Clone)]
pub struct StreamSource {
    /// `tap_stream_id`.
    pub id: String,
    /// The name its messages carry.
    pub name: String,
    /// Where its entries come from.
    pub source: Source,
}

/// The streams of a directory, in the order they are synced: containers first, parents before children.
pub fn sources(config: &TapConfig, tree: &Tree) -> Vec<StreamSource> {
    let mut streams = entry_sources(config, tree);
    if config.membership_streams {
        let members = member_sources(&streams);
        streams.extend(members);
    }
    streams
}

/// The streams of the members of groups, one for each of these. None has the name of another stream, such as that of a container
/// that is called so.
fn member_sources(streams: &[StreamSource]) -> Vec<StreamSource> {
    let mut taken: BTreeSet<String> = streams.iter().map(|s| s.name.clone()).collect();
    let member = |s: &StreamSource| {
        let mut name = format!("{}{}", s.name, members::SUFFIX);
        while !taken.insert(name.clone()) {
            name.push_str(members::SUFFIX);
        }
        let id = format!("{}{}", s.id, members::SUFFIX);
        StreamSource { id, name, source: Source::Members(Box::new(s.source.clone())) }
    };
    streams.iter().map(member).collect()
}

fn entry_sources(config: &TapConfig, tree: &Tree) -> Vec<StreamSource> {
    if !config.schemas.is_empty() {
        return config
            .schemas
            .iter()
            .map(|s| StreamSource {
                id: s.name.clone(),
                name: s.name.clone(),
                source: Source::Search(Box::new(s.clone())),
            })
            .collect();
    }
    let mut streams = Vec::new();
    if config.discover_by.containers() {
        streams.extend(container_streams(tree));
    }
    for class in &tree.classes {
        let mut name = snake_case(&class.class);
        if streams.iter().any(|s: &StreamSource| s.name == name) {
            name.push_str("_class");
        }
        streams.push(StreamSource {
            id: class.class.clone(),
            name,
            source: Source::Class { filter: class.filter.clone() },
        });
    }
    streams
}

fn container_streams(tree: &Tree) -> impl Iterator<Item = StreamSource> + '_ {
    let containers = StreamSource {
        id: CONTAINERS_STREAM.to_owned(),
        name: CONTAINERS_STREAM.to_owned(),
        source: Source::Containers,
    };
    let each = tree.containers.iter().map(|c| StreamSource {
        id: c.dn.clone(),
        name: c.stream.clone(),
        source: Source::Container { dn: c.dn.clone() },
    });
    std::iter::once(containers).chain(each)
}

/// A directory, described.
#[derive(Debug)]
pub struct Discovery {
    /// Its streams, for Singer.
    pub catalog: Catalog,
    /// What was seen in each of them, in the same order; membership streams, which come last, have none.
    pub samples: Vec<Sample>,
}

/// Reads a sample of each stream and describes it.
pub async fn discover(config: &TapConfig, tree: &Tree) -> Result<Discovery, DirectoryError> {
    let vendor = tree.directory.root_dse().vendor;
    let mut streams = Vec::new();
    let mut samples = Vec::new();
    let mut members = Vec::new();
    let mut withheld = BTreeSet::new();
    let sources = entry_sources(config, tree);
    for (stream, of_members) in sources.iter().zip(member_sources(&sources)) {
        let sample = Sample::read(config, tree, &stream.source, &tree.ids).await?;
        let entry = describe(config, vendor, tree.directory.schema(), stream, &sample, &tree.ids);
        warn_of_no_operational(stream, tree, &sample);
        let occurs = |name: &&String| sample.occurrence(name).is_some() && !entry.is_property_selected(name);
        let secrets = entry.properties().map(|(name, _)| name).filter(|name| is_secret_attribute(name));
        withheld.extend(secrets.filter(occurs).cloned());
        if config.membership_streams && members::has_groups(&sample, vendor) {
            members.push(members::describe(&of_members.id, &of_members.name, entry.is_selected()));
        }
        streams.push(entry);
        samples.push(sample);
    }
    warn_of_names_as_keys(&streams, &samples, &tree.ids);
    streams.extend(members);
    if !withheld.is_empty() {
        let names: Vec<String> = withheld.into_iter().collect();
        tracing::info!(
            "left out, for they may hold passwords or keys: {}; to read one, name it in `attributes` of its stream, or in `operational_attributes`",
            names.join(", ")
        );
    }
    Ok(Discovery { catalog: Catalog { streams }, samples })
}

/// Says which streams have `dn` for a key, because entries have no immutable id: their records follow no rename, and once every
/// entry has an id, or one more has none, the key is another one.
fn warn_of_names_as_keys(streams: &[CatalogEntry], samples: &[Sample], ids: &IdentityAttributes) {
    let Some(id) = &ids.key else { return };
    let is_name = |stream: &CatalogEntry| stream.key_properties == ["dn"];
    let lacking = streams.iter().zip(samples).filter(|(stream, s)| s.without_id > 0 && is_name(stream));
    let lacking: Vec<_> = lacking.collect();
    let Some((stream, sample)) = lacking.first() else { return };
    let more = match lacking.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more streams are the same"),
    };
    let (stream, without_id) = (stream.stream.as_str(), sample.without_id);
    let first = sample.first_without_id.as_deref().unwrap_or_default();
    tracing::warn!(
        stream,
        without_id,
        first,
        streams = lacking.len(),
        "{stream}: key_properties is `dn`, because {without_id} of the {} entries looked at have no `{id}` (the first is `{first}`){more}. Give the bound user the right to read it there, or set key_properties, so that the key stays the same",
        sample.entries
    );
}

/// The properties of a stream, in order, and which of them the schema demands.
struct Properties {
    names: Vec<String>,
    seen: BTreeSet<String>,
}

impl Properties {
    fn add(&mut self, name: &str) {
        if self.seen.insert(name.to_ascii_lowercase()) {
            self.names.push(name.to_owned());
        }
    }
}

fn describe(
    config: &TapConfig,
    vendor: Vendor,
    schema: &Schema,
    stream: &StreamSource,
    sample: &Sample,
    ids: &IdentityAttributes,
) -> CatalogEntry {
    let user = match &stream.source {
        Source::Search(stream) => Some(stream.as_ref()),
        _ => None,
    };
    let key_properties = match user.and_then(|s| s.key_properties.clone()) {
        Some(names) => names.iter().map(|n| if n == "dn" { n.clone() } else { schema.spell(n) }).collect(),
        None => vec![ids.key.clone().filter(|_| sample.without_id == 0).unwrap_or_else(|| "dn".to_owned())],
    };
    // In the order of their names, not in that of the entries: a catalog is the same however a server sorts.
    let mut classes: Vec<&str> = sample.classes.iter().map(|(name, _)| name.as_str()).collect();
    classes.sort_unstable_by_key(|c| c.to_ascii_lowercase());
    let mut seen: Vec<&str> = sample.attributes.iter().map(|a| a.description.as_str()).collect();
    seen.sort_unstable_by_key(|a| a.to_ascii_lowercase());
    let (must, may) = schema.must_may(classes);
    let mut properties = Properties { names: Vec::new(), seen: BTreeSet::from(["dn".to_owned()]) };
    let operational_names = ids.operational.iter().filter(|name| *name != "+");
    for name in key_properties.iter().filter(|k| *k != "dn").chain(operational_names) {
        properties.add(name);
    }
    let listed = user.map(|s| s.attributes.as_slice()).unwrap_or_default();
    if listed.is_empty() || listed.iter().any(|a| a == "*") {
        properties.add("objectClass");
        must.iter().chain(&may).for_each(|name| properties.add(name));
        for name in &seen {
            properties.add(name);
        }
    }
    if listed.iter().chain(&ids.operational).any(|a| a == "+") {
        operational(schema, &seen, listed).for_each(|name| properties.add(name));
    }
    for name in listed.iter().filter(|a| *a != "*" && *a != "+") {
        let name = schema.spell(name);
        properties.add(&name);
        // `cn;lang-de` comes with `cn`.
        let with_options = |d: &&str| d.contains(';') && base_type(d).eq_ignore_ascii_case(&name);
        seen.iter().filter(|d| with_options(d)).for_each(|d| properties.add(d));
    }
    // A type is left out with its options, a description with options alone.
    let excluded: Vec<String> =
        user.map(|s| s.exclude_attributes.iter().map(|a| schema.spell(a)).collect()).unwrap_or_default();
    let is_excluded = |name: &str| {
        let same = |e: &String| e.eq_ignore_ascii_case(name) || e.eq_ignore_ascii_case(base_type(name));
        excluded.iter().any(same)
    };
    let incremental = user.and_then(|s| s.replication_method.as_deref()).is_some_and(|m| m == INCREMENTAL);
    let replication_key = match user.and_then(|s| s.replication_key.as_deref()) {
        Some(name) => Some(schema.spell(name)),
        None => sample.change_key(vendor, ids).filter(|_| incremental).cloned(),
    };
    if let Some(name) = &replication_key {
        properties.add(name);
    }
    properties.names.retain(|name| key_properties.contains(name) || !is_excluded(name));

    let single = SingleValued::new(config, user, schema);
    let mut json_properties = Map::new();
    json_properties.insert(
        "dn".into(),
        json!({"type": ["null", "string"], "description": "The entry's distinguished name (RFC 4514)"}),
    );
    // Of two ways to read the same entries, one is selected.
    let selected = !(config.discover_by == DiscoverBy::Both && matches!(stream.source, Source::Class { .. }));
    let mut metadata = vec![stream_metadata(&key_properties, selected)];
    if let Some(node) = metadata.first_mut().filter(|_| !ids.change_keys.is_empty()) {
        node.metadata.insert("valid-replication-keys".into(), json!(ids.change_keys));
    }
    metadata.push(MetadataEntry {
        breadcrumb: vec!["properties".into(), "dn".into()],
        metadata: Map::from_iter([
            ("inclusion".to_owned(), json!("automatic")),
            ("selected-by-default".to_owned(), json!(true)),
        ]),
    });
    for name in &properties.names {
        json_properties.insert(name.clone(), property_schema(schema, name, single.contains(schema, name)));
        let automatic = key_properties.contains(name) || replication_key.as_ref() == Some(name);
        let inclusion = match () {
            () if automatic => "automatic",
            () if is_withheld(config, user, schema, name) => "unsupported",
            () => "available",
        };
        // Every entry has an objectClass (RFC 4512 section 2.4.1), also where no entry was seen.
        let required = name == "objectClass" || must.iter().any(|m| m.eq_ignore_ascii_case(name));
        let by_default = automatic
            || required
            || config.select_by_default == SelectByDefault::Allowed
            || sample.occurrence(name).is_some()
            || listed.iter().any(|a| schema.spell(a) == *name);
        metadata.push(property_metadata(schema, name, inclusion, by_default && inclusion != "unsupported"));
    }
    CatalogEntry {
        places: Places::default(),
        tap_stream_id: stream.id.clone(),
        stream: stream.name.clone(),
        key_properties,
        schema: json!({"type": "object", "properties": json_properties}),
        metadata,
        replication_method: Some(
            user.and_then(|s| s.replication_method.clone()).unwrap_or_else(|| FULL_TABLE.to_owned()),
        ),
        replication_key,
    }
}

/// The properties that `+` stands for (RFC 3673): the operational attributes seen, and those that the server's schema has
/// besides.
fn operational<'a>(schema: &'a Schema, seen: &'a [&str], listed: &[String]) -> impl Iterator<Item = &'a str> {
    // What came and nobody knows came by it, where nothing else asked for what is not named.
    let by_it_alone = !listed.is_empty() && !listed.iter().any(|a| a == "*");
    let is_one = move |name: &&&str| {
        schema.is_operational(name) || by_it_alone && schema.attribute_type(base_type(name)).is_none()
    };
    let known = schema.attribute_types().iter().filter(|a| a.usage != Usage::UserApplications);
    // The built-in schema has the attributes of servers that this one is none of.
    let known = known.filter(|_| schema.coverage() != Coverage::BuiltIn).map(AttributeType::name);
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    seen.iter().filter(is_one).copied().chain(known)
}

/// Says so where `+` brought nothing from a server that does not have it.
fn warn_of_no_operational(stream: &StreamSource, tree: &Tree, sample: &Sample) {
    let Source::Search(user) = &stream.source else { return };
    let schema = tree.directory.schema();
    let named = |name: &str| {
        user.attributes.iter().chain(&tree.ids.operational).any(|a| schema.same_description(a, name))
    };
    let came = |o: &Occurrence| {
        let name = o.description.as_str();
        !named(name) && (schema.is_operational(name) || schema.attribute_type(base_type(name)).is_none())
    };
    if user.attributes.iter().chain(&tree.ids.operational).any(|a| a == "+")
        && sample.entries > 0
        && !tree.directory.root_dse().gives_all_operational()
        && !sample.attributes.iter().any(came)
    {
        let name = &stream.name;
        tracing::warn!(
            setting = "schemas[].attributes",
            stream = name,
            "{name}: `attributes` asks for `+`, all operational attributes (RFC 3673), which this server does not offer: none came; name each of them"
        );
    }
}

/// The metadata of a stream itself.
pub(crate) fn stream_metadata(key_properties: &[String], selected: bool) -> MetadataEntry {
    let metadata = json!({
        "inclusion": "available",
        "selected": selected,
        "selected-by-default": selected,
        "table-key-properties": key_properties,
    });
    MetadataEntry { breadcrumb: vec![], metadata: metadata.as_object().cloned().unwrap_or_default() }
}

/// The JSON schema of a property: SINGLE-VALUE decides scalar or array, never the data.
fn property_schema(schema: &Schema, name: &str, single: bool) -> Value {
    let mut value = ValueKind::of(schema, name).json_schema();
    // The text is the octets themselves (RFC 2045 section 2.8), whatever a target makes of the name: no schema says what this
    // is, or the server's own does, and others have it as octets.
    let is_said =
        schema.attribute_type(name).is_some() && ValueKind::of(Schema::standard(), name) != ValueKind::Binary;
    if !is_said
        && matches!(
            ValueKind::of(schema, name),
            ValueKind::Text | ValueKind::PossiblyEmptyText | ValueKind::DistinguishedName
        )
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

/// Whether an attribute is secret, and the user did not name it: a selection of everything must not select it.
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

/// The attributes to emit as one value: by schema, and by the user's word.
pub struct SingleValued {
    names: BTreeSet<String>,
}

impl SingleValued {
    /// What the configuration says, for all streams and for one.
    pub fn new(config: &TapConfig, stream: Option<&StreamConfig>, schema: &Schema) -> Self {
        let names = config
            .single_valued
            .iter()
            .chain(stream.map(|s| s.single_valued.as_slice()).unwrap_or_default())
            .map(|n| schema.spell(n).to_ascii_lowercase())
            .collect();
        Self { names }
    }

    /// Whether an attribute is one value.
    pub fn contains(&self, schema: &Schema, name: &str) -> bool {
        schema.is_single_valued(name) || self.names.contains(&name.to_ascii_lowercase())
    }
}
