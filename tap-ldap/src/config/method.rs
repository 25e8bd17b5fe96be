//! The replication methods, as Singer names them.

/// Every entry is read.
pub const FULL_TABLE: &str = "FULL_TABLE";
/// Entries at or above the bookmark's replication key value are read.
pub const INCREMENTAL: &str = "INCREMENTAL";
/// Changes and deletions are read from the server's log.
pub const LOG_BASED: &str = "LOG_BASED";
/// All of them.
pub const METHODS: [&str; 3] = [FULL_TABLE, INCREMENTAL, LOG_BASED];
