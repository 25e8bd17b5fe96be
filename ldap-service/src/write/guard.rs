//! `write.max_deletes`: the most deletions in an hour.
//!
//! What counts: entries that are deleted, and those that `on_delete` moves (with their subtree) or sets to other values. The
//! window slides: a deletion counts for an hour. Its state is a small file in `write.undo_dir`, so that a restart does not reset
//! it, and so that two processes with one folder share it.
//!
//! What was counted does not get lost with the file: the process knows its own deletions, and a file that is not whole (its first line has the
//! number of the others) lets nothing be deleted. An empty one, which a full disk leaves, counts as used up for an hour after it was written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use singer_common::operations::file;

use super::{WriteError, WriteErrorKind};

/// The length of the window in seconds.
const WINDOW: u64 = 3600;
/// The file with the deletions of the last hour: a line for each write, `SECONDS COUNT`. The first line is `0 LINES`, the number of the
/// others.
pub(crate) const STATE_FILE: &str = "max_deletes.state";
const LOCK_FILE: &str = "max_deletes.state.lock";

/// The guard.
#[derive(Debug, Clone)]
pub(crate) struct DeleteGuard {
    max: Option<u64>,
    state: State,
}

/// The deletions of the last hour that this process has counted. It outlives a reload of the settings.
pub(crate) type Counted = Arc<Mutex<Vec<(u64, u64)>>>;

