//! What a run prints, and the state it is in: one for all streams.

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use singer_common::metrics::Metrics;
use singer_common::signals::{Signal, Stop};
use singer_common::state::State;
use singer_common::writer::{SingerWriter, WriteError};

/// A signal asked for a stop. Not a failure: what was printed is right, and the run can go on from the last STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted(pub Signal);

/// Records between two looks at the clock, for the progress on stderr.
const PROGRESS_RECORDS: u64 = 10_000;

/// Where a run's messages go, and what they add up to.
pub struct Output<'a, W: Write> {
    /// Where messages go.
    pub writer: &'a mut SingerWriter<W>,
    /// METRIC lines.
    pub metrics: Metrics,
    /// Whether a stop has been asked for.
    pub stop: Stop,
    /// Whether counts are logged now and then.
    pub progress: bool,
    /// The positions reached.
    pub state: State,
    /// Records after which a STATE is due.
    pub state_interval: u64,
    /// Records since the last STATE.
    unsaved: u64,
    /// When the last STATE was printed.
    saved_at: Instant,
    /// Records printed in all.
    pub records: u64,
}

impl<'a, W: Write> Output<'a, W> {
    /// An output that begins in a state.
    pub fn new(
        writer: &'a mut SingerWriter<W>,
        metrics: Metrics,
        stop: Stop,
        progress: bool,
        state: State,
        state_interval: u64,
    ) -> Self {
        let saved_at = Instant::now();
        Self { writer, metrics, stop, progress, state, state_interval, unsaved: 0, saved_at, records: 0 }
    }

    /// Waits for something, unless a signal comes first.
    pub async fn or_stop<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            signal = self.stop.wait() => Err(Interrupted(signal)),
            result = what => Ok(result),
        }
    }

    /// Ends the run if a signal came.
    pub fn check_stop(&self) -> Result<(), Interrupted> {
        self.stop.requested().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// A record line was put into the writer's buffer. `of_stream` is how many the stream has by now.
    pub fn record_done(&mut self, stream: &str, of_stream: u64) -> Result<(), WriteError> {
        self.records += 1;
        self.unsaved += 1;
        self.writer.record_done()?;
        if self.progress && of_stream.is_multiple_of(PROGRESS_RECORDS) {
            tracing::info!("{stream}: {of_stream} records");
        }
        Ok(())
    }

    /// Whether so many records went by that the next safe position is to be printed.
    pub fn is_due(&self) -> bool {
        self.unsaved >= self.state_interval
    }

    /// Whether the last STATE is so old, and records went by since.
    pub fn is_older_than(&self, age: Duration) -> bool {
        self.saved_at.elapsed() >= age
    }

    /// Notes a stream's position without printing it.
    pub fn note(&mut self, stream: &str, bookmark: Value) {
        self.state.bookmarks.insert(stream.to_owned(), bookmark);
    }

    /// Prints the positions reached.
    pub fn save(&mut self) -> Result<(), WriteError> {
        self.unsaved = 0;
        self.saved_at = Instant::now();
        self.writer.state(&self.state.to_value())
    }
}
