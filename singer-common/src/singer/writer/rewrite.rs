//! What may become of messages on their way out: stream maps, and records that go into files of their own.

use std::fmt::Debug;
use std::path::PathBuf;

use serde_json::Value;

use super::Outgoing;
use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;
use crate::operations::settings_error::SettingsError;

/// Changes messages on their way out.
pub trait Rewrite: Debug {
    /// What a SCHEMA becomes.
    fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
    ) -> Result<Vec<Outgoing>, RewriteError>;

    /// What RECORD lines become, each with its line feed: appended to `out`.
    fn records(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError>;

    /// The names that a stream goes out with.
    fn names(&self, stream: &str) -> Vec<String>;

    /// Appends what has to be said before a STATE, an ACTIVATE_VERSION or another SCHEMA.
    fn settle(&mut self, out: &mut Vec<u8>) -> Result<(), RewriteError>;
}

/// What was to be made of a message could not be.
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
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A message of our own that cannot be read.
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
