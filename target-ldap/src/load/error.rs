//! The failures that end a run.

use ldap_directory::DirectoryError;
use ldap_directory::unseen::Hidden;
use singer_common::operations::error::Classified as _;
use singer_common::operations::facts::{Facts, did_you_mean};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::message::MessageError;
use singer_common::singer::writer::WriteError;

use super::batch::BatchError;
use super::in_file::InFile;
use crate::load::rejects::RejectFileError;
use crate::rules::error::MappingError;
use crate::write::Unreadable;
use crate::write::ldap_result::is_records_fault;
use crate::write::removal::LimitReached;

/// A failure that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A line that is not a message.
    #[error("line {line}: {error}")]
    Message {
        /// Counted from 1.
        line: u64,
        /// The problem.
        error: MessageError,
    },
    /// A line of a reject file, without `--retry-rejects`.
    #[error("line {line}: a line of a reject file; --retry-rejects has its record tried again")]
    Reject {
        /// Counted from 1.
        line: u64,
    },
    /// A record that cannot be written.
    #[error("line {line}, stream `{stream}`{}: {reason}{}", of_record(.key), did_you_mean(.nearest.as_deref()))]
    Record {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The problem.
        reason: String,
        /// The DN of an existing entry that is similar to a missing one.
        nearest: Option<String>,
    },
    /// A record that depends on an attribute which the bound user may not see.
    #[error("line {line}, stream `{stream}`{}: {unreadable}", of_record(.key))]
    Unreadable {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The attribute and the entry.
        unreadable: Box<Unreadable>,
    },
    /// A record that references entries which were not found.
    #[error("line {line}, stream `{stream}`{}: {reason}", of_record(.key))]
    Reference {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The setting that says how they are found.
        setting: String,
        /// What was not found.
        reason: String,
        /// The attribute by which an entry may not be found, and the entry.
        hidden: Option<Box<Hidden>>,
    },
    /// A record that cannot be mapped to an entry.
    #[error("line {line}, stream `{stream}`{}: {error}", of_record(.key))]
    Map {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The problem.
        error: MappingError,
    },
    /// A record for which a stream map failed.
    #[error("line {line}{}: {error}", of_record(.key))]
    StreamMap {
        /// Counted from 1.
        line: u64,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The map's setting, and the problem.
        #[source]
        error: singer_common::maps::MapError,
    },
    /// A record of a reject file for which a stream map had failed.
    #[error(
        "line {line}: stream_maps came to nothing for this record, and --retry-rejects applies none: correct it at its source, and feed it from there"
    )]
    Unmapped {
        /// Counted from 1.
        line: u64,
    },
    /// No record has the key of `--only`.
    #[error(
        "--only: no record of the input has the key `{key}` ({skipped} record(s) were passed over){}; give the value of the key property, or `a=1,b=2` for a key of several", did_you_mean(.nearest.as_deref())
    )]
    NoSuchKey {
        /// The key.
        key: String,
        /// How many other records there were.
        skipped: u64,
        /// A similar key of the input.
        nearest: Option<String>,
    },
    /// A task that the directory refused.
    #[error("line {line}, stream `{stream}`{}: {error}{hint}{}", of_record(.key), did_you_mean(.nearest.as_deref()))]
    Write {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The directory's error.
        #[source]
        error: DirectoryError,
        /// What the schema says about the reason; begins with `; ` unless empty.
        hint: String,
        /// As of a record.
        nearest: Option<String>,
    },
    /// A removal that would exceed a limit of the run.
    #[error("line {line}, stream `{stream}`{}: {error}", of_record(.key))]
    Limit {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for messages: `id=7`. Empty if unknown.
        key: String,
        /// The limit, and the entry.
        #[source]
        error: LimitReached,
    },
    /// A batch that cannot be read.
    #[error("line {line}, stream `{stream}`: {error}")]
    Batch {
        /// The BATCH message's line, counted from 1.
        line: u64,
        /// Its stream.
        stream: String,
        /// The problem.
        error: BatchError,
    },
    /// A failure of a record in a batch.
    #[error("{error} (the record is in {place})")]
    InFile {
        /// The location of the record.
        place: InFile,
        /// The failure, as of a RECORD.
        #[source]
        error: Box<LoadError>,
    },
    /// A configuration that does not fit the stream.
    #[error("line {line}: {error}")]
    Settings {
        /// Counted from 1.
        line: u64,
        /// The setting.
        #[source]
        error: SettingsError,
    },
    /// Reading the input failed.
    #[error("reading the input: {0}")]
    Input(#[from] std::io::Error),
    /// The directory could not be committed.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// More records were rejected than `max_rejects` allows.
    #[error("{error} (and max_rejects: {max} record(s) are rejected already)")]
    TooManyRejects {
        /// The limit.
        max: u64,
        /// The failure of the record that exceeds it.
        error: Box<LoadError>,
    },
    /// A rejected record could not be written.
    #[error("{0}")]
    RejectFile(#[from] RejectFileError),
    /// The values of waiting records could not be spilled.
    #[error(
        "records that wait for entries which have not come are more than memory is for, and cannot be kept in a temporary file in {}: {}; set TMPDIR to a folder with room",
        std::env::temp_dir().display(),
        .0
    )]
    SpillBuffer(std::io::Error),
    /// A fault of this program.
    #[error("internal error: {0}; no further STATE is printed. Run again, and please report this")]
    Internal(&'static str),
    /// Printing STATE failed.
    #[error("{0}")]
    Output(#[from] WriteError),
}

/// Returns the key for a message, after the stream.
fn of_record(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", {key}") }
}

