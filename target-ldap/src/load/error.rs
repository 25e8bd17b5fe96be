//! Why a run ends early.

use singer_common::directory::DirectoryError;
use singer_common::message::MessageError;
use singer_common::settings::SettingsError;
use singer_common::writer::WriteError;

use super::batch::{BatchError, InFile};
use crate::map::MapError;
use crate::rejects::{RejectFileError, is_records_fault};

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
    #[error("line {line}, stream `{stream}`: {reason}")]
    Record {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that makes no entry.
    #[error("line {line}, stream `{stream}`: {error}")]
    Map {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What is wrong with it.
        error: MapError,
    },
    /// A record that a stream map comes to nothing for.
    #[error("line {line}: {error}")]
    StreamMap {
        /// Counted from 1.
        line: u64,
        /// The map's setting, and what is wrong.
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
    #[error("line {line}, stream `{stream}`: {error}")]
    Write {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What the directory said.
        #[source]
        error: DirectoryError,
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
    /// Reading the input failed.
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
    Shelf(std::io::Error),
    /// A part of this program did not do what it is there for.
    #[error("internal error: {0}; no further STATE is printed. Run again, and please report this")]
    Internal(&'static str),
    /// Printing STATE failed.
    #[error("{0}")]
    Output(#[from] WriteError),
}

impl LoadError {
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
            LoadError::Record { reason, .. } => reason.clone(),
            LoadError::Map { error, .. } => error.to_string(),
            LoadError::Write { error, .. } => error.to_string(),
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
