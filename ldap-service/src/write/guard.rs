//! `write.max_deletes`: the most deletions in an hour.
//!
//! What counts: entries that are deleted, and those that `on_delete` moves (with their subtree) or sets to other values. The
//! window slides: a deletion counts for an hour. Its state is a small file in `write.undo_dir`, so that a restart does not reset
//! it, and so that two processes with one folder share it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use singer_common::operations::file;

use super::{WriteError, WriteErrorKind};

/// The length of the window in seconds.
const WINDOW: u64 = 3600;
/// The file with the deletions of the last hour: a line for each write, `SECONDS COUNT`.
pub(crate) const STATE_FILE: &str = "max_deletes.state";
const LOCK_FILE: &str = "max_deletes.state.lock";

/// The guard.
#[derive(Debug, Clone)]
pub(crate) struct DeleteGuard {
    max: Option<u64>,
    folder: PathBuf,
}

/// Deletions that were counted before they are made.
#[derive(Debug)]
pub(crate) struct Reservation {
    at: u64,
    count: u64,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn unusable(error: &io::Error) -> WriteError {
    let detail = format!("{STATE_FILE} in write.undo_dir: {error}; nothing was deleted");
    WriteError::new(WriteErrorKind::Undo, detail)
}

impl DeleteGuard {
    pub(crate) fn new(max: Option<u64>, folder: PathBuf) -> DeleteGuard {
        DeleteGuard { max, folder }
    }

    /// Counts deletions, if the limit allows all of them.
    ///
    /// # Errors
    /// It does not, or the state cannot be read or written: then nothing may be deleted.
    pub(crate) async fn reserve(&self, count: u64) -> Result<Option<Reservation>, WriteError> {
        let Some(max) = self.max.filter(|_| count > 0) else { return Ok(None) };
        if count > max {
            let detail =
                format!("write.max_deletes: the request would delete {count}, more than {max} in an hour");
            return Err(WriteError::new(WriteErrorKind::TooManyDeletes, detail));
        }
        let folder = self.folder.clone();
        let reserved = tokio::task::spawn_blocking(move || reserve(&folder, max, count, now())).await;
        match reserved.map_err(io::Error::other).flatten().map_err(|e| unusable(&e))? {
            Ok(reservation) => Ok(Some(reservation)),
            Err(retry_after) => {
                let detail = format!("write.max_deletes: {max} in an hour, and they are used up");
                let error = WriteError::new(WriteErrorKind::DeletesUsedUp, detail);
                Err(WriteError { retry_after: Some(retry_after), ..error })
            }
        }
    }

    /// Returns why so many deletions would be refused now, without counting them.
    pub(crate) async fn objection(&self, count: u64) -> Option<WriteError> {
        match self.reserve(count).await {
            Ok(reservation) => {
                self.release(reservation, count).await;
                None
            }
            Err(error) => Some(error),
        }
    }

