//! Why a run ends early.

use ldap_directory::DirectoryError;
use singer_common::operations::error::Classified as _;
use singer_common::operations::facts::{Facts, did_you_mean};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::message::MessageError;
use singer_common::singer::writer::WriteError;

use super::batch::BatchError;
use super::in_file::InFile;
use crate::load::rejects::RejectFileError;
use crate::rules::error::MappingError;
use crate::write::ldap_result::is_records_fault;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A line that is no message.
    #[error("line {line}: {error}")]
    Message {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        error: MessageError,
    },
    /// A line of a reject file, which nobody said the input is.
    #[error("line {line}: a line of a reject file; --retry-rejects has its record tried again")]
    Reject {
        /// Counted from 1.
        line: u64,
    },
    /// A record that cannot be taken.
    #[error("line {line}, stream `{stream}`{}: {reason}{}", of_record(.key), did_you_mean(.nearest.as_deref()))]
    Record {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for people: `id=7`. Empty where it is not known.
        key: String,
        /// What is wrong with it.
        reason: String,
        /// The name of an entry that is there, near to one that is not.
        nearest: Option<String>,
    },
    /// A record that makes no entry.
    #[error("line {line}, stream `{stream}`{}: {error}", of_record(.key))]
    Map {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for people: `id=7`. Empty where it is not known.
        key: String,
        /// What is wrong with it.
        error: MappingError,
    },
    /// A record that a stream map comes to nothing for.
    #[error("line {line}{}: {error}", of_record(.key))]
    StreamMap {
        /// Counted from 1.
        line: u64,
        /// The record's key, for people: `id=7`. Empty where it is not known.
        key: String,
        /// The map's setting, and what is wrong.
        #[source]
        error: singer_common::maps::MapError,
    },
    /// A record of a reject file that a stream map came to nothing for.
    #[error(
        "line {line}: stream_maps came to nothing for this record, and --retry-rejects applies none: correct it at its source, and feed it from there"
    )]
    Unmapped {
        /// Counted from 1.
        line: u64,
    },
    /// A task the directory refused.
    #[error("line {line}, stream `{stream}`{}: {error}{hint}{}", of_record(.key), did_you_mean(.nearest.as_deref()))]
    Write {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// The record's key, for people: `id=7`. Empty where it is not known.
        key: String,
        /// What the directory said.
        #[source]
        error: DirectoryError,
        /// What the schema tells of the reason; begins with `; ` where there is anything.
        hint: String,
        /// As of a record.
        nearest: Option<String>,
    },
    /// A batch that cannot be read.
    #[error("line {line}, stream `{stream}`: {error}")]
    Batch {
        /// The BATCH message's line, counted from 1.
        line: u64,
        /// Its stream.
        stream: String,
        /// What is wrong with it.
        error: BatchError,
    },
    /// What is wrong with a record that came in a batch.
    #[error("{error} (the record is in {place})")]
    InFile {
        /// Where the record is.
        place: InFile,
        /// What is wrong, as of a RECORD.
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
    /// PrefetchState the input failed.
    #[error("reading the input: {0}")]
    Input(#[from] std::io::Error),
    /// The directory could not be completed.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// More records were rejected than may be.
    #[error("{error} (and max_rejects: {max} record(s) are rejected already)")]
    TooManyRejects {
        /// The limit.
        max: u64,
        /// What is wrong with the record that is one too many.
        error: Box<LoadError>,
    },
    /// A rejected record could not be kept.
    #[error("{0}")]
    RejectFile(#[from] RejectFileError),
    /// The values of records that wait for others could not be kept.
    #[error(
        "records that wait for entries which have not come are more than memory is for, and cannot be kept in a temporary file in {}: {}; set TMPDIR to a folder with room",
        std::env::temp_dir().display(),
        .0
    )]
    SpillBuffer(std::io::Error),
    /// A part of this program did not do what it is there for.
    #[error("internal error: {0}; no further STATE is printed. Run again, and please report this")]
    Internal(&'static str),
    /// Printing STATE failed.
    #[error("{0}")]
    Output(#[from] WriteError),
}

/// What a message has behind the stream.
fn of_record(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", {key}") }
}

