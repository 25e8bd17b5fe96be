//! Progress on stderr: bars on a terminal, log lines elsewhere, or nothing.
//!
//! Bars and log lines share stderr: [`Stderr`] removes the bars while a line is written.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use ldap_directory::text::printable;

mod terminal;

/// The interval between two redraws if no number changed: the elapsed time is shown.
const TICK: Duration = Duration::from_millis(250);
/// The most redraws per second.
const DRAWS_PER_SECOND: u8 = 10;
/// The most bars beside the total; a terminal has 24 lines.
const MOST_BARS: usize = 8;

const KNOWN: &str = "{prefix:24!} {human_pos:>11} of {human_len:11} {bar:20} {rate:>13}, {eta} left";
const UNKNOWN: &str = "{prefix:24!} {human_pos:>11} {msg} {rate:>11}, {elapsed}";
const BYTES: &str = "{prefix:24!} {bytes:>11} of {total_bytes:11} {bar:20} {bytes_per_sec:>13}, {eta} left";

static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nothing.
    Nothing,
    /// A log line at intervals.
    Lines,
    /// Bars.
    Bars,
}

/// The value of `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Progress {
    /// Bars if stderr is a terminal that no other program of a pipeline writes to; lines if one may; else nothing
    #[default]
    Auto,
    /// Bars if stderr is a terminal; else lines at intervals
    Always,
    /// Nothing
    Never,
}

impl Progress {
    /// Returns the form of progress for this process's stderr. `shared`: another process may write to the terminal, as in a pipe.
    pub fn show(self, shared: bool) -> Show {
        match (self, io::stderr().is_terminal(), shared) {
            (Progress::Never, ..) | (Progress::Auto, false, _) => Show::Nothing,
            (Progress::Always, false, _) | (Progress::Auto, true, true) => Show::Lines,
            (Progress::Always, true, _) | (Progress::Auto, true, false) => Show::Bars,
        }
    }
}

/// Whether stdin or stdout is a pipe or a socket, with another program at its other end.
#[cfg(unix)]
pub fn is_pipe(stream: &impl std::os::fd::AsFd) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(stream) = stream.as_fd().try_clone_to_owned() else { return true };
    let kind = std::fs::File::from(stream).metadata().map(|m| m.file_type());
    kind.is_ok_and(|k| k.is_fifo() || k.is_socket())
}

/// Whether stdin or stdout may be a pipe. Not known here, so it may.
#[cfg(not(unix))]
pub fn is_pipe<T>(_: &T) -> bool {
    true
}

/// stderr for whole lines, in which no bar is drawn.
#[derive(Debug)]
pub struct Stderr(());

impl Stderr {
    /// Returns this process's stderr.
    pub fn new() -> Self {
        Self(())
    }
}

impl Default for Stderr {
    fn default() -> Self {
        Self::new()
    }
}

/// A failed write (a full disk, a closed pipe) is dropped: it must not end the run.
impl Write for Stderr {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let _ = suspended(|| io::stderr().write_all(octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// Runs code that writes to the terminal, with the bars removed.
pub fn suspended<T>(write: impl FnOnce() -> T) -> T {
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Removes all bars at the end of the run.
pub(crate) fn end() {
    if let Some(bars) = BARS.get() {
        let _ = bars.clear();
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// A bar.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Returns a bar for the records of one stream or of all. `total`: the expected number, if known.
    pub fn records(name: &str, total: Option<u64>) -> Self {
        let template = if total.is_some() { KNOWN } else { UNKNOWN };
        Self::new(name, total, template)
    }

    /// Returns a bar for the octets of a file.
    pub fn octets(name: &str, total: u64) -> Self {
        Self::new(name, Some(total), BYTES)
    }

    fn new(name: &str, total: Option<u64>, template: &str) -> Self {
        let bars = BARS.get_or_init(|| {
            let terminal = Box::new(terminal::Terminal::default());
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(terminal, DRAWS_PER_SECOND))
        });
        let bar = bars.add(ProgressBar::new(total.unwrap_or_default()));
        if total.is_none() {
            bar.unset_length();
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // indicatif's own `per_sec` has a dozen decimals.
        let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}/s", state.per_sec());
        });
        bar.set_style(style.progress_chars("=> "));
        // Names from a directory must not send control sequences to the terminal.
        bar.set_prefix(printable(name).into_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Sets the number done. It may exceed the total, which is an estimate.
    pub fn set(&self, done: u64) {
        if self.0.length().is_some_and(|total| total < done) {
            self.0.set_length(done);
        }
        self.0.set_position(done);
    }

    /// Sets the expected total.
    pub fn expect(&self, total: u64) {
        self.0.set_length(total);
    }

    /// Sets the text beside the number.
    pub fn say(&self, words: &str) {
        self.0.set_message(printable(words).into_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Bars for the streams of a target, each with the numbers of records read and processed.
#[derive(Debug)]
pub struct Streams {
    all: Bar,
    streams: Vec<(String, Bar)>,
}

impl Streams {
    /// With a file, the total is its octets.
    pub fn new(file: Option<u64>) -> Self {
        let all = file
            .map_or_else(|| Bar::records("all streams", None), |size| Bar::octets("read of the file", size));
        Self { all, streams: Vec::new() }
    }

    /// Returns the bar of the total.
    pub fn all(&self) -> &Bar {
        &self.all
    }

    /// Sets a stream's numbers of records read and processed.
    pub fn stream(&mut self, name: &str, taken: u64, done: u64) {
        let at = self.streams.iter().position(|(known, _)| known == name);
        let at = match at {
            Some(at) => at,
            None if self.streams.len() < MOST_BARS => {
                self.streams.push((name.to_owned(), Bar::records(name, Some(taken))));
                self.streams.len() - 1
            }
            None => return,
        };
        if let Some((_, bar)) = self.streams.get(at) {
            bar.expect(taken.max(done));
            bar.set(done);
        }
    }
}
