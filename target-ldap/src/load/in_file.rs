//! Where a batch has a record.

use std::fmt;
use std::sync::Arc;

/// Where a batch has a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFile {
    /// The file's path.
    pub file: Arc<str>,
    /// Counted from 1, of what the file holds once decompressed.
    pub line: u64,
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}
