//! What a run prints, and the state it is in: one for all streams.

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use singer_common::directory::DirectoryError;
use singer_common::entry::Entry;
use singer_common::metrics::Metrics;
use singer_common::observe::{self, RecordCounter};
use singer_common::progress::{Bar, Show};
use singer_common::signals::{Signal, Stop};
use singer_common::state::State;
use singer_common::writer::SingerWriter;

use crate::key_index::Indexes;
use crate::stream::entries::Entries;

pub mod batches;
pub mod rewrite;

/// A signal asked for a stop. Not a failure: what was printed is right, and the run can go on from the last STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted(pub Signal);

/// Records between two looks at the clock, for the progress on stderr.
const PROGRESS_RECORDS: u64 = 10_000;

/// What is drawn.
#[derive(Debug, Default)]
struct Bars {
    all: Option<Bar>,
    stream: Option<Bar>,
}

/// Where a run's messages go, and what they add up to.
pub struct Output<'a, W: Write> {
    /// Where messages go.
    pub writer: &'a mut SingerWriter<W>,
    /// METRIC lines.
    pub metrics: Metrics,
    /// Whether a stop has been asked for.
    pub stop: Stop,
    /// Whether anything is shown of how far the run is.
    progress: bool,
    /// With bars: of the stream that is read, and of all.
    bars: Option<Bars>,
    /// The positions reached.
    pub state: State,
    /// The indexes of keys (`track_deletions`), which are durable before any STATE is printed.
    pub(crate) indexes: Indexes,
    /// Records after which a STATE is due.
    pub state_interval: u64,
    /// Records since the last STATE.
    unsaved: u64,
    /// When the last STATE was printed.
    saved_at: Instant,
    /// Containers read whole without a record.
    pub empty: Vec<String>,
    /// Records printed in all.
    pub records: u64,
    /// Where metrics are wanted.
    counter: Option<RecordCounter>,
}

impl<'a, W: Write> Output<'a, W> {
    /// An output that begins in a state.
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
            records: 0,
            counter,
        }
    }

    /// A stream begins.
    pub fn count_stream(&mut self, stream: &str) {
        if let Some(counter) = &mut self.counter {
            counter.stream(stream);
        }
    }

    /// Shows the records so far in the metrics.
    pub fn count(&mut self) {
        if let Some(counter) = &mut self.counter {
            counter.flush();
        }
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

    /// While stdout takes no more, reads what is on its way of a page, so that the server gets rid of it: 389 DS closes a
    /// connection that takes nothing for ten seconds (nsslapd-ioblocktimeout), and others do after a while.
    pub async fn wait_for_stdout(&mut self, entries: &mut Entries<'_>) -> Result<(), Interrupted> {
        if !self.writer.is_congested() {
            return Ok(());
        }
        self.count();
        let room = self.writer.room();
        let since = Instant::now();
        let absorb = async {
            // An error is met again by who goes on to it.
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

    /// The next entry of a stream, unless a signal comes first. While stdout takes no more it waits in its page.
    pub async fn next_of(
        &mut self,
        entries: &mut Entries<'_>,
    ) -> Result<Result<Option<Entry>, DirectoryError>, Interrupted> {
        self.wait_for_stdout(entries).await?;
        self.or_stop(entries.next()).await
    }

    /// A record line was put into the writer's buffer. `of_stream` is how many the stream has by now.
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

    /// Whether bars are shown, so that it is worth asking how many records there will be.
    pub fn has_bars(&self) -> bool {
        self.bars.is_some()
    }

    /// A stream begins, of so many. `expected`: how many records it will have, as far as anybody can tell.
    pub fn show_stream(&mut self, name: &str, place: (usize, usize), expected: Option<u64>) {
        let Some(bars) = &mut self.bars else { return };
        let all = bars.all.get_or_insert_with(|| Bar::records("all streams", None));
        all.say(&format!("records, stream {} of {}", place.0, place.1));
        let bar = Bar::records(name, expected);
        bar.say("records");
        bars.stream = Some(bar);
    }

    /// All streams have ended.
    pub fn clear_bars(&mut self) {
        self.bars = self.bars.take().map(|_| Bars::default());
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

    /// Says in the stream's bookmark, if it has one, that something is so, and prints it.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn flag_bookmark(&mut self, stream: &str, property: &str) -> anyhow::Result<()> {
        let Some(Value::Object(bookmark)) = self.state.bookmarks.get_mut(stream) else { return Ok(()) };
        bookmark.insert(property.to_owned(), true.into());
        self.save()
    }

    /// Forgets a stream's position: the next run reads it whole.
    pub fn forget(&mut self, stream: &str) {
        self.state.bookmarks.remove(stream);
    }

    /// Hands everything on that was printed.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.indexes.commit_ahead()?;
        Ok(self.writer.flush()?)
    }

    /// Prints the positions reached, once the indexes of keys hold what was printed up to them.
    ///
    /// # Errors
    /// Fails if an index or stdout cannot be written; an index that cannot is no STATE.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.indexes.commit()?;
        self.unsaved = 0;
        self.saved_at = Instant::now();
        self.count();
        Ok(self.writer.state(&self.state.to_value())?)
    }
}