impl LoadError {
    /// Returns the fields for the log.
    pub(crate) fn facts(&self) -> Facts {
        let of = |line: &u64, stream: Option<&String>, key: Option<&String>| Facts {
            line: Some(*line),
            stream: stream.cloned(),
            record: key.filter(|key| !key.is_empty()).cloned(),
            ..Facts::default()
        };
        match self {
            LoadError::Record { line, stream, key, nearest, .. } => {
                Facts { nearest: nearest.clone(), ..of(line, Some(stream), Some(key)) }
            }
            LoadError::Map { line, stream, key, .. } => of(line, Some(stream), Some(key)),
            LoadError::Reference { line, stream, key, hidden: Some(hidden), .. } => {
                let (dn, attribute) = (Some(hidden.dn.clone()), Some(hidden.attribute.clone()));
                Facts { dn, attribute, ..of(line, Some(stream), Some(key)) }.or(Facts::of_setting("bind_dn"))
            }
            LoadError::Reference { line, stream, key, setting, .. } => {
                of(line, Some(stream), Some(key)).or(Facts::of_setting(setting))
            }
            LoadError::Unreadable { line, stream, key, unreadable } => {
                let Hidden { dn, attribute } = &unreadable.hidden;
                let (dn, attribute) = (Some(dn.clone()), Some(attribute.clone()));
                Facts { dn, attribute, ..of(line, Some(stream), Some(key)) }.or(Facts::of_setting("bind_dn"))
            }
            LoadError::Write { line, stream, key, error, nearest, .. } => {
                Facts { nearest: nearest.clone(), ..of(line, Some(stream), Some(key)).or(error.facts()) }
            }
            LoadError::Limit { line, stream, key, error } => {
                of(line, Some(stream), Some(key)).or(error.facts())
            }
            LoadError::StreamMap { line, key, error } => of(line, None, Some(key)).or(error.facts()),
            LoadError::Settings { line, error } => of(line, None, None).or(error.facts()),
            LoadError::Batch { line, stream, .. } => of(line, Some(stream), None),
            LoadError::Message { line, error } => {
                Facts { nearest: error.nearest().map(str::to_owned), ..of(line, None, None) }
            }
            LoadError::Reject { line } | LoadError::Unmapped { line } => of(line, None, None),
            LoadError::NoSuchKey { nearest, .. } => {
                Facts { nearest: nearest.clone(), ..Facts::of_setting("--only") }
            }
            LoadError::InFile { error, .. } => error.facts(),
            LoadError::TooManyRejects { error, .. } => error.facts().or(Facts::of_setting("max_rejects")),
            LoadError::Directory(error) => error.facts(),
            LoadError::RejectFile(_) => Facts::of_setting("reject_file"),
            LoadError::Output(error) => error.facts(),
            LoadError::Input(_) | LoadError::Internal(_) | LoadError::SpillBuffer(_) => Facts::default(),
        }
    }

