//! `INCREMENTAL`: entries with a replication key value at or above the bookmark's.
//!
//! The bookmark is the largest value that the *server* returned. Reading resumes a little before it (see
//! [`crate::stream::key_order`]); records that were emitted there and have not changed are not emitted again, by what
//! `boundary` keeps. The bookmark moves during the read: a few entries are sorted in memory, many by the server (RFC 2891).
//! If the server does not sort, they are read in windows of the key, so that a killed run repeats at most one window.
//!
//! - `read`: one run of a stream; `passes`: the ways to read it; `deletions`: what no longer exists.
//! - `position`: the bookmark; `key_cursor`: the position by one key; `boundary`: the records at its end.
//! - `key_histogram`: where to cut windows.
//! - `restored`: whether the directory was restored from a backup since the bookmark.
//! - `keyless`, `unusable_values`: entries that no position covers.

use std::io::Write;

use chrono::Utc;
use ldap_directory::schema::Schema;
use ldap_directory::text::printable_line;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use singer_common::singer::state::StateError;

use self::position::{Bookmark, Start};
use self::read::IncrementalRead;
use self::restored::ServerPosition;
use crate::discovery::replication_keys;
use crate::output::Output;
use crate::replication::bookmark::{OTHER_SOURCE, announce_resync, own_bookmark};
use crate::replication::container_renames;
use crate::replication::fingerprint::Fingerprint;
use crate::replication::stream_run::{StreamRun, new_version};
use crate::replication::verify::{Expected, expect, verify};
use crate::stream::key_order::KeyOrder;

mod boundary;
mod deletions;
mod key_cursor;
mod key_histogram;
mod keyless;
mod passes;
mod position;
mod read;
mod restored;
mod unusable_values;

/// Reads what changed since the bookmark, or everything if there is no usable bookmark.
pub(crate) async fn run<W: Write>(
    run: &mut StreamRun<'_>,
    key: &str,
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    let schema = run.schema();
    let order = KeyOrder::new(key, schema, run.context.directory.root_dse().vendor);
    let mut start = resume(run, &order, output).await?;
    let other_index = run.resume_index(start.position.as_ref().and_then(|(_, old)| old.index.as_ref()))?;
    if let Some(why) = other_index.as_ref().filter(|_| start.position.is_some()) {
        announce_resync(&run.stream.tap_stream_id, why);
    }
    start.position = start.position.filter(|_| other_index.is_none());
    run.version = run.index.is_some().then(|| match &start.position {
        Some((_, old)) => old.version.unwrap_or_default(),
        None => new_version(start.last_version),
    });
    run.start(output, &[key.to_owned()])?;
    warn(run, key, &start.server);
    if start.position.is_some() {
        // The other entries of the stream are not read.
        run.duplicate_keys = None;
        run.note_left_dns();
    }
    let old_names = start.position.as_ref().map(|(_, o)| o.containers.clone()).unwrap_or_default();
    let (names, moved) = container_renames::find_renamed(run, &old_names).await?;
    let mut read = IncrementalRead::new(run, order, start, old_names, &names);
    let is_whole = read_entries(run, &mut read, output).await?;
    for dn in &moved {
        container_renames::emit_below(run, output, dn).await?;
    }
    read.emit_below(run, output).await?;
    read.names = names;
    read.find_deletions(run, output).await?;
    read.unusable.warn(&run.stream.stream, key);
    if !is_whole {
        // A later run would never read the missing entries.
        output.remove_bookmark(&run.stream.tap_stream_id);
        return Ok(());
    }
    read.set_bookmark(run, output)
}

/// Reads the entries from the position on. Returns `false` if a first read was found to be incomplete.
async fn read_entries<W: Write>(
    run: &mut StreamRun<'_>,
    read: &mut IncrementalRead<'_>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<bool> {
    read.check_digests(run, output).await?;
    read.refuse_keyless(run, output).await?;
    let mut expected = None;
    if !read.is_delta {
        run.context.prepare_for_position(run.source).await?;
        expected = Some(output.or_stop(expect(run.context, run.source, false)).await??);
    }
    read.tally = expected.as_ref().and_then(Expected::empty_tally);
    let mut is_whole = true;
    read.read_range(run, output).await?;
    read.read_invalid(run, output).await?;
    if let (Some(expected), Some(outcome)) = (expected, read.outcome.take()) {
        let completeness = Box::pin(verify(run, expected, outcome, output)).await?;
        completeness.warn_of_missing(&run.stream.stream);
        is_whole = completeness.has_read_all();
    }
    read.tally = None;
    read.reread_by_second_key(run, output).await?;
    Ok(is_whole)
}

