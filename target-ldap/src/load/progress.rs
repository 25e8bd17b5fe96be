//! The progress of a run, for bars and log lines. Polled a few times a second, never for a single record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use singer_common::operations::progress::{Show, Streams};
use singer_common::operations::summary::{self, Count};

use crate::write::counts::Counts;

/// The time between two lines, without bars.
const LINES: Duration = Duration::from_secs(10);

/// Shows the progress of a run.
#[derive(Debug)]
pub struct LoadProgress {
    show: Show,
    /// A second handle of the input file: it shares the position of the reader.
    file: Option<(File, u64)>,
    bars: Option<Streams>,
    logged_at: Instant,
    /// The numbers of the last lines.
    logged: BTreeMap<String, u64>,
    /// When each stream began, when it last progressed, and its number of outcomes by then.
    busy: BTreeMap<String, (Instant, Instant, u64)>,
    sums_up: bool,
}

impl LoadProgress {
    /// Returns one that shows nothing, for a rehearsal.
    pub fn disabled() -> Self {
        Self {
            show: Show::Nothing,
            file: None,
            bars: None,
            logged_at: Instant::now(),
            logged: BTreeMap::new(),
            busy: BTreeMap::new(),
            sums_up: false,
        }
    }

    /// Returns one that also reports the summary at the end. `file`: the input, if it is a file.
    pub fn new(show: Show, file: Option<&File>) -> Self {
        let file = file.and_then(|f| {
            Some((f.try_clone().ok()?, f.metadata().ok().filter(std::fs::Metadata::is_file)?.len()))
        });
        let bars = (show == Show::Bars).then(|| Streams::new(file.as_ref().map(|(_, size)| *size)));
        Self { show, file, bars, sums_up: true, ..Self::disabled() }
    }

    /// Notes that a stream begins.
    pub(super) fn begin_stream(&mut self, stream: &str) {
        let now = Instant::now();
        self.busy.entry(stream.to_owned()).or_insert((now, now, 0));
    }

    /// Updates the progress.
    pub(super) fn poll(&mut self, counts: &BTreeMap<Arc<str>, Counts>) {
        let now = Instant::now();
        for (stream, counts) in counts {
            let done = counts.done();
            match self.busy.get_mut(&**stream) {
                None => {
                    self.busy.insert(stream.to_string(), (now, now, done));
                }
                Some((_, last, before)) if *before != done => (*last, *before) = (now, done),
                Some(_) => {}
            }
        }
        match (&mut self.bars, self.show) {
            (Some(bars), _) => {
                for (stream, counts) in counts {
                    bars.stream(stream, counts.accepted(), counts.done());
                }
                match &mut self.file {
                    Some((file, _)) => bars.all().set(file.stream_position().unwrap_or_default()),
                    None => bars.all().set(counts.values().map(Counts::done).sum()),
                }
            }
            (None, Show::Lines) if self.logged_at.elapsed() >= LINES => {
                self.logged_at = now;
                let share = self.file.as_mut().map(|(file, size)| {
                    let percent = file.stream_position().unwrap_or_default() * 100 / (*size).max(1);
                    format!(", {percent} % of the input read")
                });
                for (stream, counts) in counts {
                    let done = counts.done();
                    if self.logged.insert(stream.to_string(), done) != Some(done) {
                        tracing::info!(
                            stream = &**stream,
                            "{stream}: {done} of {} records done{}",
                            counts.accepted(),
                            share.as_deref().unwrap_or_default()
                        );
                    }
                }
            }
            _ => {}
        }
    }

    /// Ends the progress. Returns the duration of each stream.
    pub(super) fn finish(
        &mut self,
        counts: &BTreeMap<Arc<str>, Counts>,
        rejected: u64,
    ) -> Vec<(String, Duration)> {
        self.poll(counts);
        self.bars = None;
        if self.sums_up {
            let total = counts.values().fold(Counts::default(), Counts::plus);
            for (count, number) in [
                (Count::Records, total.records),
                (Count::Added, total.added),
                (Count::Modified, total.modified),
                (Count::Renamed, total.renamed),
                (Count::Moved, total.moved),
                (Count::Deleted, total.deleted),
                (Count::Unchanged, total.unchanged),
                (Count::Ignored, total.left_alone),
                (Count::Rejected, rejected),
            ] {
                summary::set(count, number);
            }
        }
        let busy = std::mem::take(&mut self.busy);
        busy.into_iter().map(|(stream, (first, last, _))| (stream, last - first)).collect()
    }
}
