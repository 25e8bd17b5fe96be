//! The bookmark of a `LOG_BASED` stream, of either kind of log.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use singer_common::state::StateError;

use super::container_renames::Names;
use super::stream_run::new_version;
use super::witness::Witness;
use super::{FORMAT, Fingerprint, LOG_BASED, NOT_THE_SAME, StreamRun, announce_resync, bookmark};
use crate::key_index::Mark;
use crate::output::Output;

/// The name of a bookmark's property.
pub(crate) const UNSETTLED: &str = "unsettled";

/// Where a log was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogBookmark {
    #[serde(default)]
    pub format: u64,
    #[serde(default)]
    pub replication_method: String,
    /// The server's words, in base64.
    pub cookie: String,
    pub fingerprint: String,
    /// The key properties of the stream's records; none in bookmarks of versions that did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_properties: Option<Vec<String>>,
    /// What the rows of the last full read are marked with.
    pub version: i64,
    /// Active Directory: the domain controller's highest update sequence number by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_usn: Option<u64>,
    /// What the index of keys told so far (`track_deletions`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Mark>,
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub containers: Names,
    /// See [`StreamRun::reads_subtree`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subtree: bool,
    /// The ids that the stream has, where there is no index and they are not too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// Whether a run that went on from here may have printed rows that `ids` does not have: [`UNSETTLED`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
    /// The records of the last complete read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What tells whether the directory went back.
    #[serde(default, skip_serializing_if = "Witness::is_empty")]
    pub witness: Witness,
}

impl LogBookmark {
    /// Takes up the bookmark of a stream, if it has one that fits, and prints the stream's SCHEMA. Its version is the
    /// bookmark's, or a new one where everything is to be read.
    pub(crate) fn begin<W: Write>(
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        print: &Fingerprint,
    ) -> anyhow::Result<Option<LogBookmark>> {
        let stream = run.stream.tap_stream_id.as_str();
        let found: Option<LogBookmark> = bookmark(output, stream, "cookie")?;
        let last_version = found.as_ref().map(|b| b.version);
        let other_index = run.resume_index(found.as_ref().and_then(|b| b.index.as_ref()))?;
        let why = found.as_ref().and_then(|b| {
            let other_key = run.is_of_other_key(b.key_properties.as_deref());
            let other = (!print.is(&b.fingerprint)).then(|| NOT_THE_SAME.to_owned());
            other_key.or(other).or(other_index)
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
        run.tell_again(output)?;
        Ok(found)
    }

    /// Notes a stream's position, with what the index of keys has told by then; none where its read was not whole.
    pub(crate) fn note<W: Write>(
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        cookie: &[u8],
        highest_usn: Option<u64>,
        print: &Fingerprint,
        containers: &Names,
    ) -> anyhow::Result<()> {
        if !run.has_read_all {
            output.forget(&run.stream.tap_stream_id);
            return Ok(());
        }
        let bookmark = LogBookmark {
            format: FORMAT,
            replication_method: LOG_BASED.to_owned(),
            cookie: BASE64.encode(cookie),
            fingerprint: print.to_text(),
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
        };
        output.note(&run.stream.tap_stream_id, serde_json::to_value(bookmark)?);
        Ok(())
    }

    pub(crate) fn cookie(&self, stream: &str) -> Result<Vec<u8>, StateError> {
        BASE64.decode(&self.cookie).map_err(|_| StateError::Bookmark {
            stream: stream.to_owned(),
            problem: "has a cookie that is not base64".into(),
        })
    }
}
