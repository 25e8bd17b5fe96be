//! The tap's configuration, resolved.

use std::path::PathBuf;

use ldap_directory::dn::Dn;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use ldap_directory::{Directory, DirectoryConfig, Scope};
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::{SettingsError, check_keys, typed};

use self::method::METHODS;
use self::shrink::Shrink;
use crate::settings::MOST_PARTITIONS;
use ldap_directory::MATCH_ALL;

pub mod method;
pub mod shrink;

/// The suffix of the ids and names of membership streams.
pub const MEMBERSHIP_SUFFIX: &str = "_members";

/// A stream of the setting `schemas`.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamConfig {
    /// The stream's name and id.
    pub name: String,
    /// The base of the search; the tap's base if not set.
    #[serde(default)]
    pub base_dn: Option<String>,
    /// RFC 4515 filter.
    #[serde(default = "everything")]
    pub filter: String,
    /// The scope of the search.
    #[serde(default)]
    pub scope: Scope,
    /// The attributes to read; empty means all that occur.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Attributes to exclude.
    #[serde(default)]
    pub exclude_attributes: Vec<String>,
    /// The properties that identify a record; the server's immutable id, or `dn`, if not set.
    #[serde(default)]
    pub key_properties: Option<Vec<String>>,
    /// `FULL_TABLE`, `INCREMENTAL` or `LOG_BASED`.
    #[serde(default)]
    pub replication_method: Option<String>,
    /// The replication key of `INCREMENTAL`; the server's own change key if not set.
    #[serde(default)]
    pub replication_key: Option<String>,
    /// Attributes that are emitted as one value.
    #[serde(default)]
    pub single_valued: Vec<String>,
    /// The number of connections for a whole read; as for all streams if not set.
    #[serde(default)]
    pub partitions: Option<u32>,
}

const STREAM_KEYS: &[&str] = &[
    "name",
    "base_dn",
    "filter",
    "scope",
    "attributes",
    "exclude_attributes",
    "key_properties",
    "replication_method",
    "replication_key",
    "single_valued",
    "partitions",
];

fn everything() -> String {
    MATCH_ALL.to_owned()
}

/// What makes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoverBy {
    /// Containers.
    Ou,
    /// Structural classes.
    ObjectClass,
    /// Containers and structural classes.
    Both,
}

impl DiscoverBy {
    /// Returns whether containers are streams.
    pub fn containers(self) -> bool {
        self != DiscoverBy::ObjectClass
    }

    /// Returns whether structural classes are streams.
    pub fn classes(self) -> bool {
        self != DiscoverBy::Ou
    }
}

/// Which properties discovery selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectByDefault {
    /// Those that occur, or that the classes require.
    Used,
    /// All that the classes allow.
    Allowed,
}

/// Whether whole reads are verified: whether the emitted entries are compared with the DNs that the directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// If it is cheap: files, and reads by container or partition.
    Auto,
    /// Every whole read.
    Always,
    /// No read.
    Never,
}

/// The tap's settings.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
pub struct TapConfig {
    /// The directory.
    pub directory: DirectoryConfig,
    /// The base DN; the server's default if not set.
    pub base_dn: Option<String>,
    /// The subtrees that are in no stream.
    pub exclude_base_dns: Vec<String>,
    /// The streams of the setting `schemas`; empty means discovery.
    pub schemas: Vec<StreamConfig>,
    /// What makes a stream, if `schemas` is empty.
    pub discover_by: DiscoverBy,
    /// Entries read per stream at discovery; `None` means all.
    pub sample_size: Option<u64>,
    /// Which properties discovery selects.
    pub select_by_default: SelectByDefault,
    /// Attributes that are emitted as one value, in every stream.
    pub single_valued: Vec<String>,
    /// Operational attributes of every stream, if configured.
    pub operational_attributes: Option<Vec<String>>,
    /// Whether streams with groups have a membership stream.
    pub membership_streams: bool,
    /// Records between two STATE messages, if the position can be resumed.
    pub state_interval: u64,
    /// The number of connections for a whole read of a stream.
    pub partitions: u32,
    /// Whether the tap keeps running and emits changes as they happen.
    pub follow: bool,
    /// The modifiers whose changes are ignored.
    pub ignore_modifiers: Vec<String>,
    /// The folder of the indexes of keys, by which deletions are found; `None` if deletions are not tracked.
    pub track_deletions: Option<PathBuf>,
    /// Whether a whole read without records deletes all earlier ones.
    pub allow_empty_streams: bool,
    /// Whether ACTIVATE_VERSION is printed.
    pub activate_versions: bool,
    /// How much smaller than the last one a whole read may be.
    pub max_shrink: Option<Shrink>,
    /// The catalog, if the command line has none.
    pub catalog_path: Option<String>,
    /// Whether whole reads are verified.
    pub verify: Verify,
    /// Whether METRIC lines are written.
    pub metrics: bool,
    /// Whether entries are read without what the server computes.
    pub own_values: bool,
}

/// The settings as they are written.
#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
struct Settings {
    base_dn: Option<String>,
    exclude_base_dns: Vec<String>,
    #[serde(default)]
    schemas: Vec<Value>,
    discover_by: DiscoverBy,
    discovery_sample_size: u64,
    select_by_default: SelectByDefault,
    single_valued: Vec<String>,
    operational_attributes: Option<Vec<String>>,
    membership_streams: bool,
    state_interval_records: u64,
    partitions: u32,
    follow: bool,
    ignore_modifiers: Vec<String>,
    track_deletions: bool,
    state_dir: Option<PathBuf>,
    allow_empty_streams: bool,
    emit_activate_version_messages: bool,
    max_shrink: Option<Value>,
    catalog_path: Option<String>,
    verify: Verify,
    enable_metrics: bool,
    own_values: bool,
}