    /// Returns the failure of a record whose key is not known yet.
    pub(super) fn record(line: u64, stream: &str, reason: String) -> LoadError {
        LoadError::Record { line, stream: stream.to_owned(), key: String::new(), reason, nearest: None }
    }

    /// Returns the failure of a change or a search that the directory refused.
    pub(super) fn write(line: u64, stream: &str, error: DirectoryError) -> LoadError {
        let (stream, key, hint) = (stream.to_owned(), String::new(), String::new());
        LoadError::Write { line, stream, key, error, hint, nearest: None }
    }

    /// Returns the end of a run at one of its limits.
    pub(super) fn limit(line: u64, stream: &str, error: LimitReached) -> LoadError {
        LoadError::Limit { line, stream: stream.to_owned(), key: String::new(), error }
    }

    /// Sets the key of the record.
    pub(super) fn of_key(mut self, about: &str) -> LoadError {
        if let LoadError::Record { key, .. }
        | LoadError::Map { key, .. }
        | LoadError::Reference { key, .. }
        | LoadError::Unreadable { key, .. }
        | LoadError::StreamMap { key, .. }
        | LoadError::Limit { key, .. }
        | LoadError::Write { key, .. } = &mut self
        {
            about.clone_into(key);
        }
        self
    }

    /// Sets the DN of an existing entry that is similar to a missing one.
    pub(super) fn near(mut self, name: Option<String>) -> LoadError {
        if let LoadError::Record { nearest, .. } | LoadError::Write { nearest, .. } = &mut self {
            *nearest = name;
        }
        self
    }

    /// Adds what is to be known of the record beside the reason.
    pub(super) fn noting(mut self, note: &str) -> LoadError {
        match &mut self {
            LoadError::Record { reason, .. } | LoadError::Reference { reason, .. } => reason.push_str(note),
            LoadError::Write { hint, .. } => hint.push_str(note),
            _ => tracing::warn!("{}", note.trim_start_matches("; ")),
        }
        self
    }

    /// Adds the location of the record, if it is in a batch.
    pub(super) fn in_file(self, place: Option<&InFile>) -> LoadError {
        match place {
            Some(place) => LoadError::InFile { place: place.clone(), error: Box::new(self) },
            None => self,
        }
    }

    /// Returns the directory's error, if it concerns one record.
    pub(super) fn of_directory(&self) -> Option<&DirectoryError> {
        match self {
            LoadError::Write { error, .. } => Some(error),
            LoadError::InFile { error, .. } => error.of_directory(),
            _ => None,
        }
    }

    /// Returns the setting that forbids the change, if one does.
    pub(super) fn forbidden_by(&self) -> Option<&str> {
        match self.of_directory() {
            Some(DirectoryError::Forbidden { setting, .. }) => Some(setting),
            _ => None,
        }
    }

    /// Returns the problem, without the line and the stream.
    pub(super) fn reason(&self) -> String {
        match self {
            LoadError::Record { reason, nearest, .. } => {
                format!("{reason}{}", did_you_mean(nearest.as_deref()))
            }
            LoadError::Map { error, .. } => error.to_string(),
            LoadError::Reference { reason, .. } => reason.clone(),
            LoadError::Unreadable { unreadable, .. } => unreadable.to_string(),
            LoadError::Write { error, hint, nearest, .. } => {
                format!("{error}{hint}{}", did_you_mean(nearest.as_deref()))
            }
            LoadError::InFile { error, .. } => error.reason(),
            other => other.to_string(),
        }
    }

    /// Whether the record is as it arrived, before stream maps.
    pub(super) fn is_of_unmapped(&self) -> bool {
        match self {
            LoadError::StreamMap { .. } | LoadError::Unmapped { .. } => true,
            LoadError::InFile { error, .. } => error.is_of_unmapped(),
            _ => false,
        }
    }

    /// Whether only this record is at fault, so that others may succeed.
    pub(super) fn is_records_fault(&self) -> bool {
        match self {
            LoadError::Record { .. }
            | LoadError::Map { .. }
            | LoadError::Reference { .. }
            | LoadError::Unreadable { .. }
            | LoadError::StreamMap { .. }
            | LoadError::Unmapped { .. } => true,
            LoadError::Write { error, .. } => is_records_fault(error),
            LoadError::InFile { error, .. } => error.is_records_fault(),
            _ => false,
        }
    }
}
