//! `follow: true`: after the first sync the tap stays, and prints what changes as it happens.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use singer_common::directory::ldap::LdapDirectory;
use singer_common::directory::ldap::content_sync::{SyncConnection, SyncItem, SyncMode, SyncRequest};
use singer_common::directory::{Directory, DirectoryError};

use super::content_sync::{A_MOMENT, Synced, Verdict, server};
use super::dirsync::DirSynced;
use crate::output::{Interrupted, Output};

/// STATE follows the records it covers within this time.
const STATE_WITHIN: Duration = Duration::from_secs(1);
/// How often to look whether containers were renamed that are in no stream themselves.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long to wait for more before what is there is handed on.
const QUIET: Duration = Duration::from_millis(50);
/// The first pause before a lost connection is opened anew; it doubles from there up to `retry_max_wait_seconds`.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Follows streams by content synchronisation until a signal or an error ends it.
pub(crate) async fn content_sync<W: Write>(
    mut streams: Vec<Synced<'_>>,
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
                let looked = if is_back { look_back(&mut streams, output).await } else { Ok(()) };
                is_back = true;
                let result = match looked {
                    Ok(()) if is_389 => {
                        refresh_when_told(&mut streams, &mut connection, output, &mut pause).await
                    }
                    Ok(()) => persist(&mut streams, &mut connection, output, &mut pause).await,
                    Err(e) => Err(e),
                };
                if result.is_err() {
                    // What was printed is right: its position may be kept.
                    note_all(&mut streams, output)?;
                }
                result
            }
            Err(e) => Err(e.into()),
        };
        let Err(error) = result else { return Ok(()) };
        wait_for(error, &directory, output, &mut pause, longest_pause).await?;
    }
}

