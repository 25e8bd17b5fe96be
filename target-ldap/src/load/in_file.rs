//! The location of a record in a batch.

use std::fmt;
use std::sync::Arc;

/// The location of a record in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFile {
    /// The path of the file.
    pub file: Arc<str>,
    /// The line of the decompressed file, from 1.
    pub line: u64,
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}
