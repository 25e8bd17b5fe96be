//! `INCREMENTAL`: entries whose key is at or above the bookmark's.
//!
//! The bookmark is the largest value that the *server* returned. Reading begins again a little earlier (see
//! [`crate::stream::key_order`]), and what was printed then and is the same now is not printed again: [`boundary`] keeps what that
//! needs. The bookmark moves while the stream is read: few entries are sorted here, many by the server (RFC 2891) or, where it
//! does not sort, read in windows of the key, so that a run that is killed repeats one window at most.

use std::io::Write;

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use singer_common::directory::Vendor;
use singer_common::state::StateError;

use self::boundary::Boundary;
use self::odd::OddEntries;
use self::reading::Reading;
use self::restored::Reached;
use self::track::{Besides, Newest, Track};
use super::container_renames::{self, Names};
use super::stream_run::new_version;
use super::verify::{Expected, expect, verify};
use super::{Fingerprint, NOT_THE_SAME, StreamRun, announce_resync, bookmark};
use crate::discovery::replication_keys;
use crate::key_index::{Mark, SharedIndex};
use crate::output::Output;
use crate::stream::key_order::KeyOrder;

mod boundary;
mod lacking;
mod odd;
mod reading;
mod restored;
mod track;
mod windows;

/// So many entries are taken into memory and sorted here: an hour's changes, mostly.
const FEW: usize = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bookmark {
    #[serde(default)]
    format: u64,
    #[serde(default)]
    replication_method: String,
    #[serde(default)]
    replication_key: Option<String>,
    replication_key_value: Value,
    #[serde(default)]
    fingerprint: Option<String>,
    /// The key properties of the stream's records; none in bookmarks of versions that did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_properties: Option<Vec<String>>,
    /// With `track_deletions`: what the rows of the last full read are marked with, and what the index told so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// Whether that read is not complete yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Mark>,
    #[serde(default, skip_serializing_if = "Boundary::is_empty")]
    boundary: Boundary,
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    containers: Names,
    /// The position by a second key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    besides: Option<Besides>,
    /// What tells whether the directory went back.
    #[serde(default, skip_serializing_if = "Reached::is_empty")]
    reached: Reached,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newest: Vec<Newest>,
    /// The entries of the last complete look at all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Reads what changed since the bookmark, or everything where there is none.
pub(crate) async fn run<W: Write>(
    run: &mut StreamRun<'_>,
    key: &str,
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    let id = run.stream.tap_stream_id.as_str();
    let schema = run.schema();
    let vendor = run.context.directory.root_dse().vendor;
    let order = KeyOrder::new(key, schema, vendor);
    // The server's own numbers mean nothing on another server.
    let server =
        if replication_keys::is_local(key) { run.context.local_identity().await? } else { String::new() };
    let print = Fingerprint::of(run.context, run.source, &run.attributes(&[]), key, &server);
    let old: Option<Bookmark> = bookmark(output, id, "replication_key_value")?;
    let last_version = old.as_ref().and_then(|old| old.version);
    let old = old.filter(|old| {
        let other_key = run.is_of_other_key(old.key_properties.as_deref());
        if let Some(why) = &other_key {
            announce_resync(id, why);
        }
        other_key.is_none()
    });
    let old = old.filter(|old| match &old.fingerprint {
        Some(other) if !print.is(other) => {
            announce_resync(id, NOT_THE_SAME);
            false
        }
        // Of another tap, or written by hand: the value is taken at its word if it is about the same key.
        None => old.replication_key.as_deref().is_none_or(|k| k.eq_ignore_ascii_case(key)),
        Some(_) => true,
    });
    let old = old.map(|old| Ok::<_, StateError>((value_of(id, &order, &old)?, old))).transpose()?;
    let old = old.filter(|(value, _)| {
        let is_ahead =
            order.sortable(value, schema).zip(order.horizon(Utc::now())).is_some_and(|(at, end)| at > end);
        if is_ahead {
            announce_resync(id, "the bookmark lies in the future, where no later change would be found");
        }
        !is_ahead
    });
    let reached = Reached::now(run, &order).await?;
    let old = match old {
        Some((value, old)) => {
            match restored::look(run, &order, &value, &old.reached, &reached, &old.newest).await? {
                Some(why) => {
                    announce_resync(id, why);
                    None
                }
                None => Some((value, old)),
            }
        }
        None => None,
    };
    let other_index = run.resume_index(old.as_ref().and_then(|(_, old)| old.index.as_ref()))?;
    if let Some(why) = other_index.as_ref().filter(|_| old.is_some()) {
        announce_resync(id, why);
    }
    let (value, old) = old.filter(|_| other_index.is_none()).unzip();
    run.version = run.index.is_some().then(|| match &old {
        Some(old) => old.version.unwrap_or_default(),
        None => new_version(last_version),
    });
    run.start(output, &[key.to_owned()])?;
    warn(run, key, &reached);
    let delta = old.is_some();
    if delta {
        // The others of the stream are not read.
        run.same_keys = None;
    }
    let besides = replication_keys::second_key(vendor, key).map(|key| KeyOrder::new(key, schema, vendor));
    let mut more: Vec<&str> = order.attributes().collect();
    more.extend(besides.iter().flat_map(KeyOrder::attributes));
    more.extend(run.context.ids.key.as_deref());
    if delta {
        more.extend(container_renames::OF_CHANGES);
    }
    let attributes = run.attributes(&more);
    let old_names = old.as_ref().map(|o| o.containers.clone()).unwrap_or_default();
    let (names, moved) = container_renames::look(run, &old_names).await?;
    let mark = run.index.as_ref().map(SharedIndex::mark);
    let mark = old.as_ref().and_then(|o| o.index.clone()).or(mark);
    let incomplete = run.index.is_some() && old.as_ref().is_none_or(|o| o.incomplete);
    let left_besides = old.as_ref().and_then(|o| o.besides.clone());
    let besides = besides.map(|order| {
        let left = left_besides.clone().filter(|b| b.key.eq_ignore_ascii_case(order.name));
        let left = left.and_then(|b| Some((order.parse(&b.value)?, b.boundary)));
        Track::new(order, schema, left, &[])
    });
    let newest = old.as_ref().map(|o| o.newest.clone()).unwrap_or_default();
    let left_reached = old.as_ref().map(|o| (o.replication_key_value.clone(), o.reached.clone()));
    let left = value.zip(old.map(|o| o.boundary));
    let mut reading = Reading {
        track: Track::new(order, schema, left, &newest),
        besides,
        left_besides,
        reached,
        left_reached,
        print,
        attributes,
        // What is renamed while everything is read the first time is found by the names there were before.
        names: if delta { old_names } else { names.clone() },
        mark,
        incomplete,
        below: Vec::new(),
        delta,
        books: None,
        account: None,
        odd: OddEntries::default(),
        divided: false,
    };
    reading.check_digests(run, output).await?;
    reading.refuse_those_without(run, output).await?;
    if !delta {
        run.context.prepare_for_position(run.source).await?;
    }
    let expected =
        if delta { None } else { Some(output.or_stop(expect(run.context, run.source, false)).await??) };
    reading.books = expected.as_ref().and_then(Expected::sum);
    let mut is_whole = true;
    reading.everything(run, output).await?;
    reading.odd_ones(run, output).await?;
    if let (Some(expected), Some(account)) = (expected, reading.account.take()) {
        let completeness = Box::pin(verify(run, expected, account, output)).await?;
        completeness.warn_of_books(&run.stream.stream);
        is_whole = completeness.has_read_all();
    }
    reading.books = None;
    reading.what_went_back(run, output).await?;
    for dn in &moved {
        container_renames::emit_below(run, output, dn).await?;
    }
    reading.emit_below(run, output).await?;
    reading.names = names;
    reading.look_for_gone(run, output).await?;
    reading.odd.warn(&run.stream.stream, key);
    if !is_whole {
        // What was not read would never be asked for again.
        output.forget(id);
        return Ok(());
    }
    reading.note(run, output)
}

/// The value that a bookmark was left at, as the server has it.
fn value_of(stream: &str, order: &KeyOrder<'_>, old: &Bookmark) -> Result<Vec<u8>, StateError> {
    order.parse(&old.replication_key_value).ok_or_else(|| StateError::Bookmark {
        stream: stream.to_owned(),
        problem: format!("has a replication_key_value that is no value of `{}`", order.name),
    })
}

/// What this method does not notice in this directory.
fn warn(run: &StreamRun<'_>, key: &str, reached: &Reached) {
    let stream = run.stream.stream.as_str();
    // A change of another provider that arrives late was stamped before changes that are here already, and maybe before the
    // bookmark.
    if run.context.directory.root_dse().vendor == Vendor::OpenLdap && reached.count() > 1 {
        tracing::warn!(
            stream,
            "{stream}: the directory replicates from {} providers; INCREMENTAL misses a change that arrives after later ones were read. LOG_BASED does not",
            reached.count()
        );
    }
    if replication_keys::growth(key) == replication_keys::Growth::Created {
        tracing::warn!(
            stream,
            "{stream}: replication_key `{key}` says when an entry was added: entries that are modified later are not read again. {} tells every change",
            replication_keys::best(&run.context.ids.change_keys).map_or("Another key", String::as_str)
        );
    }
}
