//! `follow: true`: after the first sync the tap keeps running, and emits changes as they happen.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use ldap_directory::client::LdapDirectory;
use ldap_directory::client::content_sync::{SyncConnection, SyncItem, SyncMode, SyncRequest};
use ldap_directory::{Directory, DirectoryError};

use crate::output::{Interrupted, Output};
use crate::replication::content_sync::{ContentSyncStream, LOG_DELAY, Renames, SyncAction, server};
use crate::replication::dirsync::DirSyncStream;

/// The longest time between a record and the STATE that covers it.
const STATE_WITHIN: Duration = Duration::from_secs(1);
/// How often to check for renames of containers that are not in a stream themselves.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How long to wait for further changes before the output is flushed.
const QUIET: Duration = Duration::from_millis(50);
/// The first pause before reconnecting; it doubles up to `retry_max_wait_seconds`.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Follows streams by content synchronization until a signal or an error stops it.
pub(crate) async fn content_sync<W: Write>(
    mut streams: Vec<ContentSyncStream<'_>>,
    output: &mut Output<'_, W>,
    longest_pause: Duration,
) -> anyhow::Result<()> {
    let Some(first) = streams.first() else { return Ok(()) };
    let directory = server(&first.run.context.directory)?.clone();
    let is_389 = first.is_389();
    let mut pause = FIRST_PAUSE;
    let mut is_back = false;
    loop {
        let connected = output.or_stop(directory.sync_connection()).await?;
        let result = match connected {
            Ok(mut connection) => {
                let checked = if is_back { check_restored(&mut streams, output).await } else { Ok(()) };
                is_back = true;
                let result = match checked {
                    Ok(()) if is_389 => {
                        refresh_on_notice(&mut streams, &mut connection, output, &mut pause).await
                    }
                    Ok(()) => persist(&mut streams, &mut connection, output, &mut pause).await,
                    Err(e) => Err(e),
                };
                if result.is_err() {
                    // The records are correct, so the position is kept.
                    set_bookmarks(&mut streams, output)?;
                }
                result
            }
            Err(e) => Err(e.into()),
        };
        let Err(error) = result else { return Ok(()) };
        wait_for(error, &directory, output, &mut pause, longest_pause).await?;
    }
}

