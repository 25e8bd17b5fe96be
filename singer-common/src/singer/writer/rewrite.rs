//! Rewriting of messages before they are emitted: stream maps, and records in separate files (BATCH).

use std::fmt::Debug;
use std::path::PathBuf;

use serde_json::Value;

use super::Outgoing;
use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;
use crate::operations::settings_error::SettingsError;

/// Rewrites messages before they are emitted.
pub trait Rewrite: Debug {
    /// Returns the SCHEMA messages to emit in place of one.
    fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
    ) -> Result<Vec<Outgoing>, RewriteError>;

    /// Appends the rewritten RECORD lines, each with its line feed, to `out`.
    fn records(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError>;

    /// Returns the names under which a stream is emitted.
    fn names(&self, stream: &str) -> Vec<String>;

    /// Returns the output streams of a stream of which a filter left out every record since the last call, and takes the counts.
    fn emptied(&mut self, stream: &str) -> Vec<Emptied>;

    /// Appends deferred messages that must precede a STATE, an ACTIVATE_VERSION or another SCHEMA.
    fn settle(&mut self, out: &mut Vec<u8>) -> Result<(), RewriteError>;
}

/// An output stream whose filter left out every record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emptied {
    /// The name under which the stream is emitted.
    pub name: String,
    /// The path of the filter's setting.
    pub setting: String,
    /// How many records were left out.
    pub left_out: u64,
}

/// A message could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// A setting does not fit the stream.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// A stream map has no result for a record.
    #[error("{0}")]
    Map(Box<dyn Classified + Send + Sync>),
    /// A file could not be written.
    #[error("batch_config: {path}: {error}")]
    File {
        /// The path.
        path: PathBuf,
        /// The system's message.
        error: std::io::Error,
    },
    /// A message of this tap could not be parsed again.
    #[error("a message cannot be taken apart again: {0}")]
    Message(#[from] serde_json::Error),
}

impl Classified for RewriteError {
    fn class(&self) -> Class {
        match self {
            RewriteError::Settings(error) => error.class(),
            RewriteError::Map(error) => error.class(),
            RewriteError::File { .. } | RewriteError::Message(_) => Class::Run,
        }
    }

    fn facts(&self) -> Facts {
        match self {
            RewriteError::Settings(error) => error.facts(),
            RewriteError::Map(error) => error.facts(),
            RewriteError::File { .. } | RewriteError::Message(_) => Facts::default(),
        }
    }
}
