//! SIGTERM and SIGINT: a graceful shutdown at the next record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The time between a first signal and the forced end of a run that is blocked (stdout's reader sleeps).
const GRACE: Duration = Duration::from_secs(10);

/// The signals that request a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// Returns 128 plus the signal's number, as a shell reports it.
    pub fn exit_code(self) -> u8 {
        match self {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

/// The request for a shutdown. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    seen: watch::Receiver<Option<Signal>>,
    handled: Arc<AtomicBool>,
}

impl Stop {
    /// Starts to listen on a separate thread; signals after the return are not lost.
    /// The run itself may be blocked by a slow pipe.
    pub fn listen() -> Self {
        let (sender, seen) = watch::channel(None);
        let signals = Signals::register();
        std::thread::spawn(move || {
            let Some(mut signals) = signals else { return };
            let Some(signal) = signals.next() else { return };
            sender.send_replace(Some(signal));
            // Waits for the end of the grace period or a second signal.
            std::thread::spawn(move || {
                let _over = COMMITS.over_after(GRACE);
                end(signal);
            });
            if signals.next().is_some() {
                let _over = COMMITS.over();
                end(signal);
            }
        });
        Self { seen, handled: Arc::default() }
    }

    /// Returns a [`Stop`] that is never requested.
    pub fn never() -> Self {
        Self { seen: watch::channel(None).1, handled: Arc::default() }
    }

    /// Returns the signal, if one was received.
    pub fn requested(&self) -> Option<Signal> {
        *self.seen.borrow()
    }

    /// Declares that the run itself handles signals from now on.
    pub fn handle(&self) {
        self.handled.store(true, Ordering::Relaxed);
    }

    /// Waits for a signal received before the run handles signals itself.
    pub async fn wait_unless_handled(&mut self) -> Signal {
        let signal = self.wait().await;
        if self.handled.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        signal
    }

    /// Waits for the signal.
    pub async fn wait(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.requested() {
                return signal;
            }
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The writes in progress, which must not be interrupted.
static COMMITS: Commits = Commits { count: Mutex::new(0), changed: Condvar::new() };

/// The number of commits in progress.
#[derive(Debug)]
struct Commits {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Commits {
    fn count(&self) -> MutexGuard<'_, usize> {
        // The number is valid even after a panic.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&'static self) -> Uninterrupted {
        *self.count() += 1;
        Uninterrupted(self)
    }

    /// Waits until no commit is in progress. None begins while the returned guard is held.
    fn over(&self) -> MutexGuard<'_, usize> {
        let none = self.changed.wait_while(self.count(), |count| *count > 0);
        none.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the grace period. If a commit is then in progress, waits for its end and for another grace period:
    /// its result must be reported, too.
    fn over_after(&self, grace: Duration) -> MutexGuard<'_, usize> {
        std::thread::sleep(grace);
        let waited = Instant::now();
        let was_under_way = *self.count() > 0;
        let over = self.over();
        if !was_under_way {
            return over;
        }
        drop(over);
        tracing::debug!("the end of the run was put off by {:?}", waited.elapsed());
        std::thread::sleep(grace);
        self.over()
    }
}

/// Defers the end of the process by signals until it is dropped.
#[derive(Debug)]
pub struct Uninterrupted(&'static Commits);

/// Begins a write that no signal may interrupt: the replacement of a file, a line of a journal.
/// Hold the result until the write is done, and never while waiting for others: a blocked run must still end.
pub fn uninterrupted() -> Uninterrupted {
    COMMITS.begin()
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.changed.notify_all();
    }
}

#[allow(clippy::exit, reason = "the run is stuck in a system call; nothing else can end it")]
fn end(signal: Signal) -> ! {
    std::process::exit(i32::from(signal.exit_code()))
}

/// The signals received.
#[cfg(unix)]
struct Signals(signal_hook::iterator::Signals);

#[cfg(unix)]
impl Signals {
    /// Registers handlers for the signals, and for SIGXFSZ, which would end the process.
    /// A file at its size limit (RLIMIT_FSIZE) is then a write error, like a full disk (EFBIG, write(2)).
    fn register() -> Option<Signals> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let file_size = rustix::process::Signal::XFSZ.as_raw();
        // The flag is unused: the error of the write reports it.
        let _ = signal_hook::flag::register(file_size, Arc::default());
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).ok().map(Signals)
    }

    fn next(&mut self) -> Option<Signal> {
        let number = self.0.forever().next()?;
        Some(if number == signal_hook::consts::SIGINT { Signal::Interrupt } else { Signal::Terminate })
    }
}

#[cfg(not(unix))]
struct Signals(tokio::runtime::Runtime);

#[cfg(not(unix))]
impl Signals {
    fn register() -> Option<Signals> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().ok().map(Signals)
    }

    fn next(&mut self) -> Option<Signal> {
        self.0.block_on(tokio::signal::ctrl_c()).ok().map(|()| Signal::Interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_wait_for_commits_in_progress() {
        let commits: &'static Commits =
            Box::leak(Box::new(Commits { count: Mutex::new(0), changed: Condvar::new() }));
        let (grace, long) = (Duration::from_millis(50), Duration::from_millis(300));
        let started = Instant::now();
        drop(commits.over_after(grace));
        assert!(started.elapsed() < long, "nothing is under way");
        for insists in [false, true] {
            let (one, other) = (commits.begin(), commits.begin());
            let started = Instant::now();
            let ends = std::thread::spawn(move || {
                drop(if insists { commits.over() } else { commits.over_after(grace) });
                started.elapsed()
            });
            std::thread::sleep(long);
            drop(one);
            std::thread::sleep(long);
            assert!(!ends.is_finished());
            drop(other);
            let took = ends.join().unwrap();
            assert!(took >= long * 2 + if insists { Duration::ZERO } else { grace }, "{took:?}");
        }
        assert_eq!(*commits.count(), 0);
    }
}