/// Reads the bookmark and checks whether it can be used. Warns if not.
async fn resume<W: Write>(
    run: &StreamRun<'_>,
    order: &KeyOrder<'_>,
    output: &Output<'_, W>,
) -> anyhow::Result<Start> {
    let (id, schema, key) = (run.stream.tap_stream_id.as_str(), run.schema(), order.name);
    // A key that is local to a server is not valid on another one.
    let local =
        if replication_keys::is_local(key) { run.context.local_identity().await? } else { String::new() };
    let fingerprint = Fingerprint::of(run.context, run.source, &run.attributes(&[]), key, &local);
    let old: Option<Bookmark> = own_bookmark(output, id, "replication_key_value")?;
    let last_version = old.as_ref().and_then(|old| old.version);
    let old = old.filter(|old| {
        let other_key = run.is_of_other_key(old.key_properties.as_deref());
        if let Some(why) = &other_key {
            announce_resync(id, why);
        }
        other_key.is_none()
    });
    let old = old.filter(|old| match &old.fingerprint {
        Some(other) if !fingerprint.matches(other) => {
            announce_resync(id, OTHER_SOURCE);
            false
        }
        // Of another tap, or written by hand: the value is accepted if it is of the same key.
        None => {
            let other = old.replication_key.as_deref().filter(|k| !k.eq_ignore_ascii_case(key));
            if let Some(other) = other {
                announce_resync(
                    id,
                    &format!("the bookmark is of the replication_key `{other}`, and not of `{key}`"),
                );
            }
            other.is_none()
        }
        Some(_) => true,
    });
    let old = old.map(|old| Ok::<_, StateError>((value_of(id, order, schema, &old)?, old))).transpose()?;
    let mut position = old.filter(|(value, _)| {
        let is_ahead =
            order.sortable(value, schema).zip(order.horizon(Utc::now())).is_some_and(|(at, end)| at > end);
        if is_ahead {
            announce_resync(id, "the bookmark lies in the future, where no later change would be found");
        }
        !is_ahead
    });
    let server = ServerPosition::read(run, order).await?;
    if let Some((value, old)) = &position
        && let Some(why) = restored::check(run, order, value, &old.server, &server, &old.newest).await?
    {
        announce_resync(id, why);
        position = None;
    }
    // What this tap has written was the value of an entry.
    if let Some((value, old)) = &position
        && old.fingerprint.is_none()
        && is_beyond_all(run, order, value).await?
    {
        let value = printable_line(&old.replication_key_value.to_string()).into_owned();
        announce_resync(
            id,
            &format!(
                "no entry has a value of `{key}` at or above the bookmark's replication_key_value {value}"
            ),
        );
        position = None;
    }
    Ok(Start { fingerprint, position, last_version, server })
}

/// Returns whether no entry below the stream's base has this value of the key or a larger one. From such a position on, nothing would ever
/// be found.
async fn is_beyond_all(
    run: &StreamRun<'_>,
    order: &KeyOrder<'_>,
    value: &[u8],
) -> Result<bool, DirectoryError> {
    let filter = order.at_least(&order.again_from(value));
    let mut request = SearchRequest::new(run.base(), Scope::Subtree, filter, &["1.1"]);
    request.paging = Paging::Limited(1);
    let mut search = run.context.directory.search(request).await?;
    Ok(search.next_entry().await?.is_none())
}

/// Returns the key value of a bookmark as the server has it.
fn value_of(
    stream: &str,
    order: &KeyOrder<'_>,
    schema: &Schema,
    old: &Bookmark,
) -> Result<Vec<u8>, StateError> {
    order.parse(&old.replication_key_value, schema).ok_or_else(|| {
        let value = old.replication_key_value.to_string();
        let problem = format!(
            "has the replication_key_value {}, which is not a value of `{}`",
            printable_line(&value),
            order.name
        );
        StateError::Bookmark { stream: stream.to_owned(), problem }
    })
}

/// Warns of changes that this method misses in this directory.
fn warn(run: &StreamRun<'_>, key: &str, server: &ServerPosition) {
    let stream = run.stream.stream.as_str();
    // A change of another provider may arrive late, with an earlier stamp than changes that are here already, and than the
    // bookmark.
    if run.context.directory.root_dse().vendor == Vendor::OpenLdap && server.server_count() > 1 {
        tracing::warn!(
            stream,
            "{stream}: the directory replicates from {} providers; INCREMENTAL misses a change that arrives after later ones were read. LOG_BASED does not",
            server.server_count()
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