    /// Takes back deletions that were counted and not made.
    pub(crate) async fn release(&self, reservation: Option<Reservation>, unused: u64) {
        let Some(reservation) = reservation.filter(|_| unused > 0) else { return };
        let folder = self.folder.clone();
        let released = tokio::task::spawn_blocking(move || release(&folder, &reservation, unused)).await;
        if let Err(error) = released.map_err(io::Error::other).flatten() {
            tracing::warn!("{STATE_FILE}: {error}; deletions that were not made count for an hour");
        }
    }
}

/// Locks the state for all processes that share the folder.
fn locked(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(folder.join(LOCK_FILE))?;
    file.lock()?;
    Ok(file)
}

/// Reads the deletions that still count. Those in the future count for an hour from now: the clock was set back, maybe by years.
fn read(folder: &Path, now: u64) -> io::Result<Vec<(u64, u64)>> {
    let counts = all(folder)?.into_iter().filter(|(at, _)| at.saturating_add(WINDOW) > now);
    Ok(counts.map(|(at, count)| (at.min(now), count)).collect())
}

/// Reads the state as it is.
fn all(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let text = match std::fs::read_to_string(folder.join(STATE_FILE)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let parse = |line: &str| {
        let (at, count) = line.split_once(' ')?;
        Some((at.parse().ok()?, count.parse().ok()?))
    };
    let lines: Option<Vec<(u64, u64)>> = text.lines().map(parse).collect();
    lines.ok_or_else(|| io::Error::other("its content is not valid; remove the file to begin anew"))
}

fn write(folder: &Path, lines: &[(u64, u64)]) -> io::Result<()> {
    file::replace_private(&folder.join(STATE_FILE), |out| {
        lines.iter().filter(|(_, count)| *count > 0).try_for_each(|(at, count)| writeln!(out, "{at} {count}"))
    })
}

/// The inner error is the time in seconds until enough deletions no longer count.
fn reserve(folder: &Path, max: u64, count: u64, now: u64) -> io::Result<Result<Reservation, u64>> {
    let _lock = locked(folder)?;
    let mut lines = read(folder, now)?;
    let used: u64 = lines.iter().map(|(_, count)| *count).sum();
    if used.saturating_add(count) > max {
        let mut over = used.saturating_add(count) - max;
        lines.sort_unstable();
        let enough = lines.iter().find(|(_, count)| {
            over = over.saturating_sub(*count);
            over == 0
        });
        let until = enough.map_or(WINDOW, |(at, _)| at.saturating_add(WINDOW).saturating_sub(now));
        // Times that were in the future begin to pass.
        write(folder, &lines)?;
        return Ok(Err(until.clamp(1, WINDOW)));
    }
    lines.push((now, count));
    write(folder, &lines)?;
    Ok(Ok(Reservation { at: now, count }))
}

fn release(folder: &Path, reservation: &Reservation, unused: u64) -> io::Result<()> {
    let _lock = locked(folder)?;
    // Later ones are of other writes meanwhile.
    let mut lines = all(folder)?;
    let is_it = |line: &&mut (u64, u64)| line.0 == reservation.at && line.1 >= reservation.count.min(unused);
    if let Some(line) = lines.iter_mut().find(is_it) {
        line.1 = line.1.saturating_sub(unused);
    }
    write(folder, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_count_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(reserve(folder, 10, 6, 1_000).unwrap().is_ok());
        assert!(reserve(folder, 10, 4, 2_000).unwrap().is_ok());
        assert_eq!(reserve(folder, 10, 1, 3_000).unwrap().unwrap_err(), 1_600, "when the first six end");
        assert_eq!(reserve(folder, 10, 7, 3_000).unwrap().unwrap_err(), 2_600, "when all end");
        assert!(reserve(folder, 10, 6, 4_600).unwrap().is_ok());
        assert!(reserve(folder, 10, 1, 4_600).unwrap().is_err());
        // The clock was set back: what was counted still counts.
        assert!(reserve(folder, 10, 1, 10).unwrap().is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_by_years_holds_deletions_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (future, now) = (2_000_000_000, 1_000_000_000);
        assert!(reserve(folder, 10, 10, future).unwrap().is_ok());
        assert_eq!(reserve(folder, 10, 1, now).unwrap().unwrap_err(), 3_600, "they count");
        // Refusals do not begin the hour again.
        assert_eq!(reserve(folder, 10, 1, now + 1_800).unwrap().unwrap_err(), 1_800);
        assert!(reserve(folder, 10, 10, now + 3_600).unwrap().is_ok());
    }

    #[test]
    fn what_was_not_made_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let reservation = reserve(folder, 3, 3, 1_000).unwrap().unwrap();
        release(folder, &reservation, 2).unwrap();
        assert!(reserve(folder, 3, 2, 1_000).unwrap().is_ok());
        assert!(reserve(folder, 3, 1, 1_000).unwrap().is_err());
    }

    #[test]
    fn a_state_that_cannot_be_read_lets_nothing_be_deleted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STATE_FILE), "1000 3\nrubbish\n").unwrap();
        assert!(reserve(folder.path(), 10, 1, 1_000).is_err());
        assert!(reserve(&folder.path().join("missing"), 10, 1, 1_000).is_err());
    }

    #[tokio::test]
    async fn one_request_over_the_limit_is_not_a_matter_of_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let guard = DeleteGuard::new(Some(2), folder.path().to_owned());
        assert_eq!(guard.reserve(3).await.unwrap_err().kind, WriteErrorKind::TooManyDeletes);
        assert!(guard.reserve(2).await.unwrap().is_some());
        let error = guard.reserve(1).await.unwrap_err();
        assert_eq!((error.kind.status(), error.retry_after.is_some()), (429, true));
        assert!(guard.reserve(0).await.unwrap().is_none());
    }
}
