//! The history beside the reject file: which rejected records have come again since. A retry writes none of those: it would replace newer
//! values by older ones, or bring an entry back that its source has no longer.
//!
//! It is JSONL, and is appended to. A rejected record is a line; so is a later record of the same stream and key, however it ends, and a
//! whole version of the stream (ACTIVATE_VERSION). What is later is so by the order of the lines, not by a clock.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use singer_common::operations::facts::Facts;
use singer_common::operations::file::{self, HISTORY, with_suffix};
use singer_common::operations::{logging, signals};

use super::in_file::InFile;
use crate::rules::names::hash;

/// The version of the format. Lines of a later one are not understood.
const VERSION: u32 = 1;
/// A history with more lines is shortened to the newer half when it is opened.
const MOST_LINES: usize = 200_000;

/// What happened to a record, or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// A record was rejected.
    Rejected,
    /// A record came whose key had been rejected.
    Later,
    /// A whole version of a stream came.
    Version,
}

/// A line of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    version: u32,
    what: What,
    stream: String,
    /// The record's key: `id=7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    run: String,
    at: String,
    /// The place of a rejected record in the input of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

/// The place of a record in the input: its line, and that in a file of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    line: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_line: Option<u64>,
}

impl Place {
    /// Returns the place of a record.
    pub(super) fn of(line: u64, in_file: Option<&InFile>) -> Place {
        Place { line, file_line: in_file.map(|place| place.line) }
    }

    /// Returns the place that a reject file says.
    pub(super) fn at(line: u64, file_line: Option<u64>) -> Place {
        Place { line, file_line }
    }
}

/// By what the history knows a rejected record: the run, and the place in its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RejectMark {
    /// The ID of the run.
    pub run: String,
    /// The place.
    pub place: Place,
}

/// A record that comes from a reject file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromReject {
    /// By what the history knows it; `None`: a reject file of an earlier version does not say it.
    pub mark: Option<RejectMark>,
    /// Whether it was overtaken when it was rejected the last time.
    pub is_outdated: bool,
}

/// What a retry knows of its records.
#[derive(Debug, Default)]
pub struct Retry {
    /// What came after them.
    pub histories: RejectHistories,
    /// Whether those are written, too, that later runs have overtaken (`--outdated`).
    pub with_outdated: bool,
}

/// A later run that had a rejected record again, or all that its source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overtaken {
    /// Its ID.
    pub run: String,
    /// When it was: RFC 3339, by this machine's clock.
    pub at: String,
}

fn read(path: &Path) -> io::Result<Vec<Event>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut events = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        // A crash may cut a line off; a history of another program, or of a later version, says nothing here.
        let event: Option<Event> = serde_json::from_slice(&line?).ok();
        events.extend(event.filter(|event| event.version <= VERSION));
    }
    Ok(events)
}

/// The history that a run writes.
#[derive(Debug)]
pub(super) struct RejectHistory {
    path: PathBuf,
    run: String,
    /// `None`: it cannot be written.
    file: Option<File>,
    /// The rejected keys, with the number of the record if this run rejected it.
    rejected: HashMap<u64, Option<u64>>,
    /// The streams with rejects of earlier runs.
    streams: HashSet<String>,
    is_dirty: bool,
}

impl RejectHistory {
    /// Opens the history beside a reject file. A reject file that is none, such as a pipe, has none.
    pub(super) fn beside(reject_file: &Path) -> RejectHistory {
        let path = with_suffix(reject_file, HISTORY);
        let run = format!("{}-{}", logging::run_id(), chrono::Utc::now().timestamp_micros());
        let mut history = RejectHistory {
            path,
            run,
            file: None,
            rejected: HashMap::new(),
            streams: HashSet::new(),
            is_dirty: false,
        };
        if !reject_file.is_file() {
            return history;
        }
        match history.open() {
            Ok(file) => history.file = Some(file),
            Err(e) => history.warn(&e),
        }
        history
    }

    fn open(&mut self) -> io::Result<File> {
        let events = read(&self.path)?;
        if events.len() > MOST_LINES {
            let newer = events.get(MOST_LINES / 2..).unwrap_or_default();
            file::replace_private(&self.path, |out| {
                for event in newer {
                    writeln!(out, "{}", serde_json::to_string(event)?)?;
                }
                Ok::<_, io::Error>(())
            })?;
        }
        for event in events.iter().filter(|event| event.what == What::Rejected) {
            self.rejected.insert(hash(&(&*event.stream, &*event.key)), None);
            self.streams.insert(event.stream.clone());
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        let mut file = options.open(&self.path)?;
        // A line that a crash cut off ends here.
        if !events.is_empty() {
            file.write_all(b"\n")?;
        }
        Ok(file)
    }

    fn warn(&self, error: &io::Error) {
        let text = format!(
            "reject_file: {}: {error}; --retry-rejects will not know which of its records have come again since",
            self.path.display()
        );
        Facts::of_setting("reject_file").warn(&text);
    }

    /// Returns the ID of the run.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    fn add(&mut self, what: What, stream: &str, key: &str, place: Option<Place>) {
        let Some(file) = &mut self.file else { return };
        let at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let (stream, key, run) = (stream.to_owned(), key.to_owned(), self.run.clone());
        let event = Event { version: VERSION, what, stream, key, run, at, place };
        let Ok(mut line) = serde_json::to_string(&event) else { return };
        line.push('\n');
        let _uninterrupted = signals::uninterrupted();
        self.is_dirty = true;
        if let Err(e) = file.write_all(line.as_bytes()) {
            self.file = None;
            self.warn(&e);
        }
    }

