//! The bookmark of a `LOG_BASED` stream.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use singer_common::singer::state::StateError;

use crate::config::method::LOG_BASED;
use crate::key_index::IndexPosition;
use crate::output::Output;
use crate::replication::bookmark::{FORMAT, OTHER_SOURCE, announce_resync, own_bookmark};
use crate::replication::container_renames::ContainerNames;
use crate::replication::fingerprint::Fingerprint;
use crate::replication::origin::Origins;
use crate::replication::reads_from;
use crate::replication::stream_run::StreamRun;
use crate::replication::stream_run::new_version;
use crate::replication::witness::Witness;

/// The property of a bookmark that says whether rows may be downstream that it does not know.
pub(crate) const UNSETTLED: &str = "unsettled";

/// A position in a server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogBookmark {
    #[serde(default)]
    pub format: u64,
    #[serde(default)]
    pub replication_method: String,
    /// The server's cookie, in base64.
    pub cookie: String,
    pub fingerprint: String,
    /// The key properties of the stream's records; absent in bookmarks of versions that did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_properties: Option<Vec<String>>,
    /// The version of the last full read's records.
    pub version: i64,
    /// Active Directory: the domain controller's highest update sequence number at the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_usn: Option<u64>,
    /// The position of the index of keys (`track_deletions`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexPosition>,
    #[serde(default, skip_serializing_if = "ContainerNames::is_empty")]
    pub containers: ContainerNames,
    /// See [`StreamRun::reads_subtree`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subtree: bool,
    /// The ids of the stream's entries, if there is no index and they are not too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// Whether a run that continued from here may have emitted records of entries that are not in `ids`: [`UNSETTLED`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
    /// The records of the last complete read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The last changes before the position.
    #[serde(default, skip_serializing_if = "Witness::is_empty")]
    pub witness: Witness,
    /// Where the entries came from, if there is no index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origins>,
}

impl LogBookmark {
    /// Reads the bookmark of a stream, if it has a usable one, and prints the stream's SCHEMA. The version is the bookmark's,
    /// or a new one if everything must be read.
    pub(crate) fn begin<W: Write>(
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        fingerprint: &Fingerprint,
    ) -> anyhow::Result<Option<LogBookmark>> {
        let stream = run.stream.tap_stream_id.as_str();
        let found: Option<LogBookmark> = own_bookmark(output, stream, "cookie")?;
        let last_version = found.as_ref().map(|b| b.version);
        let other_index = run.resume_index(found.as_ref().and_then(|b| b.index.as_ref()))?;
        let why = found.as_ref().and_then(|b| {
            let other_key = run.is_of_other_key(b.key_properties.as_deref());
            let other = (!fingerprint.matches(&b.fingerprint)).then(|| OTHER_SOURCE.to_owned());
            other_key.or(other).or(other_index).or_else(|| run.origins.of_other_account(run.origin.as_ref()))
        });
        if let Some(why) = &why {
            announce_resync(stream, why);
        }
        let found = found.filter(|_| why.is_none());
        run.witness = found.as_ref().map(|b| b.witness.clone()).unwrap_or_default();
        run.reads_subtree = found.as_ref().is_some_and(|b| b.subtree);
        run.version = Some(found.as_ref().map_or_else(|| new_version(last_version), |b| b.version));
        run.start(output, &[])?;
        run.resume_ids(
            found.as_ref().and_then(|b| b.ids.as_deref()),
            found.as_ref().is_some_and(|b| b.unsettled),
        );
        run.repeat_deletions(output)?;
        Ok(found)
    }

    /// Puts a stream's position into the STATE, with that of the index of keys; removes it if the whole read was not complete.
    pub(crate) fn put<W: Write>(
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        cookie: &[u8],
        highest_usn: Option<u64>,
        fingerprint: &Fingerprint,
        containers: &ContainerNames,
    ) -> anyhow::Result<()> {
        if !run.has_read_all {
            output.remove_bookmark(&run.stream.tap_stream_id);
            return Ok(());
        }
        reads_from::follow(run, cookie)?;
        let bookmark = LogBookmark {
            format: FORMAT,
            replication_method: LOG_BASED.to_owned(),
            cookie: BASE64.encode(cookie),
            fingerprint: fingerprint.to_text(),
            key_properties: Some(run.stream.key_properties.clone()),
            version: run.version.unwrap_or_default(),
            highest_usn,
            index: run.save_index()?,
            containers: containers.clone(),
            subtree: run.reads_subtree,
            ids: run.ids(),
            unsettled: run.is_bookmark_unsettled(),
            count: run.rules.count(),
            witness: run.witness.clone(),
            origin: run.index.is_none().then(|| run.origins.clone()),
        };
        output.set_bookmark(&run.stream.tap_stream_id, serde_json::to_value(bookmark)?);
        Ok(())
    }

    pub(crate) fn cookie(&self, stream: &str) -> Result<Vec<u8>, StateError> {
        BASE64.decode(&self.cookie).map_err(|_| StateError::Bookmark {
            stream: stream.to_owned(),
            problem: "has a cookie that is not base64".into(),
        })
    }
}