/// What is known of the last hour.
#[derive(Debug, Clone)]
struct State {
    folder: PathBuf,
    own: Counted,
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
    pub(crate) fn new(max: Option<u64>, folder: PathBuf, own: Counted) -> DeleteGuard {
        DeleteGuard { max, state: State { folder, own } }
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
        let state = self.state.clone();
        let reserved = tokio::task::spawn_blocking(move || state.reserve(max, count, now())).await;
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
        let state = self.state.clone();
        let released = tokio::task::spawn_blocking(move || state.release(&reservation, unused)).await;
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

fn sum<'l>(lines: impl Iterator<Item = &'l (u64, u64)>) -> u64 {
    lines.fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// Leaves out what counts no longer. What is in the future counts for an hour from now: the clock was set back, maybe by years.
fn counting(lines: Vec<(u64, u64)>, now: u64) -> Vec<(u64, u64)> {
    let counts = lines.into_iter().filter(|(at, _)| at.saturating_add(WINDOW) > now);
    counts.map(|(at, count)| (at.min(now), count)).collect()
}

fn write(folder: &Path, lines: &[(u64, u64)]) -> io::Result<()> {
    let lines: Vec<_> = lines.iter().filter(|(_, count)| *count > 0).collect();
    file::replace_private(&folder.join(STATE_FILE), |out| {
        writeln!(out, "0 {}", lines.len())?;
        lines.iter().try_for_each(|(at, count)| writeln!(out, "{at} {count}"))
    })
}

impl State {
    fn own(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the state as it is in the file.
    fn in_file(&self) -> io::Result<Vec<(u64, u64)>> {
        let path = self.folder.join(STATE_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        if text.is_empty() {
            // Earlier versions left it so, too, if nothing had been deleted.
            let written = std::fs::metadata(&path)?.modified()?;
            let at = written.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            return Ok(vec![(at, u64::MAX)]);
        }
        let parse = |line: &str| {
            let (at, count) = line.split_once(' ')?;
            Some((at.parse().ok()?, count.parse().ok()?))
        };
        let invalid = |what: &str| io::Error::other(format!("{what}; remove the file to begin anew"));
        let lines: Option<Vec<(u64, u64)>> = text.lines().map(parse).collect();
        let mut lines = lines.ok_or_else(|| invalid("its content is not valid"))?;
        // Earlier versions wrote no such line.
        if let Some((0, count)) = lines.first().copied() {
            lines.remove(0);
            if lines.len() as u64 != count || !text.ends_with('\n') {
                return Err(invalid("it is not whole"));
            }
        }
        Ok(lines)
    }

    /// Reads the state, with what this process knows though the file does not have it any more.
    fn all(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut lines = self.in_file()?;
        let own = self.own().clone();
        for (at, _) in &own {
            let of = |lines: &[(u64, u64)]| sum(lines.iter().filter(|line| line.0 == *at));
            let (known, there) = (of(&own), of(&lines));
            if there < known {
                tracing::warn!(
                    "{STATE_FILE} in write.undo_dir has lost deletions of the last hour, which count all the same"
                );
                lines.push((*at, known - there));
            }
        }
        Ok(lines)
    }

    /// Reads the deletions that still count.
    fn read(&self, now: u64) -> io::Result<Vec<(u64, u64)>> {
        let lines = counting(self.all()?, now);
        let mut own = self.own();
        *own = counting(std::mem::take(&mut *own), now);
        Ok(lines)
    }

    /// The inner error is the time in seconds until enough deletions no longer count.
    fn reserve(&self, max: u64, count: u64, now: u64) -> io::Result<Result<Reservation, u64>> {
        let _lock = locked(&self.folder)?;
        let mut lines = self.read(now)?;
        let used = sum(lines.iter());
        if used.saturating_add(count) > max {
            let mut over = used.saturating_add(count) - max;
            lines.sort_unstable();
            let enough = lines.iter().find(|(_, count)| {
                over = over.saturating_sub(*count);
                over == 0
            });
            let until = enough.map_or(WINDOW, |(at, _)| at.saturating_add(WINDOW).saturating_sub(now));
            // Times that were in the future begin to pass.
            write(&self.folder, &lines)?;
            return Ok(Err(until.clamp(1, WINDOW)));
        }
        lines.push((now, count));
        write(&self.folder, &lines)?;
        self.own().push((now, count));
        Ok(Ok(Reservation { at: now, count }))
    }

    fn release(&self, reservation: &Reservation, unused: u64) -> io::Result<()> {
        let _lock = locked(&self.folder)?;
        // Later ones are of other writes meanwhile.
        let mut lines = self.all()?;
        let is_it =
            |line: &&mut (u64, u64)| line.0 == reservation.at && line.1 >= reservation.count.min(unused);
        if let Some(line) = lines.iter_mut().find(is_it) {
            line.1 = line.1.saturating_sub(unused);
        }
        if let Some(line) = self.own().iter_mut().find(is_it) {
            line.1 = line.1.saturating_sub(unused);
        }
        write(&self.folder, &lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state as a process knows it that has just begun.
    fn of(folder: &Path) -> State {
        State { folder: folder.to_owned(), own: Counted::default() }
    }

    #[test]
    fn deletions_count_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let state = of(folder.path());
        assert!(state.reserve(10, 6, 1_000).unwrap().is_ok());
        assert!(state.reserve(10, 4, 2_000).unwrap().is_ok());
        assert_eq!(state.reserve(10, 1, 3_000).unwrap().unwrap_err(), 1_600, "when the first six end");
        assert_eq!(state.reserve(10, 7, 3_000).unwrap().unwrap_err(), 2_600, "when all end");
        assert!(state.reserve(10, 6, 4_600).unwrap().is_ok());
        assert!(state.reserve(10, 1, 4_600).unwrap().is_err());
        // The clock was set back: what was counted still counts.
        assert!(state.reserve(10, 1, 10).unwrap().is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_by_years_holds_deletions_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let state = of(folder.path());
        let (future, now) = (2_000_000_000, 1_000_000_000);
        assert!(state.reserve(10, 10, future).unwrap().is_ok());
        assert_eq!(state.reserve(10, 1, now).unwrap().unwrap_err(), 3_600, "they count");
        // Refusals do not begin the hour again.
        assert_eq!(state.reserve(10, 1, now + 1_800).unwrap().unwrap_err(), 1_800);
        assert!(state.reserve(10, 10, now + 3_600).unwrap().is_ok());
    }

    #[test]
    fn what_was_not_made_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let state = of(folder.path());
        let reservation = state.reserve(3, 3, 1_000).unwrap().unwrap();
        state.release(&reservation, 2).unwrap();
        assert!(state.reserve(3, 2, 1_000).unwrap().is_ok());
        assert!(state.reserve(3, 1, 1_000).unwrap().is_err());
    }

    #[test]
    fn a_state_that_cannot_be_read_lets_nothing_be_deleted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STATE_FILE), "1000 3\nrubbish\n").unwrap();
        assert!(of(folder.path()).reserve(10, 1, 1_000).is_err());
        assert!(of(&folder.path().join("missing")).reserve(10, 1, 1_000).is_err());
    }

    #[test]
    fn what_was_counted_is_not_lost_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let state = of(folder.path());
        for now in [1_000, 1_000, 1_001] {
            assert!(state.reserve(3, 1, now).unwrap().is_ok());
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(whole, "0 3\n1000 1\n1000 1\n1001 1\n");
        // Another process finds it cut off; this one knows it.
        for cut in ["0 3\n1000 1\n", "0 3\n", "0 3\n1000 1\n1000 1\n1001 1", "0 3\n1000 1\n1000 1\n1001 "] {
            std::fs::write(&path, cut).unwrap();
            assert!(of(folder.path()).reserve(3, 1, 1_002).is_err(), "{cut}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(state.reserve(3, 1, 1_002).unwrap().unwrap_err(), 3_598);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0 2\n1000 2\n1001 1\n");
        // A full disk has emptied it: it may have been used up.
        std::fs::write(&path, "").unwrap();
        assert!(of(folder.path()).reserve(3, 1, now()).unwrap().is_err());
        assert!(of(folder.path()).reserve(3, 1, now() + WINDOW + 1).unwrap().is_ok());
        // As earlier versions wrote it.
        std::fs::write(&path, "5000 2\n").unwrap();
        assert!(of(folder.path()).reserve(3, 2, 5_001).unwrap().is_err());
        assert!(of(folder.path()).reserve(3, 1, 5_001).unwrap().is_ok());
    }

    #[tokio::test]
    async fn one_request_over_the_limit_is_not_a_matter_of_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let guard = DeleteGuard::new(Some(2), folder.path().to_owned(), Counted::default());
        assert_eq!(guard.reserve(3).await.unwrap_err().kind, WriteErrorKind::TooManyDeletes);
        assert!(guard.reserve(2).await.unwrap().is_some());
        let error = guard.reserve(1).await.unwrap_err();
        assert_eq!((error.kind.status(), error.retry_after.is_some()), (429, true));
        assert!(guard.reserve(0).await.unwrap().is_none());
    }
}
