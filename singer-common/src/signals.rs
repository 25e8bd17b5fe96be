//! SIGTERM and SIGINT: a request to stop at the next record, not a blow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// After a first signal, a run that does not end by itself (stdout's reader sleeps) is ended from here.
const GRACE: Duration = Duration::from_secs(10);

/// The signals that ask for a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// 128 and the signal's number, as a shell reports it.
    pub fn exit_code(self) -> u8 {
        match self {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

/// Whether a stop has been asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    seen: watch::Receiver<Option<Signal>>,
    handled: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on, on a thread of its own: the run itself may be busy writing to a slow pipe.
    pub fn listen() -> Self {
        let (sender, seen) = watch::channel(None);
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async move {
                let _limits = file_size_limits();
                let Some(signal) = next_signal().await else { return };
                sender.send_replace(Some(signal));
                // Until the end of the grace, or a second signal.
                let _ = tokio::time::timeout(GRACE, next_signal()).await;
                #[allow(clippy::exit, reason = "the run is stuck in a system call; nothing else can end it")]
                std::process::exit(i32::from(signal.exit_code()));
            });
        });
        Self { seen, handled: Arc::default() }
    }

    /// For a run that no signal stops.
    pub fn never() -> Self {
        Self { seen: watch::channel(None).1, handled: Arc::default() }
    }

    /// The signal, once it has come.
    pub fn requested(&self) -> Option<Signal> {
        *self.seen.borrow()
    }

    /// Says that from now on somebody looks at signals at the right moments.
    pub fn handle(&self) {
        self.handled.store(true, Ordering::Relaxed);
    }

    /// Waits for a signal that comes before anybody handles them.
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

/// Takes SIGXFSZ up, which would end the process: a file that may not grow any more (RLIMIT_FSIZE) is then an error where it
/// is written, as on a full disk (EFBIG, write(2)).
#[cfg(unix)]
fn file_size_limits() -> Option<tokio::signal::unix::Signal> {
    let number = rustix::process::Signal::XFSZ.as_raw();
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number)).ok()
}

#[cfg(not(unix))]
fn file_size_limits() {}

#[cfg(unix)]
async fn next_signal() -> Option<Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).ok()?;
    let mut terminate = signal(SignalKind::terminate()).ok()?;
    tokio::select! {
        _ = interrupt.recv() => Some(Signal::Interrupt),
        _ = terminate.recv() => Some(Signal::Terminate),
    }
}

#[cfg(not(unix))]
async fn next_signal() -> Option<Signal> {
    tokio::signal::ctrl_c().await.ok().map(|()| Signal::Interrupt)
}
