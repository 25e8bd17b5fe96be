//! How a stream is read: everything, what changed since a key's value, or what a server's own log says.

use std::io::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;
use singer_common::catalog::CatalogEntry;
use singer_common::directory::{ChangeLog, KnownNames};
use singer_common::settings::{SettingsError, nearest};
use singer_common::state::StateError;

use crate::config::TapConfig;
use crate::config::method::{FULL_TABLE, INCREMENTAL, LOG_BASED, METHODS};
use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::stream::sampling;

mod completeness;
mod container_renames;
pub mod content_sync;
pub mod dirsync;
mod fingerprint;
pub mod follow;
pub mod full;
pub mod incremental;
mod known;
mod leavers;
mod log_bookmark;
mod same_key;
mod stream_run;
mod verify;
mod witness;

pub(crate) use fingerprint::Fingerprint;
pub(crate) use stream_run::StreamRun;
pub(crate) use verify::close_books;
pub use verify::{Look, look};

/// How a stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Every entry.
    FullTable,
    /// Entries whose key is at or above the bookmark's.
    Incremental {
        /// The attribute, as the schema spells it.
        key: String,
    },
    /// Changes and deletions from the server's log.
    LogBased(Log),
}

/// Which log a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// RFC 4533.
    ContentSync,
    /// Active Directory's DirSync, or its update sequence numbers.
    DirSync,
}

impl Method {
    /// The word of the catalog.
    pub fn name(&self) -> &'static str {
        match self {
            Method::FullTable => FULL_TABLE,
            Method::Incremental { .. } => INCREMENTAL,
            Method::LogBased(_) => LOG_BASED,
        }
    }
}

/// The log the server offers, if any.
pub fn log_of(context: &DirectoryContext) -> Option<Log> {
    context.directory.root_dse().change_log().map(|log| match log {
        ChangeLog::ContentSync => Log::ContentSync,
        ChangeLog::DirSync => Log::DirSync,
    })
}

/// What keeps `LOG_BASED` from a stream although the server speaks of a log.
fn no_log(context: &DirectoryContext) -> &'static str {
    let root = context.directory.root_dse();
    if root.loses_changes() {
        " (its content synchronization leaves out modifications and renames)"
    } else if log_of(context).is_some() && context.ids.key.is_none() {
        " (the bound user sees no immutable id, by which its log names entries)"
    } else {
        ""
    }
}

/// The methods that a stream of this directory can be read by.
fn possible(context: &DirectoryContext, source: &Source) -> Vec<&'static str> {
    // The rows of a group are no entries, and have no marks of their own.
    if matches!(source, Source::Members(_)) {
        return vec![FULL_TABLE];
    }
    let mut methods = vec![FULL_TABLE, INCREMENTAL];
    if log_of(context).is_some() && context.ids.key.is_some() {
        methods.push(LOG_BASED);
    }
    methods
}

/// How a stream is to be read: as the catalog or the configuration says. `last_key` is the key of its bookmark, which it goes
/// on by where none is set.
///
/// # Errors
/// Fails if the server or the stream cannot be read so, which names the setting, and if the server does not answer.
pub async fn method(
    config: &TapConfig,
    context: &DirectoryContext,
    stream: &CatalogEntry,
    source: &Source,
    last_key: Option<&str>,
) -> anyhow::Result<Method> {
    let of_user = config.schemas.iter().find(|s| s.name == stream.tap_stream_id);
    let wanted = stream
        .metadata_replication_method()
        .or_else(|| of_user.and_then(|s| s.replication_method.as_deref()))
        .or(stream.replication_method.as_deref())
        .unwrap_or(FULL_TABLE);
    let possible = possible(context, source);
    let bad = |setting: &str, problem: String, expected: String| {
        let problem = format!("{problem} (stream `{}`)", stream.tap_stream_id);
        SettingsError::value(setting, problem, expected).in_stream(&stream.tap_stream_id)
    };
    let refuse =
        |setting: &str, problem: String, expected: String| Err(bad(setting, problem, expected).into());
    let Some(wanted) = possible.iter().find(|m| m.eq_ignore_ascii_case(wanted)).copied() else {
        let words = METHODS;
        if !words.iter().any(|word| word.eq_ignore_ascii_case(wanted)) {
            let problem = format!("there is no method `{wanted}`");
            let error = bad("replication_method", problem, possible.join(" or "));
            return Err(error.near(nearest(wanted, words.into_iter())).into());
        }
        let why = if wanted.eq_ignore_ascii_case(LOG_BASED) { no_log(context) } else { "" };
        let problem = format!("`{wanted}`, which this server cannot do for this stream{why}");
        return refuse("replication_method", problem, possible.join(" or "));
    };
    let schema = context.directory.schema();
    match wanted {
        INCREMENTAL => {
            let key = stream
                .metadata_replication_key()
                .or_else(|| of_user.and_then(|s| s.replication_key.as_deref()))
                .or(stream.replication_key.as_deref());
            let known = |k: &&str| context.ids.change_keys.iter().any(|key| key.eq_ignore_ascii_case(k));
            let key = match key.or(last_key.filter(known)) {
                Some(key) => Some(schema.spell(key)),
                None => sampling::change_key(context, source).await?,
            };
            let Some(key) = key else {
                let problem = "not set, and the directory has no change key that the bound user may read";
                return refuse("replication_key", problem.into(), "an attribute with an ordering".into());
            };
            // 389 DS compares its entryusn, whatever its schema leaves out.
            let is_change_key = context.ids.change_keys.iter().any(|k| k.eq_ignore_ascii_case(&key));
            if !is_change_key && schema.attribute_type(&key).is_none() && !schema.has_ordering(&key) {
                let problem = format!("the schema has no attribute `{key}`");
                return refuse("replication_key", problem, keys_instead(context, &key));
            }
            if !is_change_key && !schema.has_ordering(&key) {
                let problem =
                    format!("`{key}` has no ORDERING rule: the server cannot tell which values are larger");
                return refuse("replication_key", problem, keys_instead(context, ""));
            }
            Ok(Method::Incremental { key })
        }
        LOG_BASED => {
            let Some(log) = log_of(context) else { return Ok(Method::FullTable) };
            let key = context.ids.key.as_deref().unwrap_or_default();
            if stream.key_properties.as_slice() != [key] {
                let problem = format!(
                    "{:?}, but the server's log names what was deleted by `{key}`",
                    stream.key_properties
                );
                return refuse("key_properties", problem, format!("[\"{key}\"] for LOG_BASED"));
            }
            Ok(Method::LogBased(log))
        }
        _ => Ok(Method::FullTable),
    }
}