    /// Notes a rejected record; `number`: that of the record in this run.
    pub(super) fn rejected(&mut self, stream: &str, key: &str, place: Place, number: u64) {
        if !key.is_empty() {
            self.add(What::Rejected, stream, key, Some(place));
            self.rejected.insert(hash(&(stream, key)), Some(number));
        }
    }

    /// Notes a record that ended otherwise, if one with its key was rejected before.
    pub(super) fn ended(&mut self, stream: &str, key: &str, number: u64) {
        let rejected = self.rejected.get(&hash(&(stream, key)));
        if rejected.is_some_and(|by| by.is_none_or(|rejected| number > rejected)) {
            self.rejected.remove(&hash(&(stream, key)));
            self.add(What::Later, stream, key, None);
        }
    }

    /// Notes that a whole version of a stream came: what it does not have is gone.
    pub(super) fn version(&mut self, stream: &str) {
        if self.streams.remove(stream) {
            self.add(What::Version, stream, "", None);
        }
    }

    /// Flushes it to disk.
    pub(super) fn sync(&mut self) {
        let is_dirty = std::mem::take(&mut self.is_dirty);
        if let Some(Err(e)) = self.file.as_ref().filter(|_| is_dirty).map(File::sync_data) {
            self.file = None;
            self.warn(&e);
        }
    }
}

/// What the histories in some folders say of rejected records.
#[derive(Debug, Default)]
pub struct RejectHistories {
    rejects: HashMap<RejectMark, Option<Overtaken>>,
}

impl RejectHistories {
    /// Reads the histories beside these files: a reject file may have another name by now.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn beside<'p>(files: impl Iterator<Item = &'p Path>) -> io::Result<RejectHistories> {
        let mut all = RejectHistories::default();
        let folders: HashSet<&Path> = files.map(file::folder).collect();
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.to_str().is_some_and(|path| path.ends_with(HISTORY)) {
                    all.add(read(&path)?);
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, events: Vec<Event>) {
        // From the end: what was last.
        let mut keys: HashMap<(String, String), Overtaken> = HashMap::new();
        let mut versions: HashMap<String, Overtaken> = HashMap::new();
        for event in events.into_iter().rev() {
            let Event { what, stream, key, run, at, place, .. } = event;
            let this = Overtaken { run: run.clone(), at };
            if let (What::Rejected, Some(place)) = (what, place) {
                // A version of its own run has the record.
                let version = versions.get(&stream).filter(|version| version.run != run);
                let later = keys.get(&(stream.clone(), key.clone())).or(version).cloned();
                self.rejects.insert(RejectMark { run, place }, later);
            }
            match what {
                What::Rejected | What::Later => _ = keys.entry((stream, key)).or_insert(this),
                What::Version => _ = versions.entry(stream).or_insert(this),
            }
        }
    }

    /// Returns what has overtaken a rejected record; `None`: it is not known.
    pub fn of(&self, mark: &RejectMark) -> Option<Option<&Overtaken>> {
        self.rejects.get(mark).map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_is_overtaken_by_what_comes_later_and_by_no_version_of_its_own_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rejects.jsonl");
        std::fs::write(&file, "").unwrap();
        let place = |line| Place { line, file_line: None };
        let mut runs = Vec::new();
        let mut run = |acts: &dyn Fn(&mut RejectHistory)| {
            let mut history = RejectHistory::beside(&file);
            acts(&mut history);
            runs.push(history.run().to_owned());
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        run(&|history| {
            history.rejected("users", "id=1", place(1), 1);
            history.ended("users", "id=1", 1);
            history.rejected("users", "id=2", place(2), 2);
            history.ended("users", "id=2", 3);
            history.rejected("users", "id=3", place(4), 4);
            history.rejected("teams", "id=1", place(5), 5);
            history.version("users");
        });
        run(&|history| {
            history.ended("users", "id=9", 1);
            history.rejected("users", "id=3", place(1), 1);
        });
        let overtaken = |run: usize, line: u64| {
            let all = RejectHistories::beside(std::iter::once(file.as_path())).unwrap();
            let mark = RejectMark { run: runs[run].clone(), place: place(line) };
            all.of(&mark).map(|by| by.map(|by| runs.iter().position(|run| *run == by.run).unwrap()))
        };
        assert_eq!(
            [overtaken(0, 1), overtaken(0, 2), overtaken(0, 4)],
            [Some(None), Some(Some(0)), Some(Some(1))]
        );
        assert_eq!([overtaken(1, 1), overtaken(0, 5), overtaken(0, 9)], [Some(None), Some(None), None]);
        run_version(&file);
        let all = RejectHistories::beside(std::iter::once(file.as_path())).unwrap();
        let of = |run: usize, line: u64| {
            all.of(&RejectMark { run: runs[run].clone(), place: place(line) }).unwrap().is_some()
        };
        assert_eq!([of(0, 1), of(1, 1), of(0, 5)], [true, true, false]);
    }

    fn run_version(file: &Path) {
        RejectHistory::beside(file).version("users");
    }
}
