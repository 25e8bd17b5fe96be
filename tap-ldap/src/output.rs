//! The output of a run: Singer messages, the STATE, and progress; one for all streams.
//!
//! - [`batches`]: records in BATCH files.
//! - [`rewrite`]: stream maps and batches, applied to the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use ldap_directory::DirectoryError;
use ldap_directory::entry::Entry;
use serde_json::Value;
use singer_common::operations::observe::{self, RecordCounter};
use singer_common::operations::progress::{Bar, Show};
use singer_common::operations::signals::{Signal, Stop};
use singer_common::singer::metrics::Metrics;
use singer_common::singer::state::State;
use singer_common::singer::writer::SingerWriter;

use crate::key_index::shared::Indexes;
use crate::stream::entries::Entries;

pub mod batches;
pub mod rewrite;

/// A signal requested a stop. This is not a failure: the output is correct, and a later run can continue from the last STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted(pub Signal);

/// Records between two progress messages.
const PROGRESS_RECORDS: u64 = 10_000;

/// The progress bars.
#[derive(Debug, Default)]
struct Bars {
    all: Option<Bar>,
    stream: Option<Bar>,
}

/// The output of a run, and its totals.
pub struct Output<'a, W: Write> {
    /// Writes messages to stdout.
    pub writer: &'a mut SingerWriter<W>,
    /// Writes METRIC lines.
    pub metrics: Metrics,
    /// Whether a stop was requested.
    pub stop: Stop,
    /// Whether progress is shown.
    progress: bool,
    /// The bars of the current stream and of all streams, if progress is shown as bars.
    bars: Option<Bars>,
    /// The STATE.
    pub state: State,
    /// The indexes of keys (`track_deletions`), which are made durable before each STATE.
    pub(crate) indexes: Indexes,
    /// Records between two STATE messages.
    pub state_interval: u64,
    /// Records since the last STATE.
    unsaved: u64,
    /// When the last STATE was printed.
    saved_at: Instant,
    /// Streams of containers that were read whole without a record.
    pub empty: Vec<String>,
    /// The number of streams that each attribute is hidden in.
    pub hidden: BTreeMap<String, u64>,
    /// The reasons, the same for all streams, of which a warning said that no stream is complete.
    pub warned: BTreeSet<&'static str>,
    /// Records emitted in all streams.
    pub records: u64,
    /// Counts records, if metrics are enabled.
    counter: Option<RecordCounter>,
}

impl<'a, W: Write> Output<'a, W> {
    /// Starts the output with a STATE.
    pub fn new(
        writer: &'a mut SingerWriter<W>,
        metrics: Metrics,
        stop: Stop,
        progress: Show,
        state: State,
        state_interval: u64,
    ) -> Self {
        let saved_at = Instant::now();
        let bars = (progress == Show::Bars).then(Bars::default);
        let progress = progress != Show::Nothing;
        let counter = RecordCounter::begin();
        Self {
            writer,
            metrics,
            stop,
            progress,
            bars,
            state,
            indexes: Indexes::default(),
            state_interval,
            unsaved: 0,
            saved_at,
            empty: Vec::new(),
            hidden: BTreeMap::new(),
            warned: BTreeSet::new(),
            records: 0,
            counter,
        }
    }

    /// Starts counting a stream's records in the metrics.
    pub fn count_stream(&mut self, stream: &str) {
        if let Some(counter) = &mut self.counter {
            counter.stream(stream);
        }
    }

    /// Flushes the record counts to the metrics.
    pub fn count(&mut self) {
        if let Some(counter) = &mut self.counter {
            counter.flush();
        }
    }

