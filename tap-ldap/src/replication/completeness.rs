//! Whether a whole read of a stream was complete: the one place that decides about ACTIVATE_VERSION, and about deletions
//! found by `track_deletions`.

use std::io::Write;

use serde_json::Value;
use singer_common::dn::DnKey;
use singer_common::summary::{self, Count};

use super::StreamRun;
use crate::config::TapConfig;
use crate::config::shrink::Shrink;
use crate::discovery::gaps::Gaps;
use crate::discovery::source::Source;
use crate::output::Output;

/// A reason why entries may be missing from a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Continuation references to other servers were ignored: the entries there are missing.
    References(u64),
    /// Entries whose names are not UTF-8 were left out: one of them may be any entry of the stream.
    Unreadable(u64),
    /// Entries that the directory holds were neither emitted nor left out by a rule.
    Books {
        /// How many.
        count: u64,
        /// The DN of one of them, where it is known.
        first: Option<String>,
    },
    /// The file says of itself that it is not whole.
    File,
    /// Entries below parents that are not seen would have been missed: the server refuses to list all names.
    Unverified,
    /// Entries whose classes are not seen are in no stream: this one may have had them.
    HiddenClasses,
    /// There was no record at all (`allow_empty_streams`).
    Empty,
    /// There were so many fewer records than the last time (`max_shrink`).
    Shrunk {
        /// The records of the last complete read.
        before: u64,
        /// The records of this one.
        now: u64,
    },
}

impl Doubt {
    /// The warning for people, without what follows from it.
    fn message(&self) -> String {
        match self {
            Doubt::References(count) => {
                format!("{count} referral(s) to other servers were ignored (follow_referrals)")
            }
            Doubt::Unreadable(count) => {
                format!("{count} entries whose names are not UTF-8 were left out")
            }
            Doubt::Books { count, first } => {
                let first = first.as_ref().map(|dn| format!(" (the first is `{dn}`)")).unwrap_or_default();
                format!("{count} entries that the directory holds were not read{first}")
            }
            Doubt::File => "the file is not whole".to_owned(),
            Doubt::Unverified => "the server refuses to list all names".to_owned(),
            Doubt::HiddenClasses => {
                "the bound user may not see the objectClass of some entries, which may be of this stream".to_owned()
            }
            Doubt::Empty => "no entry was found, which is no proof that all are gone (allow_empty_streams: true takes it as one)".to_owned(),
            Doubt::Shrunk { before, now } => {
                format!("{now} records after {before} the last time, fewer than max_shrink allows")
            }
        }
    }
}

/// What is known about the completeness of a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Completeness {
    doubts: Vec<Doubt>,
    /// How many there were, where that was noted.
    records: Option<u64>,
}

/// What the settings say about an answer that is complete as far as anybody can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    allow_empty: bool,
    activates: bool,
    max_shrink: Option<Shrink>,
    /// The records of the last complete read, where the bookmark knows.
    last: Option<u64>,
    /// The keys of the last one, where the index of keys knows.
    indexed: Option<u64>,
}

/// So many records are worth a count in a bookmark.
const WORTH_COUNTING: u64 = 20;

/// So many FULL_TABLE streams have a bookmark for their count alone: it is printed again after each stream.
const MOST_COUNTED: usize = 500;

impl Rules {
    pub(crate) fn new(config: &TapConfig) -> Self {
        Self {
            allow_empty: config.allow_empty_streams,
            activates: config.activate_versions,
            max_shrink: config.max_shrink,
            last: None,
            indexed: None,
        }
    }

    /// Takes up what the stream's bookmark says, of whatever method it is.
    pub(crate) fn resume(&mut self, bookmark: Option<&Value>) {
        self.last = bookmark.and_then(|b| b.get("count")).and_then(Value::as_u64);
    }

    /// Takes up what the index of keys says.
    pub(crate) fn resume_index(&mut self, keys: u64) {
        self.indexed = Some(keys);
    }

    /// Returns what the next bookmark has to say; `None` where nobody asks for it.
    pub(crate) fn count(&self) -> Option<u64> {
        self.last.filter(|last| self.max_shrink.is_some() || *last >= WORTH_COUNTING)
    }

    /// The same, for a bookmark that has nothing else to say. `bookmarks`: how many there are.
    pub(crate) fn count_alone(&self, bookmarks: usize) -> Option<u64> {
        self.count().filter(|_| self.max_shrink.is_some() || bookmarks < MOST_COUNTED)
    }

    /// How many there were the last time, where a read gave much less: more than half of them are missing.
    fn much_more(&self, now: u64) -> Option<u64> {
        let half = Shrink::Percent(50.0);
        let before = self.last.or(self.indexed)?;
        (before >= WORTH_COUNTING && half.is_exceeded(before, now) && self.max_shrink.is_none())
            .then_some(before)
    }
}

