//! Checks a catalog before the first message: for duplicate names, and for misspelled metadata.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::nearest::nearest;
use singer_common::maps::Maps;
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::catalog::{Catalog, CatalogEntry};

use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::stream::convert::Converter;

/// The metadata of a stream that this tap reads, and that others write. A key that is similar to one of the former and not one of
/// these is misspelled.
const READ: [&str; 5] =
    ["selected", "selected-by-default", "replication-method", "replication-key", "forced-replication-method"];
const OTHERS: [&str; 7] = [
    "inclusion",
    "table-key-properties",
    "view-key-properties",
    "valid-replication-keys",
    "schema-name",
    "database-name",
    "is-view",
];

/// Checks a catalog. `setting`: its origin, for messages.
///
/// # Errors
/// Fails if two selected streams have the same id or name: a message about one as a whole, such as ACTIVATE_VERSION, would
/// apply to both.
pub(crate) fn check(catalog: &Catalog, setting: &str, maps: Option<&mut Maps>) -> Result<(), SettingsError> {
    let mut ids = BTreeMap::new();
    let mut names = BTreeMap::new();
    for stream in &catalog.streams {
        if let Some(other) = ids.insert(stream.tap_stream_id.as_str(), stream) {
            let problem = format!(
                "the tap_stream_id `{}` is there twice: of the streams `{}` and `{}`",
                stream.tap_stream_id, other.stream, stream.stream
            );
            return Err(SettingsError::value(
                setting,
                problem,
                "each stream once, as --discover prints them",
            ));
        }
        if stream.is_selected()
            && let Some(other) = names.insert(stream.stream.as_str(), stream)
        {
            let problem = format!(
                "the streams `{}` and `{}` are both called `{}`",
                other.tap_stream_id, stream.tap_stream_id, stream.stream
            );
            return Err(SettingsError::value(setting, problem, "a name of its own for each (`stream`)"));
        }
        warn_of_metadata(stream, setting);
    }
    let Some(maps) = maps else { return Ok(()) };
    for stream in &catalog.streams {
        maps.know(&stream.stream, &stream.schema);
    }
    for unused in maps.unused() {
        unused.warn();
    }
    for stream in catalog.streams.iter().filter(|stream| stream.is_selected()) {
        // An error in the map of the last stream is found before the first message.
        maps.schema(&stream.stream, &stream.selected_schema(), &stream.key_properties)?;
    }
    Ok(())
}

fn warn_of_metadata(stream: &CatalogEntry, setting: &str) {
    let properties: BTreeSet<&str> = stream.properties().map(|(name, _)| name.as_str()).collect();
    for node in &stream.metadata {
        if let [first, name] = node.breadcrumb.as_slice()
            && first == "properties"
            && !properties.contains(name.as_str())
            && let Some(nearest) = nearest(name, properties.iter().copied())
        {
            let id = &stream.tap_stream_id;
            let text =
                format!("{setting}: stream `{id}` has metadata of a property `{name}`, and no such property");
            Warning::of_setting(setting, text).in_stream(id).near(name, Some(nearest)).log();
        }
        for key in node.metadata.keys().map(String::as_str) {
            // Metadata of a tap's own has a prefix (`ldap.syntax`).
            let is_known = READ.contains(&key) || OTHERS.contains(&key) || key.contains('.');
            let all = READ.into_iter().chain(OTHERS);
            if !is_known && let Some(nearest) = nearest(key, all).filter(|name| READ.contains(name)) {
                let id = &stream.tap_stream_id;
                let text = format!("{setting}: the metadata `{key}` of stream `{id}` is not used");
                Warning::of_setting(setting, text).in_stream(id).near(key, Some(nearest)).log();
            }
        }
    }
}

/// Checks that a stream's records have their key.
///
/// # Errors
/// Fails if a key property is not a selected property of the stream.
pub(crate) fn check_keys(
    context: &DirectoryContext,
    stream: &CatalogEntry,
    source: &Source,
) -> Result<(), SettingsError> {
    // Membership records always have their key.
    if matches!(source, Source::Members(_)) {
        return Ok(());
    }
    let converter = Converter::new(stream, context.directory.schema());
    let Some(name) = converter.lacks_key(stream) else { return Ok(()) };
    let id = &stream.tap_stream_id;
    let problem = format!("`{name}` is in key_properties of the stream `{id}`, and no selected property");
    let others = stream.properties().map(|(name, _)| name.as_str()).filter(|other| *other != name);
    let expected = format!("`{name}` among the properties of its schema, selected; or another key");
    Err(SettingsError::value("--catalog", problem, expected).near(nearest(name, others)))
}
