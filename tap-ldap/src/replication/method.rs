//! The replication method of a stream, and whether the server supports it.

use ldap_directory::nearest::nearest;
use ldap_directory::{ChangeLog, Directory, KnownNames};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::catalog::CatalogEntry;

use crate::config::TapConfig;
use crate::config::method::{FULL_TABLE, INCREMENTAL, LOG_BASED, METHODS};
use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::stream::sampling;

/// The replication method of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Every entry.
    FullTable,
    /// Entries with a replication key value at or above the bookmark's.
    Incremental {
        /// The replication key, as the schema spells it.
        key: String,
    },
    /// Changes and deletions from the server's log.
    LogBased(Log),
}

/// The kind of log that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Content synchronization (RFC 4533).
    ContentSync,
    /// Active Directory's DirSync, or its update sequence numbers.
    DirSync,
}

impl Method {
    /// Returns the method's name in the catalog.
    pub fn name(&self) -> &'static str {
        match self {
            Method::FullTable => FULL_TABLE,
            Method::Incremental { .. } => INCREMENTAL,
            Method::LogBased(_) => LOG_BASED,
        }
    }
}

/// Returns the log that the server offers, if any.
pub fn log_of(context: &DirectoryContext) -> Option<Log> {
    context.directory.root_dse().change_log().map(|log| match log {
        ChangeLog::ContentSync => Log::ContentSync,
        ChangeLog::DirSync => Log::DirSync,
    })
}

fn is_file(context: &DirectoryContext) -> bool {
    matches!(context.directory, Directory::Ldif(_))
}

/// Returns why `LOG_BASED` is not available although the server has a log.
fn no_log(context: &DirectoryContext) -> &'static str {
    let root = context.directory.root_dse();
    if root.loses_changes() {
        " (its content synchronization leaves out modifications and renames)"
    } else if log_of(context).is_some() && context.ids.key.is_none() {
        " (the bound user sees no immutable id, by which its log names entries)"
    } else if is_file(context) {
        " (a file has no log of changes)"
    } else {
        ""
    }
}

/// Returns the methods available for a stream.
fn possible(context: &DirectoryContext, source: &Source) -> Vec<&'static str> {
    // Membership records are not entries, and have no change marks of their own.
    if matches!(source, Source::Members(_)) {
        return vec![FULL_TABLE];
    }
    let mut methods = vec![FULL_TABLE, INCREMENTAL];
    if log_of(context).is_some() && context.ids.key.is_some() {
        methods.push(LOG_BASED);
    }
    methods
}

/// Returns the replication method of a stream: that of the catalog, or of the settings. `last_key` is the replication key of its
/// bookmark, which is used if no key is configured.
///
/// # Errors
/// Fails if the server does not support the method for this stream (the error names the setting), or does not answer.
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
        let source = if is_file(context) { "a file" } else { "this server" };
        let problem = format!("`{wanted}`, which {source} cannot do for this stream{why}");
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
                let problem = if is_file(context) {
                    "not set, and the entries of the file have no attribute that marks changes"
                } else {
                    "not set, and the directory has no change key that the bound user may read"
                };
                return refuse("replication_key", problem.into(), "an attribute with an ordering".into());
            };
            // 389 DS compares its entryusn, although its schema lacks the ordering rule.
            let is_change_key = context.ids.change_keys.iter().any(|k| k.eq_ignore_ascii_case(&key));
            if !is_change_key && schema.attribute_type(&key).is_none() && !schema.has_ordering(&key) {
                let problem = format!("the schema has no attribute `{key}`");
                return refuse("replication_key", problem, keys_instead(context, &key));
            }
            if !is_change_key && !schema.has_ordering(&key) {
                let problem = format!("`{key}` has no ORDERING rule: its values cannot be compared");
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

/// Returns valid alternatives to a replication key: similar names, or the server's change marks.
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