impl Completeness {
    /// The completeness of a read that left this out. For reads of entries: [`super::verify::verify`], which looks at the
    /// books.
    pub(crate) fn of(gaps: Gaps) -> Completeness {
        let mut completeness = Completeness { doubts: Vec::new(), records: None };
        if gaps.references > 0 {
            completeness.doubt(Doubt::References(gaps.references));
        }
        if gaps.unreadable > 0 {
            completeness.doubt(Doubt::Unreadable(gaps.unreadable));
        }
        completeness
    }

    /// Notes how many records there were.
    pub(crate) fn records(&mut self, count: u64) {
        self.records = Some(count);
    }

    /// Looks at what only the whole tells.
    fn hold_against(&mut self, rules: &Rules) {
        let Some(now) = self.records else { return };
        if now == 0 && !rules.allow_empty {
            self.doubt(Doubt::Empty);
        }
        if let (Some(shrink), Some(before)) = (rules.max_shrink, rules.last)
            && shrink.is_exceeded(before, now)
        {
            self.doubt(Doubt::Shrunk { before, now });
        }
    }

    /// Notes a reason why entries may be missing.
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        if !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    /// Warns of entries that were not read, where nothing is concluded from a read.
    pub(crate) fn warn_of_books(&self, stream: &str) {
        for doubt in self.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Books { .. })) {
            tracing::warn!(stream, "{stream}: {}", doubt.message());
        }
    }

    /// Whether every entry that the directory holds was read, as far as the books tell.
    pub(crate) fn has_read_all(&self) -> bool {
        !self
            .doubts
            .iter()
            .any(|doubt| matches!(doubt, Doubt::Books { .. } | Doubt::Unverified | Doubt::HiddenClasses))
    }

    /// Whether deletions may be concluded from the read.
    pub(crate) fn is_complete(&self) -> bool {
        self.doubts.is_empty()
    }
}

/// Ends a whole read. A complete one activates this version, if there is one; an incomplete one gets a warning.
/// Returns whether deletions may be concluded from it.
pub(crate) fn conclude<W: Write>(
    run: &mut StreamRun<'_>,
    version: Option<i64>,
    completeness: &Completeness,
    output: &mut Output<'_, W>,
) -> anyhow::Result<bool> {
    let stream = run.stream.stream.as_str();
    let mut completeness = completeness.clone();
    if !run.context.directory.shortfalls().is_empty() {
        completeness.doubt(Doubt::File);
    }
    completeness.hold_against(&run.rules);
    for doubt in &completeness.doubts {
        // Of the file, of the list of names, and of hidden classes, one warning before says it all.
        if matches!(doubt, Doubt::File | Doubt::Unverified | Doubt::HiddenClasses) {
            continue;
        }
        // Many containers have nothing of their own, and were so before: those are named together at the end. One that
        // others are nested in is so by its nature.
        if *doubt == Doubt::Empty && is_container(run) {
            if has_nested(run) {
                tracing::info!(
                    stream,
                    "{stream}: no entry lies right below the container; no ACTIVATE_VERSION is sent"
                );
            } else {
                output.empty.push(stream.to_owned());
            }
            continue;
        }
        let differ = if let Doubt::Books { count, .. } = doubt { Some(*count) } else { None };
        tracing::warn!(
            stream,
            books_differ = differ,
            "{stream}: {}: the stream is not complete, so no ACTIVATE_VERSION is sent and nothing is deleted downstream",
            doubt.message()
        );
    }
    if !completeness.is_complete() {
        if completeness.doubts != [Doubt::Empty] || !has_nested(run) {
            summary::add(Count::Incomplete, 1);
        }
        return Ok(false);
    }
    if let Some((now, before)) = completeness.records.and_then(|now| Some((now, run.rules.much_more(now)?)))
        && run.rules.activates
    {
        tracing::warn!(
            stream,
            before,
            now,
            "{stream}: {now} records after {before} the last time: all that is missing is deleted downstream, as if it were gone (max_shrink would hold that back)"
        );
    }
    run.rules.last = completeness.records;
    if let Some(version) = version.filter(|_| run.rules.activates) {
        output.writer.activate_version(stream, version)?;
    }
    Ok(true)
}

/// Whether the stream is that of a container with others nested in it.
fn has_nested(run: &StreamRun<'_>) -> bool {
    let Source::Container { dn } = run.source else { return false };
    let schema = run.context.directory.schema();
    DnKey::parse(dn, schema).is_ok_and(|key| run.context.containers.has_nested(&key))
}

/// Whether the stream was made by discovery, of whatever container there is.
fn is_container(run: &StreamRun<'_>) -> bool {
    let source = if let Source::Members(of) = run.source { of } else { run.source };
    matches!(source, Source::Container { .. } | Source::Containers)
        || matches!(run.source, Source::Members(_))
}