/// Checks after a reconnect whether the server was restored, and reads the streams again if so.
async fn check_restored<W: Write>(
    streams: &mut [ContentSyncStream<'_>],
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    for stream in streams {
        stream.check_restored(output).await?;
        if stream.needs_full_read() {
            stream.read_all(output).await?;
        }
    }
    Ok(())
}

/// Waits after a transient error and reconnects. Returns any other error.
async fn wait_for<W: Write>(
    error: anyhow::Error,
    directory: &LdapDirectory,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
    longest_pause: Duration,
) -> anyhow::Result<()> {
    if error.is::<Interrupted>() {
        output.announce_stop();
        // The reader of stdout may have been stopped first.
        let _ = output.save();
        return Err(error);
    }
    let mut error = error;
    loop {
        let Some(passing) = error.downcast_ref::<DirectoryError>().filter(|e| e.is_transient()) else {
            return Err(error);
        };
        tracing::warn!("{passing}; connecting again in {} ms", pause.as_millis());
        output.save()?;
        output.or_stop(tokio::time::sleep(*pause)).await?;
        *pause = (*pause * 2).min(longest_pause);
        match output.or_stop(directory.reconnect()).await? {
            Ok(()) => return Ok(()),
            Err(e) => error = e.into(),
        }
    }
}

fn set_bookmarks<W: Write>(
    streams: &mut [ContentSyncStream<'_>],
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    streams.iter_mut().try_for_each(|stream| stream.set_bookmark(output))
}

/// Follows streams over one connection, by searches that persist.
async fn persist<W: Write>(
    streams: &mut [ContentSyncStream<'_>],
    connection: &mut SyncConnection,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let mut of = HashMap::new();
    for (n, stream) in streams.iter_mut().enumerate() {
        of.insert(connection.start(&stream.request(SyncMode::RefreshAndPersist).await?).await?, n);
    }
    let mut unsaved = false;
    let mut checked_at = Instant::now();
    loop {
        if checked_at.elapsed() >= CHECK_EVERY {
            for stream in streams.iter_mut() {
                let before = stream.run.records;
                stream.emit_renamed(output).await?;
                unsaved |= stream.run.records > before;
            }
            checked_at = Instant::now();
        }
        if unsaved && output.is_older_than(STATE_WITHIN) {
            set_bookmarks(streams, output)?;
            output.save()?;
            unsaved = false;
        }
        let patience = if unsaved { QUIET } else { CHECK_EVERY };
        let Ok(next) = output.or_stop(tokio::time::timeout(patience, connection.next())).await? else {
            output.flush()?;
            continue;
        };
        let (id, item) = next?;
        // The pause is not reset by a server that only reports that it is busy or unavailable.
        if !matches!(item, SyncItem::End(_)) {
            *pause = FIRST_PAUSE;
        }
        let Some(n) = of.get(&id).copied() else { continue };
        let Some(stream) = streams.get_mut(n) else { continue };
        let before = stream.run.records;
        match stream.handle_item(item, output).await? {
            SyncAction::Continue => {}
            SyncAction::Refreshed => {
                if let Some(why) = stream.finish(Renames::Search, output).await? {
                    let again = restart_search(stream, &why, id, connection, output).await?;
                    of.remove(&id);
                    of.insert(again, n);
                }
            }
            SyncAction::Ended => return Err(ended(stream)),
            SyncAction::Resync(why) => {
                let again = restart_search(stream, &why, id, connection, output).await?;
                of.remove(&id);
                of.insert(again, n);
            }
        }
        unsaved |= stream.run.records > before;
    }
}

/// Follows streams over one connection to a 389 DS. Its persistent searches are only notices; refreshes read its changelog, emit
/// changes and move positions. A persistent search misses what is written between taking its position and registering the
/// search, and what its queue cannot hold.
async fn refresh_on_notice<W: Write>(
    streams: &mut [ContentSyncStream<'_>],
    notices: &mut SyncConnection,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let mut of = HashMap::new();
    for (n, stream) in streams.iter_mut().enumerate() {
        of.insert(notices.start(&notice_request(stream).await?).await?, n);
    }
    let mut refreshes = None;
    let mut searched_at: Option<Instant> = None;
    loop {
        // A change that was being written when a notice arrived, or when the searches started, is in the log a moment later.
        let mut patience = LOG_DELAY;
        loop {
            let before = output.records;
            let is_due = searched_at.is_none_or(|at| at.elapsed() >= CHECK_EVERY);
            let renames = if is_due { Renames::Search } else { Renames::FromLog };
            for stream in streams.iter_mut() {
                stream.catch_up(&mut refreshes, renames, output).await?;
            }
            if is_due {
                searched_at = Some(Instant::now());
            }
            if output.records > before {
                output.save()?;
            }
            if let Ok(next) = output.or_stop(tokio::time::timeout(patience, notices.next())).await? {
                handle_notice(next?, streams, &mut of, notices, output, pause).await?;
                break;
            }
            patience = CHECK_EVERY;
        }
        // Changes arrive in bursts: one refresh for all of them, and for those that arrive meanwhile.
        let burst = Instant::now();
        while burst.elapsed() < STATE_WITHIN {
            match output.or_stop(tokio::time::timeout(QUIET, notices.next())).await? {
                Ok(next) => handle_notice(next?, streams, &mut of, notices, output, pause).await?,
                Err(_) => break,
            }
        }
    }
}

/// Returns the search by which 389 DS reports that a stream changed.
async fn notice_request(stream: &mut ContentSyncStream<'_>) -> anyhow::Result<SyncRequest> {
    let mut request = stream.request(SyncMode::RefreshAndPersist).await?;
    request.attributes = vec!["1.1".to_owned()];
    Ok(request)
}

/// Handles an item of a notice search. Only its end is more than a notice.
async fn handle_notice<W: Write>(
    (id, item): (i64, SyncItem),
    streams: &mut [ContentSyncStream<'_>],
    of: &mut HashMap<i64, usize>,
    notices: &mut SyncConnection,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let SyncItem::End(end) = item else {
        *pause = FIRST_PAUSE;
        return Ok(());
    };
    let Some(n) = of.remove(&id) else { return Ok(()) };
    let Some(stream) = streams.get_mut(n) else { return Ok(()) };
    match end {
        Ok(()) => Err(ended(stream)),
        Err(code) => {
            if let SyncAction::Resync(why) = stream.handle_error(code)? {
                stream.start_over(&why);
                stream.read_all(output).await?;
            }
            of.insert(notices.start(&notice_request(stream).await?).await?, n);
            Ok(())
        }
    }
}

/// Returns the error for the end of a persistent search: the server is shutting down.
fn ended(stream: &ContentSyncStream<'_>) -> anyhow::Error {
    DirectoryError::Lost {
        operation: "synchronisation",
        dn: stream.run.stream.tap_stream_id.clone(),
        reason: "the server ended it".into(),
        outcome_unknown: false,
    }
    .into()
}

/// Stops a stream's search, reads everything, and starts another search. Returns its id.
async fn restart_search<W: Write>(
    stream: &mut ContentSyncStream<'_>,
    why: &str,
    id: i64,
    connection: &mut SyncConnection,
    output: &mut Output<'_, W>,
) -> anyhow::Result<i64> {
    connection.abandon(id).await?;
    stream.start_over(why);
    stream.read_all(output).await?;
    Ok(connection.start(&stream.request(SyncMode::RefreshAndPersist).await?).await?)
}

/// Follows streams of Active Directory: after each change notice, the changes are looked up.
pub(crate) async fn dirsync<W: Write>(
    mut streams: Vec<DirSyncStream<'_>>,
    output: &mut Output<'_, W>,
    longest_pause: Duration,
) -> anyhow::Result<()> {
    let Some(first) = streams.first() else { return Ok(()) };
    let Directory::Ldap(directory) = first.run.context.directory.clone() else { return Ok(()) };
    let naming_context = first.naming_context().to_owned();
    let mut pause = FIRST_PAUSE;
    loop {
        let result = async {
            let mut notices = output.or_stop(directory.change_notices(&naming_context)).await??;
            // A change that was made before the server registered the search has no notice.
            let mut patience = LOG_DELAY;
            loop {
                let before = output.records;
                for stream in &mut streams {
                    stream.catch_up(output).await?;
                }
                if output.records > before {
                    output.save()?;
                }
                pause = FIRST_PAUSE;
                if let Ok(notice) = output.or_stop(tokio::time::timeout(patience, notices.next())).await? {
                    notice?;
                    // Changes arrive in bursts: one lookup for all of them.
                    output.or_stop(tokio::time::sleep(QUIET)).await?;
                    notices.skip_ready().await?;
                    patience = LOG_DELAY;
                } else {
                    patience = CHECK_EVERY;
                }
            }
        };
        let result: anyhow::Result<()> = result.await;
        let Err(error) = result else { return Ok(()) };
        wait_for(error, &directory, output, &mut pause, longest_pause).await?;
    }
}
