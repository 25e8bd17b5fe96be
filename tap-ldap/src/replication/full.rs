//! `FULL_TABLE`: every entry, then ACTIVATE_VERSION, so that a target can delete what no longer exists.

use std::io::Write;
use std::pin::Pin;
use std::task::Poll;

use ldap_directory::schema::syntax::now;
use ldap_directory::{DirectoryError, EntryRef, Paging};
use serde::{Deserialize, Serialize};

use crate::config::method::FULL_TABLE;
use crate::discovery::gaps::Gaps;
use crate::discovery::source::Source;
use crate::key_index::IndexPosition;
use crate::output::Output;
use crate::replication::bookmark::{FORMAT, announce_resync, bookmark};
use crate::replication::completeness::{Completeness, IncompleteReason};
use crate::replication::conclude::conclude;
use crate::replication::origin::{ORIGIN, Origins};
use crate::replication::stream_run::{StreamRun, new_version};
use crate::replication::verify::{expect, verify};
use crate::replication::{hidden_attributes, undecided};
use crate::stream::entries::{Entries, ReadOutcome};
use crate::stream::members::Memberships;
use crate::stream::partition as partitions;

/// Reads the whole stream.
pub(crate) async fn run<W: Write>(run: &mut StreamRun<'_>, output: &mut Output<'_, W>) -> anyhow::Result<()> {
    let id = run.stream.tap_stream_id.clone();
    let mut old: Option<Bookmark> = None;
    for mark in ["index", "count", ORIGIN] {
        old = match old {
            Some(old) => Some(old),
            None => bookmark(output, &id, mark)?,
        };
    }
    // Everything is read in any case. Entries deleted since an index that no longer exists are only deleted by ACTIVATE_VERSION.
    let mark = old.as_ref().and_then(|old| old.index.as_ref());
    if let Some(why) = run.resume_index(mark)?.filter(|_| mark.is_some() || run.has_other_key()) {
        announce_resync(&id, &why);
    }
    run.version = Some(new_version(None));
    run.start(output, &[])?;
    // The position of another method cannot be used by this one, nor later by the other one.
    output.state.bookmarks.remove(&id);
    let old = old.map(|old| Bookmark {
        index: old.index.filter(|_| run.index.is_some()),
        count: run.rules.count_alone(output.state.bookmarks.len()),
        origin: run.origins_alone(output.state.bookmarks.len()),
        ..old
    });
    let mut index = old.as_ref().and_then(|old| old.index.clone());
    if let Some(old) = old.filter(Bookmark::has_any) {
        output.set_bookmark(&id, serde_json::to_value(old).unwrap_or_default());
    }
    let completeness = if let Source::Members(of) = run.source {
        members(run, of, output).await?
    } else {
        entries(run, output).await?
    };
    let is_complete = Box::pin(conclude(run, run.version, &completeness, output)).await?;
    let attributes = run.attributes(&[]);
    run.settle_renames(output, &attributes, is_complete).await?;
    if is_complete {
        index = run.emit_deletions(output)?;
    } else if index.is_some() && run.has_no_deletions()? {
        index = run.save_index()?;
    }
    let bookmark = Bookmark {
        format: FORMAT,
        replication_method: FULL_TABLE.to_owned(),
        index,
        count: run.rules.count_alone(output.state.bookmarks.len()),
        origin: run.origins_alone(output.state.bookmarks.len()),
    };
    if bookmark.has_any() {
        output.set_bookmark(&id, serde_json::to_value(bookmark).unwrap_or_default());
    } else {
        output.remove_bookmark(&id);
    }
    Ok(())
}

/// The position of the index (`track_deletions`), the number of records, and where they came from.
#[derive(Debug, Serialize, Deserialize)]
struct Bookmark {
    format: u64,
    replication_method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<IndexPosition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origins>,
}