    /// Awaits a future, unless a signal arrives first.
    pub async fn or_stop<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            signal = self.stop.wait() => Err(Interrupted(signal)),
            result = what => Ok(result),
        }
    }

    /// Returns an error if a signal arrived.
    pub fn check_stop(&self) -> Result<(), Interrupted> {
        self.stop.requested().map_or(Ok(()), |signal| Err(Interrupted(signal)))
    }

    /// Logs what a stop waits for.
    pub fn announce_stop(&self) {
        let pending = self.writer.pending();
        tracing::info!(
            pending_octets = pending,
            "stopping: {pending} octets of messages and the last safe STATE are being written to stdout; a second signal ends the run at once"
        );
    }

    /// Waits while stdout is blocked. Meanwhile buffers the current page, because servers close a connection that is not
    /// read: 389 DS after ten seconds (nsslapd-ioblocktimeout), others later.
    pub async fn wait_for_stdout(&mut self, entries: &mut Entries<'_>) -> Result<(), Interrupted> {
        if !self.writer.is_congested() {
            return Ok(());
        }
        self.count();
        let room = self.writer.room();
        let since = Instant::now();
        let absorb = async {
            // An error is returned again when the entries are advanced.
            while entries.buffer_page().await.is_ok_and(|more| more) {}
            std::future::pending::<()>().await;
        };
        let waited = self
            .or_stop(async {
                tokio::select! {
                    () = room.wait() => {}
                    () = absorb => {}
                }
            })
            .await;
        observe::output_waited(since.elapsed());
        waited
    }

    /// Returns the next entry of a stream, unless a signal arrives first. While stdout is blocked, entries stay in their page.
    pub async fn next_of(
        &mut self,
        entries: &mut Entries<'_>,
    ) -> Result<Result<Option<Entry>, DirectoryError>, Interrupted> {
        self.wait_for_stdout(entries).await?;
        self.or_stop(entries.next()).await
    }

    /// Counts a record line that was put into the writer's buffer. `of_stream` is the number of records of the stream so far.
    ///
    /// # Errors
    /// Fails if an index or stdout cannot be written.
    pub fn record_written(&mut self, stream: &str, of_stream: u64) -> anyhow::Result<()> {
        self.records += 1;
        self.unsaved += 1;
        if let Some(counter) = &mut self.counter {
            counter.record(stream);
        }
        if self.writer.record_taken()? {
            self.indexes.commit_ahead()?;
            self.writer.hand_over()?;
        }
        if self.progress {
            self.show_progress(stream, of_stream);
        }
        Ok(())
    }

    #[cold]
    fn show_progress(&self, stream: &str, of_stream: u64) {
        if let Some(bars) = &self.bars {
            if let Some(bar) = &bars.stream {
                bar.set(of_stream);
            }
            if let Some(bar) = &bars.all {
                bar.set(self.records);
            }
        } else if of_stream.is_multiple_of(PROGRESS_RECORDS) {
            tracing::info!(stream, "{stream}: {of_stream} records so far");
        }
    }

    /// Returns whether progress bars are shown, so that the number of entries should be looked up.
    pub fn has_bars(&self) -> bool {
        self.bars.is_some()
    }

    /// Shows the start of a stream. `expected`: the number of its records, if known.
    pub fn show_stream(&mut self, name: &str, place: (usize, usize), expected: Option<u64>) {
        let Some(bars) = &mut self.bars else { return };
        let all = bars.all.get_or_insert_with(|| Bar::records("all streams", None));
        all.say(&format!("records, stream {} of {}", place.0, place.1));
        let bar = Bar::records(name, expected);
        bar.say("records");
        bars.stream = Some(bar);
    }

    /// Removes the bars at the end of all streams.
    pub fn clear_bars(&mut self) {
        self.bars = self.bars.take().map(|_| Bars::default());
    }

    /// Returns whether a STATE is due.
    pub fn is_due(&self) -> bool {
        self.unsaved >= self.state_interval
    }

    /// Returns whether the last STATE is older than this.
    pub fn is_older_than(&self, age: Duration) -> bool {
        self.saved_at.elapsed() >= age
    }

    /// Puts a stream's bookmark into the STATE without printing it.
    pub fn set_bookmark(&mut self, stream: &str, bookmark: Value) {
        self.state.bookmarks.insert(stream.to_owned(), bookmark);
    }

    /// Sets a property of the stream's bookmark to `true`, if there is a bookmark, and prints the STATE.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn flag_bookmark(&mut self, stream: &str, property: &str) -> anyhow::Result<()> {
        let Some(Value::Object(bookmark)) = self.state.bookmarks.get_mut(stream) else { return Ok(()) };
        bookmark.insert(property.to_owned(), true.into());
        self.save()
    }

    /// Removes a stream's bookmark: the next run reads everything.
    pub fn remove_bookmark(&mut self, stream: &str) {
        self.state.bookmarks.remove(stream);
    }

    /// Flushes all messages.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.indexes.commit_ahead()?;
        Ok(self.writer.flush()?)
    }

    /// Prints the STATE, after the indexes are durable.
    ///
    /// # Errors
    /// Fails if an index or stdout cannot be written; without the index, no STATE is printed.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.indexes.commit()?;
        self.unsaved = 0;
        self.saved_at = Instant::now();
        self.count();
        Ok(self.writer.state(&self.state.to_value())?)
    }
}