impl TapConfig {
    /// Returns a directory, whose answers have what `own_values` says.
    pub fn reading(&self, directory: &Directory) -> Directory {
        if self.own_values { directory.own_values() } else { directory.as_shown() }
    }

    /// Resolves the settings. Warnings are for the log.
    ///
    /// # Errors
    /// Fails if a value is not valid, which names the setting.
    pub fn from_settings(
        values: &Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<TapConfig, SettingsError> {
        let directory = singer_common::plugin::directory_settings::directory_config(values, None, warnings)?;
        let settings: Settings = typed("(tap)", Value::Object(values.clone()))?;
        if let Some(base) = &settings.base_dn {
            check_dn("base_dn", base)?;
        }
        for (n, dn) in settings.exclude_base_dns.iter().enumerate() {
            check_dn(&format!("exclude_base_dns[{n}]"), dn)?;
        }
        for dn in &settings.ignore_modifiers {
            check_dn("ignore_modifiers", dn)?;
        }
        if settings.track_deletions && settings.state_dir.is_none() {
            return Err(SettingsError::value(
                "state_dir",
                "not set, and track_deletions has to keep its indexes somewhere",
                "a folder that stays from run to run, for this tap alone",
            ));
        }
        let schemas = settings.schemas.into_iter().enumerate();
        let schemas = schemas.map(|(n, value)| stream(n, value)).collect::<Result<Vec<_>, _>>()?;
        check_names(&schemas, settings.membership_streams)?;
        Ok(TapConfig {
            directory,
            base_dn: settings.base_dn,
            exclude_base_dns: settings.exclude_base_dns,
            schemas,
            discover_by: settings.discover_by,
            sample_size: Some(settings.discovery_sample_size).filter(|n| *n > 0),
            select_by_default: settings.select_by_default,
            single_valued: settings.single_valued,
            operational_attributes: settings.operational_attributes,
            membership_streams: settings.membership_streams,
            state_interval: settings.state_interval_records,
            partitions: settings.partitions,
            follow: settings.follow,
            ignore_modifiers: settings.ignore_modifiers,
            track_deletions: settings.state_dir.filter(|_| settings.track_deletions),
            allow_empty_streams: settings.allow_empty_streams,
            activate_versions: settings.emit_activate_version_messages,
            max_shrink: settings.max_shrink.map(|value| Shrink::parse("max_shrink", &value)).transpose()?,
            catalog_path: settings.catalog_path,
            verify: settings.verify,
            metrics: settings.enable_metrics,
            own_values: settings.own_values,
        })
    }
}

/// Checks that the names of the streams, and of their membership streams, differ.
fn check_names(streams: &[StreamConfig], has_memberships: bool) -> Result<(), SettingsError> {
    let mut names: Vec<&str> = streams.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b);
    if let Some((name, _)) = twice {
        let problem = format!("two streams are called `{name}`");
        return Err(SettingsError::value("schemas", problem, "names that differ"));
    }
    let of_members = |name: &&&str| names.binary_search(&&*format!("{name}{MEMBERSHIP_SUFFIX}")).is_ok();
    if let Some(name) = names.iter().filter(|_| has_memberships).find(of_members) {
        let twin = format!("{name}{MEMBERSHIP_SUFFIX}");
        return Err(SettingsError::value(
            "schemas",
            format!(
                "the members of `{name}` (membership_streams) and another stream are both called `{twin}`"
            ),
            format!("names that differ: another one for `{name}` or for `{twin}`"),
        ));
    }
    Ok(())
}

/// Reads a stream of the setting `schemas`. `n`: its index.
fn stream(n: usize, value: Value) -> Result<StreamConfig, SettingsError> {
    let path = format!("schemas[{n}]");
    if let Some(object) = value.as_object() {
        check_keys(&path, object, STREAM_KEYS)?;
    }
    let mut stream: StreamConfig = typed(&path, value)?;
    if stream.name.trim().is_empty() {
        return Err(SettingsError::value(format!("{path}.name"), "empty", "the name of the stream"));
    }
    if let Some(base) = &stream.base_dn {
        check_dn(&format!("{path}.base_dn"), base)?;
    }
    if let Some(partitions) = stream.partitions
        && !(1..=MOST_PARTITIONS).contains(&i64::from(partitions))
    {
        return Err(SettingsError::value(
            format!("{path}.partitions"),
            partitions.to_string(),
            format!("a number from 1 to {MOST_PARTITIONS}"),
        ));
    }
    if let Some(method) = &mut stream.replication_method {
        let known = METHODS;
        let Some(name) = known.into_iter().find(|m| m.eq_ignore_ascii_case(method)) else {
            return Err(SettingsError::value(
                format!("{path}.replication_method"),
                format!("there is no method `{method}` (stream `{}`)", stream.name),
                known.join(" or "),
            )
            .near(nearest(method, known.into_iter())));
        };
        name.clone_into(method);
    }
    let bad_filter = |problem: String| {
        SettingsError::value(
            format!("{path}.filter"),
            problem,
            "an RFC 4515 filter, for example (objectClass=person)",
        )
    };
    // Printed again: one spelling of each filter, in everything that is compared with it later.
    stream.filter = Filter::parse(&stream.filter).map_err(|e| bad_filter(e.to_string()))?.to_string();
    Ok(stream)
}

fn check_dn(setting: &str, dn: &str) -> Result<(), SettingsError> {
    Dn::parse(dn).map(|_| ()).map_err(|e| {
        SettingsError::value(setting, e.to_string(), "a DN, for example ou=people,dc=example,dc=com")
    })
}