impl Bookmark {
    fn has_any(&self) -> bool {
        self.index.is_some() || self.count.is_some() || self.origin.is_some()
    }
}

/// Emits every entry of the stream. Returns whether these are all.
pub(crate) async fn entries<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Completeness> {
    run.begin_ids()?;
    let before = run.live();
    let attributes = run.attributes(run.marks());
    let (context, source) = (run.context, run.source);
    let dividing = partitions::filters(context, source, &run.stream.stream, run.partitions);
    let filters = output.or_stop(dividing).await??;
    if run.keeps_position {
        context.prepare_for_position(source).await?;
    }
    let expected = output.or_stop(expect(context, source, filters.len() > 1)).await??;
    let mut waiting = Vec::new();
    for filter in &filters {
        let mut partition =
            Entries::open_filtered(context, source, &attributes, Paging::Configured, filter, vec![]).await?;
        expected.begin(&mut partition);
        waiting.push(advance(partition));
    }
    let mut outcome: Option<ReadOutcome> = None;
    while !waiting.is_empty() {
        let (n, (mut partition, found)) = output.or_stop(first_of(&mut waiting)).await?;
        drop(waiting.swap_remove(n));
        let mut found = found?;
        if !found {
            let of_partition = partition.outcome();
            match &mut outcome {
                Some(outcome) => outcome.add(of_partition),
                None => outcome = Some(of_partition),
            }
            if filters.len() > 1 {
                tracing::debug!("a part of {} entries is read", partition.received());
            }
            continue;
        }
        while found {
            // Matched here, once for each entry, and not for each value.
            match partition.entry() {
                EntryRef::Whole(entry) => run.emit_present(output, entry)?,
                EntryRef::Wire(entry) => run.emit_present(output, &entry)?,
            }
            // Buffered entries need no waiting, but a signal must be noticed.
            output.check_stop()?;
            output.wait_for_stdout(&mut partition).await?;
            found = partition.advance_at_once()?;
        }
        waiting.push(advance(partition));
    }
    run.reads_subtree = context.reads_subtree(source).await?;
    let mut completeness = match outcome {
        Some(outcome) => Box::pin(verify(run, expected, outcome, output)).await?,
        // There is always at least one partition.
        None => Completeness::of(Gaps::default()),
    };
    completeness.records(run.live() - before);
    Ok(completeness)
}

/// A partition that waits for its next entry.
type Waiting<'t> = Pin<Box<dyn Future<Output = (Entries<'t>, Result<bool, DirectoryError>)> + 't>>;

fn advance(mut partition: Entries<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let found = partition.advance().await;
        (partition, found)
    })
}

/// Returns the first partition that is ready. Waiting partitions are polled in turn and never dropped, which could cut a request
/// in the middle.
async fn first_of<'t>(waiting: &mut [Waiting<'t>]) -> (usize, <Waiting<'t> as Future>::Output) {
    std::future::poll_fn(|context| {
        for (n, partition) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(done) = partition.as_mut().poll(context) {
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
    let mut members =
        Memberships::open(run.context, of, run.stream, run.context.ids.key.clone(), None).await?;
    loop {
        let Output { writer, stop, .. } = output;
        let time = now();
        let more = tokio::select! {
            biased;
            signal = stop.wait() => return Err(crate::output::Interrupted(signal).into()),
            more = members.write_next(run.version, &time, writer.record_buffer()) => more?,
        };
        if !more {
            let mut completeness = Completeness::of(members.gaps());
            completeness.records(run.records);
            if let Some(dn) = members.without_members() {
                hidden_attributes::warn_of_group(run, dn);
            }
            if run.hides_members {
                completeness.add(IncompleteReason::HiddenMembers);
            }
            if let Some(reason) = output.or_stop(Box::pin(undecided::reason(run))).await?? {
                completeness.add(reason);
            }
            return Ok(completeness);
        }
        run.records += 1;
        output.record_written(&run.stream.stream, run.records)?;
    }
}
