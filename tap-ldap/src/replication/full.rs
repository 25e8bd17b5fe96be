//! `FULL_TABLE`: every entry, then ACTIVATE_VERSION, so that a target can delete what is gone.

use std::io::Write;
use std::pin::Pin;
use std::task::Poll;

use serde::{Deserialize, Serialize};
use singer_common::directory::{DirectoryError, EntryRef, Paging};
use singer_common::schema::syntax::now;

use super::completeness::{Completeness, conclude};
use super::stream_run::{StreamRun, new_version};
use super::verify::{expect, verify};
use super::{FORMAT, FULL_TABLE, announce_resync, bookmark};
use crate::discovery::gaps::Gaps;
use crate::discovery::source::Source;
use crate::key_index::Mark;
use crate::output::Output;
use crate::stream::entries::{Entries, ReadOutcome};
use crate::stream::members::Memberships;
use crate::stream::partition;

/// Reads a stream whole.
pub(crate) async fn run<W: Write>(run: &mut StreamRun<'_>, output: &mut Output<'_, W>) -> anyhow::Result<()> {
    let id = run.stream.tap_stream_id.clone();
    let old: Option<Bookmark> = match bookmark(output, &id, "index")? {
        Some(old) => Some(old),
        None => bookmark(output, &id, "count")?,
    };
    // Everything is read in any case. But what was deleted since an index that is not there any more is told by
    // ACTIVATE_VERSION alone.
    let mark = old.as_ref().and_then(|old| old.index.as_ref());
    if let Some(why) = run.resume_index(mark)?.filter(|_| mark.is_some() || run.has_other_key()) {
        announce_resync(&id, &why);
    }
    run.version = Some(new_version(None));
    run.start(output, &[])?;
    // A position of another method is of no use to this one, nor to itself later on.
    output.state.bookmarks.remove(&id);
    let old = old.map(|old| Bookmark {
        index: old.index.filter(|_| run.index.is_some()),
        count: run.rules.count_alone(output.state.bookmarks.len()),
        ..old
    });
    let mut index = old.as_ref().and_then(|old| old.index.clone());
    if let Some(old) = old.filter(|old| old.index.is_some() || old.count.is_some()) {
        output.note(&id, serde_json::to_value(old).unwrap_or_default());
    }
    let completeness = if let Source::Members(of) = run.source {
        members(run, of, output).await?
    } else {
        entries(run, output).await?
    };
    if conclude(run, run.version, &completeness, output)? {
        index = run.emit_gone(output)?;
    }
    let bookmark = Bookmark {
        format: FORMAT,
        replication_method: FULL_TABLE.to_owned(),
        index,
        count: run.rules.count_alone(output.state.bookmarks.len()),
    };
    if bookmark.index.is_some() || bookmark.count.is_some() {
        output.note(&id, serde_json::to_value(bookmark).unwrap_or_default());
    } else {
        output.forget(&id);
    }
    Ok(())
}

/// What `track_deletions` has to remember, and how many records there were.
#[derive(Debug, Serialize, Deserialize)]
struct Bookmark {
    format: u64,
    replication_method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Mark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Emits every entry of the stream. Returns whether those are all.
pub(crate) async fn entries<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Completeness> {
    run.begin_ids()?;
    let before = run.live();
    let attributes = run.attributes(run.marks());
    let (context, source) = (run.context, run.source);
    let dividing = partition::filters(context, source, &run.stream.stream, run.partitions);
    let filters = output.or_stop(dividing).await??;
    if run.keeps_position {
        context.prepare_for_position(source).await?;
    }
    let expected = output.or_stop(expect(context, source, filters.len() > 1)).await??;
    let mut waiting = Vec::new();
    for filter in &filters {
        let mut part =
            Entries::open_filtered(context, source, &attributes, Paging::Configured, filter, vec![]).await?;
        expected.begin(&mut part);
        waiting.push(advance(part));
    }
    let mut account: Option<ReadOutcome> = None;
    while !waiting.is_empty() {
        let (n, (mut part, found)) = output.or_stop(first_of(&mut waiting)).await?;
        drop(waiting.swap_remove(n));
        let mut found = found?;
        if !found {
            let of_part = part.outcome();
            match &mut account {
                Some(account) => account.add(of_part),
                None => account = Some(of_part),
            }
            if filters.len() > 1 {
                tracing::debug!("a part of {} entries is read", part.received());
            }
            continue;
        }
        while found {
            // Told apart here, once for each entry, and not for each value.
            match part.entry() {
                EntryRef::Whole(entry) => run.take(output, entry)?,
                EntryRef::Wire(entry) => run.take(output, &entry)?,
            }
            // What is here needs no waiting for, and a stop asked for is noticed all the same.
            output.check_stop()?;
            output.make_room(&mut part).await?;
            found = part.advance_at_once()?;
        }
        waiting.push(advance(part));
    }
    run.reads_subtree = context.reads_subtree(source).await?;
    let mut completeness = match account {
        Some(account) => Box::pin(verify(run, expected, account, output)).await?,
        // There is always a part.
        None => Completeness::of(Gaps::default()),
    };
    completeness.records(run.live() - before);
    Ok(completeness)
}

/// A part that waits for its next entry.
type Waiting<'t> = Pin<Box<dyn Future<Output = (Entries<'t>, Result<bool, DirectoryError>)> + 't>>;

fn advance(mut part: Entries<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let found = part.advance().await;
        (part, found)
    })
}

/// The first one that need not wait any longer. Those that wait are asked in turn, and none is dropped: what it had begun to
/// send would be half sent.
async fn first_of<'t>(waiting: &mut [Waiting<'t>]) -> (usize, <Waiting<'t> as Future>::Output) {
    std::future::poll_fn(|context| {
        for (n, part) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(done) = part.as_mut().poll(context) {
                return Poll::Ready((n, done));
            }
        }
        Poll::Pending
    })
    .await
}

async fn members<W: Write>(
    run: &mut StreamRun<'_>,
    of: &Source,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Completeness> {
    let mut members = Memberships::open(run.context, of, run.stream, run.context.ids.key.clone()).await?;
    let version = run.version.unwrap_or_default();
    loop {
        let Output { writer, stop, .. } = output;
        let time = now();
        let more = tokio::select! {
            biased;
            signal = stop.wait() => return Err(crate::output::Interrupted(signal).into()),
            more = members.write_next(version, &time, writer.record_buffer()) => more?,
        };
        if !more {
            let mut completeness = Completeness::of(members.gaps());
            completeness.records(run.records);
            return Ok(completeness);
        }
        run.records += 1;
        output.record_done(&run.stream.stream, run.records)?;
    }
}
