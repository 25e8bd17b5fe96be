//! The record that a change is made for.

use std::fmt;
use std::sync::Arc;

tokio::task_local! {
    /// The record that the current change is made for.
    pub static CHANGE_LABEL: ChangeLabel;
}

/// The record that a change is made for.
#[derive(Debug, Clone)]
pub struct ChangeLabel {
    /// The number of its task. A record has one, and so has each entry that a version did not have.
    pub number: u64,
    /// The record's stream.
    pub stream: Arc<str>,
    /// The record's line, from 1.
    pub line: u64,
    /// The record's key: `id=7`.
    pub record: Arc<str>,
    /// Whether `on_delete` removes its entry: deletes, moves or disables it.
    pub is_leaving: bool,
}

impl fmt::Display for ChangeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.stream, self.line, self.record)
    }
}