/// Whatever happened to a server while there was no connection: reads anew what went back.
async fn look_back<W: Write>(streams: &mut [Synced<'_>], output: &mut Output<'_, W>) -> anyhow::Result<()> {
    for stream in streams {
        stream.look_back(output).await?;
        if stream.is_to_be_read() {
            stream.read(output).await?;
        }
    }
    Ok(())
}

/// After what may pass: waits and connects anew. Any other error ends it.
async fn wait_for<W: Write>(
    error: anyhow::Error,
    directory: &LdapDirectory,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
    longest_pause: Duration,
) -> anyhow::Result<()> {
    if error.is::<Interrupted>() {
        // Whoever was to read it may have been stopped first.
        let _ = output.save();
        return Err(error);
    }
    let mut error = error;
    loop {
        let Some(passing) = error.downcast_ref::<DirectoryError>().filter(|e| e.may_be_waited_out()) else {
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

fn note_all<W: Write>(streams: &mut [Synced<'_>], output: &mut Output<'_, W>) -> anyhow::Result<()> {
    streams.iter_mut().try_for_each(|stream| stream.note(output))
}

/// One connection's time.
async fn persist<W: Write>(
    streams: &mut [Synced<'_>],
    connection: &mut SyncConnection,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let mut of = HashMap::new();
    for (n, stream) in streams.iter_mut().enumerate() {
        of.insert(connection.start(&stream.request(SyncMode::RefreshAndPersist).await?).await?, n);
    }
    let mut unsaved = false;
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK_EVERY {
            for stream in streams.iter_mut() {
                let before = stream.run.records;
                stream.look(output).await?;
                unsaved |= stream.run.records > before;
            }
            looked = Instant::now();
        }
        if unsaved && output.is_older_than(STATE_WITHIN) {
            note_all(streams, output)?;
            output.save()?;
            unsaved = false;
        }
        let patience = if unsaved { QUIET } else { LOOK_EVERY };
        let Ok(next) = output.or_stop(tokio::time::timeout(patience, connection.next())).await? else {
            output.flush()?;
            continue;
        };
        let (id, item) = next?;
        // A server that only says that it cannot now is not asked ever so often.
        if !matches!(item, SyncItem::End(_)) {
            *pause = FIRST_PAUSE;
        }
        let Some(n) = of.get(&id).copied() else { continue };
        let Some(stream) = streams.get_mut(n) else { continue };
        let before = stream.run.records;
        match stream.take(item, output).await? {
            Verdict::Go => {}
            Verdict::Fresh => {
                if let Some(why) = stream.settle(output).await? {
                    let again = read_anew(stream, &why, id, connection, output).await?;
                    of.remove(&id);
                    of.insert(again, n);
                }
            }
            Verdict::Ended => return Err(ended(stream)),
            Verdict::Resync(why) => {
                let again = read_anew(stream, &why, id, connection, output).await?;
                of.remove(&id);
                of.insert(again, n);
            }
        }
        unsaved |= stream.run.records > before;
    }
}

/// One connection's time on 389 DS. It does not tell of what was written after it took a search's position and before it took
/// the search into its list, nor of what its queue has no room for: what it tells of is a notice, and refreshes alone, which read
/// its changelog, emit changes and move positions.
async fn refresh_when_told<W: Write>(
    streams: &mut [Synced<'_>],
    notices: &mut SyncConnection,
    output: &mut Output<'_, W>,
    pause: &mut Duration,
) -> anyhow::Result<()> {
    let mut of = HashMap::new();
    for (n, stream) in streams.iter_mut().enumerate() {
        of.insert(notices.start(&notice_request(stream).await?).await?, n);
    }
    let mut refreshes = None;
    loop {
        // What was being written when a notice came, or when the searches began, is in the log a moment later.
        let mut patience = A_MOMENT;
        loop {
            let before = output.records;
            for stream in streams.iter_mut() {
                stream.catch_up(&mut refreshes, output).await?;
            }
            if output.records > before {
                output.save()?;
            }
            if let Ok(next) = output.or_stop(tokio::time::timeout(patience, notices.next())).await? {
                take_notice(next?, streams, &mut of, notices, output, pause).await?;
                break;
            }
            patience = LOOK_EVERY;
        }
        // Changes come in crowds: one refresh for all of them, and for those that arrive meanwhile.
        let crowd = Instant::now();
        while crowd.elapsed() < STATE_WITHIN {
            match output.or_stop(tokio::time::timeout(QUIET, notices.next())).await? {
                Ok(next) => take_notice(next?, streams, &mut of, notices, output, pause).await?,
                Err(_) => break,
            }
        }
    }
}

/// The search by which 389 DS tells that something changed in a stream.
async fn notice_request(stream: &mut Synced<'_>) -> anyhow::Result<SyncRequest> {
    let mut request = stream.request(SyncMode::RefreshAndPersist).await?;
    request.attributes = vec!["1.1".to_owned()];
    Ok(request)
}

/// Looks at an item of a search for notices: the end alone is more than a notice.
async fn take_notice<W: Write>(
    (id, item): (i64, SyncItem),
    streams: &mut [Synced<'_>],
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
            if let Verdict::Resync(why) = stream.failed(code)? {
                stream.start_over(&why);
                stream.read(output).await?;
            }
            of.insert(notices.start(&notice_request(stream).await?).await?, n);
            Ok(())
        }
    }
}

/// A server ends a search that was to have no end when it goes down.
fn ended(stream: &Synced<'_>) -> anyhow::Error {
    DirectoryError::Lost {
        operation: "synchronisation",
        dn: stream.run.stream.tap_stream_id.clone(),
        reason: "the server ended it".into(),
    }
    .into()
}

/// Ends a stream's search, reads everything, and begins another search, whose id it gives.
async fn read_anew<W: Write>(
    stream: &mut Synced<'_>,
    why: &str,
    id: i64,
    connection: &mut SyncConnection,
    output: &mut Output<'_, W>,
) -> anyhow::Result<i64> {
    connection.abandon(id).await?;
    stream.start_over(why);
    stream.read(output).await?;
    Ok(connection.start(&stream.request(SyncMode::RefreshAndPersist).await?).await?)
}

/// Follows streams of Active Directory: whenever the server tells of any change, what changed is looked up.
pub(crate) async fn dirsync<W: Write>(
    mut streams: Vec<DirSynced<'_>>,
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
            // A change that came before the server heard of the search has no notice.
            let mut patience = A_MOMENT;
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
                    // Changes come in crowds: one look for all of them.
                    output.or_stop(tokio::time::sleep(QUIET)).await?;
                    notices.skip_ready().await?;
                    patience = A_MOMENT;
                } else {
                    patience = LOOK_EVERY;
                }
            }
        };
        let result: anyhow::Result<()> = result.await;
        let Err(error) = result else { return Ok(()) };
        wait_for(error, &directory, output, &mut pause, longest_pause).await?;
    }
}