impl LoadError {
    /// What it is about, for the log's fields.
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
            LoadError::Write { line, stream, key, error, nearest, .. } => {
                Facts { nearest: nearest.clone(), ..of(line, Some(stream), Some(key)).or(error.facts()) }
            }
            LoadError::StreamMap { line, key, error } => of(line, None, Some(key)).or(error.facts()),
            LoadError::Settings { line, error } => of(line, None, None).or(error.facts()),
            LoadError::Batch { line, stream, .. } => of(line, Some(stream), None),
            LoadError::Message { line, error } => {
                Facts { nearest: error.nearest().map(str::to_owned), ..of(line, None, None) }
            }
            LoadError::Reject { line } | LoadError::Unmapped { line } => of(line, None, None),
            LoadError::InFile { error, .. } => error.facts(),
            LoadError::TooManyRejects { error, .. } => error.facts().or(Facts::of_setting("max_rejects")),
            LoadError::Directory(error) => error.facts(),
            LoadError::RejectFile(_) => Facts::of_setting("reject_file"),
            LoadError::Output(error) => error.facts(),
            LoadError::Input(_) | LoadError::Internal(_) | LoadError::SpillBuffer(_) => Facts::default(),
        }
    }

    /// A record whose key is not known yet.
    pub(super) fn record(line: u64, stream: &str, reason: String) -> LoadError {
        LoadError::Record { line, stream: stream.to_owned(), key: String::new(), reason, nearest: None }
    }

    /// Of the record with this key.
    pub(super) fn of_key(mut self, about: &str) -> LoadError {
        if let LoadError::Record { key, .. }
        | LoadError::Map { key, .. }
        | LoadError::StreamMap { key, .. }
        | LoadError::Write { key, .. } = &mut self
        {
            about.clone_into(key);
        }
        self
    }

    /// Of a record for which an entry is wanted that is not there; this one is, and is near.
    pub(super) fn near(mut self, name: Option<String>) -> LoadError {
        if let LoadError::Record { nearest, .. } | LoadError::Write { nearest, .. } = &mut self {
            *nearest = name;
        }
        self
    }

    /// With the place of the record, where it came in a batch.
    pub(super) fn in_file(self, place: Option<&InFile>) -> LoadError {
        match place {
            Some(place) => LoadError::InFile { place: place.clone(), error: Box::new(self) },
            None => self,
        }
    }

    /// The directory's error, when it is one record's.
    pub(super) fn of_directory(&self) -> Option<&DirectoryError> {
        match self {
            LoadError::Write { error, .. } => Some(error),
            LoadError::InFile { error, .. } => error.of_directory(),
            _ => None,
        }
    }

    /// What is wrong, without the line and the stream.
    pub(super) fn reason(&self) -> String {
        match self {
            LoadError::Record { reason, nearest, .. } => {
                format!("{reason}{}", did_you_mean(nearest.as_deref()))
            }
            LoadError::Map { error, .. } => error.to_string(),
            LoadError::Write { error, hint, nearest, .. } => {
                format!("{error}{hint}{}", did_you_mean(nearest.as_deref()))
            }
            LoadError::InFile { error, .. } => error.reason(),
            other => other.to_string(),
        }
    }

    /// Whether its record is as it came, before stream maps.
    pub(super) fn is_of_unmapped(&self) -> bool {
        matches!(self, LoadError::StreamMap { .. } | LoadError::Unmapped { .. })
    }

    /// Whether the record alone is to blame, and others may well be written.
    pub(super) fn is_records_fault(&self) -> bool {
        match self {
            LoadError::Record { .. }
            | LoadError::Map { .. }
            | LoadError::StreamMap { .. }
            | LoadError::Unmapped { .. } => true,
            LoadError::Write { error, .. } => is_records_fault(error),
            LoadError::InFile { error, .. } => error.is_records_fault(),
            _ => false,
        }
    }
}