/// What would be right in the place of a replication key: what is near to it, or what the server stamps changes with.
fn keys_instead(context: &DirectoryContext, key: &str) -> String {
    let near = KnownNames::new(&context.directory)
        .attribute(key)
        .err()
        .map(|unknown| unknown.near)
        .unwrap_or_default();
    let near = near.iter().map(String::as_str).filter(|name| context.directory.schema().has_ordering(name));
    let stamps = context.ids.change_keys.iter().map(String::as_str);
    let vendors = context
        .directory
        .root_dse()
        .vendor
        .change_keys()
        .iter()
        .copied()
        .filter(|_| context.ids.change_keys.is_empty());
    let mut names: Vec<&str> = Vec::new();
    for name in near.filter(|_| !key.is_empty()).chain(stamps).chain(vendors) {
        if !names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    if names.is_empty() { "an attribute with an ordering".to_owned() } else { names.join(" or ") }
}

/// Where a stream's entries lie.
pub(crate) fn stream_base<'r>(run: &'r StreamRun<'_>) -> &'r str {
    match run.source {
        Source::Search(s) => s.base_dn.as_deref().unwrap_or(&run.context.base),
        Source::Container { dn } => dn,
        Source::Class { .. } | Source::Containers | Source::Members(_) => &run.context.base,
    }
}

/// Reads the bookmark of a stream, if it has one of this method: `mark` is a key that only such bookmarks have.
pub(crate) fn bookmark<T: DeserializeOwned, W: Write>(
    output: &Output<'_, W>,
    stream: &str,
    mark: &str,
) -> Result<Option<T>, StateError> {
    let damaged = |problem: String| StateError::Bookmark { stream: stream.to_owned(), problem };
    match output.state.bookmarks.get(stream) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(object)) => {
            if let Some(format) = object.get("format").and_then(Value::as_u64).filter(|f| *f > FORMAT) {
                return Err(damaged(format!("is of format {format}, which a newer version wrote")));
            }
            if !object.contains_key(mark) {
                return Ok(None);
            }
            serde_json::from_value(value.clone()).map(Some).map_err(|e| damaged(format!("is damaged ({e})")))
        }
        Some(_) => Err(damaged("is not an object".into())),
    }
}

/// The format of the bookmarks this version writes. Bookmarks without it are those of other taps, or written by hand.
pub(crate) const FORMAT: u64 = 1;

/// Why a bookmark is of no use.
pub(crate) const NOT_THE_SAME: &str =
    "the server, base, scope, filter, key or attributes are not those of the bookmark";
/// See [`NOT_THE_SAME`].
pub(crate) const OTHER_INDEX: &str =
    "the index of keys (state_dir) does not go back to the bookmark: what was deleted meanwhile nobody knows";

/// See [`NOT_THE_SAME`].
pub(crate) const LACKS_PRINTED: &str = "the last run began to read everything and did not end: the index of keys (state_dir) does not hold what it printed";

/// Announces that a stream is read anew, whole: never a silent gap.
pub(crate) fn announce_resync(stream: &str, why: &str) {
    tracing::warn!(stream, "{stream}: full resync with a new version: {why}");
}
