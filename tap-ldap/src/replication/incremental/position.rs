//! The position of a stream, in its bookmark and at the start of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::boundary::Boundary;
use super::key_cursor::{Newest, SecondPosition};
use super::restored::ServerPosition;
use crate::key_index::IndexPosition;
use crate::replication::container_renames::ContainerNames;
use crate::replication::fingerprint::Fingerprint;

/// A position in the order of the replication key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bookmark {
    #[serde(default)]
    pub(super) format: u64,
    #[serde(default)]
    pub(super) replication_method: String,
    #[serde(default)]
    pub(super) replication_key: Option<String>,
    pub(super) replication_key_value: Value,
    #[serde(default)]
    pub(super) fingerprint: Option<String>,
    /// The key properties of the stream's records; absent in bookmarks of versions that did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_properties: Option<Vec<String>>,
    /// With `track_deletions`: the version of the last full read's records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i64>,
    /// Whether that read is not complete yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) incomplete: bool,
    /// With `track_deletions`: the position of the index of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<IndexPosition>,
    #[serde(default, skip_serializing_if = "Boundary::is_empty")]
    pub(super) boundary: Boundary,
    #[serde(default, skip_serializing_if = "ContainerNames::is_empty")]
    pub(super) containers: ContainerNames,
    /// The position by a second key.
    #[serde(default, rename = "besides", skip_serializing_if = "Option::is_none")]
    pub(super) second: Option<SecondPosition>,
    /// The position that the server reported. With [`Self::newest`], it says whether the directory was restored.
    #[serde(default, rename = "reached", skip_serializing_if = "ServerPosition::is_empty")]
    pub(super) server: ServerPosition,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) newest: Vec<Newest>,
    /// The number of entries in the last complete pass over all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
}

/// Where a run starts.
pub(super) struct Start {
    pub(super) fingerprint: Fingerprint,
    /// The usable bookmark, and its key value as the server has it; `None` if everything must be read.
    pub(super) position: Option<(Vec<u8>, Bookmark)>,
    /// The version of the last bookmark, usable or not.
    pub(super) last_version: Option<i64>,
    /// What the server reports now.
    pub(super) server: ServerPosition,
}
