//! The first and the last log line of a run: its options and its totals.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::operations::logging::run_id;

/// The totals of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Count {
    Records,
    Entries,
    Added,
    Modified,
    Renamed,
    Moved,
    Deleted,
    Unchanged,
    Ignored,
    Rejected,
    BooksHeld,
    BooksEmitted,
    BooksLeftOut,
    BooksDiffer,
    BooksSameKey,
    Unreadable,
    Incomplete,
}

/// The number of [`Count`]s.
const COUNTS: usize = Count::Incomplete as usize + 1;

/// One per process.
static RUN: Mutex<Option<Run>> = Mutex::new(None);

#[derive(Debug, Clone)]
struct Run {
    started: Instant,
    dry: bool,
    counts: [Option<u64>; COUNTS],
}

/// Logs the first line. Tasks that are not a run, such as `--about`, have neither a first nor a last line.
pub fn begin(name: &str, version: &str, dry: bool) {
    *lock() = Some(Run { started: Instant::now(), dry, counts: [None; COUNTS] });
    let kind = if dry { " (dry run)" } else { "" };
    tracing::info!("run {} begins{kind}: {name} {version}", run_id());
}

/// Sets a count. Called at the end of a stream or of the run, not for each record.
pub fn set(count: Count, number: u64) {
    if let Some(slot) = lock().as_mut().and_then(|run| run.counts.get_mut(count as usize)) {
        *slot = Some(number);
    }
}

/// Adds to a count. Not called for each record, either.
pub fn add(count: Count, number: u64) {
    if let Some(slot) = lock().as_mut().and_then(|run| run.counts.get_mut(count as usize)) {
        *slot = Some(slot.unwrap_or_default() + number);
    }
}

/// Suppresses the last line: its reader has gone.
pub(crate) fn forget() {
    *lock() = None;
}

/// Logs the last line, with the totals.
pub(crate) fn end(code: ExitCode) {
    let Some(run) = lock().take() else { return };
    let code = (0..=u8::MAX).find(|n| same(code, *n)).unwrap_or_default();
    let took = run.started.elapsed();
    let get = |count: Count| run.counts.get(count as usize).copied().flatten();
    let (status, how) = match code {
        0 => ("succeeded", "done".to_owned()),
        4 => ("rejected", "done, but records were rejected (exit code 4)".to_owned()),
        5 => (
            "held",
            "held back: nothing was written, and a plan waits for a decision (exit code 5)".to_owned(),
        ),
        130 | 143 => ("stopped", format!("stopped by a signal (exit code {code})")),
        _ => ("failed", format!("failed (exit code {code})")),
    };
    let rate = per_second(get(Count::Records).unwrap_or_default(), took);
    let mut text = format!("run {} {how} after {:.1} s", run_id(), took.as_secs_f64());
    let mut separator = if run.dry { " (nothing was written): " } else { ": " };
    for (count, what) in [
        (Count::Records, "records"),
        (Count::Entries, "entries read"),
        (Count::Added, "added"),
        (Count::Modified, "modified"),
        (Count::Renamed, "renamed"),
        (Count::Moved, "moved"),
        (Count::Deleted, "deleted"),
        (Count::Unchanged, "unchanged"),
        (Count::Ignored, "left as they are"),
        (Count::Rejected, "rejected"),
        (Count::BooksDiffer, "entries held but not read"),
        (Count::BooksSameKey, "entries with another one's key"),
        (Count::Unreadable, "entries whose names are not UTF-8 left out"),
        (Count::Incomplete, "stream(s) from which nothing may be deleted"),
    ] {
        // The fields have the zeros, too.
        let Some(number) = get(count).filter(|n| *n > 0) else { continue };
        let _ = write!(text, "{separator}{number} {what}");
        if count == Count::Records {
            let _ = write!(text, " ({rate:.0} per second)");
        }
        separator = ", ";
    }
    if separator != ", " && get(Count::Records).is_some() {
        let _ = write!(text, "{separator}no records");
    }
    // The macro needs a constant level.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                summary.status = status,
                summary.exit_code = u64::from(code),
                summary.dry_run = run.dry,
                summary.records = get(Count::Records),
                summary.entries_read = get(Count::Entries),
                summary.added = get(Count::Added),
                summary.modified = get(Count::Modified),
                summary.renamed = get(Count::Renamed),
                summary.moved = get(Count::Moved),
                summary.deleted = get(Count::Deleted),
                summary.unchanged = get(Count::Unchanged),
                summary.ignored = get(Count::Ignored),
                summary.rejected = get(Count::Rejected),
                summary.books_held = get(Count::BooksHeld),
                summary.books_emitted = get(Count::BooksEmitted),
                summary.books_left_out = get(Count::BooksLeftOut),
                summary.books_differ = get(Count::BooksDiffer),
                summary.books_same_key = get(Count::BooksSameKey),
                summary.unreadable = get(Count::Unreadable),
                summary.incomplete_streams = get(Count::Incomplete),
                summary.duration_seconds = took.as_secs_f64(),
                summary.records_per_second = rate,
                "{text}"
            )
        };
    }
    match status {
        "succeeded" => line!(tracing::Level::INFO),
        "failed" => line!(tracing::Level::ERROR),
        _ => line!(tracing::Level::WARN),
    }
}

/// Whether an [`ExitCode`] has this number, which it does not expose.
fn same(code: ExitCode, number: u8) -> bool {
    code == ExitCode::from(number)
}

#[allow(clippy::cast_precision_loss, reason = "for people, and for machines that draw curves")]
fn per_second(number: u64, took: Duration) -> f64 {
    (number as f64 / took.as_secs_f64().max(1e-6) * 10.0).round() / 10.0
}

fn lock() -> std::sync::MutexGuard<'static, Option<Run>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}
